"""Server reflection within the bound of the streams."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from mien_server.errors import Overloaded
from mien_server.rpc.gate import Gate
from mien_server.rpc.handlers import end_with

__all__ = ["add_reflection"]

METHOD = f"{reflection.SERVICE_NAME}.ServerReflectionInfo"


class _BoundedReflection:
    """gRPC's own reflection, each stream of which takes one of the places that streams have."""

    def __init__(self, service_names: Sequence[str], gate: Gate) -> None:
        self._unbounded: Any = reflection.ReflectionServicer(service_names)
        self._gate = gate

    def ServerReflectionInfo(
        self, request_iterator: Iterator[reflection_pb2.ServerReflectionRequest], context: grpc.ServicerContext
    ) -> Iterator[reflection_pb2.ServerReflectionResponse]:
        """Answer each request of the stream; refuse the stream where there are too many."""
        start_s = time.monotonic()
        try:
            with self._gate.reflecting():
                yield from self._unbounded.ServerReflectionInfo(request_iterator, context)
        except Overloaded as error:
            end_with(error, METHOD, start_s, context)


def add_reflection(service_names: Sequence[str], gate: Gate, server: grpc.Server) -> None:
    """Describe the services to callers that do not have their .proto files."""
    servicer: Any = _BoundedReflection(service_names, gate)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
