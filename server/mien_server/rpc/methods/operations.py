"""What the server is, and work that takes longer than a call."""

from __future__ import annotations

import time

from mien.v1 import operations_service_pb2 as pb
from mien_server.engine.types import OperationInfo
from mien_server.errors import Unavailable
from mien_server.rpc.convert.operations import operation_message, server_info_response, snapshot_message
from mien_server.rpc.convert.values import duration_seconds
from mien_server.rpc.gate import Call
from mien_server.rpc.requests import next_page_token, page_cursor, page_size, request_token

__all__ = [
    "cancel_operation",
    "create_snapshot",
    "delete_snapshot",
    "get_operation",
    "get_server_info",
    "list_operations",
    "list_snapshots",
    "rebuild_index",
    "wait_operation",
]

WAIT_DEFAULT_S = 60.0
"""How long WaitOperation waits when no timeout is set."""
WAIT_SLICE_S = 0.5
"""How often a waiting call looks whether the server is shutting down."""


def get_server_info(_: pb.GetServerInfoRequest, call: Call) -> pb.GetServerInfoResponse:
    """GetServerInfo."""
    return server_info_response(call.engine.server_info(), call.engine.limits)


def rebuild_index(request: pb.RebuildIndexRequest, call: Call) -> pb.RebuildIndexResponse:
    """RebuildIndex."""
    token = request_token(call.method, request, request.request_id)
    operation = call.engine.operations.rebuild_index(request.gallery, token)
    return pb.RebuildIndexResponse(operation=operation_message(operation))


def create_snapshot(request: pb.CreateSnapshotRequest, call: Call) -> pb.CreateSnapshotResponse:
    """CreateSnapshot."""
    token = request_token(call.method, request, request.request_id)
    operation = call.engine.operations.create_snapshot(
        request.destination_uri, token, is_verified=request.verify, is_full=request.full
    )
    return pb.CreateSnapshotResponse(operation=operation_message(operation))


def list_snapshots(request: pb.ListSnapshotsRequest, call: Call) -> pb.ListSnapshotsResponse:
    """ListSnapshots."""
    after = page_cursor(call.method, request, request.page_token)
    limit = page_size(request.page_size, call.engine.limits)
    snapshots, next_after = call.engine.operations.list_snapshots(request.destination_uri, after, limit)
    return pb.ListSnapshotsResponse(
        snapshots=[snapshot_message(snapshot) for snapshot in snapshots],
        next_page_token=next_page_token(call.method, request, next_after),
    )


def delete_snapshot(request: pb.DeleteSnapshotRequest, call: Call) -> pb.DeleteSnapshotResponse:
    """DeleteSnapshot."""
    token = request_token(call.method, request, request.request_id)
    call.engine.operations.delete_snapshot(
        request.name, request.destination_uri, token, allow_missing=request.allow_missing
    )
    return pb.DeleteSnapshotResponse()


def get_operation(request: pb.GetOperationRequest, call: Call) -> pb.GetOperationResponse:
    """GetOperation."""
    return pb.GetOperationResponse(operation=operation_message(call.engine.operations.get(request.name)))


def list_operations(request: pb.ListOperationsRequest, call: Call) -> pb.ListOperationsResponse:
    """ListOperations."""
    after = page_cursor(call.method, request, request.page_token)
    limit = page_size(request.page_size, call.engine.limits)
    operations, next_after = call.engine.operations.list(request.gallery, after, limit)
    return pb.ListOperationsResponse(
        operations=[operation_message(operation) for operation in operations],
        next_page_token=next_page_token(call.method, request, next_after),
    )


def wait_operation(request: pb.WaitOperationRequest, call: Call) -> pb.WaitOperationResponse:
    """WaitOperation."""
    is_set = request.HasField("timeout")
    timeout_s = duration_seconds(request.timeout, "timeout") if is_set else WAIT_DEFAULT_S
    operation = call.engine.operations.get(request.name)
    if not operation.state.is_done and timeout_s > 0:
        with call.waiting():
            operation = _awaited(request.name, timeout_s, call)
    return pb.WaitOperationResponse(operation=operation_message(operation))


def _awaited(name: str, timeout_s: float, call: Call) -> OperationInfo:
    until_s = time.monotonic() + timeout_s
    while True:
        left_s = max(0.0, until_s - time.monotonic())
        operation = call.engine.operations.wait(name, min(left_s, WAIT_SLICE_S), call.deadline)
        if operation.state.is_done or left_s <= WAIT_SLICE_S:
            return operation
        if call.is_draining():
            raise Unavailable("the server is shutting down; wait again when it is back", reason="SHUTTING_DOWN")


def cancel_operation(request: pb.CancelOperationRequest, call: Call) -> pb.CancelOperationResponse:
    """CancelOperation."""
    return pb.CancelOperationResponse(operation=operation_message(call.engine.operations.cancel(request.name)))
