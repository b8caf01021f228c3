"""Which calls may run: none before the engine is open, none that begin after draining has begun."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from mien_server.engine import Engine
from mien_server.errors import Overloaded, Unavailable
from mien_server.records.deadline import Deadline

__all__ = ["Call", "Gate"]


@dataclass(frozen=True, slots=True)
class Call:
    """What a method gets beside its request.

    Attributes:
        method: full name, such as "mien.v1.GalleryService.GetGallery".
        is_draining: whether the server is shutting down, so that waiting longer is pointless.
        waiting: `Gate.waiting`, around anything that only waits.
    """

    method: str
    engine: Engine
    deadline: Deadline
    is_draining: Callable[[], bool]
    waiting: Callable[[], AbstractContextManager[None]]


class Gate:
    """Counts the calls that run and lets them through only while the engine is open. Safe for many threads.

    Args:
        stream_count_max: streams, waiting calls and reflection streams at once, all together; each holds a thread for
            as long as it lasts.
    """

    def __init__(self, stream_count_max: int) -> None:
        self._stream_count_max = stream_count_max
        self._changed = threading.Condition()
        self._engine: Engine | None = None
        self._running_count = 0
        self._stream_stops: set[Callable[[], None]] = set()
        self._waiting_count = 0
        self._is_draining = False

    def open(self, engine: Engine) -> None:
        """Let calls through."""
        with self._changed:
            self._engine = engine

    def is_draining(self) -> bool:
        """Whether `drain` was called."""
        return self._is_draining

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

    def enter_stream(self, stop: Callable[[], None]) -> Engine:
        """Begin a stream, which `stop` asks to answer what it has taken and to end; `leave_stream` must follow.

        Raises:
            Unavailable: STARTING or SHUTTING_DOWN.
            Overloaded: TOO_MANY_STREAMS.
        """
        with self._changed:
            engine = self._admitted()
            self._require_room("close one, or put more into each message", reason="TOO_MANY_STREAMS")
            self._stream_stops.add(stop)
            self._running_count += 1
            return engine

    def leave_stream(self, stop: Callable[[], None]) -> None:
        """End a stream."""
        with self._changed:
            self._stream_stops.discard(stop)
        self.leave()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the part of a call that only waits, so that waiting calls leave threads for the others.

        Raises:
            Overloaded: TOO_MANY_WAITS.
        """
        with self._occupying("wait for fewer at once, or ask again now and then", reason="TOO_MANY_WAITS"):
            yield

    @contextmanager
    def reflecting(self) -> Iterator[None]:
        """Around a reflection stream, which may stay open and idle. It does not hold up the end.

        Raises:
            Overloaded: TOO_MANY_STREAMS.
        """
        with self._occupying("close one; reflection streams count too", reason="TOO_MANY_STREAMS"):
            yield

    def drain(self) -> None:
        """Let nothing new through and ask the streams to end."""
        with self._changed:
            self._is_draining = True
            stops = list(self._stream_stops)
            self._changed.notify_all()
        for stop in stops:
            stop()

    def wait_until_idle(self, timeout_s: float) -> int:
        """Wait for the running calls to end; answers how many still run."""
        until_s = time.monotonic() + timeout_s
        with self._changed:
            while self._running_count and (left_s := until_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
            return self._running_count

    @contextmanager
    def _occupying(self, advice: str, *, reason: str) -> Iterator[None]:
        with self._changed:
            self._require_room(advice, reason=reason)
            self._waiting_count += 1
        try:
            yield
        finally:
            with self._changed:
                self._waiting_count -= 1

    def _require_room(self, advice: str, *, reason: str) -> None:
        if len(self._stream_stops) + self._waiting_count >= self._stream_count_max:
            raise Overloaded(
                f"{self._stream_count_max} streams and waiting calls are open, as many as the server allows "
                f"(server.stream_count_max); {advice}",
                reason=reason,
                metadata={"maximum": str(self._stream_count_max)},
            )

    def _admitted(self) -> Engine:
        if self._is_draining:
            raise Unavailable(
                "the server is shutting down; call another one, or this one later", reason="SHUTTING_DOWN"
            )
        if self._engine is None:
            raise Unavailable("the server is opening its store; call again in a moment", reason="STARTING")
        return self._engine
