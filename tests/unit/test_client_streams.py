"""Streams: order, a bounded window, and connections that break."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from queue import Queue

import grpc
import numpy as np
import pytest

from mien.v1 import gallery_service_pb2 as galleries_v1
from mien.v1 import recognition_service_pb2 as recognition_v1
from mien_client import Client, ClientOptions, EnrollAck, EnrollRows, NotFound, ServerFailure, Unavailable, row_batches
from mien_client._wire import encode
from tests.client_support import FakeService, client_of, refuse, rich_status

Requests = Iterator[galleries_v1.StreamEnrollRequest]
Acks = Iterator[galleries_v1.StreamEnrollResponse]

IDLE = rich_status(grpc.StatusCode.UNAVAILABLE, "idle", reason="STREAM_IDLE", retry_after_s=0.01)


def rows(count: int) -> list[EnrollRows]:
    return [EnrollRows(np.eye(1, 4, number % 4), [f"person-{number}"]) for number in range(count)]


def read_into(seen: list[int], acks: Iterable[EnrollAck]) -> None:
    """Keeps what was seen when the iterator raises."""
    for ack in acks:
        seen.append(ack.batch)  # noqa: PERF401


class Ledger:
    """A server's StreamEnroll that writes down each request id once, and breaks after some answers."""

    def __init__(self, break_after: list[int | None]) -> None:
        self.sequences: list[list[int]] = []
        self.written: dict[str, str] = {}
        self._break_after = break_after

    def __call__(self, requests: Requests, context: grpc.ServicerContext) -> Acks:
        connection = len(self.sequences)
        self.sequences.append([])
        limit = self._break_after[min(connection, len(self._break_after) - 1)]
        for answered, request in enumerate(requests):
            if answered == limit:
                context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
            self.sequences[connection].append(request.sequence)
            self.written.setdefault(request.request_id, request.rows.identity_ids[0])
            yield galleries_v1.StreamEnrollResponse(
                sequence=request.sequence, revision=len(self.written), enrolled_count=1
            )


def test_a_broken_stream_goes_on_where_it_was() -> None:
    """After each break what was not acknowledged is sent again under its request id, numbered from 1."""
    ledger = Ledger([3, 4, None])
    with client_of(FakeService(StreamEnroll=ledger)) as client:
        acks = list(client.stream_enroll("people", rows(20), window=4))
    assert [ack.batch for ack in acks] == list(range(20))
    assert list(ledger.written.values()) == [f"person-{number}" for number in range(20)]
    assert [connection[0] for connection in ledger.sequences] == [1, 1, 1]


def test_a_stream_that_never_answers_again_is_given_up() -> None:
    """After attempts_max connections in a row without one answer the error is the caller's."""
    ledger = Ledger([2, 0])
    options = ClientOptions(attempts_max=3, initial_backoff_s=0.01)
    with client_of(FakeService(StreamEnroll=ledger), options) as client:
        acks = []
        with pytest.raises(Unavailable):
            acks.extend(client.stream_enroll("people", rows(9)))
    assert len(ledger.sequences) == 3


def test_a_stream_ended_for_idleness_is_opened_again_when_there_is_something_to_send() -> None:
    """A server that takes an idle stream's place is no failure, however often it does, and is left alone meanwhile."""
    opened: Queue[int] = Queue()

    def enroll(requests: Requests, context: grpc.ServicerContext) -> Acks:
        opened.put(1)
        if opened.qsize() == 1:
            refuse(context, IDLE)
        request = next(requests)
        yield galleries_v1.StreamEnrollResponse(sequence=request.sequence, enrolled_count=1)
        refuse(context, IDLE)

    def source() -> Iterator[EnrollRows]:
        for number, batch in enumerate(rows(3)):
            while opened.qsize() < 1 + number:
                time.sleep(0.001)
            # Long enough for many attempts, of which there must be none.
            time.sleep(0.1)
            assert opened.qsize() == 1 + number
            yield batch

    options = ClientOptions(attempts_max=1, initial_backoff_s=0.001)
    with client_of(FakeService(StreamEnroll=enroll), options) as client:
        assert [ack.batch for ack in client.stream_enroll("people", source())] == [0, 1, 2]


def test_a_stream_that_is_called_idle_with_something_to_send_is_given_up() -> None:
    """After attempts_max streams in a row that a server ends before it has read what was sent, the caller is told."""
    opened: list[int] = []

    def enroll(_: Requests, context: grpc.ServicerContext) -> Acks:
        opened.append(1)
        time.sleep(0.05)
        refuse(context, IDLE)
        yield galleries_v1.StreamEnrollResponse()

    options = ClientOptions(attempts_max=3, initial_backoff_s=0.001)
    with client_of(FakeService(StreamEnroll=enroll), options) as client:
        acks: list[int] = []
        with pytest.raises(Unavailable) as caught:
            read_into(acks, client.stream_enroll("people", rows(3)))
    assert (caught.value.reason, acks, len(opened)) == ("STREAM_IDLE", [], 3)


def test_streams_and_calls_say_who_calls() -> None:
    """A client with an id sends it with every call and every stream."""
    seen: list[tuple[str, str | bytes]] = []

    def noted(context: grpc.ServicerContext) -> None:
        seen.extend((key, value) for key, value in context.invocation_metadata() if key == "mien-client-id")

    def enroll(requests: Requests, context: grpc.ServicerContext) -> Acks:
        noted(context)
        for request in requests:
            yield galleries_v1.StreamEnrollResponse(sequence=request.sequence, enrolled_count=1)

    def get(_: galleries_v1.GetGalleryRequest, context: grpc.ServicerContext) -> galleries_v1.GetGalleryResponse:
        noted(context)
        return galleries_v1.GetGalleryResponse()

    service = FakeService(StreamEnroll=enroll, GetGallery=get)
    with client_of(service, ClientOptions(client_id="door-3")) as client:
        assert len(list(client.stream_enroll("people", rows(1)))) == 1
        client.get_gallery("people")
    assert seen == [("mien-client-id", "door-3")] * 2


def test_answers_given_before_a_stream_failed_are_kept() -> None:
    """What was acknowledged reaches the caller before the error does."""
    ledger = Ledger([2, 0])
    options = ClientOptions(attempts_max=2, initial_backoff_s=0.01)
    seen: list[int] = []
    with client_of(FakeService(StreamEnroll=ledger), options) as client, pytest.raises(Unavailable):
        read_into(seen, client.stream_enroll("people", rows(9)))
    assert seen == [0, 1]


def test_no_more_than_a_window_is_under_way() -> None:
    """With nothing acknowledged, the source is asked for as many batches as the window holds and no more."""
    taken: list[int] = []
    may_answer = threading.Event()

    def source() -> Iterator[EnrollRows]:
        for number, batch in enumerate(rows(12)):
            taken.append(number)
            yield batch

    def answer(requests: Requests, _context: grpc.ServicerContext) -> Acks:
        received = []
        for request in requests:
            received.append(request.sequence)
            if len(received) == 3:
                may_answer.wait(30)
                yield from (galleries_v1.StreamEnrollResponse(sequence=sequence) for sequence in received)
                break
        for request in requests:
            yield galleries_v1.StreamEnrollResponse(sequence=request.sequence)

    with client_of(FakeService(StreamEnroll=answer)) as client:
        acks = client.stream_enroll("people", source(), window=3)
        timer = threading.Timer(0.3, lambda: (most.append(len(taken)), may_answer.set()))
        most: list[int] = []
        timer.start()
        assert len(list(acks)) == 12
    assert most == [3]


def test_an_error_of_the_source_is_the_callers() -> None:
    """What the caller's own iterator raises comes out of the stream, after the answers to what came before."""

    def source() -> Iterator[EnrollRows]:
        yield from rows(2)
        raise RuntimeError("the file ended early")

    seen: list[int] = []
    with (
        client_of(FakeService(StreamEnroll=Ledger([None]))) as client,
        pytest.raises(RuntimeError, match="ended early"),
    ):
        read_into(seen, client.stream_enroll("people", source()))
    assert seen == [0, 1]


def test_a_batch_that_cannot_be_packed_is_a_value_error() -> None:
    """Columns of different lengths are seen before anything of the batch is sent."""
    with client_of(FakeService(StreamEnroll=Ledger([None]))) as client, pytest.raises(ValueError, match="identity_ids"):
        list(client.stream_enroll("people", [EnrollRows(np.eye(3), ["a", "b"])]))


def test_leaving_a_stream_early_ends_it() -> None:
    """Closing the iterator cancels the call in the server and stops reading the source."""
    cancelled = threading.Event()

    def answer(requests: Requests, context: grpc.ServicerContext) -> Acks:
        context.add_callback(cancelled.set)
        for request in requests:
            yield galleries_v1.StreamEnrollResponse(sequence=request.sequence)

    def endless() -> Iterator[EnrollRows]:
        while True:
            yield from rows(1)

    with client_of(FakeService(StreamEnroll=answer)) as client:
        acks = client.stream_enroll("people", endless())
        next(acks)
        acks.close()  # type: ignore[attr-defined]
        assert cancelled.wait(20)


def test_an_answer_out_of_order_is_a_failure() -> None:
    """An acknowledgement of another batch than the one due is never given to the caller."""

    def answer(requests: Requests, _context: grpc.ServicerContext) -> Acks:
        for request in requests:
            yield galleries_v1.StreamEnrollResponse(sequence=request.sequence + 1)

    with client_of(FakeService(StreamEnroll=answer)) as client, pytest.raises(ServerFailure, match="was due"):
        list(client.stream_enroll("people", rows(3)))


def test_a_stream_that_the_server_ends_early_is_no_success() -> None:
    """An OK before every batch is acknowledged is an error once it stays so."""

    def answer(requests: Requests, _context: grpc.ServicerContext) -> Acks:
        next(requests)
        yield from ()

    options = ClientOptions(attempts_max=2, initial_backoff_s=0.01)
    with client_of(FakeService(StreamEnroll=answer), options) as client, pytest.raises(Unavailable, match="unanswered"):
        list(client.stream_enroll("people", rows(3)))


def test_an_empty_stream_is_empty() -> None:
    """No batches, no acknowledgements, no error."""
    with client_of(FakeService(StreamEnroll=Ledger([None]))) as client:
        assert list(client.stream_enroll("people", [])) == []


def test_one_bad_request_of_a_search_stream_fails_alone() -> None:
    """The error of one request is in its answer, and the stream goes on."""

    def answer(
        requests: Iterator[recognition_v1.StreamSearchRequest], _context: grpc.ServicerContext
    ) -> Iterator[recognition_v1.StreamSearchResponse]:
        for request in requests:
            response = recognition_v1.StreamSearchResponse(sequence=request.sequence)
            if request.sequence == 2:
                response.error.CopyFrom(rich_status(grpc.StatusCode.NOT_FOUND, "no", reason="GALLERY_NOT_FOUND"))
            else:
                response.response.info.revision = 9
            yield response

    with client_of(FakeService(StreamSearch=answer)) as client:
        answers = list(client.stream_search("people", [np.eye(4)] * 3))
    assert [one.request for one in answers] == [0, 1, 2]
    assert isinstance(answers[1].error, NotFound)
    assert answers[1].answer is None
    assert answers[2].answer is not None
    assert answers[2].answer.info.revision == 9


def test_rows_are_cut_into_batches_that_lose_nothing() -> None:
    """Every row is in exactly one batch, beside its own id."""
    vectors = np.arange(22, dtype=np.float32).reshape(11, 2)
    batches = list(row_batches(vectors, [str(row) for row in range(11)], rows_per_batch=4))
    assert [len(batch.identity_ids) for batch in batches] == [4, 4, 3]
    assert np.array_equal(np.concatenate([np.asarray(batch.vectors) for batch in batches]), vectors)
    assert [name for batch in batches for name in batch.identity_ids] == [str(row) for row in range(11)]


@pytest.mark.parametrize("normalize", [False, True])
def test_every_batch_says_whether_its_rows_are_to_be_normalized(normalize: bool) -> None:
    """The choice travels with the embeddings of each batch."""
    batches = list(row_batches(np.ones((5, 2)), list("abcde"), normalize=normalize, rows_per_batch=2))
    assert [encode.enroll_rows(batch).embeddings.normalize for batch in batches] == [normalize] * 3


def test_a_window_of_nothing_is_refused() -> None:
    """A stream that may have no request under way would never end."""
    with Client("127.0.0.1:1") as client, pytest.raises(ValueError, match="window"):
        list(client.stream_enroll("people", rows(1), window=0))
