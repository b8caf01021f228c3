"""google.rpc.Status and gRPC errors -> the tree of `mien_client.errors`, in one table."""

from __future__ import annotations

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from mien_client import errors

__all__ = ["from_rpc_error", "from_status", "optional_error"]

_ERROR_BY_CODE: dict[grpc.StatusCode, type[errors.MienClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgument,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: errors.PreconditionFailed,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Overloaded,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unimplemented,
    grpc.StatusCode.PERMISSION_DENIED: errors.AccessDenied,
    grpc.StatusCode.UNAUTHENTICATED: errors.AccessDenied,
    grpc.StatusCode.INTERNAL: errors.ServerFailure,
    grpc.StatusCode.DATA_LOSS: errors.ServerFailure,
    grpc.StatusCode.UNKNOWN: errors.ServerFailure,
}
_CODE_BY_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def from_status(status: status_pb2.Status) -> errors.MienClientError:
    """The error that a non-zero status stands for, with its details."""
    code = _CODE_BY_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)
    kind = _ERROR_BY_CODE.get(code, errors.ServerFailure)
    information = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after_s: float | None = None
    for detail in status.details:
        # Unpack answers False, and changes nothing, for a detail of another type.
        detail.Unpack(information)
        detail.Unpack(bad_request)
        if detail.Unpack(retry):
            retry_after_s = _seconds(retry.retry_delay)
    return kind(
        status.message or code.name,
        code=code.name,
        reason=information.reason,
        metadata=dict(information.metadata),
        violations=[
            errors.FieldViolation(violation.field, violation.description) for violation in bad_request.field_violations
        ],
        retry_after_s=retry_after_s,
    )


def optional_error(status: status_pb2.Status) -> errors.MienClientError | None:
    """The error of one item, None for code 0."""
    return from_status(status) if status.code else None


def from_rpc_error(error: grpc.RpcError, address: str, timeout_s: float | None) -> errors.MienClientError:
    """The error of a call that failed on the wire or in the server.

    Args:
        error: what gRPC raised; it is also a grpc.Call.
        address: the server's, for the message.
        timeout_s: the call's timeout in seconds, for the message.
    """
    if not isinstance(error, grpc.Call):
        return errors.ServerFailure(f"the call to {address} failed: {error}")
    status = _rich_status(error)
    if status is not None and status.code:
        return from_status(status)
    code = error.code() or grpc.StatusCode.UNKNOWN
    details = error.details() or code.name
    kind = _ERROR_BY_CODE.get(code, errors.ServerFailure)
    return kind(_explained(code, details, address, timeout_s), code=code.name)


def _rich_status(call: grpc.Call) -> status_pb2.Status | None:
    try:
        status: status_pb2.Status | None = rpc_status.from_call(call)
    except ValueError:
        # Trailers whose status contradicts the call's: the call's own code counts.
        return None
    return status


def _explained(code: grpc.StatusCode, details: str, address: str, timeout_s: float | None) -> str:
    """A sentence for errors that the transport made, which know nothing of Mien."""
    if code is grpc.StatusCode.UNAVAILABLE:
        # gRPC tells the whole chain of its attempts; the cause is at the end.
        cause = details.rpartition(": ")[2]
        if cause.count("[") < cause.count("]"):
            # The chain is in brackets, of which the end is left.
            cause = cause.rstrip(")]")
        return f"no Mien server answers at {address} ({cause}); see whether it is running and the address is right"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        limit = f" within {timeout_s:g} s" if timeout_s is not None else " in time"
        return f"the server at {address} did not answer{limit}; see whether it is running, or give it more time"
    return details


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
