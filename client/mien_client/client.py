"""The client: one object for one server."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from mien_client._calls.bulk_operations import BulkOperationCalls
from mien_client._calls.enrollment import EnrollmentCalls
from mien_client._calls.erasures import ErasureCalls
from mien_client._calls.galleries import GalleryCalls
from mien_client._calls.operations import OperationCalls
from mien_client._calls.people import PeopleCalls
from mien_client._calls.recognition import RecognitionCalls
from mien_client._rpc.address import DEFAULT_PORT
from mien_client._rpc.caller import Caller
from mien_client._rpc.channel import ClientOptions

__all__ = ["Client"]


class Client(
    GalleryCalls,
    EnrollmentCalls,
    PeopleCalls,
    RecognitionCalls,
    OperationCalls,
    ErasureCalls,
    BulkOperationCalls,
):
    """A connection to one server. Safe to share between threads; not across a fork.

    Connects with the first call. Every method has the name of the contract's and raises MienClientError. A call is
    tried again when the server is away or overloaded; every write carries a request id (made when none is given),
    so that it happens once.

    Args:
        address: `host:port`, or `unix:/path` for a socket.
        options: timeouts, sizes and retries.

    Raises:
        ValueError: the address is neither.
    """

    def __init__(self, address: str = f"127.0.0.1:{DEFAULT_PORT}", options: ClientOptions | None = None) -> None:
        self._caller = Caller(address, options or ClientOptions())

    @property
    def address(self) -> str:
        """The server's address as it was given."""
        return self._caller.address

    def close(self) -> None:
        """Ends open calls and the connection. A closed client cannot be used again."""
        self._caller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.address!r})"
