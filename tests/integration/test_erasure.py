"""Erasing an identity: nothing of it is left in the store's folder, and everything else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien_server.engine import Engine
from mien_server.engine.types import (
    ErasureStateKind,
    GallerySpec,
    IndexStateKind,
    OperationKind,
    OperationState,
    RequestToken,
)
from mien_server.errors import Conflict, NotFound, Unavailable
from mien_server.records.policies import VectorType
from mien_server.storage import EraseFaces
from mien_server.storage.commands.base import Command
from mien_server.storage.commands.erase_faces import ERASED_FACES_MAX
from mien_server.storage.committing import OUTCOME_UNKNOWN
from mien_server.storage.snapshots import Snapshots
from mien_server.storage.steps import ERASURE_STEPS
from tests.erasure_support import (
    DIMENSION,
    FACES_EACH,
    GALLERY,
    NEVER,
    OPTIONS,
    batch,
    create,
    enroll,
    erase,
    history,
    identity_id,
    nearest_person,
    patterns,
    store_agrees,
    traces,
    vector,
)

PEOPLE = 150
PERSON, NEIGHBOR = 42, 43
EVERY_FACE = [*range(FACES_EACH), 100, 101]
WAIT_S = 60.0


def wait_for_index(engine: Engine) -> None:
    end_s = time.monotonic() + WAIT_S
    while engine.galleries.get(GALLERY)[0].index_state.kind is not IndexStateKind.READY:
        assert time.monotonic() < end_s
        time.sleep(0.02)


@pytest.fixture
def filled(store_path: Path) -> Path:
    """A store with an index, and a person whose data lies wherever it can."""
    with Engine.open(store_path, OPTIONS) as engine:
        create(engine)
        enroll(engine, range(PEOPLE))
        history(engine, PERSON, NEIGHBOR)
        wait_for_index(engine)
    return store_path


def check_others(engine: Engine) -> None:
    """Everybody else is there, whole, and found."""
    for person in (0, NEIGHBOR, PEOPLE - 1):
        info, _ = engine.identities.get(GALLERY, identity_id(person))
        assert info.labels["team"] == "shared-by-everybody"
        assert info.face_count == FACES_EACH
        assert nearest_person(engine, person) == identity_id(person)
    assert engine.galleries.get(GALLERY)[0].face_count == FACES_EACH * (PEOPLE - 1)


def test_nothing_of_an_erased_person_is_in_any_file_and_everything_of_others_is(filled: Path) -> None:
    """Names, labels, sources, face ids and vectors, current and former, are in no byte of the folder; while the server
    runs, after further writes, and after a restart.
    """
    assert len({trace.partition(": ")[2] for trace in traces(filled, patterns(PERSON, EVERY_FACE))}) == len(
        patterns(PERSON, EVERY_FACE)
    ), "the history leaves every pattern somewhere"
    with Engine.open(filled, OPTIONS) as engine:
        erasure = erase(engine, PERSON)
        assert traces(filled, patterns(PERSON, EVERY_FACE)) == []
        check_others(engine)
        with pytest.raises(NotFound):
            engine.identities.get(GALLERY, identity_id(PERSON))
        assert nearest_person(engine, PERSON) != identity_id(PERSON)
        for person in range(PEOPLE, PEOPLE + 40):
            engine.enrollment.enroll(batch(person), NEVER)
        assert traces(filled, patterns(PERSON, EVERY_FACE)) == []
    receipt = erasure.receipt
    assert receipt is not None
    assert receipt.face_count == FACES_EACH + 1
    assert receipt.row_count == FACES_EACH + 2
    assert receipt.journal_entry_count > 0
    assert receipt.request_count > 0
    assert receipt.is_index_rewritten
    assert receipt.scan.found_count == 0
    assert receipt.scan.shared_count == 1, "the label that everybody has"
    assert receipt.scan.pattern_count > len(EVERY_FACE)
    assert traces(filled, patterns(PERSON, EVERY_FACE)) == []
    store_agrees(filled)


def test_a_receipt_holds_until_somebody_changes_it(filled: Path) -> None:
    """A receipt is verified by its seal, its rows and a search; one that was changed, or is about another, is not."""
    with Engine.open(filled, OPTIONS) as engine:
        receipt = erase(engine, PERSON).receipt
        assert receipt is not None
        checks = engine.erasures.verify(receipt, identity_id(PERSON))
        assert {check.name for check in checks} == {
            "seal",
            "record",
            "vectors",
            "identity",
            "absence",
            "journal",
            "search",
        }
        assert all(check.passed for check in checks), checks
        another = {check.name: check.passed for check in engine.erasures.verify(receipt, identity_id(7))}
        assert not another["identity"]
        assert not another["absence"]
        receipt.face_count += 1
        assert [check.passed for check in engine.erasures.verify(receipt)] == [False]


def test_a_request_that_named_the_person_is_neither_answered_nor_carried_out_again(filled: Path) -> None:
    """A retry after the erasure does not bring the person back; other requests are answered as they were."""
    with Engine.open(filled, OPTIONS) as engine:
        erase(engine, PERSON)
        with pytest.raises(Conflict) as refused:
            engine.enrollment.enroll(batch(PERSON, request_id=f"enrol-{PERSON}"), NEVER)
        assert refused.value.reason == "REQUEST_ERASED"
        with pytest.raises(Conflict, match="erased"):
            engine.identities.update(GALLERY, identity_id(PERSON), display_name="x", request=RequestToken("u1", b"\2"))
        again = engine.enrollment.enroll(batch(7, request_id="enrol-7"), NEVER)
        assert again.outcomes[0].faces[0].identity_id == identity_id(7)
        with pytest.raises(NotFound):
            engine.erasures.erase(GALLERY, identity_id(PERSON))
        assert traces(filled, patterns(PERSON, EVERY_FACE)) == []
        # Enrolled anew, they are a new person, who can be erased as well.
        engine.enrollment.enroll(batch(PERSON), NEVER)
        assert nearest_person(engine, PERSON) == identity_id(PERSON)
        erase(engine, PERSON)
        assert traces(filled, patterns(PERSON, EVERY_FACE)) == []
        assert len(engine.erasures.list(GALLERY, "", 10).erasures) == 2


def test_an_erasure_is_asked_for_once_under_a_request_id(filled: Path) -> None:
    """The same request gives the same operation, also after the end."""
    request = RequestToken("erase-1", b"\7" * 32)
    with Engine.open(filled, OPTIONS) as engine:
        first, revision = engine.erasures.erase(GALLERY, identity_id(PERSON), request)
        second, again = engine.erasures.erase(GALLERY, identity_id(PERSON), request)
        assert (first.name, revision) == (second.name, again)
        engine.operations.wait(first.name, WAIT_S, NEVER)
        third, _ = engine.erasures.erase(GALLERY, identity_id(PERSON), request)
        assert third.name == first.name


def test_many_are_erased_together_while_others_write_and_search(filled: Path) -> None:
    """Erasures are carried out in batches, beside writes, searches and seals of the index."""
    gone = list(range(50, 90))
    with Engine.open(filled, OPTIONS) as engine:
        stop = threading.Event()
        failures: list[BaseException] = []

        def enroll_more() -> None:
            try:
                for person in range(PEOPLE, PEOPLE + 200):
                    if stop.is_set():
                        return
                    engine.enrollment.enroll(batch(person), NEVER)
                    assert nearest_person(engine, person) == identity_id(person)
            except BaseException as error:  # noqa: BLE001 - told to the test
                failures.append(error)

        writer = threading.Thread(target=enroll_more)
        writer.start()
        operations = [engine.erasures.erase(GALLERY, identity_id(person))[0] for person in gone]
        for operation in operations:
            ended = engine.operations.wait(operation.name, WAIT_S, NEVER)
            assert ended.erasure is not None, engine.degraded_reasons()
        stop.set()
        writer.join()
        assert failures == []
        assert traces(filled, [one for person in gone for one in patterns(person)]) == []
        check_person = {identity_id(person) for person in gone}
        assert not check_person & {nearest_person(engine, person) for person in gone}
    store_agrees(filled)


def test_a_person_of_many_faces_is_deleted_in_several_commits(store_path: Path) -> None:
    """Ten thousand faces: no commit deletes more than its share, and all of them are erased."""
    with Engine.open(store_path, OPTIONS) as engine:
        create(engine)
        enroll(engine, range(5))
        for start in range(0, 10_000, 500):
            engine.enrollment.enroll(batch(PERSON, range(start, start + 500)), NEVER)
        before = engine.revision
        erasure = erase(engine, PERSON)
        assert erasure.receipt is not None
        assert erasure.receipt.face_count == 10_000
        assert erasure.receipt.revision - before >= 10
        assert traces(store_path, patterns(PERSON, range(0, 10_000, 111))) == []
        assert engine.galleries.get(GALLERY)[0].face_count == 5 * FACES_EACH
    store_agrees(store_path)


def test_an_erasure_waits_for_who_still_reads_and_says_that_it_is_overdue(filled: Path) -> None:
    """A view of an older revision keeps its vectors; the server is degraded as long as that holds an erasure up."""
    with Engine.open(filled, replace(OPTIONS, erasure_within_s=0.2)) as engine:
        with engine._context.snapshot(GALLERY) as snapshot:
            ordinals = snapshot.gallery.faces_of(snapshot.gallery.identity(identity_id(PERSON)).number)
            operation, _ = engine.erasures.erase(GALLERY, identity_id(PERSON))
            time.sleep(1.0)
            assert np.abs(snapshot.gallery.vectors(ordinals)).sum(axis=1).min() > 0
            [pending] = engine.erasures.list("", "", 10, pending_only=True).erasures
            assert pending.is_overdue
            assert pending.receipt is None
            assert any("overdue" in reason for reason in engine.degraded_reasons())
        assert engine.operations.wait(operation.name, WAIT_S, NEVER).erasure is not None
        assert engine.degraded_reasons() == []


def test_an_erasure_waits_for_a_build_that_was_asked_for(filled: Path) -> None:
    """What is being built may hold the person's codes: it ends first, and is freed of them before it serves on."""
    with Engine.open(filled, OPTIONS) as engine:
        rebuild = engine.operations.rebuild_index(GALLERY)
        erasure = erase(engine, PERSON)
        assert engine.operations.get(rebuild.name).state is OperationState.SUCCEEDED
        assert erasure.receipt is not None
        assert erasure.receipt.is_index_rewritten
        state = engine.galleries.get(GALLERY)[0].index_state
        assert state.tombstones == 0
        assert traces(filled, patterns(PERSON, EVERY_FACE)) == []
        check_others(engine)


def test_the_last_people_leave_no_index(store_path: Path) -> None:
    """A gallery that is erased to the last person has no generation left, in rows of half precision as well."""
    with Engine.open(store_path, OPTIONS) as engine:
        engine.galleries.create(
            GallerySpec(
                GALLERY, precomputed_name="made", precomputed_dimension=DIMENSION, vector_type=VectorType.FLOAT16
            ),
            None,
        )
        people = range(4)
        for person in people:
            engine.enrollment.enroll(batch(person, range(100)), NEVER)
        wait_for_index(engine)
        parts = [vector(person, face).astype(np.float16).tobytes()[40:72] for person in people for face in range(100)]
        assert traces(store_path, parts)
        for person in people:
            erase(engine, person)
        assert traces(store_path, parts) == []
        assert traces(store_path, [one for person in people for one in patterns(person, range(100))]) == []
        assert not (store_path / "index" / "00000001" / "CURRENT").exists()
        engine.enrollment.enroll(batch(9), NEVER)
        assert nearest_person(engine, 9) == identity_id(9)
    store_agrees(store_path)


def test_an_erasure_whose_caller_was_told_of_a_failure_goes_on(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion that fails half way is carried to its end, at once by whoever asks again: then nobody finds the
    person, though the overwriting has to wait.
    """
    request = RequestToken("erase-1", b"\7" * 32)
    with Engine.open(store_path, OPTIONS) as engine:
        create(engine)
        for start in range(0, 5 * ERASED_FACES_MAX // 2, 500):
            engine.enrollment.enroll(batch(PERSON, range(start, start + 500)), NEVER)
        with engine.snapshots.none_running():
            with monkeypatch.context() as patched:
                patched.setattr(engine._context.store, "write", failing_at(engine, 2))
                with pytest.raises(Unavailable):
                    engine.erasures.erase(GALLERY, identity_id(PERSON), request)
            assert engine.identities.get(GALLERY, identity_id(PERSON))[0].face_count
            operation, revision = engine.erasures.erase(GALLERY, identity_id(PERSON), request)
            with pytest.raises(NotFound):
                engine.identities.get(GALLERY, identity_id(PERSON))
            assert revision == engine.revision
            assert not operation.state.is_done
        assert engine.operations.wait(operation.name, WAIT_S, NEVER).erasure is not None
        assert traces(store_path, patterns(PERSON, range(0, 2000, 111))) == []
    store_agrees(store_path)


def test_a_deletion_that_failed_half_way_is_ended_without_being_asked_again(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The eraser takes up what is in the store, and its operation is done in the end."""
    with Engine.open(store_path, OPTIONS) as engine:
        create(engine)
        for start in range(0, 3 * ERASED_FACES_MAX // 2, 500):
            engine.enrollment.enroll(batch(PERSON, range(start, start + 500)), NEVER)
        with monkeypatch.context() as patched:
            patched.setattr(engine._context.store, "write", failing_at(engine, 2))
            with pytest.raises(Unavailable):
                engine.erasures.erase(GALLERY, identity_id(PERSON))
        check_ended(engine)


def test_an_erasure_of_unknown_outcome_that_was_kept_goes_on(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that cannot be shown yet is found when it can, and its operation is done in the end."""
    with Engine.open(filled, OPTIONS) as engine:
        # Nobody else writes or reads: what cannot be shown is the erasure's commit.
        with monkeypatch.context() as patched:
            patched.setattr(Snapshots, "publish", refused_publishing)
            with pytest.raises(Unavailable) as refused:
                engine.erasures.erase(GALLERY, identity_id(PERSON))
            assert refused.value.reason == OUTCOME_UNKNOWN
            time.sleep(0.5)
        check_ended(engine)
        assert traces(filled, patterns(PERSON, EVERY_FACE)) == []


def failing_at(engine: Engine, position: int) -> Callable[..., object]:
    """The store's `write`, of which that deletion of faces and nothing else fails."""
    real, calls = engine._context.store.write, count(1)

    def write(command: Command[Any], **options: bool) -> object:
        if isinstance(command, EraseFaces) and next(calls) == position:
            raise Unavailable("writing failed", reason="STORAGE_WRITE_FAILED")
        return real(command, **options)

    return write


def refused_publishing(*_arguments: object) -> None:
    raise MemoryError


def check_ended(engine: Engine) -> None:
    """The one erasure there is comes to its end, and its operation too."""
    end_s = time.monotonic() + WAIT_S
    while True:
        listed, _ = engine.operations.list(GALLERY, "", 100)
        if any(one.kind is OperationKind.ERASE and one.state is OperationState.SUCCEEDED for one in listed):
            break
        assert time.monotonic() < end_s, (listed, engine.erasures.list("", "", 10))
        time.sleep(0.05)
    with pytest.raises(NotFound):
        engine.identities.get(GALLERY, identity_id(PERSON))


CRASH_SCRIPT = """
import sys
from pathlib import Path
from mien_server.engine import Engine
from tests.erasure_support import OPTIONS, erase
with Engine.open(Path(sys.argv[1]), OPTIONS) as engine:
    erase(engine, int(sys.argv[2]))
"""


@pytest.mark.parametrize("step", ["committed", "published", *ERASURE_STEPS])
def test_an_erasure_goes_on_after_a_crash(filled: Path, step: str) -> None:
    """Killed at any step, the person is not found after a restart, which carries the erasure to its end."""
    command = [sys.executable, "-c", CRASH_SCRIPT, str(filled), str(PERSON)]
    environment = os.environ | {"MIEN_CRASH_AT": step}
    assert subprocess.run(command, env=environment, check=False, timeout=100).returncode == -signal.SIGKILL
    with Engine.open(filled, OPTIONS) as engine:
        with pytest.raises(NotFound):
            engine.identities.get(GALLERY, identity_id(PERSON))
        [operation], _ = engine.operations.list(GALLERY, "", 1)
        ended = engine.operations.wait(operation.name, WAIT_S, NEVER)
        assert ended.erasure is not None, (ended, engine.degraded_reasons())
        assert ended.erasure.state is ErasureStateKind.DONE
        assert traces(filled, patterns(PERSON, EVERY_FACE)) == []
        check_others(engine)
        assert ended.erasure.receipt is not None
        assert all(check.passed for check in engine.erasures.verify(ended.erasure.receipt, identity_id(PERSON)))
    store_agrees(filled)
