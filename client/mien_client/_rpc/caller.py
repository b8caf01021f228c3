"""One place that makes every unary call: timeout, errors, stubs."""

from __future__ import annotations

import math
import uuid
from typing import Protocol, TypeVar

import grpc

from mien.v1 import gallery_service_pb2_grpc, operations_service_pb2_grpc, recognition_service_pb2_grpc
from mien_client._rpc.channel import ClientOptions, open_channel
from mien_client._rpc.failures import from_rpc_error

__all__ = ["Caller", "new_request_id"]

CLIENT_ID_KEY = "mien-client-id"

_Request = TypeVar("_Request", contravariant=True)
_Response = TypeVar("_Response", covariant=True)


class _UnaryMethod(Protocol[_Request, _Response]):
    def __call__(
        self,
        request: _Request,
        timeout: float | None = None,
        metadata: tuple[tuple[str, str], ...] | None = None,
    ) -> _Response: ...


def new_request_id() -> str:
    """A fresh request id for a write that was given none."""
    return str(uuid.uuid4())


class Caller:
    """A channel with the stubs of the three services on it.

    Args:
        address: `host:port` or `unix:/path`.
        options: timeouts, sizes, retries.

    Raises:
        ValueError: the address is not `host:port` or `unix:/path`.
    """

    def __init__(self, address: str, options: ClientOptions) -> None:
        self.address = address
        self.options = options
        self.metadata = ((CLIENT_ID_KEY, options.client_id),) if options.client_id else ()
        self.channel = open_channel(address, options)
        self.galleries = gallery_service_pb2_grpc.GalleryServiceStub(self.channel)
        self.recognition = recognition_service_pb2_grpc.RecognitionServiceStub(self.channel)
        self.operations = operations_service_pb2_grpc.OperationsServiceStub(self.channel)

    def call(
        self, method: _UnaryMethod[_Request, _Response], request: _Request, timeout_s: float | None = None
    ) -> _Response:
        """The answer of a unary method.

        Args:
            method: of one of the stubs.
            request: the message to send.
            timeout_s: seconds; None means the client's default, infinity none.

        Raises:
            MienClientError: whatever went wrong.
        """
        limit_s: float | None = self.options.timeout_s if timeout_s is None else timeout_s
        if limit_s == math.inf:
            limit_s = None
        try:
            return method(request, timeout=limit_s, metadata=self.metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.address, limit_s) from None

    def close(self) -> None:
        """Ends open calls and connections."""
        self.channel.close()
