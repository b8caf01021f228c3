"""What a write is answered with, and the key that makes it idempotent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mien_server.errors import Conflict

__all__ = ["Committed", "Replayed", "RequestKey", "request_erased"]

R = TypeVar("R")


@dataclass(frozen=True)
class Committed(Generic[R]):
    """A write that is durable.

    Attributes:
        revision: every view at this revision or later sees the write.
        result: what the command says it returns.
    """

    revision: int
    result: R


@dataclass(frozen=True, slots=True)
class Replayed:
    """A write whose request id has been answered before: nothing was written.

    Attributes:
        revision: that of the first answer.
        outcome: what `RequestKey.encode` made of the first result.
    """

    revision: int
    outcome: bytes


@dataclass(frozen=True)
class RequestKey(Generic[R]):
    """What makes a write idempotent.

    Attributes:
        request_id: the caller's id, 1 to 128 bytes of UTF-8.
        fingerprint: hash of the method and the body; the same id with another one is refused.
        encode: makes bytes of the result, to be kept and given back as `Replayed.outcome`. Runs on the writer thread
            after the command was planned and before anything of it is put: be quick; what it raises fails this
            command alone.
    """

    request_id: str
    fingerprint: bytes
    encode: Callable[[R], bytes]


def request_erased(request_id: str) -> Conflict:
    """The refusal of a request that was answered before, and whose answer named somebody who was erased since."""
    return Conflict(
        f"the request {request_id!r} was answered, and somebody whom it named was erased since: it is neither answered "
        "nor carried out again; take a new id for a new request",
        reason="REQUEST_ERASED",
        metadata={"request_id": request_id},
    )
