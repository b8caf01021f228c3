"""A store with its index, and a model of a few dictionaries that says what every answer must be.

`EngineHistory` is a Hypothesis state machine: whatever is enrolled, renamed, moved, deleted, erased, expired, swept,
sealed, rebuilt, reopened, saved and restored, to the revision saved or any later one, in whatever order, exact searches
are brute force over the model, and what goes through the index is never the right score on the wrong person. It starts
on a copy of a store whose gallery has an index already, for training takes a second. Time is what the rules make it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mien_server.engine import Engine, EngineOptions
from mien_server.engine.types import (
    EnrollRows,
    Filter,
    GallerySpec,
    IndexStateKind,
    OperationState,
    PackedEmbeddings,
    Probes,
    RequestToken,
    SearchChoices,
)
from mien_server.errors import NotFound
from mien_server.index import RebuildPolicy
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy
from mien_server.storage import StoreOptions
from mien_server.storage.backup import RestoreRequest, open_place, restore
from tests.engine_model import DIMENSION, FIRST_FACES, POOL, Model, Person, first_model
from tests.unit_rows import Rows, nearest

__all__ = ["EngineHistory"]

GALLERY = "people"
TAIL_ROWS_MAX = 12
WAIT_TIME_MAX_S = 90.0
SIMILARITY_TOLERANCE = 1e-5
NEVER = Deadline()
NO_TRAINING = 1e9
NEVER_SWEPT_S = 1e6
HOUR_US = 3_600_000_000
OPTIONS = EngineOptions(
    rebuild=RebuildPolicy(
        flat_bytes_max=1,
        flat_rows_min=300,
        tail_rows_max=TAIL_ROWS_MAX,
        growth_max=NO_TRAINING,
        measured_growth_max=NO_TRAINING,
        measure_interval_s=0,
    ),
    build_thread_count=1,
    search_thread_count=1,
    # Once when a store is opened; then by the rules.
    sweep_interval_s=NEVER_SWEPT_S,
)

# A few of the people of the first store, and some who come later.
PEOPLE = st.sampled_from(["p0", "p1", "p2", "p3", "ann", "bob", "çem", "d" * 256])
LIVES_US = st.sampled_from([0, 0, 0, HOUR_US, 3 * HOUR_US, 10 * HOUR_US])
"""How long somebody or a face is kept; 0: for ever."""
FACE_CHOICES = st.lists(st.integers(0, 10**6), min_size=1, max_size=5)


def new_folder() -> Path:
    """In memory where there is such a file system: what a history tests does not depend on how long a disk takes."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="mien-history-", dir=memory if os.access(memory, os.W_OK) else None))


@cache
def first_store() -> Path:
    """A closed store with an index of the first faces; made once a process."""
    path = new_folder() / "store"
    atexit.register(shutil.rmtree, path.parent)
    with Engine.open(path, OPTIONS) as engine:
        engine.galleries.create(GallerySpec(GALLERY, precomputed_name="m", precomputed_dimension=DIMENSION), None)
        owners = first_model().owners
        enroll(engine, list(owners), list(owners.values()), None)
        wait_until_sealed(engine)
    return path


def face_name(face: int) -> str:
    return f"f{face}"


def packed(vectors: Rows) -> PackedEmbeddings:
    return PackedEmbeddings(vectors.tobytes(), DIMENSION, len(vectors))


def enroll(
    engine: Engine, faces: list[int], owners: list[str], request: RequestToken | None, expire_time_us: int = 0
) -> int:
    """Enrol faces; answers with how many were new."""
    names = [face_name(face) for face in faces]
    answer = engine.enrollment.enroll_rows(
        EnrollRows(
            GALLERY,
            packed(POOL[faces]),
            owners,
            face_ids=names,
            request=request,
            expire_times_us=[expire_time_us] * len(faces) if expire_time_us else (),
        ),
        NEVER,
    )
    assert not answer.errors
    assert list(answer.face_ids) == names
    return answer.enrolled_count


def wait_until_sealed(engine: Engine) -> None:
    end_s = time.monotonic() + WAIT_TIME_MAX_S
    while True:
        state = engine.galleries.get(GALLERY)[0].index_state
        if state.kind is IndexStateKind.READY and state.tail_rows <= TAIL_ROWS_MAX:
            return
        assert time.monotonic() < end_s, state
        time.sleep(0.005)


def watch(fraction: float, stage: str) -> None:
    assert 0.0 <= fraction <= 1.0, stage


@dataclass
class Erasure:
    """Somebody who must not come back.

    Attributes:
        revision: restoring to an earlier one of the same history would bring them back.
        faces: theirs when they were erased, once or again.
        former_faces: faces that were theirs last and were deleted before: erased too, once the erasure has ended.
    """

    revision: int
    identity_id: str
    faces: set[int]
    former_faces: set[int]


class EngineHistory(RuleBasedStateMachine):
    """See the module."""

    @initialize()
    def start(self) -> None:
        self.folder = new_folder()
        self.path = Path(shutil.copytree(first_store(), self.folder / "store"))
        self.saved_to = self.folder / "saved"
        self.saved_to.mkdir()
        self.now_us = time.time_ns() // 1000
        self.options = replace(
            OPTIONS, store=StoreOptions(clock_us=lambda: self.now_us), snapshot_destinations=(str(self.saved_to),)
        )
        self.engine = Engine.open(self.path, self.options)
        self.model = first_model()
        self.models: dict[int, Model] = {}
        self.saved: dict[str, int] = {}
        self.erased_at = 0
        self.erasures: list[Erasure] = []
        self.saves_left = 3
        self.next_face = FIRST_FACES
        self.request_count = 0
        self.builds_left = 1

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.check()
            self.engine.close()
            shutil.rmtree(self.folder)

    # --- writes -------------------------------------------------------------------------------------------------

    @rule(owners=st.lists(PEOPLE, min_size=1, max_size=9), is_repeated=st.booleans(), life_us=LIVES_US)
    def enroll(self, owners: list[str], is_repeated: bool, life_us: int) -> None:
        faces = list(range(self.next_face, self.next_face + len(owners)))
        self.next_face += len(owners)
        request, expire_time_us = self.new_request(), self.now_us + life_us if life_us else 0
        assert enroll(self.engine, faces, owners, request, expire_time_us) == len(faces)
        self.model.expire_times_us |= dict.fromkeys(faces, expire_time_us) if expire_time_us else {}
        self.model.owners.update(zip(faces, owners, strict=True))
        for owner in owners:
            self.model.people.setdefault(owner, Person())
        if is_repeated:
            assert enroll(self.engine, faces, owners, request, expire_time_us) == len(faces), (
                "a replay has its first answer"
            )
            assert enroll(self.engine, faces, owners, self.new_request()) == 0, "the same faces again are duplicates"

    @rule(
        identity_id=PEOPLE,
        name=st.sampled_from(["", "Ann", "Zoë"]),
        team=st.sampled_from(["", "red", "blue"]),
        life_us=LIVES_US,
    )
    def describe(self, identity_id: str, name: str, team: str, life_us: int) -> None:
        labels, expire_time_us = {"team": team} if team else {}, self.now_us + life_us if life_us else 0
        self.engine.identities.update(
            GALLERY, identity_id, display_name=name, labels=labels, expire_time_us=expire_time_us, allow_missing=True
        )
        self.model.people[identity_id] = Person(name, labels, expire_time_us)

    @rule(choices=FACE_CHOICES, receiver=PEOPLE, deletes_emptied=st.booleans())
    def move_faces(self, choices: list[int], receiver: str, deletes_emptied: bool) -> None:
        faces = self.model.chosen(choices)
        moved = [face for face in faces if self.model.owners[face] != receiver]
        sources = {self.model.owners[face] for face in moved}
        names = [face_name(face) for face in faces]
        if not faces:
            return
        answer = self.engine.faces.move(GALLERY, names, receiver, delete_emptied_identities=deletes_emptied)
        assert answer.face_count == len(moved)
        if moved:
            self.model.people.setdefault(receiver, Person())
        self.model.owners.update(dict.fromkeys(moved, receiver))
        self.drop_emptied(sources, answer.emptied_identity_ids, deletes=deletes_emptied)

    @rule(choices=FACE_CHOICES, deletes_emptied=st.booleans())
    def delete_faces(self, choices: list[int], deletes_emptied: bool) -> None:
        faces = self.model.chosen(choices)
        if not faces:
            return
        names = [face_name(face) for face in faces]
        answer = self.engine.faces.delete(GALLERY, names, delete_emptied_identities=deletes_emptied)
        assert answer.face_count == len(faces)
        sources = {self.model.owners[face] for face in faces}
        for face in faces:
            self.model.forget_face(face)
        self.drop_emptied(sources, answer.emptied_identity_ids, deletes=deletes_emptied)

    @rule(identity_id=PEOPLE)
    def delete_identity(self, identity_id: str) -> None:
        if identity_id not in self.model.people:
            with pytest.raises(NotFound, match=r"no identity") as refused:
                self.engine.identities.delete(GALLERY, identity_id)
            assert refused.value.reason == "IDENTITY_NOT_FOUND"
            return
        gone = self.model.faces_of(identity_id)
        assert self.engine.identities.delete(GALLERY, identity_id).face_count == len(gone)
        self.model.forget(identity_id)

    @rule(identity_id=PEOPLE, waits=st.booleans())
    def erase(self, identity_id: str, waits: bool) -> None:
        """Gone at once; waiting, nothing of them is in any file."""
        is_there, has_expired = identity_id in self.model.people, identity_id in self.model.expired
        if not is_there and not has_expired:
            with pytest.raises(NotFound) as refused:
                self.engine.erasures.erase(GALLERY, identity_id)
            assert refused.value.reason == "IDENTITY_NOT_FOUND"
            return
        faces = set(self.model.faces_of(identity_id))
        rows = [POOL[face].tobytes() for face in faces]
        try:
            operation, self.erased_at = self.engine.erasures.erase(GALLERY, identity_id)
        except NotFound:
            # Who has expired can be erased until they are swept.
            assert not is_there
            return
        former = {face for face, owner in self.model.last_owners.items() if owner == identity_id}
        self.erasures.append(Erasure(self.erased_at, identity_id, faces, former))
        if is_there:
            self.model.forget(identity_id)
        if waits:
            ended = self.engine.operations.wait(operation.name, WAIT_TIME_MAX_S, NEVER)
            assert ended.state is OperationState.SUCCEEDED, ended
            files = [path.read_bytes() for path in self.path.rglob("*") if path.is_file()]
            assert not any(row in file for row in rows for file in files)

    # --- time ---------------------------------------------------------------------------------------------------

    @rule(hours=st.integers(1, 4), sweeps=st.booleans())
    def pass_time(self, hours: int, sweeps: bool) -> None:
        self.now_us += hours * HOUR_US
        self.model.pass_time(self.now_us)
        if sweeps:
            self.engine.sweeper.sweep()

    # --- snapshots ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.saves_left > 0)
    @rule()
    def save(self) -> None:
        self.saves_left -= 1
        name = self.engine.snapshots.start("", None, is_verified=True, is_full=False)
        ended = self.engine.operations.wait(name, WAIT_TIME_MAX_S, NEVER)
        assert ended.state is OperationState.SUCCEEDED, ended
        assert ended.result_snapshot is not None
        self.saved[ended.result_snapshot.name] = ended.result_snapshot.revision
        self.models[ended.result_snapshot.revision] = deepcopy(self.model)

    @precondition(lambda self: bool(self.saved))
    @rule(choice=st.integers(0, 10**6), is_later=st.booleans())
    def restore(self, choice: int, is_later: bool) -> None:
        """To what was saved; or, by the journal of the store that is there, to any later revision. Who was erased since
        does not come back.
        """
        self.check()
        names = sorted(self.saved)
        name = names[choice % len(names)]
        first = self.saved[name]
        # Who was erased since is not in the journal: later revisions are not what they were.
        is_whole = self.erased_at <= first
        later = sorted(revision for revision in self.models if revision > first) if is_later and is_whole else []
        revision = later[choice % len(later)] if later else first
        self.engine.close()
        request = RestoreRequest(
            open_place(str(self.saved_to)),
            name,
            self.path,
            to_revision=revision if later else None,
            options=self.options.store,
        )
        made = restore(request, watch)
        assert made.restored_revision == revision
        assert made.kept is not None
        shutil.rmtree(made.kept)
        self.model = deepcopy(self.models[revision])
        # What was saved after it is of another history.
        self.saved = {one: at for one, at in self.saved.items() if at <= revision}
        self.models = {at: model for at, model in self.models.items() if at <= revision}
        self.engine = Engine.open(self.path, self.options)
        self.erase_from_model(revision, made.revision)
        self.erased_at = max(self.erased_at, made.revision) if made.erased_again else self.erased_at
        self.model.pass_time(self.now_us)
        self.check()

    def erase_from_model(self, restored_revision: int, revision: int) -> None:
        """Take those out of the model who were erased after the revision that was restored."""
        for erasure in self.erasures:
            if erasure.revision <= restored_revision:
                continue
            erasure.revision = revision
            if erasure.identity_id in self.model.people:
                # Those too that were given to others later.
                erasure.faces |= set(self.model.faces_of(erasure.identity_id))
                self.model.forget(erasure.identity_id)
            for face in erasure.faces & self.model.owners.keys():
                self.model.forget_face(face)
            for face in erasure.former_faces & self.model.owners.keys():
                # Whether the erasure had found them when the store was restored is not known here.
                try:
                    self.engine.faces.get(GALLERY, face_name(face))
                except NotFound:
                    self.model.forget_face(face)

    @rule(share=st.integers(2, 6))
    def delete_many(self, share: int) -> None:
        """Enough that the dead are dropped from the index."""
        faces = sorted(self.model.owners)[::share]
        if not faces:
            return
        names = [face_name(face) for face in faces]
        assert self.engine.faces.delete(GALLERY, names).face_count == len(faces)
        for face in faces:
            self.model.forget_face(face)

    # --- the index ----------------------------------------------------------------------------------------------

    @rule()
    def wait_for_sealing(self) -> None:
        if self.engine.galleries.get(GALLERY)[0].index_state.kind is IndexStateKind.READY:
            wait_until_sealed(self.engine)

    @precondition(lambda self: self.builds_left > 0)
    @rule(waits=st.booleans())
    def rebuild(self, waits: bool) -> None:
        self.builds_left -= 1
        operation = self.engine.operations.rebuild_index(GALLERY)
        if waits:
            self.engine.operations.wait(operation.name, WAIT_TIME_MAX_S, NEVER)

    @rule()
    def reopen(self) -> None:
        self.check()
        self.engine.close()
        self.engine = Engine.open(self.path, self.options)
        self.check()

    # --- answers ------------------------------------------------------------------------------------------------

    @rule(choice=st.integers(0, 10**6), k=st.sampled_from([1, 3, 20]), exact=st.booleans(), is_known=st.booleans())
    def search(self, choice: int, k: int, exact: bool, is_known: bool) -> None:
        faces, vectors = self.model.vectors()
        pool = faces if is_known and faces else range(len(POOL))
        probe = POOL[[pool[choice % len(pool)]]]
        choices = SearchChoices(exact=exact, explain=True)
        answer = self.engine.recognition.search(
            GALLERY, Probes(embeddings=packed(probe)), k=k, choices=choices, deadline=NEVER
        )
        found = [int(face_id[1:]) for face_id in answer.face_ids]
        assert len(found) == len(set(found)) == min(k, len(faces))
        owners = [answer.identity_ids[index] for index in answer.identity_indexes]
        assert owners == [self.model.owners[face] for face in found], "the right score on the wrong person"
        assert np.allclose(answer.similarities, POOL[found] @ probe[0], atol=SIMILARITY_TOLERANCE)
        if exact and faces:
            wanted, similarities = nearest(vectors, probe, min(k, len(faces)))
            assert np.allclose(answer.similarities, similarities[0], atol=SIMILARITY_TOLERANCE)
            assert found == [faces[place] for place in wanted[0]]

    @rule(choice=st.integers(0, 10**6), exact=st.booleans())
    def identify(self, choice: int, exact: bool) -> None:
        """A probe that is somebody's very face is that person; one of nobody's is unknown."""
        face = choice % len(POOL)
        answer = self.engine.recognition.identify(
            GALLERY,
            Probes(embeddings=packed(POOL[[face]])),
            choices=SearchChoices(exact=exact),
            policy=DecisionPolicy(similarity=1 - SIMILARITY_TOLERANCE),
            deadline=NEVER,
        )
        [found] = answer.embeddings
        owner = self.model.owners.get(face)
        if found.is_match:
            best = found.candidates[0]
            assert (best.identity_id, best.display_name) == (owner, self.model.people[best.identity_id].display_name)
            assert dict(best.labels) == self.model.people[best.identity_id].labels
        elif exact:
            assert owner is None, "a face that is there is not found"

    @rule(choice=st.integers(0, 10**6), team=st.sampled_from(["red", "blue", "green"]))
    def search_filtered(self, choice: int, team: str) -> None:
        probe = POOL[[choice % len(POOL)]]
        answer = self.engine.recognition.search(
            GALLERY,
            Probes(embeddings=packed(probe)),
            k=4,
            choices=SearchChoices(filter=Filter(identity_labels={"team": team}), explain=True),
            deadline=NEVER,
        )
        people = self.model.people
        faces = [face for face, owner in self.model.owners.items() if people[owner].labels.get("team") == team]
        found = [int(face_id[1:]) for face_id in answer.face_ids]
        assert set(found) <= set(faces)
        assert len(found) == min(4, len(faces))
        assert answer.explanation is not None
        assert answer.explanation.matching_faces == len(faces)

    @invariant()
    def counts_are_exact(self) -> None:
        info, _ = self.engine.galleries.get(GALLERY)
        assert (info.face_count, info.identity_count) == (len(self.model.owners), len(self.model.people))
        if self.saved:
            self.models[self.engine.revision] = deepcopy(self.model)

    # --- the rest -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Everything is there, nothing else is, and the store does not contradict itself."""
        faces, after = {}, -1
        while True:
            page = self.engine.faces.list(GALLERY, after=after, limit=500, include_embedding=True)
            faces |= {int(face.id[1:]): face for face in page.faces}
            if (after := page.next_after) < 0:
                break
        assert {face: info.identity_id for face, info in faces.items()} == self.model.owners
        for face, info in faces.items():
            assert info.embedding is not None
            assert np.array_equal(info.embedding, POOL[face])
        people = self.engine.identities.list(GALLERY, Filter(), "", 1000).identities
        assert {one.id: (one.display_name, dict(one.labels)) for one in people} == {
            identity_id: (person.display_name, person.labels) for identity_id, person in self.model.people.items()
        }
        with self.engine._context.store.view() as view:
            assert view.check() == []

    def new_request(self) -> RequestToken:
        self.request_count += 1
        return RequestToken(f"request-{self.request_count}", b"f" * 32)

    def drop_emptied(self, sources: set[str], told: tuple[str, ...], *, deletes: bool) -> None:
        emptied = sorted((one for one in sources if not self.model.faces_of(one)), key=str.encode)
        assert list(told) == emptied
        for identity_id in emptied if deletes else []:
            self.model.forget(identity_id)
