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
MESSAGE_CHARACTERS_MAX = 1000
"""A status travels in HTTP/2 headers, of which peers accept 8 KiB; it holds the message up to three times."""
METADATA_CHARACTERS_MAX = 256
RETRY_UNAVAILABLE_S = 1.0
PASSING_REASONS = frozenset(
    {
        "SHUTTING_DOWN",
        "STARTING",
        "STORAGE_READ_FAILED",
        "STORAGE_WRITE_FAILED",
        "STORE_CLOSED",
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
    "RECIPE": "mien.v1.RecipeInfo",
}
_RESOURCE_NAME_KEYS = ("face_id", "identity_id", "operation", "recipe", "gallery", "name")

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
    error_id = token_hex(8)
    _log.error("unexpected error", extra={"method": method, "error_id": error_id}, exc_info=raised)
    return errors.InternalError(
        f"the server failed at this request in a way it did not foresee; its log has the details under {error_id}",
        metadata={"error_id": error_id},
    )


def status_of(error: errors.MienError) -> status_pb2.Status:
    """An error as google.rpc.Status with its details; always below what HTTP/2 headers hold."""
    number: int = code_of(error).value[0]
    message = _shortened(error.message, MESSAGE_CHARACTERS_MAX)
    details = [_error_info(error), *_further_details(error, message)]
    return status_pb2.Status(code=number, message=message, details=[_packed(detail) for detail in details])


def _shortened(text: str, characters_max: int) -> str:
    return text if len(text) <= characters_max else text[: characters_max - 3] + "..."


def _packed(detail: Message) -> AnyMessage:
    wrapped = AnyMessage()
    wrapped.Pack(detail)
    return wrapped


def _error_info(error: errors.MienError) -> error_details_pb2.ErrorInfo:
    metadata = {key: _shortened(value, METADATA_CHARACTERS_MAX) for key, value in error.metadata.items()}
    return error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=metadata)


def _bad_request(error: Any, message: str) -> Message:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=error.field, description=_shortened(message, METADATA_CHARACTERS_MAX), reason=error.reason
    )
    return error_details_pb2.BadRequest(field_violations=[violation])


def _resource_info(error: Any, message: str) -> Message:
    resource_type = _RESOURCE_TYPES.get(error.reason.partition("_")[0], "")
    name = next((error.metadata[key] for key in _RESOURCE_NAME_KEYS if key in error.metadata), "")
    return error_details_pb2.ResourceInfo(
        resource_type=resource_type,
        resource_name=_shortened(name, METADATA_CHARACTERS_MAX),
        description=_shortened(message, METADATA_CHARACTERS_MAX),
    )


def _precondition_failure(error: Any, message: str) -> Message:
    violation = error_details_pb2.PreconditionFailure.Violation(
        type=error.reason,
        subject=error.metadata.get("gallery", ""),
        description=_shortened(message, METADATA_CHARACTERS_MAX),
    )
    return error_details_pb2.PreconditionFailure(violations=[violation])


def _retry_info(retry_after_s: float) -> Message:
    delay = Duration()
    delay.FromMilliseconds(round(retry_after_s * 1000))
    return error_details_pb2.RetryInfo(retry_delay=delay)


_DETAILS: Mapping[type[errors.MienError], Callable[[Any, str], Message]] = {
    errors.InvalidArgument: _bad_request,
    errors.EmbeddingRefused: _bad_request,
    errors.LimitExceeded: _bad_request,
    errors.NotFound: _resource_info,
    errors.AlreadyExists: _resource_info,
    errors.PreconditionFailed: _precondition_failure,
}


def _further_details(error: errors.MienError, message: str) -> list[Message]:
    build = _DETAILS.get(_class_in_tree(error))
    further = [] if build is None else [build(error, message)]
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
