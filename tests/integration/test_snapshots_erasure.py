"""Snapshots and erasures of one store: never at once, and a receipt tells which snapshots still hold the person."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mien_server.engine import Engine, snapshots
from mien_server.engine.types import OperationState, SnapshotResult
from mien_server.records.store_pb2 import SnapshotRecord
from tests.erasure_support import GALLERY, NEVER, OPTIONS, create, enroll, erase, identity_id, patterns, traces

PERSON = 5
WAIT_S = 60.0


def opened(store: Path, place: Path) -> Engine:
    return Engine.open(store, dataclasses.replace(OPTIONS, snapshot_destinations=(str(place),)))


def taken(engine: Engine, operation: str = "") -> SnapshotResult:
    name = operation or engine.operations.create_snapshot("").name
    done = engine.operations.wait(name, WAIT_S, NEVER)
    assert done.state is OperationState.SUCCEEDED, done.error
    assert done.result_snapshot is not None
    return done.result_snapshot


def test_an_erasure_and_a_snapshot_take_turns(store_path: Path, tmp_path: Path) -> None:
    """While nobody may read the store a snapshot waits, and can be cancelled; then it is taken."""
    with opened(store_path, tmp_path / "snapshots") as engine:
        create(engine)
        enroll(engine, range(3))
        with engine.snapshots.none_running():
            first, second = (engine.operations.create_snapshot("").name for _ in range(2))
            waiting = engine.operations.wait(first, 0.5, NEVER)
            assert not waiting.state.is_done
            engine.operations.cancel(first)
            assert engine.operations.wait(first, WAIT_S, NEVER).state is OperationState.CANCELLED
        taken(engine, second)


def test_a_receipt_names_the_snapshots_that_hold_the_person(store_path: Path, tmp_path: Path) -> None:
    """A snapshot from before the erasure holds the person and is in the receipt; one from after holds no byte of them,
    though it shares what it can with the one before.
    """
    place = tmp_path / "snapshots"
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(20))
        before = taken(engine)
        receipt = erase(engine, PERSON).receipt
        after = taken(engine)
        assert receipt is not None
        assert [(one.name, one.revision) for one in receipt.snapshots] == [(before.name, before.revision)]
        assert traces(place / before.name, patterns(PERSON))
        assert traces(place / after.name, patterns(PERSON)) == []
        engine.operations.delete_snapshot(before.name, "")
        assert traces(place, patterns(PERSON)) == []
        assert engine.identities.get(GALLERY, identity_id(PERSON + 1))[0].face_count


def test_a_receipt_names_a_snapshot_that_was_taken_between_deletion_and_overwriting(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a snapshot of the deletion's own revision holds in its journal counts as much as what an older one holds."""
    place = tmp_path / "snapshots"
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(20))
        with monkeypatch.context() as patched:
            patched.setattr(engine.erasures._eraser, "wake", lambda *_, **__: None)
            operation, revision = engine.erasures.erase(GALLERY, identity_id(PERSON))
        between = taken(engine)
        assert between.revision == revision
        assert traces(place / between.name, patterns(PERSON))
        engine.erasures._eraser.wake(operation.name.replace("operations", "erasures"), GALLERY)
        erasure = engine.operations.wait(operation.name, WAIT_S, NEVER).erasure
        assert erasure is not None
        assert erasure.receipt is not None
        assert [one.name for one in erasure.receipt.snapshots] == [between.name]


def test_a_snapshot_is_known_before_an_erasure_goes_on(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is in its place and not yet among the store's records holds an erasure up, which then names it."""
    with opened(store_path, tmp_path / "snapshots") as engine:
        create(engine)
        enroll(engine, range(20))
        started: list[str] = []
        put = snapshots.PutSnapshot

        def put_late(record: SnapshotRecord) -> object:
            started.append(engine.erasures.erase(GALLERY, identity_id(PERSON))[0].name)
            engine.operations.wait(started[0], 2.0, NEVER)
            return put(record=record)

        monkeypatch.setattr(snapshots, "PutSnapshot", put_late)
        before = taken(engine)
        erasure = engine.operations.wait(started[0], WAIT_S, NEVER).erasure
        assert erasure is not None
        assert erasure.receipt is not None
        assert [one.name for one in erasure.receipt.snapshots] == [before.name]
