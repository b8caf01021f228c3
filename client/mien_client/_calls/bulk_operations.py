"""Long-running work that the contract names and later servers do; a server that does not raises Unimplemented."""

from __future__ import annotations

from mien.v1 import operations_service_pb2 as operations_v1
from mien_client._calls.base import CallGroup
from mien_client._rpc.caller import new_request_id
from mien_client._types import operations
from mien_client._wire import decode_operations

__all__ = ["BulkOperationCalls"]


class BulkOperationCalls(CallGroup):
    """Import, export, calibrate and evaluate; see `ServerInfo.absent`."""

    def import_faces(
        self, gallery: str, source_uri: str, *, request_id: str = "", timeout_s: float | None = None
    ) -> operations.Operation:
        """Starts reading faces from a place that the server can read."""
        request = operations_v1.ImportFacesRequest(
            gallery=gallery, source_uri=source_uri, request_id=request_id or new_request_id()
        )
        answer = self._caller.call(self._caller.operations.ImportFaces, request, timeout_s)
        return decode_operations.operation(answer.operation)

    def export_faces(
        self,
        gallery: str,
        destination_uri: str,
        *,
        include_embeddings: bool = False,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> operations.Operation:
        """Starts writing a gallery to a place that the server can write."""
        request = operations_v1.ExportFacesRequest(
            gallery=gallery,
            destination_uri=destination_uri,
            include_embeddings=include_embeddings,
            request_id=request_id or new_request_id(),
        )
        answer = self._caller.call(self._caller.operations.ExportFaces, request, timeout_s)
        return decode_operations.operation(answer.operation)

    def calibrate_gallery(
        self, gallery: str, *, request_id: str = "", timeout_s: float | None = None
    ) -> operations.Operation:
        """Starts measuring the gallery's own similarities, which thresholds are derived from."""
        request = operations_v1.CalibrateGalleryRequest(gallery=gallery, request_id=request_id or new_request_id())
        answer = self._caller.call(self._caller.operations.CalibrateGallery, request, timeout_s)
        return decode_operations.operation(answer.operation)

    def evaluate_gallery(
        self, gallery: str, protocol_uri: str, *, request_id: str = "", timeout_s: float | None = None
    ) -> operations.Operation:
        """Starts an evaluation by a protocol that the server can read."""
        request = operations_v1.EvaluateGalleryRequest(
            gallery=gallery, protocol_uri=protocol_uri, request_id=request_id or new_request_id()
        )
        answer = self._caller.call(self._caller.operations.EvaluateGallery, request, timeout_s)
        return decode_operations.operation(answer.operation)
