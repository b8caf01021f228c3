"""Every error that a call to a server raises, as one tree.

MienClientError
 +- InvalidArgument     the request is wrong whatever the store holds; `violations` name the fields
 +- NotFound            a gallery, identity, face or operation that is not there
 +- AlreadyExists
 +- PreconditionFailed  right request, wrong state (gallery not empty, revision not reached, ...)
 +- Conflict            someone else wrote in between (etag), or a request id was used for another body
 +- Overloaded          try again after `retry_after_s`
 +- Unavailable         nobody answers at the address, or the server cannot serve this now
 +- DeadlineExceeded    no answer within the call's timeout
 +- Cancelled
 +- Unimplemented       named in the contract, not built in this server
 +- AccessDenied        something between client and server wants credentials
 +- ServerFailure       a defect or a damaged store on the other side, or an answer that breaks the contract

An error is raised by the call that failed, or found as the `error` of the one item that failed in a call which
otherwise succeeded. Mistakes that need no server to be seen (an array of three dimensions, fewer ids than rows)
are ValueError and TypeError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "AccessDenied",
    "AlreadyExists",
    "Cancelled",
    "Conflict",
    "DeadlineExceeded",
    "FieldViolation",
    "InvalidArgument",
    "MienClientError",
    "NotFound",
    "Overloaded",
    "PreconditionFailed",
    "ServerFailure",
    "Unavailable",
    "Unimplemented",
]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One part of a request that the server refused."""

    # A path such as `items[3].face_id`.
    field: str
    description: str


class MienClientError(Exception):
    """Base of every error of this package.

    Attributes:
        message: the server's sentence: what is wrong, where, and what to do about it.
        code: the canonical gRPC code's name, such as "NOT_FOUND".
        reason: stable name for programs, such as "GALLERY_NOT_FOUND"; empty when the error does not come from Mien
            (a proxy, a network).
        metadata: further facts by name, such as the limit that was exceeded.
        violations: the refused parts of the request.
        retry_after_s: seconds after which another attempt makes sense; None when the server named none.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "UNKNOWN",
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata: dict[str, str] = dict(metadata or {})
        self.violations: tuple[FieldViolation, ...] = tuple(violations)
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        untold = [
            f"{violation.field}: {violation.description}"
            for violation in self.violations
            if violation.description.removesuffix("...") not in self.message
        ]
        sentence = "; ".join([self.message, *untold])
        return f"{sentence} [{self.reason or self.code}]"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, code={self.code!r}, reason={self.reason!r})"


class InvalidArgument(MienClientError):
    """The request is wrong whatever the store holds; `violations` name the fields."""


class NotFound(MienClientError):
    """What the request names is not there; `reason` says which kind."""


class AlreadyExists(MienClientError):
    """What the request would make is there already."""


class PreconditionFailed(MienClientError):
    """The request is right but the store is not in the state it needs."""


class Conflict(MienClientError):
    """Someone else wrote in between (etag), or the request id was used for another body."""


class Overloaded(MienClientError):
    """The server has more work than it may queue; try again after `retry_after_s`."""


class Unavailable(MienClientError):
    """Nobody answers at the address, or the server cannot serve this now; the message says which."""


class DeadlineExceeded(MienClientError):
    """No answer within the call's timeout. A write may have happened: its request id makes it safe to send again."""


class Cancelled(MienClientError):
    """The call was cancelled."""


class Unimplemented(MienClientError):
    """Named in the contract, not built in this server; see `ServerInfo.absent`."""


class AccessDenied(MienClientError):
    """Something between client and server wants credentials. Mien itself asks for none."""


class ServerFailure(MienClientError):
    """A defect or a damaged store on the other side, or an answer that breaks the contract."""
