"""How long a caller may take to send its message or to take its answer, and how much it may leave lying.

A message that never arrives holds a thread, an answer that is never read holds its bytes. Each is watched, and ended
when its time is up. While others wait for what it holds, the time is short: a caller that is slow does no harm as long
as there is room, and cannot shut others out when there is none.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mien_server.errors import Overloaded
from mien_server.rpc.clients import Client
from mien_server.rpc.lanes import Seat, current_seat

__all__ = ["Patience", "PatienceLimits", "Watched"]

LOOK_INTERVAL_S = 0.05
PARKED_AFTER_S = 0.1
"""A message that is not there by then may take long: its thread is made up for."""
SLOW_AFTER_S = 0.1
"""A message that is not there by then is its caller's to be late with; see `Patience`."""
STANDSTILL_S = 0.5
"""When no message has come from anybody for so long, it is not for want of looking."""
SLOW_MIN = 4
"""Slow messages that may be waited for at once, at least."""
HURRIED_S = 1.0
"""What is left of a caller's time while others wait for what it holds."""
HURRIED_SINGLE_S = 10.0
"""The same for a message that is the only one its caller keeps the server waiting for: it is slow, not many."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PatienceLimits:
    """Bounds of what is held for callers.

    Attributes:
        transfer_time_max_s: in which a message must arrive, and an answer be taken.
        request_bytes_max: of messages that are being worked on, all callers together; beyond them a caller may hold
            one at a time. Also of messages that are slow to arrive, each counted as the largest.
        answer_bytes_max: of answers that were not taken; beyond them those of whoever leaves the most are given up.
        message_bytes_max: of one message.
    """

    transfer_time_max_s: float = 300.0
    request_bytes_max: int = 512 * 1024 * 1024
    answer_bytes_max: int = 512 * 1024 * 1024
    message_bytes_max: int = 64 * 1024 * 1024

    @property
    def slow_messages_max(self) -> int:
        """Messages that did not arrive at once and are waited for all the same."""
        return max(SLOW_MIN, self.request_bytes_max // self.message_bytes_max)


@dataclass(eq=False, slots=True)
class Watched:
    """Something that waits for its caller: how many bytes it holds, and how it is ended."""

    client: Client
    end: Callable[[], object]
    byte_count: int = 0
    seat: Seat | None = None
    since_s: float = field(default_factory=time.monotonic)
    longest_s: float = math.inf
    is_ended: bool = False


class Patience:
    """Watches over slow callers with one thread. Safe for many threads.

    A caller is late with its message only where the message of another, asked for after its own, has come: one thread
    takes all of them in, in the order in which they come, and is itself late under load. Of those who are late the
    caller with the most is given up first, and of its messages the oldest. So a caller that sends what it has begun
    is not given up, whatever others do.

    Args:
        is_pressed: whether calls wait for threads, or for places to read in, that unfinished messages may hold.
    """

    def __init__(self, limits: PatienceLimits, is_pressed: Callable[[], bool]) -> None:
        self._limits = limits
        self._is_pressed = is_pressed
        self._lock = threading.Lock()
        self._arriving: dict[Watched, None] = {}
        # Of the messages that have come, when the latest was asked for, and when the last of them came.
        self._asked_s = self._came_s = time.monotonic()
        self._answers: dict[Watched, None] = {}
        self._answer_bytes = 0
        self._request_bytes: dict[Client, int] = {}
        self._request_bytes_all = 0
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mien-patience", daemon=True)
        self._thread.start()

    @property
    def request_bytes(self) -> int:
        """Bytes of messages that are being worked on."""
        return self._request_bytes_all

    @property
    def answer_bytes(self) -> int:
        """Bytes of answers that were not taken yet."""
        return self._answer_bytes

    def close(self) -> None:
        """End the thread."""
        self._is_closing.set()
        self._thread.join()

    @contextmanager
    def arriving(self, client: Client, end: Callable[[], object], longest_s: float = math.inf) -> Iterator[None]:
        """Around the wait for a message; `end` ends it when it takes too long.

        Args:
            longest_s: in which it must arrive, where that is less than for others.
        """
        watched = Watched(client, end, seat=current_seat(), longest_s=longest_s)
        with self._lock:
            self._arriving[watched] = None
        try:
            yield
        finally:
            with self._lock:
                self._arriving.pop(watched, None)
                if not watched.is_ended:
                    self._asked_s = max(self._asked_s, watched.since_s)
                    self._came_s = time.monotonic()
            if watched.seat is not None:
                watched.seat.end_reading()
                if watched.seat.is_parked:
                    watched.seat.resume()

    def require_room(self, client: Client) -> None:
        """Refuse a further message while too much is being worked on, unless it is the caller's only one.

        Raises:
            Overloaded: REQUEST_BYTES_FULL.
        """
        if self.has_room(client):
            return
        raise Overloaded(
            f"requests of {self._request_bytes_all:,} bytes are being worked on, more than server.request_bytes_max = "
            f"{self._limits.request_bytes_max:,}; call again after the time in RetryInfo, or send fewer at once",
            reason="REQUEST_BYTES_FULL",
            metadata={"maximum": str(self._limits.request_bytes_max)},
        )

    def has_room(self, client: Client) -> bool:
        """Whether another message of this caller may be read."""
        return not self.is_full() or client not in self._request_bytes

    def is_full(self) -> bool:
        """Whether as much is being worked on as may be."""
        return self._request_bytes_all >= self._limits.request_bytes_max

    def hold(self, client: Client, byte_count: int) -> None:
        """Count a message of at least one byte that has arrived; `release` must follow."""
        with self._lock:
            self._request_bytes[client] = self._request_bytes.get(client, 0) + byte_count
            self._request_bytes_all += byte_count

    def release(self, client: Client, byte_count: int) -> None:
        """The message is done with."""
        with self._lock:
            left = self._request_bytes[client] - byte_count
            if left:
                self._request_bytes[client] = left
            else:
                del self._request_bytes[client]
            self._request_bytes_all -= byte_count

    def answering(self, client: Client, byte_count: int, end: Callable[[], object]) -> Callable[[], None]:
        """Watch an answer on its way; what is answered must be called when it is gone."""
        watched = Watched(client, end, byte_count)
        with self._lock:
            self._answers[watched] = None
            self._answer_bytes += byte_count

        def gone() -> None:
            with self._lock:
                if watched in self._answers:
                    del self._answers[watched]
                    self._answer_bytes -= byte_count

        return gone

    def _watch(self) -> None:
        while not self._is_closing.wait(LOOK_INTERVAL_S):
            try:
                for watched in self._overdue(time.monotonic()):
                    watched.end()
            except Exception:  # noqa: BLE001 - logged, and looked again
                # Without this thread nobody would be ended any more.
                _log.exception("slow callers could not be looked after; the next look is as usual")

    def _overdue(self, now_s: float) -> list[Watched]:
        is_pressed = self._is_pressed()
        with self._lock:
            overdue = [*self._overdue_messages(now_s, is_pressed=is_pressed), *self._overdue_answers(now_s)]
            overdue = [watched for watched in overdue if not watched.is_ended]
            for watched in overdue:
                watched.is_ended = True
            return overdue

    def _overdue_messages(self, now_s: float, *, is_pressed: bool) -> list[Watched]:
        longest_s = self._limits.transfer_time_max_s
        overdue = [watched for watched in self._arriving if now_s - watched.since_s > min(longest_s, watched.longest_s)]
        known_s = now_s if now_s - self._came_s > STANDSTILL_S else self._asked_s
        late = [
            watched for watched in self._arriving if known_s - watched.since_s > SLOW_AFTER_S and not watched.is_ended
        ]
        if is_pressed:
            overdue += _of_whoever_has_most(late, len(late) - self._limits.slow_messages_max)
            held = Counter(watched.client for watched in late)
            overdue += [
                watched
                for watched in late
                if watched.seat is not None
                and not watched.seat.is_parked
                and known_s - watched.since_s > (HURRIED_S if held[watched.client] > 1 else HURRIED_SINGLE_S)
            ]
        for watched in self._arriving:
            if watched.seat is not None and now_s - watched.since_s > PARKED_AFTER_S:
                watched.seat.park()
        # Further ones keep their places, and are given up only when others wait for these.
        for watched in late[: self._limits.slow_messages_max]:
            if watched.seat is not None:
                watched.seat.end_reading()
        return list(dict.fromkeys(overdue))

    def _overdue_answers(self, now_s: float) -> list[Watched]:
        longest_s = self._limits.transfer_time_max_s
        overdue = [watched for watched in self._answers if now_s - watched.since_s > longest_s]
        excess = self._answer_bytes - self._limits.answer_bytes_max
        if excess <= 0:
            return overdue
        held: Counter[Client] = Counter()
        for watched in self._answers:
            held[watched.client] += watched.byte_count
        # Together they hold more than the bound, so that somebody holds more than an equal share of it.
        share = self._limits.answer_bytes_max / len(held)
        # Those of whoever leaves the most lying, the oldest first: the sort keeps their order.
        for watched in sorted(self._answers, key=lambda one: -held[one.client]):
            is_overdue = held[watched.client] > share and now_s - watched.since_s > HURRIED_S
            if excess > 0 and (is_overdue or watched.is_ended):
                overdue.append(watched)
                excess -= watched.byte_count
        return overdue


def _of_whoever_has_most(late: list[Watched], count: int) -> list[Watched]:
    """So many of them: each time the oldest of the client that has the most, of the host that has the most."""
    left, found = list(late), list[Watched]()
    while count > len(found):
        hosts = Counter(watched.client.host for watched in left)
        clients = Counter(watched.client for watched in left)
        found.append(max(left, key=lambda one: (hosts[one.client.host], clients[one.client], -one.since_s)))
        left.remove(found[-1])
    return found
