"""Every error that Mien raises on purpose, as one tree.

MienError
 +- InvalidArgument        the request is wrong whatever the store holds
 |   +- EmbeddingRefused   an embedding that is no unit vector of the gallery's model
 +- NotFound               a gallery, identity, face or operation that is not there
 +- AlreadyExists
 +- PreconditionFailed     right request, wrong state (gallery not empty, revision not reached, ...)
 +- Conflict               someone else wrote in between (etag), or a request id used twice
 +- LimitExceeded          a number beyond a stated limit
 +- Overloaded             try again later; carries when
 +- Cancelled              the caller went away
 +- DeadlineExceeded
 +- Unimplemented
 +- Unavailable            shutting down, storage cannot be written now, a recipe that is not installed
 +- CorruptStore           what is on disk contradicts itself
 +- InternalError

Each carries a stable `reason` (SCREAMING_SNAKE_CASE, the ErrorInfo.reason of the API), a message that says
what, where and what to do, and string `metadata`. Nothing may live here but errors.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "AlreadyExists",
    "Cancelled",
    "Conflict",
    "CorruptStore",
    "DeadlineExceeded",
    "EmbeddingRefused",
    "InternalError",
    "InvalidArgument",
    "LimitExceeded",
    "MienError",
    "NotFound",
    "Overloaded",
    "PreconditionFailed",
    "Unavailable",
    "Unimplemented",
]


class MienError(Exception):
    """Base of every error raised on purpose.

    Args:
        message: what is wrong, where, and what to do about it; for a person.
        reason: stable name for programs, SCREAMING_SNAKE_CASE.
        metadata: further facts by name, such as the limit that was exceeded.
    """

    default_reason = "INTERNAL"

    def __init__(self, message: str, *, reason: str | None = None, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata: dict[str, str] = dict(metadata or {})


class InvalidArgument(MienError):
    """The request is wrong whatever the store holds; `field` names the part, as a path such as `items[3].face_id`."""

    default_reason = "INVALID_ARGUMENT"

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.field = field


class EmbeddingRefused(InvalidArgument):
    """An embedding that is not a finite unit vector of the gallery's dimension and model."""

    default_reason = "EMBEDDING_INVALID"


class NotFound(MienError):
    """What the request names is not there; `reason` says which kind (GALLERY_NOT_FOUND, ...)."""

    default_reason = "NOT_FOUND"


class AlreadyExists(MienError):
    """What the request would make is there already."""

    default_reason = "ALREADY_EXISTS"


class PreconditionFailed(MienError):
    """The request is right but the store is not in the state it needs."""

    default_reason = "PRECONDITION_FAILED"


class Conflict(MienError):
    """Someone else wrote in between, or the request id was used for another body."""

    default_reason = "CONFLICT"


class LimitExceeded(InvalidArgument):
    """A number beyond a limit that GetServerInfo states."""

    default_reason = "LIMIT_EXCEEDED"


class Overloaded(MienError):
    """The server has more work than it may queue; try again after `retry_after_s` seconds."""

    default_reason = "OVERLOADED"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 0.5,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after_s = retry_after_s


class Cancelled(MienError):
    """The caller cancelled."""

    default_reason = "CANCELLED"


class DeadlineExceeded(MienError):
    """The caller's deadline passed before the work was done."""

    default_reason = "DEADLINE_EXCEEDED"


class Unimplemented(MienError):
    """Named in the contract, not built yet."""

    default_reason = "NOT_IMPLEMENTED"


class Unavailable(MienError):
    """Cannot be served now: shutting down, storage refuses writes, a recipe that is not installed."""

    default_reason = "UNAVAILABLE"


class CorruptStore(MienError):
    """What is on disk contradicts itself; the message names the file."""

    default_reason = "CORRUPT_STORE"


class InternalError(MienError):
    """A defect of Mien's own."""
