"""gRPC's health service. Its checks are refused unread, and waited for without a thread, as Mien's own calls are."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
from grpc_health.v1 import health, health_pb2

from mien_server.rpc.errors import as_mien_error
from mien_server.rpc.handlers import Method, add_handlers, arrived, client_behind, end_with, refuse_overflow
from mien_server.rpc.patience import Patience

__all__ = ["add_health"]

CHECK = Method(f"{health.SERVICE_NAME}.Check", health_pb2.HealthCheckRequest)
ELEMENTS_MAX = 100
"""Entries of a request that is parsed; one that was sent right has a single text."""


def add_health(servicer: health.HealthServicer, patience: Patience, server: grpc.Server) -> None:
    """Answer Check and Watch with what `servicer` knows. It has no List, so that is UNIMPLEMENTED, unread."""

    def check(bodies: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        start_s = time.monotonic()
        try:
            refuse_overflow(context)
            body = arrived(bodies, client_behind(context), context, patience)
            request = CHECK.parse(body, ELEMENTS_MAX)
        except Exception as raised:  # noqa: BLE001 - whatever it was, the caller gets a status
            end_with(as_mien_error(raised, CHECK.full_name), CHECK.full_name, start_s, context)
        answer: bytes = servicer.Check(request, context).SerializeToString()
        return answer

    watch = grpc.unary_stream_rpc_method_handler(
        servicer.Watch,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    handlers = {"Check": grpc.stream_unary_rpc_method_handler(check), "Watch": watch}
    add_handlers(server, health.SERVICE_NAME, handlers)
