"""A bidirectional stream with a bounded number of unanswered requests, which survives a broken connection.

The server answers in the order of the requests. What was sent and not answered is kept; when the connection breaks, a
new stream is opened and sends it again, numbered from 1, before anything new. Writes stay single because each request
carries the request id it was given the first time.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import grpc

from mien_client._rpc.failures import from_rpc_error
from mien_client.errors import MienClientError, Overloaded, ServerFailure, Unavailable

__all__ = ["StreamOptions", "StreamedCall", "windowed"]

STREAM_IDLE = "STREAM_IDLE"
"""Reason of a server that ended a stream on which nothing happened."""
RETRY_SPREAD = 0.25


class _Sequenced(Protocol):
    """Requests of a stream are numbered, and every answer says which one it answers."""

    sequence: int


_Request = TypeVar("_Request", bound=_Sequenced)
_Answer = TypeVar("_Answer", bound=_Sequenced)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a stream behaves.

    Attributes:
        window: requests that may be unanswered at once.
        attempts_max: connections in a row that may break without one answer before the stream is given up. One that
            the server ended because nothing was sent is none: the next is opened when there is something to send.
        initial_backoff_s: wait before the second of them, doubled for each further one.
        timeout_s: seconds for the whole stream; None: no limit.
        metadata: sent with each connection.
    """

    window: int = 8
    attempts_max: int = 5
    initial_backoff_s: float = 0.2
    timeout_s: float | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window is {self.window}; at least one request must be under way")


@dataclass(frozen=True, slots=True)
class StreamedCall(Generic[_Request, _Answer]):
    """The stub's method of a stream, and the server's address for messages."""

    method: grpc.StreamStreamMultiCallable[_Request, _Answer]
    address: str


class _Pending(Generic[_Request]):
    """Items taken from the source and not yet answered, shared by the thread that sends and the one that reads."""

    def __init__(self, source: Iterable[_Request], window: int) -> None:
        self._source = iter(source)
        self._window = window
        self._changed = threading.Condition()
        # Held while an item is taken from the source, which may block for as long as it likes.
        self._pulling = threading.Lock()
        self._items: deque[_Request] = deque()
        self._answered = 0
        self._connection = 0
        self._is_exhausted = False
        self.source_error: BaseException | None = None

    @property
    def answered(self) -> int:
        return self._answered

    def is_finished(self) -> bool:
        with self._changed:
            return self._is_exhausted and not self._items

    def is_all_answered(self) -> bool:
        """Whether there is nothing to send now."""
        with self._changed:
            return not self._items

    def open_connection(self) -> int:
        """Makes every older sender stop; answers the number of the new one."""
        with self._changed:
            self._connection += 1
            self._changed.notify_all()
            return self._connection

    def acknowledge(self) -> None:
        with self._changed:
            self._items.popleft()
            self._answered += 1
            self._changed.notify_all()

    def wait_for_more(self, deadline_s: float | None) -> None:
        """Waits until there is something to send, or never will be, or the time is up."""
        # The sender of the connection that has ended may still wait for the source, and is then waited for.
        threading.Thread(target=self._pull, name="mien-source", daemon=True).start()
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._is_exhausted, left_s)

    def send_from(self, connection: int) -> Iterator[_Request]:
        """Everything unanswered, then everything new, for as long as the connection is the newest."""
        with self._changed:
            position = self._answered
        while self._wait_for_place(connection, position):
            item = self._item(connection, position)
            if item is None:
                return
            yield item[0]
            position += 1

    def _wait_for_place(self, connection: int, position: int) -> bool:
        """Whether item number `position` may be sent; waits while the window is full."""

        def can_go_on() -> bool:
            return connection != self._connection or position < self._answered + self._window

        with self._changed:
            self._changed.wait_for(can_go_on)
            return connection == self._connection

    def _item(self, connection: int, position: int) -> tuple[_Request] | None:
        """Item number `position`, from what is kept or else from the source; None where sending ends."""
        kept = self._kept(connection, position)
        if kept is not None:
            return kept
        with self._pulling:
            # The sender of an older connection may have taken it meanwhile.
            kept = self._kept(connection, position)
            if kept is not None or not self._wants_more(connection):
                return kept
            taken = self._take_and_keep()
            return taken if self._wants_more(connection) else None

    def _pull(self) -> None:
        """Takes the next item from the source, unless there is one or will be none."""
        with self._pulling:
            with self._changed:
                if self._items or self._is_exhausted:
                    return
            self._take_and_keep()

    def _take_and_keep(self) -> tuple[_Request] | None:
        taken = self._take()
        with self._changed:
            if taken is None:
                self._is_exhausted = True
            else:
                self._items.append(taken[0])
            self._changed.notify_all()
        return taken

    def _kept(self, connection: int, position: int) -> tuple[_Request] | None:
        with self._changed:
            offset = position - self._answered
            if connection != self._connection or offset >= len(self._items):
                return None
            return (self._items[offset],)

    def _wants_more(self, connection: int) -> bool:
        with self._changed:
            return connection == self._connection and not self._is_exhausted

    def _take(self) -> tuple[_Request] | None:
        try:
            return (next(self._source),)
        except StopIteration:
            return None
        except BaseException as error:  # noqa: BLE001  the caller's own error: raised in the caller's thread
            self.source_error = error
            return None


def windowed(
    call: StreamedCall[_Request, _Answer], source: Iterable[_Request], options: StreamOptions
) -> Iterator[tuple[int, _Answer]]:
    """Sends requests and yields (number of the request from 0, answer) in order.

    Requests come without a sequence, which is set here. The source is read in another thread, at most `window` items
    ahead. Its exceptions are raised here after the answers to everything before them. Leaving the iterator early
    cancels the stream.

    Raises:
        MienClientError: the stream failed for good.
    """
    pending = _Pending(source, options.window)
    deadline_s = None if options.timeout_s is None else time.monotonic() + options.timeout_s
    failures = 0
    while True:
        answered_before = pending.answered
        try:
            yield from _one_connection(call, pending, options, deadline_s)
        except (Unavailable, Overloaded) as error:
            if pending.answered > answered_before:
                failures = 0
            if error.reason == STREAM_IDLE and pending.is_all_answered():
                # The server is well, and gave the place to another: a new stream would only take it from that one.
                pending.wait_for_more(deadline_s)
            else:
                failures += 1
            if failures >= options.attempts_max:
                raise
            if not pending.is_finished():
                time.sleep(_pause_s(error, failures, options))
                continue
        if pending.source_error is not None:
            raise pending.source_error
        return


def _pause_s(error: MienClientError, failures: int, options: StreamOptions) -> float:
    """What the server asked for at least, and never the same for two clients that were refused together."""
    backoff_s = options.initial_backoff_s * float(2 ** max(0, failures - 1))
    spread = 1.0 + RETRY_SPREAD * random.random()  # noqa: S311  nothing secret
    return max(backoff_s, error.retry_after_s or 0.0) * spread


def _one_connection(
    call: StreamedCall[_Request, _Answer],
    pending: _Pending[_Request],
    options: StreamOptions,
    deadline_s: float | None,
) -> Iterator[tuple[int, _Answer]]:
    connection = pending.open_connection()
    timeout_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
    answers = call.method(_numbered(pending.send_from(connection)), timeout=timeout_s, metadata=options.metadata)
    try:
        for expected, answer in enumerate(answers, start=1):
            if answer.sequence != expected:
                raise ServerFailure(
                    f"the server at {call.address} answered request {answer.sequence} of a stream where {expected} "
                    "was due",
                    reason="UNEXPECTED_ANSWER",
                )
            number = pending.answered
            pending.acknowledge()
            yield number, answer
        if not pending.is_finished():
            raise Unavailable(
                f"the server at {call.address} ended a stream with requests unanswered", code="UNAVAILABLE"
            )
    except grpc.RpcError as error:
        raise from_rpc_error(error, call.address, options.timeout_s) from None
    finally:
        answers.cancel()  # type: ignore[no-untyped-call]  # grpc-stubs leaves it untyped
        # Ends the sender, which may wait for a place in the window.
        pending.open_connection()


def _numbered(requests: Iterator[_Request]) -> Iterator[_Request]:
    for sequence, request in enumerate(requests, start=1):
        request.sequence = sequence
        yield request
