"""Server reflection within the bound of the streams."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from mien_server.errors import Overloaded
from mien_server.rpc.gate import Gate
from mien_server.rpc.handlers import client_behind, end_with
from mien_server.rpc.lanes import current_seat, overflow

__all__ = ["add_reflection"]

_Request = TypeVar("_Request")

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
        place = _ReflectionPlace(context)
        try:
            refusal = overflow()
            if refusal is not None:
                raise refusal
            seat = current_seat()
            if seat is not None:
                # Its places are counted by the gate.
                seat.end_reading()
            with self._gate.reflecting(place, client_behind(context)):
                yield from self._unbounded.ServerReflectionInfo(place.noting(request_iterator), context)
        except Overloaded as error:
            end_with(error, METHOD, start_s, context)


class _ReflectionPlace:
    """The place of a reflection stream: idle between its requests, since answering takes no time."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self._context = context
        self._active_s = time.monotonic()

    def stop(self) -> None:
        """Nothing to do: it does not hold up the end."""

    def idle_s(self) -> float:
        """Since its last request."""
        return time.monotonic() - self._active_s

    def give_up(self) -> None:
        """End the call."""
        self._context.cancel()  # type: ignore[no-untyped-call]  # grpc-stubs leaves it untyped

    def noting(self, requests: Iterator[_Request]) -> Iterator[_Request]:
        """The requests; each begins the idle time anew."""
        for request in requests:
            self._active_s = time.monotonic()
            yield request


def add_reflection(service_names: Sequence[str], gate: Gate, server: grpc.Server) -> None:
    """Describe the services to callers that do not have their .proto files."""
    servicer: Any = _BoundedReflection(service_names, gate)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
