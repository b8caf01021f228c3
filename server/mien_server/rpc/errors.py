"""The one table from errors to google.rpc.Status: code, ErrorInfo, and the details that fit the class."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from secrets import token_hex
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mien_server import errors

__all__ = ["CODES", "ERROR_DOMAIN", "as_mien_error", "code_of", "retry_delay_s", "status_of"]

ERROR_DOMAIN = "mien.dev"
MESSAGE_BYTES_MAX = 1000
"""As percent-encoded in its header. A status travels in HTTP/2 headers, of which peers accept 8 KiB all together."""
FACT_BYTES_MAX = 256
"""Of UTF-8: one fact, path or name. No id that the store can hold is longer."""
FACTS_BYTES_MAX = 1024
"""Of UTF-8: all facts of one error together."""
RETRY_UNAVAILABLE_S = 1.0
PASSING_REASONS = frozenset(
    {
        "OUT_OF_MEMORY",
        "SHUTTING_DOWN",
        "STARTING",
        "STORAGE_OUTCOME_UNKNOWN",
        "STORAGE_READ_FAILED",
        "STORAGE_WRITE_FAILED",
        "STORE_CLOSED",
        "STREAM_IDLE",
        "WORKER_START_FAILED",
    }
)
"""Reasons of UNAVAILABLE that pass by themselves. For the others somebody must do something first."""

CODES: Mapping[type[errors.MienError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.EmbeddingRefused: grpc.StatusCode.INVALID_ARGUMENT,
    errors.LimitExceeded: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.PreconditionFailed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.CorruptStore: grpc.StatusCode.DATA_LOSS,
    errors.InternalError: grpc.StatusCode.INTERNAL,
}
"""Every class of the tree in `mien_server.errors`; a test holds that none is missing."""

_RESOURCE_TYPES: Mapping[str, str] = {
    "GALLERY": "mien.v1.Gallery",
    "IDENTITY": "mien.v1.Identity",
    "FACE": "mien.v1.Face",
    "OPERATION": "mien.v1.Operation",
    "ERASURE": "mien.v1.Erasure",
    "RECIPE": "mien.v1.RecipeInfo",
}
_RESOURCE_NAME_KEYS = ("face_id", "identity_id", "operation", "erasure", "recipe", "gallery", "name")

_log = logging.getLogger(__name__)


def code_of(error: errors.MienError) -> grpc.StatusCode:
    """The canonical code of an error."""
    return CODES[_class_in_tree(error)]


def _class_in_tree(error: errors.MienError) -> type[errors.MienError]:
    """The class of `mien_server.errors` that the error is of; a layer may have refined it for itself."""
    return next((kind for kind in type(error).__mro__ if kind in CODES), errors.InternalError)


def as_mien_error(raised: Exception, method: str) -> errors.MienError:
    """The error to answer with; a defect is logged with its traceback under an id, and only the id is answered."""
    if isinstance(raised, errors.MienError):
        return raised
    if isinstance(raised, MemoryError) or str(raised) == "can't start new thread":
        return errors.Unavailable(
            "the server gets no memory for this request; try again, and give it more, or send less, if it goes on",
            reason="OUT_OF_MEMORY",
        )
    error_id = token_hex(8)
    _log.error("unexpected error", extra={"method": method, "error_id": error_id}, exc_info=raised)
    return errors.InternalError(
        f"the server failed at this request in a way it did not foresee; its log has the details under {error_id}",
        metadata={"error_id": error_id},
    )


def status_of(error: errors.MienError, source: str = "") -> status_pb2.Status:
    """An error as google.rpc.Status with its details; always below what HTTP/2 headers hold.

    Args:
        source: the caller's name of the photograph that the error is about; a fact of that name where it is set.
    """
    number: int = code_of(error).value[0]
    message = _shortened(error.message, MESSAGE_BYTES_MAX, _header_bytes)
    details = [_error_info(error, source), *_further_details(error)]
    return status_pb2.Status(code=number, message=message, details=[_packed(detail) for detail in details])


def _header_bytes(character: str) -> int:
    """What a character takes in the header grpc-message, where all but printable ASCII is percent-encoded."""
    return 1 if " " <= character <= "~" and character != "%" else 3 * _utf8_bytes(character)


def _utf8_bytes(character: str) -> int:
    return len(character.encode("utf-8", "replace"))


def _shortened(text: str, bytes_max: int, bytes_of: Callable[[str], int] = _utf8_bytes) -> str:
    """The text, or as many of its first characters as fit with three dots; "" where not even the dots do."""
    kept, left = 0, bytes_max
    for position, character in enumerate(text):
        left -= bytes_of(character)
        if left < 0:
            return text[:kept] + "..." if bytes_max >= len("...") else ""
        if left >= len("..."):
            kept = position + 1
    return text


def _packed(detail: Message) -> AnyMessage:
    wrapped = AnyMessage()
    wrapped.Pack(detail)
    return wrapped


def _error_info(error: errors.MienError, source: str) -> error_details_pb2.ErrorInfo:
    facts = {**error.metadata, "source": source} if source else error.metadata
    metadata: dict[str, str] = {}
    left_bytes = FACTS_BYTES_MAX
    for key, value in facts.items():
        metadata[key] = _shortened(value, min(FACT_BYTES_MAX, left_bytes))
        left_bytes -= len(metadata[key].encode())
    return error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=metadata)


def _bad_request(error: Any) -> Message:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=_shortened(error.field, FACT_BYTES_MAX),
        description=_shortened(error.message, FACT_BYTES_MAX),
        reason=error.reason,
    )
    return error_details_pb2.BadRequest(field_violations=[violation])


def _resource_info(error: Any) -> Message:
    resource_type = _RESOURCE_TYPES.get(error.reason.partition("_")[0], "")
    name = next((error.metadata[key] for key in _RESOURCE_NAME_KEYS if key in error.metadata), "")
    return error_details_pb2.ResourceInfo(
        resource_type=resource_type,
        resource_name=_shortened(name, FACT_BYTES_MAX),
        description=_shortened(error.message, FACT_BYTES_MAX),
    )


def _precondition_failure(error: Any) -> Message:
    violation = error_details_pb2.PreconditionFailure.Violation(
        type=error.reason,
        subject=_shortened(error.metadata.get("gallery", ""), FACT_BYTES_MAX),
        description=_shortened(error.message, FACT_BYTES_MAX),
    )
    return error_details_pb2.PreconditionFailure(violations=[violation])


def _retry_info(retry_after_s: float) -> Message:
    delay = Duration()
    delay.FromMilliseconds(round(retry_after_s * 1000))
    return error_details_pb2.RetryInfo(retry_delay=delay)


_DETAILS: Mapping[type[errors.MienError], Callable[[Any], Message]] = {
    errors.InvalidArgument: _bad_request,
    errors.EmbeddingRefused: _bad_request,
    errors.LimitExceeded: _bad_request,
    errors.NotFound: _resource_info,
    errors.AlreadyExists: _resource_info,
    errors.PreconditionFailed: _precondition_failure,
}


def _further_details(error: errors.MienError) -> list[Message]:
    build = _DETAILS.get(_class_in_tree(error))
    further = [] if build is None else [build(error)]
    retry_after_s = retry_delay_s(error)
    if retry_after_s is not None:
        further.append(_retry_info(retry_after_s))
    return further


def retry_delay_s(error: errors.MienError) -> float | None:
    """After how many seconds the same request may succeed; None when only doing something about it helps."""
    if isinstance(error, errors.Overloaded):
        return error.retry_after_s
    if isinstance(error, errors.Unavailable) and error.reason in PASSING_REASONS:
        return RETRY_UNAVAILABLE_S
    return None
