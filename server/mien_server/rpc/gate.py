"""Which calls may run: none before the engine is open, none that begin after draining has begun.

Streams and calls that wait hold a thread for as long as they last, so their places are counted. When all are taken, a
stream on which nothing happens makes room for a new one; whoever holds the most gives up first.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from mien_server.engine import Engine
from mien_server.errors import Overloaded, Unavailable
from mien_server.records.deadline import Deadline
from mien_server.rpc.clients import Client
from mien_server.rpc.lanes import parked
from mien_server.rpc.patience import HURRIED_S

__all__ = ["Call", "Gate", "Place"]

CLIENT_SHARE = 0.75
"""Of the places one client gets at most so much."""
IDLE_S = 10.0
"""A stream that was idle for so long makes room for any other."""


class Place(Protocol):
    """What holds a thread for as long as it lasts."""

    def stop(self) -> None:
        """Answer what was taken, then end."""

    def idle_s(self) -> float:
        """For how many seconds nothing has happened; 0 while it is worked for."""

    def give_up(self) -> None:
        """End now: another needs the place."""


class _Wait:
    """A call that waits: it ends by itself."""

    def stop(self) -> None:
        """Nothing to do: a waiting call looks by itself whether the server is draining."""

    def idle_s(self) -> float:
        """It does what it is there for."""
        return 0.0

    def give_up(self) -> None:
        """Never asked for, since it is never idle."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a method gets beside its request.

    Attributes:
        method: full name, such as "mien.v1.GalleryService.GetGallery".
        is_draining: whether the server is shutting down, so that waiting longer is pointless.
        waiting: `Gate.waiting` for this caller, around anything that only waits.
        large: `Turnstile.entered` for this caller, around work on so many entries.
    """

    method: str
    engine: Engine
    deadline: Deadline
    is_draining: Callable[[], bool]
    waiting: Callable[[], AbstractContextManager[None]]
    large: Callable[[int], AbstractContextManager[None]]


class Gate:
    """Counts the calls that run and lets them through only while the engine is open. Safe for many threads.

    Args:
        stream_count_max: streams, waiting calls and reflection streams at once, all together; each holds a thread for
            as long as it lasts.
    """

    def __init__(self, stream_count_max: int) -> None:
        self._stream_count_max = stream_count_max
        self._client_max = math.ceil(stream_count_max * CLIENT_SHARE)
        self._changed = threading.Condition()
        self._engine: Engine | None = None
        self._running_count = 0
        self._places: dict[Place, Client] = {}
        self._is_draining = False

    @property
    def place_count(self) -> int:
        """Streams and waiting calls that are open."""
        return len(self._places)

    def open(self, engine: Engine) -> None:
        """Let calls through."""
        with self._changed:
            self._engine = engine

    def is_draining(self) -> bool:
        """Whether `drain` was called."""
        return self._is_draining

    def require_open(self) -> None:
        """Refuse a call that `enter` would refuse.

        Raises:
            Unavailable: STARTING or SHUTTING_DOWN.
        """
        with self._changed:
            self._admitted()

    def enter(self) -> Engine:
        """Begin a call; `leave` must follow.

        Raises:
            Unavailable: STARTING or SHUTTING_DOWN.
        """
        with self._changed:
            engine = self._admitted()
            self._running_count += 1
            return engine

    def leave(self) -> None:
        """End a call."""
        with self._changed:
            self._running_count -= 1
            self._changed.notify_all()

    def enter_stream(self, place: Place, client: Client) -> Engine:
        """Begin a stream; `leave_stream` must follow.

        Raises:
            Unavailable: STARTING or SHUTTING_DOWN.
            Overloaded: TOO_MANY_STREAMS.
        """
        with self._changed:
            engine = self._admitted()
            self._take_place(place, client, "close one, or put more into each message", reason="TOO_MANY_STREAMS")
            self._running_count += 1
            return engine

    def leave_stream(self, place: Place) -> None:
        """End a stream."""
        with self._changed:
            self._places.pop(place, None)
        self.leave()

    @contextmanager
    def waiting(self, client: Client) -> Iterator[None]:
        """Around the part of a call that only waits, so that waiting calls leave threads for the others.

        Raises:
            Overloaded: TOO_MANY_WAITS.
        """
        advice = "wait for fewer at once, or ask again now and then"
        with self._occupying(_Wait(), client, advice, reason="TOO_MANY_WAITS"):
            yield

    @contextmanager
    def reflecting(self, place: Place, client: Client) -> Iterator[None]:
        """Around a reflection stream, which may stay open and idle. It does not hold up the end.

        Raises:
            Overloaded: TOO_MANY_STREAMS.
        """
        with self._occupying(place, client, "close one; reflection streams count too", reason="TOO_MANY_STREAMS"):
            yield

    def drain(self) -> None:
        """Let nothing new through and ask the streams to end."""
        with self._changed:
            self._is_draining = True
            places = list(self._places)
            self._changed.notify_all()
        for place in places:
            place.stop()

    def wait_until_idle(self, timeout_s: float) -> int:
        """Wait for the running calls to end; answers how many still run."""
        until_s = time.monotonic() + timeout_s
        with self._changed:
            while self._running_count and (left_s := until_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
            return self._running_count

    @contextmanager
    def _occupying(self, place: Place, client: Client, advice: str, *, reason: str) -> Iterator[None]:
        with self._changed:
            self._take_place(place, client, advice, reason=reason)
        try:
            with parked():
                yield
        finally:
            with self._changed:
                self._places.pop(place, None)

    def _take_place(self, place: Place, client: Client, advice: str, *, reason: str) -> None:
        held = Counter(self._places.values())
        is_full = len(self._places) >= self._stream_count_max
        if is_full or held[client] >= self._client_max:
            idlest = self._idlest(client, held, among_all=is_full and held[client] < self._client_max)
            if idlest is None:
                most = self._stream_count_max if is_full else self._client_max
                raise Overloaded(
                    f"{most} streams and waiting calls {'' if is_full else 'of this client '}are open, as many as the "
                    f"server allows (server.stream_count_max = {self._stream_count_max}); {advice}",
                    reason=reason,
                    metadata={"maximum": str(most)},
                )
            # It ends on its own thread; its place is free at once.
            del self._places[idlest]
            idlest.give_up()
        self._places[place] = client

    def _idlest(self, client: Client, held: Counter[Client], *, among_all: bool) -> Place | None:
        """The place that is given up for a further one of this client; None when all are in use."""
        found, longest_s = None, 0.0
        for place, holder in self._places.items():
            if not among_all and holder != client:
                continue
            idle_s = place.idle_s()
            has_more = held[holder] > held[client]
            if idle_s > longest_s and idle_s >= (HURRIED_S if has_more else IDLE_S):
                found, longest_s = place, idle_s
        return found

    def _admitted(self) -> Engine:
        if self._is_draining:
            raise Unavailable(
                "the server is shutting down; call another one, or this one later", reason="SHUTTING_DOWN"
            )
        if self._engine is None:
            raise Unavailable("the server is opening its store; call again in a moment", reason="STARTING")
        return self._engine
