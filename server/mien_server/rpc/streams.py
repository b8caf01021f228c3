"""Bidirectional streams: batches in, answers out in the same order, a bounded number in flight between.

A reader thread takes requests off the wire and begins them; the thread that grpc gave the call finishes them, one by
one, and hands the answers out. A request is only read when there is room for it, so a client that does not read its
answers is stopped by HTTP/2 flow control, and the memory a stream holds is bounded.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2

from mien_server.errors import Cancelled, DeadlineExceeded, InvalidArgument, Unavailable
from mien_server.rpc.errors import as_mien_error, status_of
from mien_server.rpc.gate import Call

__all__ = ["AnswersInOrder", "StreamMethod", "StreamWindow", "begin_batches"]

Finish = Callable[[], Message]
"""Waits for a request that was begun and makes its answer."""
Begin = Callable[[bytes], Finish]


@dataclass(frozen=True, slots=True)
class StreamWindow:
    """What one stream may have in flight: `requests_max` requests, and no further one beyond `bytes_max` bytes."""

    requests_max: int = 8
    bytes_max: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """A streaming method.

    Attributes:
        open: makes the function that begins a request, once for each stream.
        refuse: the answer to the request of a sequence number that failed; the stream goes on.
    """

    open: Callable[[Call], Callable[[Any], Finish]]
    refuse: Callable[[int, status_pb2.Status], Message]


def begin_batches(stream: StreamMethod, parse: Callable[[bytes], Any], call: Call) -> Begin:
    """The function that begins the requests of one stream: checks their sequence and turns errors into answers.

    It raises InvalidArgument(REQUEST_MALFORMED or SEQUENCE_GAP) where the stream must end.
    """
    begin_request = stream.open(call)
    expected = 1

    def begin(body: bytes) -> Finish:
        nonlocal expected
        request = parse(body)
        sequence: int = request.sequence
        if sequence != expected:
            raise InvalidArgument(
                f"sequence: {sequence} received, {expected} expected; number the messages of a stream 1, 2, 3, ...",
                field="sequence",
                reason="SEQUENCE_GAP",
                metadata={"given": str(sequence), "expected": str(expected)},
            )
        expected += 1

        def refused(raised: Exception) -> Message:
            if isinstance(raised, (Cancelled, DeadlineExceeded)):
                raise raised
            return stream.refuse(sequence, status_of(as_mien_error(raised, call.method)))

        try:
            finish = begin_request(request)
        except Exception as raised:  # noqa: BLE001 - answered in its place
            answer = refused(raised)
            return lambda: answer

        def finished() -> Message:
            try:
                return finish()
            except Exception as raised:  # noqa: BLE001 - answered in its place
                return refused(raised)

        return finished

    return begin


class AnswersInOrder:
    """One stream: reads on a thread of its own, answers on the caller's.

    Args:
        bodies: the requests; `next` blocks until there is one.
    """

    def __init__(self, bodies: Iterator[bytes], window: StreamWindow) -> None:
        self._bodies = bodies
        self._window = window
        self._changed = threading.Condition()
        self._begun: deque[tuple[int, Finish]] = deque()
        self._held_count = 0
        self._held_bytes = 0
        self._is_beginning = False
        self._is_stopping = False
        self._has_ended = False
        self._error: Exception | None = None

    def stop(self) -> None:
        """Read nothing more: what was begun is answered, then the stream ends."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def run(self, begin: Begin) -> Iterator[bytes]:
        """The answers, in the order of the requests.

        Raises:
            MienError: what ended the stream early, after the answers to everything before it.
            Unavailable: SHUTTING_DOWN, when it was stopped.
        """
        threading.Thread(target=self._read, args=(begin,), name="mien-stream-reader", daemon=True).start()
        while (begun := self._next_begun()) is not None:
            body_bytes, finish = begun
            yield finish().SerializeToString()
            self._release(body_bytes)
        if self._error is not None:
            raise self._error
        if not self._has_ended:
            raise Unavailable(
                "the server is shutting down; every request answered so far is done, send the rest again",
                reason="SHUTTING_DOWN",
            )

    def _read(self, begin: Begin) -> None:
        error: Exception | None = None
        is_complete = False
        try:
            while self._wait_for_room():
                body = next(self._bodies, None)
                if body is None:
                    is_complete = True
                    break
                if not self._take(len(body)):
                    break
                self._append(len(body), begin(body))
        except grpc.RpcError:
            error = Cancelled("the caller went away")
        except Exception as raised:  # noqa: BLE001 - raised again where the answers are given
            error = raised
        with self._changed:
            self._is_beginning = False
            self._has_ended = is_complete or error is not None
            self._error = error
            self._changed.notify_all()

    def _wait_for_room(self) -> bool:
        window = self._window
        with self._changed:
            while not self._is_stopping and (
                self._held_count >= window.requests_max or self._held_bytes >= window.bytes_max
            ):
                self._changed.wait()
            return not self._is_stopping

    def _take(self, body_bytes: int) -> bool:
        with self._changed:
            if self._is_stopping:
                return False
            self._is_beginning = True
            self._held_count += 1
            self._held_bytes += body_bytes
            return True

    def _append(self, body_bytes: int, finish: Finish) -> None:
        with self._changed:
            self._is_beginning = False
            self._begun.append((body_bytes, finish))
            self._changed.notify_all()

    def _next_begun(self) -> tuple[int, Finish] | None:
        with self._changed:
            while not self._begun:
                if self._has_ended or (self._is_stopping and not self._is_beginning):
                    return None
                self._changed.wait()
            return self._begun.popleft()

    def _release(self, body_bytes: int) -> None:
        with self._changed:
            self._held_count -= 1
            self._held_bytes -= body_bytes
            self._changed.notify_all()
