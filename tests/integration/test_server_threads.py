"""Calls that only wait, and streams that only stay open, leave threads for the others."""

from __future__ import annotations

from queue import Queue
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mien.v1 import gallery_service_pb2 as pb
from mien.v1 import operations_service_pb2
from mien_server.engine import Engine
from mien_server.engine.types import OperationKind, OperationState
from mien_server.records.store_pb2 import OperationRecord
from mien_server.rpc.server import ServerOptions

INFO = operations_service_pb2.GetServerInfoRequest()
OPERATION = "operations/00000001"
CALL_TIME_MAX_S = 60
WAIT_S = 600


@pytest.fixture
def server_options() -> ServerOptions:
    """Few threads: one for what stays, one for the others."""
    return ServerOptions(listen_addresses=("127.0.0.1:0",), thread_count=2, stream_count_max=1)


def _begin_operation(engine: Engine) -> None:
    """An operation that runs until the server ends: nobody works on it."""
    record = OperationRecord(name=OPERATION, kind=OperationKind.REBUILD_INDEX, state=OperationState.RUNNING)
    engine.operations._log.start(record)


def _wait(seconds: int) -> operations_service_pb2.WaitOperationRequest:
    request = operations_service_pb2.WaitOperationRequest(name=OPERATION)
    request.timeout.FromSeconds(seconds)
    return request


def _reflection(server: Any) -> tuple[Any, Queue[reflection_pb2.ServerReflectionRequest | None]]:
    requests: Queue[reflection_pb2.ServerReflectionRequest | None] = Queue()
    requests.put(reflection_pb2.ServerReflectionRequest(list_services=""))
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    return stub.ServerReflectionInfo(iter(requests.get, None), timeout=CALL_TIME_MAX_S), requests


def test_waiting_calls_leave_a_thread(server: Any, refused: Any, until: Any) -> None:
    """Calls that wait for an operation take no more threads than streams may; one too many is told when to come back,
    and a wait that need not wait is answered all the same.
    """
    _begin_operation(server.engine)
    waits = [server.operations.WaitOperation.future(_wait(WAIT_S)) for _ in range(8)]
    until(lambda: sum(wait.done() for wait in waits) == len(waits) - 1)
    (running,) = [wait for wait in waits if not wait.done()]
    others = [wait for wait in waits if wait.done()]
    assert {wait.code() for wait in others} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    refusal = refused(lambda: server.operations.WaitOperation(_wait(WAIT_S), timeout=CALL_TIME_MAX_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WAITS")
    assert "RetryInfo" in refusal.details
    assert server.operations.GetServerInfo(INFO, timeout=CALL_TIME_MAX_S).store_id
    assert server.operations.WaitOperation(_wait(0), timeout=CALL_TIME_MAX_S).operation.name == OPERATION
    running.cancel()


def test_a_wait_and_a_stream_share_the_places(server: Any, refused: Any, until: Any) -> None:
    """Where a call waits in the last place a stream is refused, and when the wait has ended it finds room."""
    _begin_operation(server.engine)
    wait = server.operations.WaitOperation.future(_wait(WAIT_S))
    until(lambda: server.rpc._gate.place_count == 1)
    refusal = refused(lambda: list(server.galleries.StreamEnroll(iter([]), timeout=CALL_TIME_MAX_S)))
    assert refusal.reason == "TOO_MANY_STREAMS"
    wait.cancel()
    until(lambda: server.rpc._gate.place_count == 0)
    assert list(server.galleries.StreamEnroll(iter([]), timeout=CALL_TIME_MAX_S)) == []


def test_idle_reflection_leaves_a_thread(server: Any, refused: Any, until: Any) -> None:
    """Reflection streams that stay open take no more threads than streams may, and give their place back."""
    first, requests = _reflection(server)
    assert next(first).list_services_response.service
    second, second_requests = _reflection(server)
    refusal = refused(lambda: list(second))
    second_requests.put(None)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
    server.create_gallery()
    assert server.galleries.GetGallery(pb.GetGalleryRequest(gallery="staff"), timeout=CALL_TIME_MAX_S).revision
    requests.put(None)
    assert list(first) == []
    until(lambda: server.rpc._gate.place_count == 0)
    third, third_requests = _reflection(server)
    assert next(third).list_services_response.service
    third_requests.put(None)
