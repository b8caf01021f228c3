"""Bidirectional streams: batches in, answers out in the same order, a bounded number in flight between.

A reader thread takes requests off the wire and begins them; the thread that grpc gave the call finishes them, one by
one, and hands the answers out. A request is only read when there is room for it, so a client that does not read its
answers is stopped by HTTP/2 flow control, and the memory a stream holds is bounded. A stream on which nothing happens
is ended: it would hold its threads for ever.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2

from mien_server.errors import Cancelled, DeadlineExceeded, InvalidArgument, Unavailable
from mien_server.rpc.clients import Client
from mien_server.rpc.errors import as_mien_error, status_of
from mien_server.rpc.gate import Call
from mien_server.rpc.patience import Patience

__all__ = ["AnswersInOrder", "StreamMethod", "StreamPeer", "StreamWindow", "begin_batches"]

ROOM_LOOK_INTERVAL_S = 0.05
"""How often a stream that waits for other callers' requests to be done looks again."""

Finish = Callable[[], Message]
"""Waits for a request that was begun and makes its answer."""
Begin = Callable[[bytes], Finish]


@dataclass(frozen=True, slots=True)
class StreamWindow:
    """What one stream may have in flight: `requests_max` requests, and no further one beyond `bytes_max` bytes.

    Attributes:
        idle_max_s: seconds without a request, while none is worked on, after which the stream is ended.
    """

    requests_max: int = 16
    bytes_max: int = 64 * 1024 * 1024
    idle_max_s: float = 600.0


@dataclass(frozen=True, slots=True)
class StreamPeer:
    """The other end of a stream.

    Attributes:
        cancel: ends the call at once, whatever it waits for.
        patience: what all callers together may hold.
    """

    client: Client
    cancel: Callable[[], object]
    patience: Patience


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
        peer: whose stream it is; None in tests of the order alone.
    """

    def __init__(self, bodies: Iterator[bytes], window: StreamWindow, peer: StreamPeer | None = None) -> None:
        self._bodies = bodies
        self._window = window
        self._peer = peer
        self._changed = threading.Condition()
        self._begun: deque[tuple[int, Finish]] = deque()
        self._held_count = 0
        self._held_bytes = 0
        self._is_beginning = False
        self._is_stopping = False
        self._is_given_up = False
        self._is_sending = False
        self._has_ended = False
        self._active_s = time.monotonic()
        self._error: Exception | None = None

    def stop(self) -> None:
        """Read nothing more: what was begun is answered, then the stream ends."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def idle_s(self) -> float:
        """For how many seconds nothing was asked, or the answer that is due was not taken."""
        with self._changed:
            is_at_work = self._held_count > 0 and not self._is_sending
            return 0.0 if is_at_work else time.monotonic() - self._active_s

    def give_up(self) -> None:
        """End an idle stream, so that another finds a place; what has just been taken is answered first."""
        with self._changed:
            self._is_given_up = True
            is_sending = self._is_sending
            self._changed.notify_all()
        if is_sending and self._peer is not None:
            # Its thread waits for the caller to take an answer, and can say nothing.
            self._peer.cancel()

    def run(self, begin: Begin) -> Iterator[bytes]:
        """The answers, in the order of the requests.

        Raises:
            MienError: what ended the stream early, after the answers to everything before it.
            Unavailable: SHUTTING_DOWN, when it was stopped; STREAM_IDLE, when nothing happened for too long.
        """
        reading = partial(copy_context().run, self._read, begin)
        threading.Thread(target=reading, name="mien-stream-reader", daemon=True).start()
        try:
            while (begun := self._next_begun()) is not None:
                body_bytes, finish = begun
                answer = finish().SerializeToString()
                sent = self._sending(len(answer))
                try:
                    yield answer
                finally:
                    sent()
                self._release(body_bytes)
        finally:
            self._abandon()
        if self._error is not None:
            raise self._error
        if not self._has_ended:
            raise Unavailable(
                "the server is shutting down; every request answered so far is done, send the rest again",
                reason="SHUTTING_DOWN",
            )

    def _sending(self, answer_bytes: int) -> Callable[[], None]:
        """Note that the caller is to take an answer; the function answered says that it has."""
        peer = self._peer
        gone = None if peer is None else peer.patience.answering(peer.client, answer_bytes, peer.cancel)
        with self._changed:
            self._is_sending = True
            self._active_s = time.monotonic()

        def sent() -> None:
            if gone is not None:
                gone()
            with self._changed:
                self._is_sending = False
                self._active_s = time.monotonic()

        return sent

    def _read(self, begin: Begin) -> None:
        error: Exception | None = None
        is_complete = False
        try:
            while self._wait_for_room():
                body = next(self._bodies, None)
                if body is None:
                    is_complete = True
                    break
                body_bytes = max(1, len(body))
                if not self._take(body_bytes):
                    break
                self._append(body_bytes, begin(body))
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
        with self._changed:
            while not self._is_stopping and not self._has_room():
                # Nobody tells of room that others leave.
                self._changed.wait(ROOM_LOOK_INTERVAL_S if self._has_own_room() else None)
            return not self._is_stopping

    def _has_own_room(self) -> bool:
        return self._held_count < self._window.requests_max and self._held_bytes < self._window.bytes_max

    def _has_room(self) -> bool:
        """Whether another request may be read. One at a time always may, so that every stream goes on."""
        if not self._held_count or self._peer is None:
            return self._has_own_room()
        return self._has_own_room() and not self._peer.patience.is_full()

    def _take(self, body_bytes: int) -> bool:
        with self._changed:
            if self._is_stopping or self._is_given_up:
                return False
            self._is_beginning = True
            self._held_count += 1
            self._held_bytes += body_bytes
            if self._peer is not None:
                self._peer.patience.hold(self._peer.client, body_bytes)
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
                if self._is_given_up and not self._held_count:
                    raise _idle("others need its place")
                left_s = self._active_s + self._window.idle_max_s - time.monotonic()
                if left_s <= 0 and not self._held_count:
                    # Nothing may be taken any more that would not be answered.
                    self._is_given_up = True
                    raise _idle(f"nothing came for {self._window.idle_max_s:g} s (server.stream_idle_max_s)")
                self._changed.wait(max(left_s, 0.0) if not self._held_count else None)
            return self._begun.popleft()

    def _release(self, body_bytes: int) -> None:
        with self._changed:
            self._held_count -= 1
            self._held_bytes -= body_bytes
            if self._peer is not None:
                self._peer.patience.release(self._peer.client, body_bytes)
            self._changed.notify_all()

    def _abandon(self) -> None:
        """Take nothing more, and hold nothing any more: the stream has ended, well or not."""
        with self._changed:
            self._is_stopping = True
            self._begun.clear()
            if self._held_bytes and self._peer is not None:
                self._peer.patience.release(self._peer.client, self._held_bytes)
            self._held_count = self._held_bytes = 0
            self._changed.notify_all()


def _idle(why: str) -> Unavailable:
    return Unavailable(
        f"the stream was ended: {why}; every request is answered, open another stream when there is more to ask",
        reason="STREAM_IDLE",
    )
