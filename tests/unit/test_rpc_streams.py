"""A stream's answers: in order, bounded in flight, every request answered, ending when asked to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, Queue

import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from mien_server.errors import InvalidArgument, Unavailable
from mien_server.rpc.streams import AnswersInOrder, StreamWindow

WINDOW = StreamWindow(requests_max=3, bytes_max=100)


def _echo(body: bytes) -> Callable[[], Message]:
    return lambda: StringValue(value=body.decode())


def _texts(answers: Iterator[bytes]) -> list[str]:
    return [StringValue.FromString(answer).value for answer in answers]


class _Endless:
    """Requests without end, counted as they are taken."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.taken = threading.Semaphore(0)
        self.count = 0

    def __iter__(self) -> _Endless:
        return self

    def __next__(self) -> bytes:
        self.count += 1
        self.taken.release()
        return self.body


def _queued(queue: Queue[bytes | None]) -> Iterator[bytes]:
    while (body := queue.get()) is not None:
        yield body


def test_answers_come_in_the_order_of_the_requests() -> None:
    """Every request is answered, in its place."""
    bodies = [b"%d" % number for number in range(50)]
    assert _texts(AnswersInOrder(iter(bodies), WINDOW).run(_echo)) == [body.decode() for body in bodies]


def test_no_more_is_read_than_the_window_holds() -> None:
    """While nobody takes answers, no more requests are read than the window allows: memory is bounded."""
    bodies = _Endless(b"x")
    answers = AnswersInOrder(bodies, WINDOW)
    running = answers.run(_echo)
    next(running)
    for _ in range(WINDOW.requests_max):
        bodies.taken.acquire()
    assert not bodies.taken.acquire(timeout=0.2)
    next(running)
    assert bodies.taken.acquire(timeout=10)
    answers.stop()


def test_bytes_bound_the_window_too() -> None:
    """A request beyond the window's bytes is not followed by another one."""
    bodies = _Endless(b"x" * 150)
    answers = AnswersInOrder(bodies, WINDOW)
    running = answers.run(_echo)
    next(running)
    assert bodies.taken.acquire(timeout=10)
    assert not bodies.taken.acquire(timeout=0.2)
    answers.stop()


def test_a_caller_that_waits_for_each_answer_is_answered() -> None:
    """A caller that sends its next request only after an answer never waits for ever."""
    queue: Queue[bytes | None] = Queue()
    running = AnswersInOrder(_queued(queue), WINDOW).run(_echo)
    queue.put(b"one")
    assert StringValue.FromString(next(running)).value == "one"
    queue.put(b"two")
    assert StringValue.FromString(next(running)).value == "two"
    queue.put(None)
    assert list(running) == []


def test_what_came_before_an_error_is_answered_first() -> None:
    """When a request ends the stream, every request before it still gets its answer."""

    def begin(body: bytes) -> Callable[[], Message]:
        if body == b"bad":
            raise InvalidArgument("gap", reason="SEQUENCE_GAP")
        return _echo(body)

    running = AnswersInOrder(iter([b"a", b"b", b"bad", b"c"]), WINDOW).run(begin)
    assert [StringValue.FromString(next(running)).value for _ in range(2)] == ["a", "b"]
    with pytest.raises(InvalidArgument):
        next(running)


def test_stopping_answers_what_was_begun() -> None:
    """A stream that is asked to stop answers what it has begun, then says that the server shuts down."""
    queue: Queue[bytes | None] = Queue()
    begun, may_finish = threading.Event(), threading.Event()

    def begin(body: bytes) -> Callable[[], Message]:
        begun.set()
        assert may_finish.wait(10)
        return _echo(body)

    answers = AnswersInOrder(_queued(queue), WINDOW)
    running = answers.run(begin)
    queue.put(b"one")
    first: list[str] = []
    taker = threading.Thread(target=lambda: first.append(StringValue.FromString(next(running)).value))
    taker.start()
    assert begun.wait(10)
    answers.stop()
    may_finish.set()
    taker.join(10)
    assert first == ["one"]
    with pytest.raises(Unavailable) as caught:
        next(running)
    assert caught.value.reason == "SHUTTING_DOWN"
    queue.put(None)


def test_a_stream_that_was_read_to_its_end_ends_well_while_stopping() -> None:
    """When the caller has sent everything, shutting down changes nothing for it."""
    answers = AnswersInOrder(iter([b"a"]), WINDOW)
    running = answers.run(_echo)
    assert StringValue.FromString(next(running)).value == "a"
    assert list(running) == []
    answers.stop()


def test_a_stream_that_is_given_up_answers_what_it_has_taken() -> None:
    """A request that came as the stream was given up is answered before its end; one that comes after is not begun."""
    queue: Queue[bytes | None] = Queue()
    begun, may_finish = threading.Semaphore(0), threading.Event()

    def begin(body: bytes) -> Callable[[], Message]:
        begun.release()
        assert may_finish.wait(10)
        return _echo(body)

    answers = AnswersInOrder(_queued(queue), WINDOW)
    taken: Queue[str | Exception] = Queue()

    def take() -> None:
        try:
            for text in answers.run(begin):
                taken.put(StringValue.FromString(text).value)
        except Unavailable as error:
            taken.put(error)

    threading.Thread(target=take, daemon=True).start()
    queue.put(b"one")
    assert begun.acquire(timeout=10)
    answers.give_up()
    queue.put(b"two")
    with pytest.raises(Empty):
        taken.get(timeout=0.2)
    may_finish.set()
    assert taken.get(timeout=10) == "one"
    error = taken.get(timeout=10)
    assert isinstance(error, Unavailable)
    assert error.reason == "STREAM_IDLE"
    assert not begun.acquire(timeout=0.2)


def test_an_idle_stream_begins_nothing_after_it_was_ended() -> None:
    """A request that comes while an idle stream ends is not carried out: nobody would be told of it."""
    answers = AnswersInOrder(iter([]), StreamWindow(idle_max_s=0.0))
    with pytest.raises(Unavailable):
        answers._next_begun()
    assert not answers._take(1)
