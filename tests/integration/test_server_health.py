"""Health through start, service and drain; reflection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mien.v1 import operations_service_pb2, operations_service_pb2_grpc
from mien_server.engine import Engine
from mien_server.rpc.server import RpcServer, ServerOptions

SERVICES = ["", "mien.v1.GalleryService", "mien.v1.RecognitionService", "mien.v1.OperationsService"]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
INFO = operations_service_pb2.GetServerInfoRequest()


@pytest.fixture
def starting() -> Iterator[RpcServer]:
    """A server that listens and whose store is not open yet."""
    rpc = RpcServer(ServerOptions(listen_addresses=("127.0.0.1:0",)))
    rpc.start()
    yield rpc
    rpc.stop()


def test_health_follows_start_and_drain(starting: RpcServer, store_path: Path) -> None:
    """A watcher sees NOT_SERVING while the store opens, SERVING, and NOT_SERVING from the first moment of the end."""
    with grpc.insecure_channel(starting.addresses[0]) as channel, Engine.open(store_path) as engine:
        health = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest(service=name), wait_for_ready=True) for name in SERVICES]
        assert [next(watch).status for watch in watches] == [NOT_SERVING] * len(SERVICES)
        starting.open(engine)
        assert [next(watch).status for watch in watches] == [SERVING] * len(SERVICES)
        assert health.Check(health_pb2.HealthCheckRequest()).status == SERVING
        starting.begin_drain()
        assert [next(watch).status for watch in watches] == [NOT_SERVING] * len(SERVICES)
        for watch in watches:
            watch.cancel()


def test_calls_are_refused_while_starting_and_draining(starting: RpcServer, store_path: Path, refused: Any) -> None:
    """Before the store is open and after the end has begun a call is told so, and when to come back."""
    with grpc.insecure_channel(starting.addresses[0], [("grpc.enable_retries", 0)]) as channel:
        stub = operations_service_pb2_grpc.OperationsServiceStub(channel)
        refusal = refused(lambda: stub.GetServerInfo(INFO, wait_for_ready=True))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STARTING")
        assert "RetryInfo" in refusal.details
        with Engine.open(store_path) as engine:
            starting.open(engine)
            assert stub.GetServerInfo(INFO).store_id
            starting.begin_drain()
            assert refused(lambda: stub.GetServerInfo(INFO)).reason == "SHUTTING_DOWN"


def test_an_unknown_service_has_no_health(server: Any) -> None:
    """Health of a service that is not here is NOT_FOUND."""
    with pytest.raises(grpc.RpcError) as caught:
        server.health.Check(health_pb2.HealthCheckRequest(service="mien.v9.Nothing"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_what_is_no_check_is_refused(server: Any, refused: Any) -> None:
    """A check without a message, or of bytes that are none, is a wrong request."""
    call = server.channel.stream_unary("/grpc.health.v1.Health/Check")
    for bodies in ([], [b"\x0a\xff"]):
        refusal = refused(lambda bodies=bodies: call(iter(bodies), timeout=60))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED")


def test_a_watcher_does_not_hold_up_the_end(server_process: Any, store_path: Path) -> None:
    """A watcher is told of the end, and does not use up the time for draining."""
    server = server_process(store_path, "--drain-seconds", "600")
    watch = server.health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
    assert next(watch).status == SERVING
    assert server.end() == 0
    seen: list[int] = []
    with pytest.raises(grpc.RpcError):
        seen.extend(answer.status for answer in watch)


def test_many_watchers_take_no_threads(server_process: Any, store_path: Path) -> None:
    """Watchers may outnumber the server's threads: calls are still answered."""
    arguments = ("--set", "server.thread_count=2", "--set", "server.stream_count_max=1")
    server = server_process(store_path, *arguments)
    watches = [server.health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True) for _ in range(10)]
    assert [next(watch).status for watch in watches] == [SERVING] * 10
    assert server.operations.GetServerInfo(INFO, timeout=60).store_id
    for watch in watches:
        watch.cancel()


def _reflected(server: Any, **request: Any) -> reflection_pb2.ServerReflectionResponse:
    requests: Queue[reflection_pb2.ServerReflectionRequest | None] = Queue()
    requests.put(reflection_pb2.ServerReflectionRequest(**request))
    requests.put(None)
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    (answer,) = stub.ServerReflectionInfo(iter(requests.get, None))
    return answer


def test_reflection_lists_and_describes_the_services(server: Any) -> None:
    """A caller without the .proto files finds every service and its file."""
    answer = _reflected(server, list_services="")
    listed = {service.name for service in answer.list_services_response.service}
    assert listed >= {*SERVICES[1:], "grpc.health.v1.Health"}
    for name in SERVICES[1:]:
        described = _reflected(server, file_containing_symbol=name)
        assert described.file_descriptor_response.file_descriptor_proto
