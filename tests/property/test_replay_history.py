"""Whatever was done to a store, any of its revisions can be made again from an earlier snapshot and the journal."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mien_server.errors import MienError, PreconditionFailed
from mien_server.records.policies import Duplicates
from mien_server.records.store_pb2 import VECTOR_TYPE_FLOAT16, VECTOR_TYPE_FLOAT32
from mien_server.storage import (
    Command,
    DeleteFaces,
    DeleteGallery,
    DeleteIdentity,
    IdentitySeed,
    MoveFaces,
    PutIdentity,
    RemoveExpired,
    Store,
    UpdateGallery,
)
from tests.snapshot_support import restored_state, state_of, take
from tests.storage_support import create, open_store, rows

GALLERIES = st.sampled_from(["a", "b"])
PEOPLE = st.sampled_from(["ann", "bob", "çem"])
FACES = st.integers(0, 9).map(lambda number: f"face-{number}")
LABELS = st.dictionaries(st.sampled_from(["team", "city"]), st.sampled_from(["x", "y"]))
REVISIONS_MAX = 14

pytestmark = pytest.mark.slow


# None: for ever. Some are gone by the next step, some never within the test.
LIVES = st.sampled_from([None, None, 0.01, 1e6])


def expiry(time_to_live_s: float | None) -> int | None:
    return None if time_to_live_s is None else time.time_ns() // 1000 + int(time_to_live_s * 1e6)


class ReplayedHistory(RuleBasedStateMachine):
    """Writes, keeps what the store was at each revision, and makes each again in the end."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.store: Store = open_store(self.root / "store")
        self.states = {0: state_of(self.store)}
        self.snapshots: dict[int, str] = {}
        # For each gallery that was deleted: the revisions of its enrolments, and that of its end.
        self.enrolled: dict[int, list[int]] = {}
        self.ended: dict[int, int] = {}
        # Rules are switched off at random: without these most histories would be short, or without a snapshot.
        self.create("a", half=False)
        self.enrol("a", [("ann", "face-0", 0), ("bob", "face-1", 1)], Duplicates.SKIP, {"team": "x"}, {"city": "y"})
        self.snapshot()

    def teardown(self) -> None:
        last = take(self.store, self.root / "snapshots").manifest
        self.store.close()
        for revision, name in self.snapshots.items():
            for wanted, state in self.states.items():
                self.restored_from(revision, name, wanted, state, journal="")
        # The store's own journal and that of a later snapshot lead to the same.
        for revision, name in list(self.snapshots.items())[:1]:
            journal = str(self.root / "snapshots" / last.name)
            for wanted in (revision, last.revision):
                self.restored_from(revision, name, wanted, self.states[wanted], journal)
        self.folder.cleanup()

    def restored_from(self, revision: int, name: str, wanted: int, state: dict, journal: str) -> None:
        where = journal or str(self.root / "store")
        target = self.root / "restored" / f"{revision}-{wanted}-{bool(journal)}"
        lost = any(
            first <= wanted < self.ended[number]
            for number, revisions in self.enrolled.items()
            if number in self.ended
            for first in [min((one for one in revisions if one > revision), default=self.ended[number])]
        )
        if wanted < revision or lost:
            with pytest.raises(PreconditionFailed) as refused:
                restored_state(self.root / "snapshots", name, target, wanted, where)
            assert refused.value.reason == "REVISION_NOT_REACHABLE"
            assert not target.exists()
            return
        assert restored_state(self.root / "snapshots", name, target, wanted, where) == state

    def write(self, command: Command) -> None:
        try:
            self.store.write(command)
        except MienError:
            return
        self.states.setdefault(self.store.revision, state_of(self.store))

    def has_room(self) -> bool:
        return self.store.revision < REVISIONS_MAX

    @precondition(has_room)
    @rule(name=GALLERIES, half=st.booleans())
    def create(self, name: str, half: bool) -> None:
        try:
            create(self.store, name, VECTOR_TYPE_FLOAT16 if half else VECTOR_TYPE_FLOAT32)
        except MienError:
            return
        self.states[self.store.revision] = state_of(self.store)

    @precondition(has_room)
    @rule(name=GALLERIES, labels=LABELS)
    def update_gallery(self, name: str, labels: dict[str, str]) -> None:
        self.write(UpdateGallery(name, display_name="new", labels=labels))

    @precondition(has_room)
    @rule(name=GALLERIES)
    def delete_gallery(self, name: str) -> None:
        with self.store.view() as view:
            numbers = [gallery.number for gallery in view.galleries() if gallery.name == name]
        self.write(DeleteGallery(name, force=True))
        for number in numbers:
            self.ended[number] = self.store.revision

    @precondition(has_room)
    @rule(
        name=GALLERIES,
        faces=st.lists(st.tuples(PEOPLE, FACES, st.integers(0, 5)), min_size=1, max_size=6),
        duplicates=st.sampled_from(list(Duplicates)),
        labels=LABELS,
        seeds=LABELS,
        time_to_live_s=LIVES,
    )
    def enrol(
        self,
        name: str,
        faces: list[tuple[str, str, int]],
        duplicates: Duplicates,
        labels: dict[str, str],
        seeds: dict[str, str],
        time_to_live_s: float | None = None,
    ) -> None:
        with self.store.view() as view:
            records = [gallery.record for gallery in view.galleries() if gallery.name == name]
        before = self.store.revision
        for record in records:
            made = {identity_id: IdentitySeed("shown", seeds) for identity_id, _, _ in faces[:1]}
            command = rows(record, faces, duplicates=duplicates, labels={0: labels}, seeds=made)
            times_us = [0] * (len(faces) - 1) + [expiry(time_to_live_s) or 0]
            self.write(dataclasses.replace(command, expire_times_us=times_us))
            if self.store.revision > before:
                self.enrolled.setdefault(record.number, []).append(self.store.revision)

    @precondition(has_room)
    @rule(
        name=GALLERIES,
        identity_id=PEOPLE,
        labels=st.none() | LABELS,
        shown=st.none() | st.just("name"),
        time_to_live_s=LIVES,
    )
    def put_identity(
        self,
        name: str,
        identity_id: str,
        labels: dict[str, str] | None,
        shown: str | None,
        time_to_live_s: float | None,
    ) -> None:
        command = PutIdentity(name, identity_id, display_name=shown, labels=labels, allow_missing=True)
        self.write(dataclasses.replace(command, expire_time_us=expiry(time_to_live_s)))

    @precondition(has_room)
    @rule(name=GALLERIES)
    def sweep(self, name: str) -> None:
        self.write(RemoveExpired(name, 2))

    @precondition(has_room)
    @rule(name=GALLERIES, identity_id=PEOPLE)
    def delete_identity(self, name: str, identity_id: str) -> None:
        self.write(DeleteIdentity(name, identity_id))

    @precondition(has_room)
    @rule(name=GALLERIES, face_ids=st.sets(FACES, min_size=1, max_size=4), receiver=PEOPLE, delete=st.booleans())
    def move_faces(self, name: str, face_ids: set[str], receiver: str, delete: bool) -> None:
        there = self.there(name, face_ids)
        if there:
            self.write(MoveFaces(name, there, receiver, delete_emptied_identities=delete))

    @precondition(has_room)
    @rule(name=GALLERIES, face_ids=st.sets(FACES, min_size=1, max_size=4), delete=st.booleans())
    def delete_faces(self, name: str, face_ids: set[str], delete: bool) -> None:
        self.write(DeleteFaces(name, sorted(face_ids), allow_missing=True, delete_emptied_identities=delete))

    @rule()
    def snapshot(self) -> None:
        if len(self.snapshots) < 2 and self.store.revision not in self.snapshots:
            taken = take(self.store, self.root / "snapshots").manifest
            self.snapshots[taken.revision] = taken.name

    def there(self, name: str, face_ids: set[str]) -> list[str]:
        with self.store.view() as view:
            galleries = [gallery for gallery in view.galleries() if gallery.name == name]
            return sorted(galleries[0].face_ordinals(sorted(face_ids))) if galleries else []


ReplayedHistory.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestReplayedHistory = ReplayedHistory.TestCase
