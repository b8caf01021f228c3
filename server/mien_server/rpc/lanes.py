"""The threads that calls run on: fair between clients, bounded in what waits, with a lane kept free for short answers.

gRPC hands every call that arrives to `submit`, before any of its message has been read. Calls that only look something
up have a lane of their own, so that health and the state of operations are answered under any load. A call for which
there is no place runs on the lane of refusals, where `overflow` tells its handler so: it is refused unread.

A call that only waits, for its message, for its turn, for the next request of a stream, parks: another thread works in
its stead. So threads are held by work alone, and who waits is bounded where it waits.

Few calls of a lane read their message at a time. gRPC keeps what has come of a message that is being read, however
large it is, and next to nothing of one that is not; it does not say how much. So their number bounds the memory. A
message that does not come at once gives its place up to another where `Patience` allows it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any, NamedTuple

from mien_server.errors import Overloaded
from mien_server.rpc.clients import NOBODY, Client, client_of
from mien_server.rpc.turns import Turns

__all__ = [
    "CONTROL_METHODS",
    "CONTROL_THREAD_COUNT",
    "Lanes",
    "Seat",
    "calls_max",
    "current_seat",
    "overflow",
    "parked",
    "waiting_calls_max",
]

CONTROL_METHODS = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/mien.v1.OperationsService/CancelOperation",
        "/mien.v1.OperationsService/GetOperation",
        "/mien.v1.OperationsService/GetServerInfo",
        "/mien.v1.OperationsService/ListOperations",
    }
)
"""Calls that answer from what is at hand. Everything else shares the other threads."""
CONTROL_THREAD_COUNT = 4
CONTROL_WAITING_MAX = 256
REFUSALS_WAITING_MAX = 1024
CLIENT_SHARE = 0.75
"""Of a lane's threads one client gets at most so much, so that another's call need not wait for one of its to end."""
READING_MAX = 8
"""Calls of a lane whose messages are on their way at once, beside those that `Patience` found slow."""
READING_KEPT = 3
"""Of these as many are for clients that have no other message on its way."""
PARKED_MAX = 384
"""Calls of a lane that may be parked; further ones wait with their thread."""
RETRY_AFTER_MIN_S = 0.1
RETRY_AFTER_MAX_S = 30.0
FIRST_GUESS_CALL_S = 0.01
SMOOTHING = 0.05

_log = logging.getLogger(__name__)
_this_thread = threading.local()


def overflow() -> Overloaded | None:
    """What the call of this thread must be refused with; None where it has its place."""
    error: Overloaded | None = getattr(_this_thread, "error", None)
    return error


class Seat:
    """A call on a thread of a lane."""

    def __init__(self, lane: _Lane, client: Client) -> None:
        self.client = client
        self.is_parked = False
        self.is_reading = True
        self._lane = lane

    def park(self) -> None:
        """Let another thread work while this call waits; does nothing where too many are parked, or it is already."""
        self._lane.park(self)

    def resume(self) -> None:
        """Count as work again."""
        self._lane.resume(self)

    def end_reading(self) -> None:
        """Let another call read its message: this one has its own, or need not be waited for."""
        self._lane.end_reading(self)


def current_seat() -> Seat | None:
    """The call of this thread; None on a thread of no lane."""
    seat: Seat | None = getattr(_this_thread, "seat", None)
    return seat


@contextmanager
def parked() -> Iterator[None]:
    """Around anything that only waits."""
    seat = current_seat()
    if seat is None or seat.is_parked:
        yield
        return
    seat.park()
    try:
        yield
    finally:
        seat.resume()


def calls_max(thread_count: int, waiting_max: int) -> int:
    """Calls that run or wait at once on all lanes; gRPC itself refuses those beyond."""
    return thread_count + waiting_max + CONTROL_THREAD_COUNT + CONTROL_WAITING_MAX + REFUSALS_WAITING_MAX


def waiting_calls_max(waiting_max: int) -> int:
    """Calls that wait for a thread at once on the lanes that work."""
    return waiting_max + CONTROL_WAITING_MAX


class _Task(NamedTuple):
    future: Future[Any]
    run: Callable[[], Any]


class Lanes(Executor):
    """Takes the place of gRPC's pool of threads.

    Args:
        thread_count: of the lane that works.
        waiting_max: calls that may wait for one of them.
    """

    def __init__(self, thread_count: int, waiting_max: int) -> None:
        self._work = _Lane("mien-rpc", thread_count, waiting_max)
        self._control = _Lane("mien-control", CONTROL_THREAD_COUNT, CONTROL_WAITING_MAX)
        # gRPC lets no more through than these, so that this lane has a place for whatever the others have not.
        self._refusals = _Lane("mien-refusal", 1, calls_max(thread_count, waiting_max))

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Run a call when its turn comes."""
        method, client = _arrival(arguments)
        lane = self._control if method in CONTROL_METHODS else self._work
        task = _Task(Future(), lambda: function(*arguments, **named))
        crowded_out = lane.offer(client, task)
        if crowded_out is not None:
            self._refusals.offer(NOBODY, _refusing(crowded_out, lane.overloaded()))
        return task.future

    def is_pressed(self) -> bool:
        """Whether a call waits for a thread, or for its turn to read its message."""
        return self._work.is_pressed() or self._control.is_pressed()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads; what they run is finished, what waits is not begun."""
        for lane in (self._work, self._control, self._refusals):
            lane.close(wait=wait, cancel_futures=cancel_futures)


def _refusing(task: _Task, error: Overloaded) -> _Task:
    def run() -> Any:
        _this_thread.error = error
        try:
            return task.run()
        finally:
            _this_thread.error = None

    return _Task(task.future, run)


def _arrival(arguments: Iterable[Any]) -> tuple[str, Client]:
    """Method and caller of the call that gRPC hands over: the one place that knows how it does."""
    for argument in arguments:
        details = getattr(argument, "call_details", None)
        if details is not None:
            client = client_of(argument.call.peer().decode("utf-8", "replace"), _pairs(argument.invocation_metadata))
            # A method that was registered by name comes with the name as its tag instead.
            return details.method.decode("utf-8", "replace") or str(argument.tag), client
    return "", NOBODY


def _pairs(metadata: Iterable[Any] | None) -> Iterable[tuple[str, str | bytes]]:
    return ((entry.key, entry.value) for entry in metadata or ())


class _Lane:
    """Threads that empty a fair queue of bounded length.

    One is there from the beginning; others are started as they are needed. Where none can be started, those that are
    there do the work.
    """

    def __init__(self, name: str, thread_count: int, waiting_max: int) -> None:
        self._name = name
        self._thread_count = thread_count
        self._waiting_max = waiting_max
        self._client_max = math.ceil(thread_count * CLIENT_SHARE)
        self._changed = threading.Condition()
        self._turns: Turns[_Task] = Turns()
        self._running: Counter[Client] = Counter()
        self._reading: Counter[Client] = Counter()
        self._reading_count = 0
        self._threads: list[threading.Thread] = []
        self._busy_count = 0
        self._parked_count = 0
        self._is_closing = False
        self._is_short_of_threads = False
        self._call_s = FIRST_GUESS_CALL_S
        self._start_thread()

    def is_pressed(self) -> bool:
        """Whether something waits because every thread is taken, or because others read their messages."""
        thread_count = min(self._thread_count, len(self._threads) - self._parked_count)
        is_full = self._busy_count >= thread_count or self._reading_count >= READING_MAX - READING_KEPT
        return len(self._turns) > 0 and is_full

    def park(self, seat: Seat) -> None:
        """See `Seat.park`."""
        with self._changed:
            if seat.is_parked or self._parked_count >= PARKED_MAX:
                return
            seat.is_parked = True
            self._parked_count += 1
            self._give_back(seat.client)
            self._start_thread_if_needed()
            self._changed.notify()

    def resume(self, seat: Seat) -> None:
        """See `Seat.resume`. For a moment more calls may work than there should."""
        with self._changed:
            if seat.is_parked:
                seat.is_parked = False
                self._parked_count -= 1
                self._busy_count += 1
                self._running[seat.client] += 1

    def end_reading(self, seat: Seat) -> None:
        """See `Seat.end_reading`."""
        with self._changed:
            self._end_reading(seat)
            if len(self._turns):
                self._changed.notify()

    def overloaded(self) -> Overloaded:
        """The refusal of a call that found no place."""
        wait_s = self._waiting_max * self._call_s / self._thread_count
        return Overloaded(
            f"{self._thread_count} calls run and {self._waiting_max} wait, as many as the server allows "
            "(server.thread_count, server.waiting_call_count_max); call again after the time in RetryInfo",
            retry_after_s=min(RETRY_AFTER_MAX_S, max(RETRY_AFTER_MIN_S, wait_s)),
            reason="TOO_MANY_CALLS",
            metadata={"maximum": str(self._waiting_max)},
        )

    def offer(self, client: Client, task: _Task) -> _Task | None:
        """Queue a call; answers the one for which there is no place now, this one or another client's newest."""
        with self._changed:
            self._turns.add(client, task)
            # A thread that is free will take one: it does not count as waiting.
            free_count = max(0, self._thread_count - self._busy_count)
            crowded_out = None
            if len(self._turns) > self._waiting_max + free_count:
                _, crowded_out = self._turns.drop_newest()
            self._start_thread_if_needed()
            self._changed.notify()
            return crowded_out

    def close(self, *, wait: bool, cancel_futures: bool) -> None:
        """Let every thread end after its call."""
        with self._changed:
            self._is_closing = True
            while cancel_futures and len(self._turns):
                self._turns.drop_newest()[1].future.cancel()
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads if wait else ():
            thread.join()

    def _start_thread_if_needed(self) -> None:
        wanted = min(self._thread_count, self._busy_count + len(self._turns)) + self._parked_count
        if len(self._threads) >= wanted:
            return
        try:
            self._start_thread()
            self._is_short_of_threads = False
        except RuntimeError as error:
            # Raised to gRPC it would end the thread that every call comes by.
            if not self._is_short_of_threads:
                facts = {"lane": self._name, "thread_count": len(self._threads), "error": str(error)}
                _log.error("no further thread could be started", extra=facts)
            self._is_short_of_threads = True

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _serve(self) -> None:
        while (taken := self._next()) is not None:
            client, task = taken
            seat = _this_thread.seat = Seat(self, client)
            began_s = time.monotonic()
            try:
                _perform(task)
            finally:
                self._leave(seat, time.monotonic() - began_s)

    def _next(self) -> tuple[Client, _Task] | None:
        with self._changed:
            while self._is_full() or (taken := self._turns.take(self._may_run)) is None:
                if self._is_closing:
                    return None
                self._changed.wait()
            self._running[taken[0]] += 1
            self._busy_count += 1
            self._reading[taken[0]] += 1
            self._reading_count += 1
            return taken

    def _is_full(self) -> bool:
        return self._busy_count >= self._thread_count or self._reading_count >= READING_MAX

    def _may_run(self, client: Client) -> bool:
        may_read = client not in self._reading or self._reading_count < READING_MAX - READING_KEPT
        return may_read and self._running[client] < self._client_max

    def _leave(self, seat: Seat, call_s: float) -> None:
        with self._changed:
            if seat.is_parked:
                self._parked_count -= 1
            else:
                self._give_back(seat.client)
                self._call_s += SMOOTHING * (call_s - self._call_s)
            self._end_reading(seat)

    def _end_reading(self, seat: Seat) -> None:
        if seat.is_reading:
            seat.is_reading = False
            self._reading_count -= 1
            self._reading[seat.client] -= 1
            if not self._reading[seat.client]:
                del self._reading[seat.client]

    def _give_back(self, client: Client) -> None:
        self._busy_count -= 1
        self._running[client] -= 1
        if not self._running[client]:
            del self._running[client]


def _perform(task: _Task) -> None:
    if not task.future.set_running_or_notify_cancel():
        return
    try:
        result = task.run()
    except BaseException as error:  # noqa: BLE001 - the future's to tell, as with every executor
        task.future.set_exception(error)
    else:
        task.future.set_result(result)
