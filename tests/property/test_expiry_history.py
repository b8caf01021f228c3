"""Whatever is written, however the clock goes: every answer is as if what has expired had been deleted that moment."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mien_server.engine import Engine, EngineOptions
from mien_server.engine.types import (
    EnrollRows,
    Filter,
    GallerySpec,
    PackedEmbeddings,
    Probes,
    SearchChoices,
    VerifySide,
)
from mien_server.errors import MienError, NotFound
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy, Duplicates, EnrollmentPolicy, IdentityScoring
from mien_server.storage import StoreOptions
from tests.storage_support import DIMENSION, vector

GALLERY = "people"
TICK_US = 1_000_000
START_US = 1_700_000_000 * TICK_US
PEOPLE = st.sampled_from(["ann", "bob", "cid", "dee"])
FACES = st.integers(0, 9).map(lambda number: f"face-{number}")
SEEDS = st.integers(0, 5)
TICKS = st.sampled_from([0, 0, 1, 2, 3, 5])
FOREVER = Deadline()
TEMPLATES = DecisionPolicy(similarity=0.5, scoring=IdentityScoring.TEMPLATE_MEAN)
WITH_NORTH = Filter(identity_labels={"site": "north"})


class FakeClock:
    """A wall clock that is set by hand, back too."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        return self.now_us


@dataclass(eq=False)
class Person:
    expire_us: int = 0
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class ModelFace:
    owner: str
    seed: int
    expire_us: int
    place: int


class ExpiryHistory(RuleBasedStateMachine):
    """The model holds what is left: what expires is taken out of it when the clock passes."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.latest_us = START_US
        self.open()
        self.people: dict[str, Person] = {}
        self.faces: dict[str, ModelFace] = {}
        self.time_to_live_us = 0
        self.place = 0
        spec = GallerySpec(GALLERY, precomputed_name="model-1", precomputed_dimension=DIMENSION)
        self.engine.galleries.create(spec, None)

    def open(self) -> None:
        options = EngineOptions(
            store=StoreOptions(map_size_bytes=1 << 30, clock_us=self.clock),
            sweep_interval_s=3600.0,
            rebuilds_automatically=False,
        )
        self.engine = Engine.open(Path(self.folder.name) / "store", options)

    def teardown(self) -> None:
        self.engine.close()
        self.folder.cleanup()

    @rule(
        faces=st.lists(st.tuples(PEOPLE, FACES, SEEDS, TICKS), min_size=1, max_size=5),
        duplicates=st.sampled_from(list(Duplicates)),
    )
    def enrol(self, faces: list[tuple[str, str, int, int]], duplicates: Duplicates) -> None:
        now_us = self.latest_us
        rows = EnrollRows(
            GALLERY,
            packed([seed for _, _, seed, _ in faces]),
            [owner for owner, _, _, _ in faces],
            [face_id for _, face_id, _, _ in faces],
            expire_times_us=[now_us + ticks * TICK_US if ticks else 0 for *_, ticks in faces],
            policy=EnrollmentPolicy(duplicates=duplicates),
        )
        outcome = self.engine.enrollment.enroll_rows(rows, FOREVER)
        for row, (owner, face_id, seed, ticks) in enumerate(faces):
            there = self.faces.get(face_id)
            is_same = there is not None and (there.owner, there.seed) == (owner, seed)
            if there is not None and (duplicates == Duplicates.ALLOW or not is_same):
                assert outcome.errors[row].reason == "FACE_ID_EXISTS"
                continue
            twins = [one for one, face in self.faces.items() if (face.owner, face.seed) == (owner, seed)]
            if twins and duplicates == Duplicates.REFUSE:
                assert outcome.errors[row].reason == "FACE_DUPLICATE"
            elif twins and duplicates == Duplicates.SKIP:
                assert outcome.face_ids[row] in twins
            else:
                assert outcome.face_ids[row] == face_id
                default_us = now_us + self.time_to_live_us if self.time_to_live_us else 0
                expire_us = now_us + ticks * TICK_US if ticks else default_us
                self.people.setdefault(owner, Person())
                self.faces[face_id] = ModelFace(owner, seed, expire_us, self.place)
                self.place += 1

    @rule(ticks=st.sampled_from([0, 2, 4]))
    def set_time_to_live(self, ticks: int) -> None:
        self.time_to_live_us = ticks * TICK_US
        info, _ = self.engine.galleries.update(GALLERY, default_time_to_live_us=self.time_to_live_us)
        assert info.default_time_to_live_us == self.time_to_live_us

    @rule(
        owner=PEOPLE,
        ticks=st.one_of(st.none(), TICKS),
        site=st.sampled_from([None, "north", "south"]),
        may_make=st.booleans(),
    )
    def update_identity(self, owner: str, ticks: int | None, site: str | None, may_make: bool) -> None:
        expire_us = None if ticks is None else ticks and self.latest_us + ticks * TICK_US
        labels = None if site is None else {"site": site}

        def update() -> None:
            self.engine.identities.update(
                GALLERY, owner, labels=labels, expire_time_us=expire_us, allow_missing=may_make
            )

        if owner not in self.people and not may_make:
            refused("IDENTITY_NOT_FOUND", update)
            return
        update()
        person = self.people.setdefault(owner, Person())
        person.labels = person.labels if labels is None else labels
        person.expire_us = person.expire_us if expire_us is None else expire_us

    @rule(face_ids=st.lists(FACES, min_size=1, max_size=3), receiver=PEOPLE, delete=st.booleans())
    def move(self, face_ids: list[str], receiver: str, delete: bool) -> None:
        def move() -> int:
            moved = self.engine.faces.move(GALLERY, face_ids, receiver, delete_emptied_identities=delete)
            return moved.face_count

        if not set(face_ids) <= self.faces.keys():
            refused("FACE_NOT_FOUND", move)
            return
        moved = {face_id for face_id in face_ids if self.faces[face_id].owner != receiver}
        assert move() == len(moved)
        sources = {self.faces[face_id].owner for face_id in moved}
        for face_id in moved:
            self.faces[face_id].owner = receiver
            self.people.setdefault(receiver, Person())
        self.drop_emptied(sources if delete else set())

    @rule(face_ids=st.lists(FACES, min_size=1, max_size=3), delete=st.booleans())
    def delete_faces(self, face_ids: list[str], delete: bool) -> None:
        there = set(face_ids) & self.faces.keys()
        removed = self.engine.faces.delete(GALLERY, face_ids, allow_missing=True, delete_emptied_identities=delete)
        assert removed.face_count == len(there)
        sources = {self.faces.pop(face_id).owner for face_id in there}
        self.drop_emptied(sources if delete else set())

    @rule(owner=PEOPLE)
    def delete_identity(self, owner: str) -> None:
        removed = self.engine.identities.delete(GALLERY, owner, allow_missing=True)
        assert removed.face_count == len(self.owned(owner))
        self.people.pop(owner, None)
        self.faces = {one: face for one, face in self.faces.items() if face.owner != owner}

    @rule(ticks=st.integers(1, 3))
    def wait(self, ticks: int) -> None:
        """Time passes; what it passes is gone at once."""
        self.clock.now_us += ticks * TICK_US
        self.latest_us = max(self.latest_us, self.clock.now_us)
        gone = {one for one, person in self.people.items() if 0 < person.expire_us <= self.latest_us}
        self.people = {one: person for one, person in self.people.items() if one not in gone}
        self.faces = {
            face_id: face
            for face_id, face in self.faces.items()
            if face.owner not in gone and not 0 < face.expire_us <= self.latest_us
        }

    @rule(ticks=st.integers(1, 4))
    def set_clock_back(self, ticks: int) -> None:
        """The wall clock goes back; nobody comes back with it."""
        self.clock.now_us -= ticks * TICK_US

    @rule()
    def sweep(self) -> None:
        """What has expired is deleted, and no answer changes."""
        self.engine.sweeper.sweep()
        with self.engine._context.store.view(shows_expired=True) as view:
            assert not view.galleries_to_sweep()
            counts = view.gallery(GALLERY).counts
            assert (counts.identity_count, counts.face_count) == (len(self.people), len(self.faces))

    @rule()
    def reopen(self) -> None:
        """What was written last says how late it was."""
        self.engine.galleries.update(GALLERY, display_name="written")
        self.engine.close()
        self.open()

    @invariant()
    def counts_and_lists_agree(self) -> None:
        """Counts, pages and single reads show what is left, no more and no less."""
        with self.engine._context.store.view() as view:
            assert view.check() == []
        info, _ = self.engine.galleries.get(GALLERY)
        assert (info.identity_count, info.face_count) == (len(self.people), len(self.faces))
        listing = self.engine.identities.list(GALLERY, Filter(), "", 3)
        shown = list(listing.identities)
        while listing.next_after:
            listing = self.engine.identities.list(GALLERY, Filter(), listing.next_after, 3)
            shown += listing.identities
        assert listing.total == len(self.people)
        assert [one.id for one in shown] == sorted(self.people)
        for one in shown:
            assert one.face_count == len(self.owned(one.id))
            assert one.expire_time_us == self.people[one.id].expire_us
            owned = self.engine.faces.list(GALLERY, one.id, limit=2)
            assert owned.total == one.face_count
            assert [face.id for face in owned.faces] == self.owned(one.id)[:2]
        faces = self.engine.faces.list(GALLERY)
        assert faces.total == len(self.faces)
        assert [face.id for face in faces.faces] == self.in_order(self.faces)
        assert [face.expire_time_us for face in faces.faces] == [
            self.faces[face_id].expire_us for face_id in self.in_order(self.faces)
        ]
        for owner in {"ann", "bob", "cid", "dee"} - self.people.keys():
            refused("IDENTITY_NOT_FOUND", lambda owner=owner: self.engine.identities.get(GALLERY, owner))
        for face_id in {f"face-{number}" for number in range(10)} - self.faces.keys():
            refused("FACE_NOT_FOUND", lambda face_id=face_id: self.engine.faces.get(GALLERY, face_id))

    @invariant()
    def filters_agree(self) -> None:
        """Filters by label and by id choose among what is left."""
        north = {one for one, person in self.people.items() if person.labels.get("site") == "north"}
        listing = self.engine.identities.list(GALLERY, WITH_NORTH, "", 9)
        assert ([one.id for one in listing.identities], listing.total) == (sorted(north), len(north))
        others = self.engine.identities.list(GALLERY, Filter(excluded_identity_ids=("ann",)), "", 9)
        assert others.total == len(self.people.keys() - {"ann"})
        for row_filter, owners in (
            (WITH_NORTH, north),
            (Filter(identity_ids=("ann", "bob")), {"ann", "bob"}),
            (Filter(excluded_identity_ids=("ann",)), {"bob", "cid", "dee"}),
        ):
            expected = self.in_order({one for one, face in self.faces.items() if face.owner in owners})
            found = self.engine.faces.list(GALLERY, row_filter=row_filter)
            assert ([face.id for face in found.faces], found.total) == (expected, len(expected))

    @invariant()
    def searches_agree(self) -> None:
        """The neighbours, the people and the templates are those of brute force over what is left."""
        choices = SearchChoices(exact=True, explain=True)
        answer = self.engine.recognition.search(GALLERY, Probes(packed([3])), k=20, choices=choices, deadline=FOREVER)
        probe = vector(3)
        nearest = sorted(self.faces, key=lambda one: (-self.similarity(one, probe), self.faces[one].place))
        assert list(answer.face_ids) == nearest
        assert answer.explanation is not None
        assert answer.explanation.matching_faces == len(self.faces)
        people = self.engine.recognition.identify(
            GALLERY, Probes(packed([3])), choices=choices, policy=TEMPLATES, deadline=FOREVER
        )
        [found] = people.embeddings
        templates = {owner: self.template(owner) for owner in self.people if self.owned(owner)}
        assert {one.identity_id for one in found.candidates} == templates.keys()
        for one in found.candidates:
            assert abs(one.similarity - float(templates[one.identity_id] @ probe)) < 1e-5
        for owner in templates:
            verified = self.engine.recognition.verify(
                VerifySide(embedding=packed([3])),
                VerifySide(identity_id=owner),
                gallery=GALLERY,
                policy=DecisionPolicy(similarity=0.5),
                deadline=FOREVER,
            )
            best = max(self.similarity(one, probe) for one in self.owned(owner))
            assert abs(verified.similarity - best) < 1e-5

    def owned(self, owner: str) -> list[str]:
        return self.in_order({one for one, face in self.faces.items() if face.owner == owner})

    def in_order(self, face_ids: object) -> list[str]:
        return sorted(face_ids, key=lambda one: self.faces[one].place)

    def similarity(self, face_id: str, probe: np.ndarray) -> float:
        return float(vector(self.faces[face_id].seed) @ probe)

    def template(self, owner: str) -> np.ndarray:
        total = np.sum([vector(self.faces[one].seed) for one in self.owned(owner)], axis=0)
        return total / np.linalg.norm(total)

    def drop_emptied(self, owners: set[str]) -> None:
        for owner in owners:
            if not self.owned(owner):
                del self.people[owner]


def packed(seeds: list[int]) -> PackedEmbeddings:
    vectors = np.array([vector(seed) for seed in seeds], dtype=np.float32)
    return PackedEmbeddings(vectors.tobytes(), DIMENSION, len(seeds))


def refused(reason: str, call) -> None:
    with pytest.raises(NotFound) as refusal:
        call()
    error: MienError = refusal.value
    assert error.reason == reason


ExpiryHistory.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestExpiryHistory = ExpiryHistory.TestCase
