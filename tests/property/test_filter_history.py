"""Whatever is written, in whatever order: filters with a cache choose the rows that a model does, in any snapshot."""

from __future__ import annotations

import math
import tempfile
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mien_server.engine import filters
from mien_server.engine.filter_cache import FilterCache
from mien_server.engine.filters import allowed_identities, allowed_rows
from mien_server.engine.types import Condition, ConditionSubject, Filter
from mien_server.records.policies import Duplicates
from mien_server.records.store_pb2 import FaceRecord
from mien_server.storage import (
    Committed,
    DeleteFaces,
    DeleteIdentity,
    EnrollRows,
    IdentitySeed,
    MoveFaces,
    PutIdentity,
    Store,
    StoreView,
)
from tests.storage_support import create, digest, open_store, vector

GALLERY = "people"
PEOPLE = st.sampled_from(["ann", "bob", "cid"])
KEYS = st.sampled_from(["site", "age"])
VALUES = st.sampled_from(["north", "7", "nan", ""])
LABELS = st.one_of(st.just({"site": "north"}), st.dictionaries(KEYS, VALUES, max_size=2))
BOUNDS = st.one_of(st.none(), st.sampled_from([-5.0, 0.0, 7.0]))
TIMES = st.one_of(st.none(), st.integers(0, 12))
LABEL_SUBJECTS = st.sampled_from([ConditionSubject.IDENTITY_LABEL, ConditionSubject.FACE_LABEL])
TIME_SUBJECTS = st.sampled_from([ConditionSubject.IDENTITY_CREATE_TIME, ConditionSubject.FACE_CREATE_TIME])
CONDITIONS = st.one_of(
    st.builds(Condition, LABEL_SUBJECTS, KEYS, one_of=st.lists(VALUES, max_size=3).map(tuple)),
    st.builds(Condition, LABEL_SUBJECTS, KEYS, number_range=st.tuples(BOUNDS, BOUNDS)),
    st.builds(Condition, LABEL_SUBJECTS, KEYS, exists=st.booleans()),
    st.builds(Condition, TIME_SUBJECTS, time_range_us=st.tuples(TIMES, TIMES)),
)
FILTERS = st.builds(
    Filter,
    identity_labels=st.dictionaries(KEYS, VALUES, max_size=1),
    identity_ids=st.lists(PEOPLE, max_size=2).map(tuple),
    excluded_identity_ids=st.lists(PEOPLE, max_size=2).map(tuple),
    conditions=st.lists(CONDITIONS, max_size=2).map(tuple),
)
SITE = Filter(identity_labels={"site": "north"})
WATCHED_MAX = 12
SNAPSHOTS_MAX = 3


@dataclass
class ModelFace:
    owner: str
    labels: dict[str, str]
    time_us: int


@dataclass
class Model:
    """Faces by ordinal; labels and time of creation by identity."""

    faces: dict[int, ModelFace] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    times_us: dict[str, int] = field(default_factory=dict)

    def rows(self, row_filter: Filter) -> set[int]:
        return {row for row, face in self.faces.items() if self._allows(row_filter, face.owner, face)}

    def identities(self, row_filter: Filter) -> set[str]:
        return {one for one in self.labels if self._allows(row_filter, one, None)}

    def _allows(self, row_filter: Filter, owner: str, face: ModelFace | None) -> bool:
        labels = self.labels[owner]
        return (
            all(labels.get(key) == value for key, value in row_filter.identity_labels.items())
            and (not row_filter.identity_ids or owner in row_filter.identity_ids)
            and owner not in row_filter.excluded_identity_ids
            and all(self._passes(condition, owner, face) for condition in row_filter.conditions)
        )

    def _passes(self, condition: Condition, owner: str, face: ModelFace | None) -> bool:
        if condition.subject in {ConditionSubject.FACE_LABEL, ConditionSubject.FACE_CREATE_TIME}:
            if face is None:
                return True
            labels, time_us = face.labels, face.time_us
        else:
            labels, time_us = self.labels[owner], self.times_us[owner]
        if condition.time_range_us is not None:
            start, end = condition.time_range_us
            return (start is None or time_us >= start) and (end is None or time_us < end)
        value = labels.get(condition.key)
        if condition.exists is not None:
            return condition.exists == (value is not None)
        if condition.one_of is not None:
            return value in condition.one_of
        return value is not None and _is_in(value, *(condition.number_range or (None, None)))


def _is_in(value: str, minimum: float | None, maximum: float | None) -> bool:
    try:
        number = float(value)
    except ValueError:
        return False
    if math.isnan(number):
        return minimum is None and maximum is None
    return (minimum is None or number >= minimum) and (maximum is None or number <= maximum)


class FilterHistory(RuleBasedStateMachine):
    @initialize(
        bytes_max=st.sampled_from([3000, 1 << 20]),
        read_anew_share=st.sampled_from([filters.READ_ANEW_SHARE, 1.0]),
        watched=st.lists(FILTERS, min_size=3, max_size=8),
    )
    def start(self, bytes_max: int, read_anew_share: float, watched: list[Filter]) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store: Store = open_store(Path(self.folder.name) / "store")
        self.record = create(self.store, GALLERY)
        self.cache = FilterCache(bytes_max)
        self.model = Model()
        self.row_count = 0
        self.clock_us = 0
        self.watched = [SITE, *watched]
        self.held = ExitStack()
        # Where everything is new, everything would be read anew, and nothing from its own record.
        self.held.enter_context(patch.object(filters, "READ_ANEW_SHARE", read_anew_share))
        self.snapshots: list[tuple[StoreView, Model]] = []

    def teardown(self) -> None:
        self.held.close()
        self.store.close()
        self.folder.cleanup()

    @rule(
        faces=st.lists(st.tuples(PEOPLE, LABELS), min_size=1, max_size=5),
        seeds=st.dictionaries(PEOPLE, LABELS, max_size=2),
    )
    def enrol(self, faces: list[tuple[str, dict[str, str]]], seeds: dict[str, dict[str, str]]) -> None:
        self.clock_us += 1
        first = self.row_count
        owners = [owner for owner, _ in faces]
        self.write(
            EnrollRows(
                GALLERY,
                self.record.number,
                np.array([vector(first + row) for row in range(len(faces))]),
                owners,
                [f"face-{first + row}" for row in range(len(faces))],
                [digest(first + row) for row in range(len(faces))],
                [FaceRecord(labels=labels).SerializeToString() for _, labels in faces],
                create_time_us=self.clock_us,
                identity_seeds={one: IdentitySeed(labels=labels) for one, labels in seeds.items() if one in owners},
                face_labels={row: labels for row, (_, labels) in enumerate(faces)},
                duplicates=Duplicates.ALLOW,
            )
        )
        for owner, labels in faces:
            if owner not in self.model.labels:
                self.model.labels[owner] = seeds.get(owner, {})
                self.model.times_us[owner] = self.clock_us
            self.model.faces[self.row_count] = ModelFace(owner, labels, self.clock_us)
            self.row_count += 1

    @rule(owner=PEOPLE, labels=st.one_of(st.none(), LABELS))
    def put_identity(self, owner: str, labels: dict[str, str] | None) -> None:
        record = self.write(PutIdentity(GALLERY, owner, labels=labels, allow_missing=True))
        self.model.times_us.setdefault(owner, record.create_time_us)
        kept = self.model.labels.setdefault(owner, {})
        self.model.labels[owner] = kept if labels is None else labels

    @precondition(lambda self: self.model.faces)
    @rule(chosen=st.lists(st.integers(0, 1000), min_size=1, max_size=3), receiver=PEOPLE, delete=st.booleans())
    def move(self, chosen: list[int], receiver: str, delete: bool) -> None:
        rows = {sorted(self.model.faces)[one % len(self.model.faces)] for one in chosen}
        moved = {row for row in rows if self.model.faces[row].owner != receiver}
        before = self.model.labels.keys() | set()
        self.write(
            MoveFaces(GALLERY, [f"face-{row}" for row in rows], receiver, delete_emptied_identities=delete),
        )
        sources = {self.model.faces[row].owner for row in moved}
        for row in moved:
            self.model.faces[row].owner = receiver
        if moved and receiver not in before:
            self.model.labels[receiver] = {}
            with self.store.view() as view:
                made = view.gallery(GALLERY).identity(receiver)
                assert made is not None
                self.model.times_us[receiver] = made.create_time_us
        self.drop_emptied(sources, delete=delete)

    @precondition(lambda self: self.model.faces)
    @rule(chosen=st.lists(st.integers(0, 1000), min_size=1, max_size=3), delete=st.booleans())
    def delete_faces(self, chosen: list[int], delete: bool) -> None:
        rows = {sorted(self.model.faces)[one % len(self.model.faces)] for one in chosen}
        self.write(DeleteFaces(GALLERY, [f"face-{row}" for row in rows], delete_emptied_identities=delete))
        self.drop_emptied({self.model.faces.pop(row).owner for row in rows}, delete=delete)

    @rule(owner=PEOPLE)
    def delete_identity(self, owner: str) -> None:
        self.write(DeleteIdentity(GALLERY, owner, allow_missing=True))
        if owner in self.model.labels:
            del self.model.labels[owner], self.model.times_us[owner]
        self.model.faces = {row: face for row, face in self.model.faces.items() if face.owner != owner}

    @rule(row_filter=FILTERS)
    def watch(self, row_filter: Filter) -> None:
        """Ask for this filter from here on after each step."""
        self.watched = [row_filter, *self.watched][:WATCHED_MAX]

    @precondition(lambda self: len(self.snapshots) < SNAPSHOTS_MAX)
    @rule()
    def hold(self) -> None:
        """Keep a reader open, who goes on to see what there is now."""
        self.snapshots.append((self.held.enter_context(self.store.view()), deepcopy(self.model)))

    @rule(newest_first=st.booleans())
    def search_all(self, newest_first: bool) -> None:
        """Every reader, in one order or the other, gets what the model of its time says."""
        with self.store.view() as view:
            readers = [*self.snapshots, (view, self.model)]
            for reader, model in reversed(readers) if newest_first else readers:
                for row_filter in self.watched:
                    self.check(reader, model, row_filter)

    @invariant()
    def searches(self) -> None:
        """After each step a new reader gets what the model says."""
        with self.store.view() as view:
            for row_filter in self.watched:
                self.check(view, self.model, row_filter)

    @invariant()
    def keeps_within_its_bound(self) -> None:
        """The cache never holds more than it may."""
        assert self.cache.nbytes <= self.cache._bytes_max

    def check(self, view: StoreView, model: Model, row_filter: Filter) -> None:
        gallery = view.gallery(GALLERY)
        bitmap = allowed_rows(gallery, row_filter, cache=self.cache)
        live = gallery.rows.live
        found = live if bitmap is None else live & bitmap
        assert set(np.flatnonzero(np.unpackbits(found, bitorder="little")).tolist()) == model.rows(row_filter)
        choice = allowed_identities(gallery, row_filter)
        everybody = {record.number: identity_id for identity_id, record in gallery.identities()}
        numbers = np.array(sorted(everybody), dtype=np.int64)
        chosen = numbers if choice is None else numbers[choice.allows(numbers)]
        assert {everybody[number] for number in chosen.tolist()} == model.identities(row_filter)
        assert choice is None or choice.count(len(everybody)) == len(chosen)

    def drop_emptied(self, owners: set[str], *, delete: bool) -> None:
        left = {face.owner for face in self.model.faces.values()}
        for owner in owners - left if delete else ():
            del self.model.labels[owner], self.model.times_us[owner]

    def write(self, command):
        answer = self.store.write(command)
        assert isinstance(answer, Committed)
        return answer.result


FilterHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestFilterHistory = FilterHistory.TestCase
