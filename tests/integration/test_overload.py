"""More callers than can be served, and callers that hold what they do not use: others are served all the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2

from mien.v1 import gallery_service_pb2 as pb
from mien.v1 import gallery_service_pb2_grpc, operations_service_pb2, recognition_service_pb2, types_pb2
from mien_server.rpc import lanes
from mien_server.rpc.clients import Client
from mien_server.rpc.methods.table import SERVICES
from mien_server.rpc.patience import SLOW_MIN, Patience, PatienceLimits, Watched
from mien_server.rpc.server import ServerOptions
from mien_server.rpc.streams import StreamWindow
from tests.raw_http2 import GOAWAY, HEADERS, RST_STREAM, RawConnection, grpc_message

TIME_MAX_S = 60
LIST = "/mien.v1.GalleryService/ListGalleries"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
SEARCH = "/mien.v1.RecognitionService/SearchFaces"
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
THREAD_COUNT = 2
WAITING_MAX = 8
DIMENSION = 8
REQUEST_BYTES_MAX = 10_000
ANSWER_BYTES_MAX = 100_000


@pytest.fixture
def server_options() -> ServerOptions:
    """Room for very little, so that a few callers fill it."""
    return ServerOptions(
        listen_addresses=("127.0.0.1:0",),
        thread_count=THREAD_COUNT,
        waiting_call_count_max=WAITING_MAX,
        stream_count_max=1,
        patience=PatienceLimits(request_bytes_max=REQUEST_BYTES_MAX, answer_bytes_max=ANSWER_BYTES_MAX),
    )


class Slow:
    """Makes GetGallery take as long as the test wants."""

    def __init__(self, server: Any) -> None:
        self.turns = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.count = 0
        self._get = server.engine.galleries.get
        server.engine.galleries.get = self._slowly

    def _slowly(self, *arguments: Any) -> Any:
        self.begun.release()
        self.turns.acquire()
        self.count += 1
        return self._get(*arguments)


@pytest.fixture
def slow(server: Any) -> Iterator[Slow]:
    """A server whose GetGallery waits for `turns`."""
    server.create_gallery()
    slow = Slow(server)
    yield slow
    slow.turns.release(1000)


def _get(server: Any, client: str, gallery: str = "staff") -> Any:
    return server.galleries.GetGallery.future(
        pb.GetGalleryRequest(gallery=gallery), timeout=TIME_MAX_S, metadata=[("mien-client-id", client)]
    )


def _waiting(server: Any) -> int:
    return len(server.rpc._lanes._work._turns)


def test_one_call_is_served_between_those_of_a_flood(server: Any, slow: Slow, until: Callable[..., None]) -> None:
    """A caller with one call waits for those that run and for one that was before it, however many another sent."""
    flood = [_get(server, "greedy") for _ in range(THREAD_COUNT + WAITING_MAX)]
    until(lambda: _waiting(server) == WAITING_MAX)
    single = _get(server, "modest")
    until(lambda: sum(call.done() for call in flood) == 1)
    slow.turns.release(THREAD_COUNT + 2)
    assert single.result(TIME_MAX_S).gallery.name == "staff"
    until(lambda: slow.count == THREAD_COUNT + 2)
    until(lambda: WAITING_MAX - 4 <= _waiting(server) <= WAITING_MAX - 3)


def test_whoever_has_the_most_waiting_is_refused(
    server: Any, slow: Slow, until: Callable[..., None], refused: Any
) -> None:
    """Beyond what may wait a flood is refused, with the reason and when to come back, and a newcomer finds a place."""
    flood = [_get(server, "") for _ in range(THREAD_COUNT + WAITING_MAX + 5)]
    until(lambda: sum(call.done() for call in flood) == 5)
    for call in flood:
        if call.done():
            refusal = refused(call.result)
            assert (refusal.code, refusal.reason) == (EXHAUSTED, "TOO_MANY_CALLS")
            assert "RetryInfo" in refusal.details
    with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as another:
        stub = gallery_service_pb2_grpc.GalleryServiceStub(another)
        newcomers = [stub.GetGallery.future(pb.GetGalleryRequest(gallery="staff"), timeout=60) for _ in range(3)]
        until(lambda: sum(call.done() for call in flood) == 8)
        assert not any(call.done() for call in newcomers)
        slow.turns.release(1000)
        assert all(call.result(TIME_MAX_S).gallery.name == "staff" for call in newcomers)


@pytest.mark.usefixtures("slow")
def test_short_answers_come_under_any_load(server: Any, until: Callable[..., None]) -> None:
    """While every thread is taken and the queue is full, health, server info and operations are answered."""
    flood = [_get(server, "greedy") for _ in range(THREAD_COUNT + WAITING_MAX)]
    until(lambda: _waiting(server) == WAITING_MAX)
    assert server.operations.GetServerInfo(operations_service_pb2.GetServerInfoRequest(), timeout=TIME_MAX_S).store_id
    listed = server.operations.ListOperations(operations_service_pb2.ListOperationsRequest(), timeout=TIME_MAX_S)
    assert list(listed.operations) == []
    health = server.health.Check(health_pb2.HealthCheckRequest(), timeout=TIME_MAX_S)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert not any(call.done() for call in flood)


def _half_open(server: Any, until: Callable[..., None]) -> tuple[RawConnection, int]:
    """A connection with as many calls as there are threads, of which no message or half of one has come."""
    connection = RawConnection(server.address)
    numbers = [connection.begin(LIST) for _ in range(THREAD_COUNT)]
    connection.send(numbers[0], grpc_message(b"", 1000))
    until(lambda: len(server.rpc._patience._arriving) == THREAD_COUNT)
    return connection, numbers[0]


def test_messages_that_do_not_arrive_give_their_threads_back(server: Any, until: Callable[..., None]) -> None:
    """Calls whose message never comes wait without a thread that others need."""
    connection, _ = _half_open(server, until)
    assert server.galleries.ListGalleries(pb.ListGalleriesRequest(), timeout=TIME_MAX_S) is not None
    until(lambda: server.rpc._lanes._work._busy_count == 0)
    assert len(server.rpc._patience._arriving) == THREAD_COUNT
    connection.close()
    until(lambda: len(server.rpc._patience._arriving) == 0)
    until(lambda: server.rpc._lanes._work._busy_count == 0)
    assert server.galleries.ListGalleries(pb.ListGalleriesRequest(), timeout=TIME_MAX_S) is not None


def test_checks_of_health_that_do_not_arrive_give_their_threads_back(server: Any, until: Callable[..., None]) -> None:
    """Two connections with more checks than their lane has threads keep neither health nor server info from others."""
    connections = [RawConnection(server.address) for _ in range(2)]
    for connection in connections:
        for _ in range(lanes.CONTROL_THREAD_COUNT):
            number = connection.begin(CHECK)
        connection.send(number, grpc_message(b"", 1000))
    until(lambda: len(server.rpc._lanes._control._threads) == lanes.CONTROL_THREAD_COUNT)
    health = server.health.Check(health_pb2.HealthCheckRequest(), timeout=TIME_MAX_S)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert server.operations.GetServerInfo(operations_service_pb2.GetServerInfoRequest(), timeout=TIME_MAX_S).store_id
    until(lambda: server.rpc._lanes._control._busy_count == 0)
    assert len(server.rpc._patience._arriving) >= SLOW_MIN
    for connection in connections:
        connection.close()
    until(lambda: len(server.rpc._patience._arriving) == 0)


def test_watches_that_do_not_arrive_and_are_not_read_keep_no_other_out(server: Any, until: Callable[..., None]) -> None:
    """Callers that begin a Watch and never finish it, and one that takes no answer, keep health from nobody."""
    connections = [RawConnection(server.address) for _ in range(3)]
    for connection in connections[:2]:
        for _ in range(lanes.CONTROL_THREAD_COUNT):
            connection.begin(WATCH)
    connections[2].grant_nothing()
    deaf = connections[2].begin(WATCH)
    connections[2].send(deaf, grpc_message(b""), ends=True)
    until(lambda: any(client.name == connections[2].peer for client in _arriving_clients(server)))
    watch = server.health.Watch(health_pb2.HealthCheckRequest(), timeout=TIME_MAX_S)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    assert server.health.Check(health_pb2.HealthCheckRequest(), timeout=TIME_MAX_S).status
    server.rpc.begin_drain()
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    for connection in connections:
        connection.close()
    until(lambda: not _arriving_clients(server))


def _arriving_clients(server: Any) -> list[Client]:
    return [watched.client for watched in list(server.rpc._patience._arriving)]


def test_health_has_no_method_that_waits_for_its_message_on_a_thread(server: Any) -> None:
    """List, which is not served, ends before its message has come."""
    connection = RawConnection(server.address)
    assert connection.wait_for_end(connection.begin("/grpc.health.v1.Health/List")) in {HEADERS, RST_STREAM}
    connection.close()


def test_an_end_waits_for_no_message_that_has_not_come(server: Any, until: Callable[..., None]) -> None:
    """Half-open calls are no running calls when the server drains."""
    connection, _ = _half_open(server, until)
    server.rpc.begin_drain()
    assert server.rpc.wait_until_idle(0.0) == 0
    connection.close()


def test_messages_that_do_not_arrive_are_given_up_where_threads_are_short(
    server: Any, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no more calls may wait without a thread, those of whoever has many end when somebody else needs it."""
    monkeypatch.setattr(lanes, "PARKED_MAX", 0)
    connection, number = _half_open(server, until)
    assert server.galleries.ListGalleries(pb.ListGalleriesRequest(), timeout=TIME_MAX_S) is not None
    assert connection.wait_for_end(number) in {HEADERS, RST_STREAM}
    until(lambda: server.rpc._lanes._work._busy_count == 0)
    connection.close()


def test_a_connection_that_breaks_gives_its_threads_back(server: Any, until: Callable[..., None]) -> None:
    """Calls of a connection that is gone end at once."""
    connection = RawConnection(server.address)
    for _ in range(THREAD_COUNT):
        connection.begin(LIST)
    until(lambda: len(server.rpc._patience._arriving) == THREAD_COUNT)
    connection.close()
    until(lambda: len(server.rpc._patience._arriving) == 0)


def _people(server: Any, unit_vectors: Any, pack: Any, count: int) -> types_pb2.Embeddings:
    server.create_gallery(dimension=DIMENSION)
    embeddings: types_pb2.Embeddings = pack(unit_vectors(count, DIMENSION))
    rows = pb.EnrollRows(embeddings=embeddings, identity_ids=[f"person-{row}" for row in range(count)])
    (answer,) = server.galleries.StreamEnroll(iter([pb.StreamEnrollRequest(sequence=1, gallery="staff", rows=rows)]))
    assert answer.enrolled_count == count
    return embeddings


def _search(embeddings: types_pb2.Embeddings, k: int) -> bytes:
    probes = recognition_service_pb2.Probes(embeddings=embeddings)
    request = recognition_service_pb2.SearchFacesRequest(gallery="staff", probes=probes, k=k)
    return request.SerializeToString()


def test_answers_that_nobody_takes_are_given_up(
    server: Any, unit_vectors: Any, pack: Any, until: Callable[..., None]
) -> None:
    """A caller that asks and does not read holds no more answers than the limit, and others are answered meanwhile."""
    embeddings = _people(server, unit_vectors, pack, 100)
    body = grpc_message(_search(embeddings, 100))
    connection = RawConnection(server.address)
    numbers = []
    for _ in range(6):
        numbers.append(connection.begin(SEARCH))
        connection.send(numbers[-1], body, ends=True)
    until(lambda: server.rpc._patience.answer_bytes > ANSWER_BYTES_MAX)
    until(lambda: server.rpc._patience.answer_bytes <= ANSWER_BYTES_MAX)
    assert server.galleries.ListGalleries(pb.ListGalleriesRequest(), timeout=TIME_MAX_S).galleries
    connection.close()
    until(lambda: server.rpc._patience.answer_bytes == 0)


def test_whoever_leaves_the_most_answers_loses_them_first() -> None:
    """Beyond the bound answers of the client that leaves the most go, whoever's have lain longest."""
    patience = Patience(PatienceLimits(answer_bytes_max=100), lambda: False)
    try:
        for name, byte_count in (("modest", 10), ("greedy", 80), ("greedy", 80)):
            patience.answering(Client("host", name), byte_count, lambda: None)
        overdue = patience._overdue(time.monotonic() + 2.0)
    finally:
        patience.close()
    assert [watched.client.name for watched in overdue] == ["greedy"]


def test_who_leaves_little_loses_nothing() -> None:
    """Where those that leave the most cannot be given up yet, nobody else is in their stead."""
    patience = Patience(PatienceLimits(answer_bytes_max=100), lambda: False)
    try:
        patience.answering(Client("host", "modest"), 10, lambda: None)
        modest_since_s = time.monotonic()
        for _ in range(2):
            patience.answering(Client("host", "greedy"), 80, lambda: None)
        for watched in patience._answers:
            watched.since_s = modest_since_s - (2.0 if watched.client.name == "modest" else 0.0)
        overdue = patience._overdue(modest_since_s + 0.5)
    finally:
        patience.close()
    assert overdue == []


class TestLateMessages:
    """Whose message is late, and who is given up for it."""

    @pytest.fixture
    def patience(self) -> Patience:
        """One that looks at nothing by itself, waits for four slow messages, and whose server others wait for."""
        patience = Patience(PatienceLimits(request_bytes_max=1), lambda: True)
        patience.close()
        return patience

    def _begin(self, patience: Patience, name: str, since_s: float, host: str = "host") -> Watched:
        watched = Watched(Client(host, name), lambda: None, since_s=since_s)
        patience._arriving[watched] = None
        return watched

    def test_the_oldest_of_whoever_has_the_most_is_given_up(self, patience: Patience) -> None:
        """Beyond the slow messages that are waited for, hosts count first, then their clients, then age."""
        now_s = patience._came_s = time.monotonic()
        patience._asked_s = now_s
        self._begin(patience, "single", now_s - 9.0, host="another")
        greedy = [self._begin(patience, "greedy", now_s - age_s) for age_s in (1.0, 3.0, 2.0)]
        self._begin(patience, "modest", now_s - 5.0)
        assert patience._overdue(now_s) == [greedy[1]]
        assert patience._overdue(now_s) == [], "what was given up makes room already"

    def test_nobody_is_late_whose_message_the_server_may_not_have_looked_at(self, patience: Patience) -> None:
        """While the messages that come are those asked for long ago, the server is late, and not its callers."""
        now_s = patience._came_s = time.monotonic()
        patience._asked_s = now_s - 8.0
        for number in range(20):
            self._begin(patience, f"client-{number}", now_s - 7.5)
        assert patience._overdue(now_s) == []
        patience._asked_s = now_s - 7.0
        assert len(patience._overdue(now_s)) == 20 - SLOW_MIN

    def test_where_no_message_comes_all_are_late(self, patience: Patience) -> None:
        """A server that has nothing to look at does not wait for half-open calls as if it were late itself."""
        now_s = time.monotonic()
        patience._asked_s = patience._came_s = now_s - 10.0
        for _ in range(6):
            self._begin(patience, "half-open", now_s - 5.0)
        assert len(patience._overdue(now_s)) == 6 - SLOW_MIN


def test_requests_of_too_many_bytes_at_once_are_refused(
    server: Any, slow: Slow, until: Callable[..., None], refused: Any
) -> None:
    """While a caller's requests fill the server's room a further one of its own is refused, and another's is read."""
    first = _get(server, "greedy", "x" * REQUEST_BYTES_MAX)
    until(lambda: server.rpc._patience.request_bytes > REQUEST_BYTES_MAX)
    refusal = refused(_get(server, "greedy").result)
    assert (refusal.code, refusal.reason) == (EXHAUSTED, "REQUEST_BYTES_FULL")
    assert "RetryInfo" in refusal.details
    second = _get(server, "modest")
    for _ in range(2):
        assert slow.begun.acquire(timeout=TIME_MAX_S)
    slow.turns.release(2)
    until(lambda: first.done() and second.done())
    until(lambda: server.rpc._patience.request_bytes == 0)


def _open_stream(server: Any, client: str) -> tuple[Any, Queue[pb.StreamEnrollRequest | None]]:
    requests: Queue[pb.StreamEnrollRequest | None] = Queue()
    stream = server.galleries.StreamEnroll(
        iter(requests.get, None), timeout=TIME_MAX_S, metadata=[("mien-client-id", client)]
    )
    return stream, requests


def test_an_idle_stream_makes_room(server: Any, until: Callable[..., None], refused: Any) -> None:
    """A stream that does nothing is ended when its place is needed, and its caller is told to open another."""
    began_s = time.monotonic()
    idle, requests = _open_stream(server, "idle")
    until(lambda: server.rpc._gate.place_count == 1)

    def has_place() -> bool:
        stream = server.galleries.StreamEnroll(iter([]), timeout=TIME_MAX_S)
        return stream.code() is grpc.StatusCode.OK

    until(has_place)
    assert time.monotonic() - began_s > 1.0, "it was not idle yet"
    refusal = refused(lambda: list(idle))
    requests.put(None)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STREAM_IDLE")
    assert "RetryInfo" in refusal.details


class TestShortPatience:
    """With times of a second or less everything that waits for its caller ends by itself."""

    @pytest.fixture
    def server_options(self) -> ServerOptions:
        """A server that waits for nobody."""
        return ServerOptions(
            listen_addresses=("127.0.0.1:0",),
            window=StreamWindow(idle_max_s=0.5),
            patience=PatienceLimits(transfer_time_max_s=0.5),
        )

    def test_a_message_must_arrive_in_time(self, server: Any) -> None:
        """A call whose message does not come is cancelled, also when nobody needs its thread."""
        connection = RawConnection(server.address)
        assert connection.wait_for_end(connection.begin(LIST)) in {HEADERS, RST_STREAM}
        connection.close()

    def test_an_idle_stream_is_ended(self, server: Any, refused: Any) -> None:
        """A stream without a request is ended with its reason, and what it had asked is answered."""
        server.create_gallery()
        requests: Queue[pb.StreamEnrollRequest | None] = Queue()
        requests.put(pb.StreamEnrollRequest(sequence=1, gallery="staff"))
        stream = server.galleries.StreamEnroll(iter(requests.get, None), timeout=TIME_MAX_S)
        assert next(stream).sequence == 1
        refusal = refused(lambda: list(stream))
        requests.put(None)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STREAM_IDLE")

    def test_an_answer_must_be_taken_in_time(
        self, server: Any, unit_vectors: Any, pack: Any, until: Callable[..., None]
    ) -> None:
        """A stream whose answers are not read is cancelled, and what it held is given back."""
        embeddings = _people(server, unit_vectors, pack, 100)
        connection = RawConnection(server.address)
        number = connection.begin("/mien.v1.RecognitionService/StreamSearch")
        for sequence in range(1, 4):
            request = recognition_service_pb2.StreamSearchRequest(sequence=sequence)
            request.request.ParseFromString(_search(embeddings, 100))
            connection.send(number, grpc_message(request.SerializeToString()))
        until(lambda: server.rpc._patience.answer_bytes > 0)
        until(lambda: server.rpc._gate.place_count == 0)
        assert (server.rpc._patience.answer_bytes, server.rpc._patience.request_bytes) == (0, 0)
        connection.close()


def test_a_compressed_message_counts_as_what_it_becomes(server: Any, refused: Any) -> None:
    """A message that unpacks to more than message_bytes_max is refused, however small it travels."""
    body = b"\0" * (server.engine.limits.message_bytes_max + 1_000_000)
    call = server.channel.unary_unary(SEARCH)
    refusal = refused(lambda: call(body, compression=grpc.Compression.Gzip, timeout=TIME_MAX_S))
    assert refusal.code is EXHAUSTED


def test_too_many_pings_close_the_connection(server: Any) -> None:
    """A connection that pings without pause is told to go away."""
    connection = RawConnection(server.address)
    for _ in range(200):
        connection.ping()
    assert any(kind == GOAWAY for kind, *_ in connection.frames())
    connection.close()


def test_a_call_without_a_message_is_refused(server: Any, refused: Any) -> None:
    """A call that ends before its message is a wrong request."""
    call = server.channel.stream_unary(LIST)
    refusal = refused(lambda: call(iter([]), timeout=TIME_MAX_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED")


def test_a_connection_has_as_many_calls_as_it_may(server: Any) -> None:
    """The server says how many calls a connection may have open."""
    connection = RawConnection(server.address)
    kind, _, _, payload = next(connection.frames())
    assert kind == 4
    settings = np.frombuffer(payload, dtype=[("key", ">u2"), ("value", ">u4")])
    assert dict(settings.tolist())[3] == 1024
    connection.close()


def test_every_method_is_taken_in_on_its_own(server: Any) -> None:
    """gRPC knows every method by its name, so that the calls of one do not stand in line behind those of another."""
    known = set(server.rpc._server._state.registered_method_handlers)
    ours = {f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods}
    assert known >= {*ours, CHECK, WATCH}
