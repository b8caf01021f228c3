"""A gRPC server of the contract that fails on command: for retries, error details and broken streams, which a real
server cannot be made to show at a given moment.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from mien.v1 import (
    gallery_service_pb2_grpc,
    operations_service_pb2_grpc,
    recognition_service_pb2_grpc,
)
from mien_client import Client, ClientOptions

Answer = Callable[[Any, grpc.ServicerContext], Any]

QUICK = ClientOptions(timeout_s=20.0, initial_backoff_s=0.01, backoff_max_s=0.02)


class FakeService(
    gallery_service_pb2_grpc.GalleryServiceServicer,
    recognition_service_pb2_grpc.RecognitionServiceServicer,
    operations_service_pb2_grpc.OperationsServiceServicer,
):
    """Answers each method with a function set by the test, and keeps what it was asked."""

    def __init__(self, **answers: Answer) -> None:
        self.requests: list[Message] = []
        self._lock = threading.Lock()
        for name, answer in answers.items():
            setattr(self, name, self._kept(answer))

    def _kept(self, answer: Answer) -> Answer:
        def method(request: Any, context: grpc.ServicerContext) -> Any:
            if isinstance(request, Message):
                with self._lock:
                    self.requests.append(request)
            return answer(request, context)

        return method


@contextlib.contextmanager
def serving(service: FakeService) -> Iterator[str]:
    """The address of a server on a loopback port that answers with `service`."""
    pool = ThreadPoolExecutor(8)
    server = grpc.server(pool, options=[("grpc.max_receive_message_length", -1)])
    gallery_service_pb2_grpc.add_GalleryServiceServicer_to_server(service, server)
    recognition_service_pb2_grpc.add_RecognitionServiceServicer_to_server(service, server)
    operations_service_pb2_grpc.add_OperationsServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
        pool.shutdown(wait=False)


@contextlib.contextmanager
def client_of(service: FakeService, options: ClientOptions = QUICK) -> Iterator[Client]:
    """A client of a server that answers with `service`."""
    with serving(service) as address, Client(address, options) as client:
        yield client


def rich_status(
    code: grpc.StatusCode,
    message: str,
    *,
    reason: str = "",
    field: str = "",
    retry_after_s: float | None = None,
) -> status_pb2.Status:
    """A status with the details that the contract promises."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=reason, domain="mien.dev", metadata={"limit": "7"})]
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description="is wrong")
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry_after_s is not None:
        delay = duration_pb2.Duration(nanos=int(retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def refuse(context: grpc.ServicerContext, status: status_pb2.Status) -> None:
    """Ends a call with a status and its details."""
    context.abort_with_status(rpc_status.to_status(status))
