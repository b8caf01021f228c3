"""Lanes of a machine that gives no more threads, and the watch over slow callers: neither ends by an error."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from queue import Queue
from typing import NoReturn

import pytest

from mien_server.rpc.clients import Client
from mien_server.rpc.lanes import READING_KEPT, READING_MAX, Lanes, _Task, current_seat, parked
from mien_server.rpc.patience import Patience, PatienceLimits
from mien_server.rpc.server import HEALTH_THREAD_COUNT, RpcServer, ServerOptions

TIME_MAX_S = 30.0


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    """Four threads for work."""
    lanes = Lanes(4, 100)
    yield lanes
    lanes.shutdown(wait=False)


def _no_thread(_: threading.Thread) -> NoReturn:
    raise RuntimeError("can't start new thread")


def test_calls_are_served_where_no_thread_can_be_started(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every call is served by the thread that is there, which is said once; later calls have threads again."""
    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(threading.Thread, "start", _no_thread)
        names = {call.result(TIME_MAX_S) for call in [lanes.submit(_thread_name) for _ in range(20)]}
    assert names == {"mien-rpc-0"}
    assert len(caplog.records) == 1
    # As many as one client may have of them.
    together = threading.Barrier(3, timeout=TIME_MAX_S)
    calls = [lanes.submit(together.wait) for _ in range(3)]
    assert sorted(call.result(TIME_MAX_S) for call in calls) == [0, 1, 2]


def _thread_name() -> str:
    return threading.current_thread().name


def test_a_call_parks_where_no_thread_can_be_started(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that waits is not ended by the want of threads, and the lane says that others need the one it holds."""
    may_end = threading.Event()
    monkeypatch.setattr(threading.Thread, "start", _no_thread)

    def wait() -> bool:
        with parked():
            return may_end.wait(TIME_MAX_S)

    waiting: Future[bool] = lanes.submit(wait)
    behind = lanes.submit(_thread_name)
    end_s = time.monotonic() + TIME_MAX_S
    while not lanes.is_pressed():
        assert time.monotonic() < end_s
        time.sleep(0.001)
    may_end.set()
    assert waiting.result(TIME_MAX_S)
    assert behind.result(TIME_MAX_S) == "mien-rpc-0"


def test_few_messages_are_read_at_a_time() -> None:
    """A client with many calls leaves places to read in for one without, and a call that has its message gives up its
    own.
    """
    lanes = Lanes(64, 100)
    begun: Queue[str] = Queue()
    has_come, may_end = threading.Semaphore(0), threading.Event()

    def call(name: str) -> None:
        begun.put(name)
        has_come.acquire()
        seat = current_seat()
        assert seat is not None
        seat.end_reading()
        may_end.wait(TIME_MAX_S)

    def offer(name: str) -> None:
        lanes._work.offer(Client("host", name), _Task(Future(), partial(call, name)))

    def names(count: int) -> list[str]:
        return [begun.get(timeout=TIME_MAX_S) for _ in range(count)]

    try:
        for _ in range(20):
            offer("greedy")
        assert names(READING_MAX - READING_KEPT) == ["greedy"] * (READING_MAX - READING_KEPT)
        for name in ("first", "second"):
            offer(name)
        assert sorted(names(2)) == ["first", "second"]
        assert begun.empty()
        has_come.release(3)
        assert names(1) == ["greedy"]
        assert lanes._work._reading_count == READING_MAX - READING_KEPT
    finally:
        has_come.release(100)
        may_end.set()
        lanes.shutdown(wait=False)


def test_watchers_of_health_need_no_thread_to_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gRPC hands over for a watcher is taken where no thread can be started any more."""
    rpc = RpcServer(ServerOptions(listen_addresses=("127.0.0.1:0",)))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _no_thread)
        names = [rpc._health_threads.submit(_thread_name).result(TIME_MAX_S) for _ in range(2 * HEALTH_THREAD_COUNT)]
    rpc.stop()
    assert all(name.startswith("mien-health") for name in names)


def test_an_error_does_not_end_the_watch_over_slow_callers(caplog: pytest.LogCaptureFixture) -> None:
    """A look that fails is logged, and the next one ends what is overdue."""
    looks = iter([True])

    def is_pressed() -> bool:
        if next(looks, False):
            raise RuntimeError("can't start new thread")
        return False

    patience = Patience(PatienceLimits(transfer_time_max_s=0.1), is_pressed)
    ended = threading.Event()
    with patience.arriving(Client("host", "slow"), ended.set):
        assert ended.wait(TIME_MAX_S)
    patience.close()
    assert any(record.exc_info for record in caplog.records)
