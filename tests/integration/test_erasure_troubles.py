"""What holds an erasure up is said of it, and holds up no other; nothing waits for the end of a long search."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from mien_client._wire import decode_erasures
from mien_server.engine import Engine, erasures, translation
from mien_server.engine.types import ErasureInfo, GallerySpec, IndexStateKind, OperationState, RequestToken
from mien_server.errors import Cancelled, Unavailable
from mien_server.index import BuildProcess
from mien_server.records.deadline import Deadline
from mien_server.records.store_pb2 import ErasureRecord
from mien_server.rpc.convert.erasures import erasure_message
from mien_server.storage import ErasureState
from mien_server.storage.commands.put_erasure import PutErasures
from mien_server.storage.erasure import scanning
from mien_server.storage.erasure.scanning import Finder
from tests.erasure_support import (
    DIMENSION,
    GALLERY,
    NEVER,
    OPTIONS,
    batch,
    create,
    enroll,
    erase,
    identity_id,
    patterns,
    store_agrees,
    traces,
    vector,
)
from tests.recovery.test_corruption_store import DATA, flip, live_bytes
from tests.unit.test_erasure_isolation import spoil_entry_of

OTHERS = "others"
WAIT_S = 60.0


def until(has_come: Callable[[], object]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not has_come():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def erasure_of(engine: Engine, operation: str) -> ErasureInfo:
    return engine.erasures.get(translation.erasure_of(operation))


def others(engine: Engine, people: range) -> None:
    spec = GallerySpec(OTHERS, precomputed_name="made", precomputed_dimension=DIMENSION)
    engine.galleries.create(spec, None)
    for person in people:
        engine.enrollment.enroll(replace(batch(person), gallery=OTHERS), NEVER)


@pytest.fixture
def engine(store_path: Path) -> Iterator[Engine]:
    """An engine to which every erasure is overdue at once."""
    with Engine.open(store_path, replace(OPTIONS, erasure_within_s=0.0)) as opened:
        create(opened)
        enroll(opened, range(4))
        yield opened


def test_an_index_that_fails_holds_up_its_own_gallery_and_the_erasure_says_so(engine: Engine) -> None:
    """People of another gallery are gone at once, though they were asked for later; whoever asks again has it tried."""
    others(engine, range(10, 12))
    real = engine._eraser._run.drop_from_index

    def drop(number: int) -> Future[bool]:
        if number != 1:
            return real(number)
        future: Future[bool] = Future()
        future.set_exception(Unavailable("the lists are damaged", reason="INDEX_DAMAGED"))
        return future

    engine._eraser._run.drop_from_index = drop
    request = RequestToken("erase-1", b"\7" * 32)
    held, _ = engine.erasures.erase(GALLERY, identity_id(1), request)
    until(lambda: erasure_of(engine, held.name).trouble)
    gone, _ = engine.erasures.erase(OTHERS, identity_id(10))
    assert engine.operations.wait(gone.name, WAIT_S, NEVER).state is OperationState.SUCCEEDED
    info = erasure_of(engine, held.name)
    assert (info.trouble, info.is_overdue) == ("the lists are damaged", True)
    assert erasure_of(engine, gone.name).trouble == ""
    name = held.name.replace("operations", "erasures")
    assert f"erasure {name} of gallery {GALLERY} is overdue: the lists are damaged" in engine.degraded_reasons()
    assert engine.erasures.list("", "", 10, pending_only=True).erasures == (info,)
    assert decode_erasures.erasure(erasure_message(info)).trouble == "the lists are damaged"
    engine._eraser._run.drop_from_index = real
    engine.erasures.erase(GALLERY, identity_id(1), request)
    assert engine.operations.wait(held.name, WAIT_S, NEVER).state is OperationState.SUCCEEDED
    assert engine.degraded_reasons() == []


def test_a_snapshot_holds_up_what_is_overwritten_and_nothing_before(engine: Engine, store_path: Path) -> None:
    """The person is not found and not in the journal any more; rows are overwritten after its end, and that is said."""
    with engine.snapshots.none_running():
        operation, _ = engine.erasures.erase(GALLERY, identity_id(1))
        until(lambda: "snapshot" in erasure_of(engine, operation.name).trouble)
        with engine._context.store.view() as view:
            journal = [entry.SerializeToString() for entry in view.records.journal(0)]
        assert not any(identity_id(1).encode() in entry for entry in journal)
        assert any(identity_id(2).encode() in entry for entry in journal)
        assert any("rows.vec" in trace for trace in traces(store_path, [vector(1, 0).tobytes()]))
        assert any("a snapshot is being taken" in reason for reason in engine.degraded_reasons())
    assert engine.operations.wait(operation.name, WAIT_S, NEVER).state is OperationState.SUCCEEDED
    assert traces(store_path, patterns(1)) == []


def test_who_reads_an_older_revision_is_said_to_hold_it_up(engine: Engine) -> None:
    """While a view is open that shows the person."""
    with engine._context.store.view():
        operation, _ = engine.erasures.erase(GALLERY, identity_id(1))
        until(lambda: "older revision" in erasure_of(engine, operation.name).trouble)
    assert engine.operations.wait(operation.name, WAIT_S, NEVER).state is OperationState.SUCCEEDED


def test_a_build_of_one_gallery_does_not_hold_up_erasures_of_another(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes are taken out of the other's index while the build goes on; its own erasures wait for its end."""
    is_let_go = threading.Event()
    real = BuildProcess.wait

    def wait(process: BuildProcess, timeout_s: float | None = None) -> bool:
        return real(process, timeout_s) and is_let_go.wait(0.0 if timeout_s is None else timeout_s)

    with Engine.open(store_path, OPTIONS) as engine:
        create(engine)
        others(engine, range(150))
        until(lambda: engine.galleries.get(OTHERS)[0].index_state.kind is IndexStateKind.READY)
        enroll(engine, range(200, 350))
        until(lambda: engine.galleries.get(GALLERY)[0].index_state.kind is IndexStateKind.READY)
        monkeypatch.setattr(BuildProcess, "wait", wait)
        rebuild = engine.operations.rebuild_index(GALLERY)
        until(lambda: engine.operations.get(rebuild.name).state is OperationState.RUNNING)
        operation, _ = engine.erasures.erase(OTHERS, identity_id(7))
        ended = engine.operations.wait(operation.name, WAIT_S, NEVER)
        assert ended.erasure is not None
        assert ended.erasure.receipt is not None
        assert ended.erasure.receipt.is_index_rewritten
        assert not engine.operations.get(rebuild.name).state.is_done
        is_let_go.set()
        assert engine.operations.wait(rebuild.name, WAIT_S, NEVER).state is OperationState.SUCCEEDED


def test_one_that_makes_others_fail_is_left_behind(store_path: Path) -> None:
    """What is said of one person in the journal makes no sense: the others who were to be erased with them are."""
    with Engine.open(store_path, OPTIONS) as engine:
        create(engine)
        enroll(engine, range(6))
        spoil_entry_of(engine._context.store, 0)
        engine._eraser.wake = lambda *_, **__: None  # type: ignore[method-assign]
        operations = [engine.erasures.erase(GALLERY, identity_id(person))[0].name for person in range(6)]
    with Engine.open(store_path, OPTIONS) as engine:
        for operation in operations[1:]:
            assert engine.operations.wait(operation, WAIT_S, NEVER).state is OperationState.SUCCEEDED
        until(lambda: erasure_of(engine, operations[0]).trouble)
        assert not engine.operations.get(operations[0]).state.is_done
        assert traces(store_path, [one for person in range(1, 6) for one in patterns(person)]) == []


def test_a_damaged_record_of_an_erasure_is_shown_from_the_start(store_path: Path) -> None:
    """Whom it was about nobody knows any more; the server is degraded, and erases others."""
    with Engine.open(store_path, OPTIONS) as engine:
        create(engine)
        enroll(engine, range(3))
        engine._eraser.wake = lambda *_, **__: None  # type: ignore[method-assign]
        operation, _ = engine.erasures.erase(GALLERY, identity_id(1))
    name = operation.name.replace("operations", "erasures")
    flip(store_path / DATA, live_bytes(store_path, "erasures", name.encode()), 1)
    with Engine.open(store_path, OPTIONS) as engine:
        [reason] = engine.degraded_reasons()
        assert "an erasure may not be carried out" in reason
        assert name.encode().hex() in reason
        erase(engine, 2)


def test_closing_does_not_wait_for_the_search_of_every_file(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends before the next block, and the erasure goes on at the next start."""
    monkeypatch.setattr(scanning, "_BLOCK_BYTES", 1 << 10)
    is_begun, is_let_go = threading.Event(), threading.Event()
    real = Finder.places
    blocks = 0

    def places(finder: Finder, block: bytes) -> Iterator[tuple[int, bytes]]:
        nonlocal blocks
        blocks += 1
        is_begun.set()
        assert is_let_go.wait(WAIT_S)
        return real(finder, block)

    engine = Engine.open(store_path, OPTIONS)
    create(engine)
    enroll(engine, range(3))
    with monkeypatch.context() as patched:
        patched.setattr(Finder, "places", places)
        operation, _ = engine.erasures.erase(GALLERY, identity_id(1))
        assert is_begun.wait(WAIT_S)
        closing = threading.Thread(target=engine.close)
        closing.start()
        until(lambda: engine._eraser._is_closing)
        is_let_go.set()
        closing.join()
        assert blocks == 1
    with Engine.open(store_path, OPTIONS) as engine:
        assert engine.operations.wait(operation.name, WAIT_S, NEVER).state is OperationState.SUCCEEDED
    store_agrees(store_path)


def test_verifying_a_receipt_ends_when_its_caller_is_gone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two blocks of the journal or of the search."""
    receipt = erase(engine, 1).receipt
    assert receipt is not None
    monkeypatch.setattr(scanning, "_BLOCK_BYTES", 1 << 10)
    asked = 0

    def is_cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked == stop_at

    stop_at = 0
    assert all(check.passed for check in engine.erasures.verify(receipt, identity_id(1), Deadline(None, is_cancelled)))
    last = asked
    for stop_at in (1, last // 2, last):
        asked = 0
        with pytest.raises(Cancelled):
            engine.erasures.verify(receipt, identity_id(1), Deadline(None, is_cancelled))
        assert asked == stop_at


def test_pages_of_a_gallerys_erasures_look_at_a_bounded_number(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may have few or none and be followed by others; together they have all."""
    monkeypatch.setattr(erasures, "LOOKED_AT_MAX", 5)
    records = [
        ErasureRecord(name=f"erasures/{number:03d}", gallery_name=f"gallery-{number // 10}", state=ErasureState.DONE)
        for number in range(40)
    ]
    engine._context.store.write(PutErasures(records))
    for gallery, expected in (("gallery-1", range(19, 9, -1)), ("", range(39, -1, -1)), ("none", range(0))):
        found, after, pages = [], "", 0
        while True:
            page = engine.erasures.list(gallery, after, 3)
            assert len(page.erasures) <= 3
            found += [one.name for one in page.erasures]
            after, pages = page.next_after, pages + 1
            if not after:
                break
        assert found == [f"erasures/{number:03d}" for number in expected]
        assert pages >= 40 / 5
    assert engine.erasures.list("", "", 10, pending_only=True).erasures == ()
