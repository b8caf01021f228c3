"""Methods about the server and its long-running work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import grpc
from google.protobuf import duration_pb2

from mien.v1 import operations_service_pb2 as operations_v1
from mien_client._calls.base import CallGroup, pages
from mien_client._rpc.caller import new_request_id
from mien_client._types import operations
from mien_client._wire import decode_operations
from mien_client._wire.encode import whole
from mien_client.errors import Unavailable

__all__ = ["OperationCalls"]

# How often a wait looks at the progress.
_PROGRESS_INTERVAL_S = 0.5
# grpc.health.v1.HealthCheckResponse{status: SERVING}. The check is one empty message there and one enum back;
# that saves the base install a package.
_SERVING = b"\x08\x01"


class OperationCalls(CallGroup):
    """What this server is, and work that takes longer than a call."""

    def get_server_info(self, *, timeout_s: float | None = None) -> operations.ServerInfo:
        """Version, limits, recipes, galleries and what this server does not implement."""
        request = operations_v1.GetServerInfoRequest()
        answer = self._caller.call(self._caller.operations.GetServerInfo, request, timeout_s)
        return decode_operations.server_info(answer)

    def is_serving(self, *, timeout_s: float | None = None) -> bool:
        """Whether the server's standard health check says SERVING; False where nobody answers."""
        check = self._caller.channel.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)
        try:
            answer: bytes = check(b"", timeout=self._caller.options.timeout_s if timeout_s is None else timeout_s)
        except grpc.RpcError:
            return False
        return answer == _SERVING

    def wait_until_serving(self, *, timeout_s: float = 30.0) -> None:
        """Waits until the health check says SERVING.

        Raises:
            Unavailable: it did not within `timeout_s` seconds.
        """
        deadline_s = time.monotonic() + timeout_s
        while not self.is_serving(timeout_s=1.0):
            if time.monotonic() >= deadline_s:
                raise Unavailable(
                    f"the server at {self._caller.address} was not ready within {timeout_s:g} s", code="UNAVAILABLE"
                )
            time.sleep(0.05)

    def rebuild_index(
        self, gallery: str, *, request_id: str = "", timeout_s: float | None = None
    ) -> operations.Operation:
        """Starts building a new generation of a gallery's index beside the one that serves.

        Raises:
            NotFound: there is no such gallery.
            PreconditionFailed: one is being built.
        """
        request = operations_v1.RebuildIndexRequest(gallery=gallery, request_id=request_id or new_request_id())
        answer = self._caller.call(self._caller.operations.RebuildIndex, request, timeout_s)
        return decode_operations.operation(answer.operation)

    def create_snapshot(
        self,
        destination_uri: str = "",
        *,
        verify: bool = False,
        full: bool = False,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> operations.Operation:
        """Starts copying the whole store, as it is at one revision, while it is served and written to.

        Args:
            destination_uri: a folder of the server's machine or a URL that its configuration allows; "": the first.
            verify: read it back before the operation succeeds.
            full: write everything, sharing nothing with the snapshot before.

        Raises:
            PreconditionFailed: the server may not write there, or keeps no snapshots.
        """
        request = operations_v1.CreateSnapshotRequest(
            destination_uri=destination_uri, verify=verify, full=full, request_id=request_id or new_request_id()
        )
        answer = self._caller.call(self._caller.operations.CreateSnapshot, request, timeout_s)
        return decode_operations.operation(answer.operation)

    def list_snapshots(
        self, destination_uri: str = "", *, page_size: int = 0, timeout_s: float | None = None
    ) -> Iterator[operations.Snapshot]:
        """Snapshots, newest first, of one destination or of all that the server knows; page by page."""

        def read_page(token: str) -> tuple[list[operations.Snapshot], str]:
            request = operations_v1.ListSnapshotsRequest(
                destination_uri=destination_uri, page_size=whole("page_size", page_size), page_token=token
            )
            answer = self._caller.call(self._caller.operations.ListSnapshots, request, timeout_s)
            return [decode_operations.snapshot(one) for one in answer.snapshots], answer.next_page_token

        return pages(read_page)

    def delete_snapshot(
        self,
        name: str,
        destination_uri: str = "",
        *,
        allow_missing: bool = False,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> None:
        """Removes a snapshot; files that others share with it stay theirs.

        Raises:
            NotFound: there is none of that name, unless missing ones are allowed.
        """
        request = operations_v1.DeleteSnapshotRequest(
            name=name,
            destination_uri=destination_uri,
            allow_missing=allow_missing,
            request_id=request_id or new_request_id(),
        )
        self._caller.call(self._caller.operations.DeleteSnapshot, request, timeout_s)

    def get_operation(self, name: str, *, timeout_s: float | None = None) -> operations.Operation:
        """An operation as it is now.

        Raises:
            NotFound: there is none of that name; operations are kept for a day.
        """
        request = operations_v1.GetOperationRequest(name=name)
        answer = self._caller.call(self._caller.operations.GetOperation, request, timeout_s)
        return decode_operations.operation(answer.operation)

    def list_operations(
        self, *, gallery: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Iterator[operations.Operation]:
        """Operations, newest first, of one gallery or of all; page by page."""

        def read_page(token: str) -> tuple[list[operations.Operation], str]:
            request = operations_v1.ListOperationsRequest(
                page_size=whole("page_size", page_size), page_token=token, gallery=gallery
            )
            answer = self._caller.call(self._caller.operations.ListOperations, request, timeout_s)
            return [decode_operations.operation(one) for one in answer.operations], answer.next_page_token

        return pages(read_page)

    def wait_operation(
        self,
        name: str,
        *,
        timeout_s: float | None = None,
        on_progress: Callable[[operations.Operation], None] | None = None,
    ) -> operations.Operation:
        """Waits until an operation is done and answers it, also when it failed: see its `state` and `error`.

        Args:
            name: of the operation.
            timeout_s: seconds after which it is answered as it is then; None: no limit.
            on_progress: called with the operation twice a second and at the end.

        Raises:
            NotFound: there is none of that name.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            slice_s = _PROGRESS_INTERVAL_S
            if deadline_s is not None:
                slice_s = max(0.0, min(slice_s, deadline_s - time.monotonic()))
            timeout = duration_pb2.Duration(nanos=int(slice_s * 1e9))
            request = operations_v1.WaitOperationRequest(name=name, timeout=timeout)
            answer = self._caller.call(self._caller.operations.WaitOperation, request)
            operation = decode_operations.operation(answer.operation)
            if on_progress is not None:
                on_progress(operation)
            if operation.is_done or (deadline_s is not None and time.monotonic() >= deadline_s):
                return operation

    def cancel_operation(self, name: str, *, timeout_s: float | None = None) -> operations.Operation:
        """Asks an operation to stop. It ends with CANCELLED, or as it would have if it was too late.

        Raises:
            NotFound: there is none of that name.
        """
        request = operations_v1.CancelOperationRequest(name=name)
        answer = self._caller.call(self._caller.operations.CancelOperation, request, timeout_s)
        return decode_operations.operation(answer.operation)
