"""Enrolment: one call, or a stream of batches."""

from __future__ import annotations

from collections.abc import Callable

from google.rpc import status_pb2

from mien.v1 import gallery_service_pb2 as pb
from mien_server.engine.types import EnrollBatch, RequestToken
from mien_server.errors import InvalidArgument
from mien_server.rpc.convert.enrollment import (
    enroll_items,
    enroll_rows,
    items_response,
    optional_policy,
    outcome_messages,
    rows_response,
)
from mien_server.rpc.convert.values import missing
from mien_server.rpc.gate import Call
from mien_server.rpc.requests import request_token
from mien_server.rpc.streams import StreamMethod

__all__ = ["STREAM_ENROLL", "enroll_faces"]

ENTRIES_PER_ITEM = 10
"""What checking and keeping an item costs, in entries of an answer."""


def enroll_faces(request: pb.EnrollFacesRequest, call: Call) -> pb.EnrollFacesResponse:
    """EnrollFaces."""
    batch = EnrollBatch(
        gallery=request.gallery,
        items=enroll_items(request.items),
        policy=optional_policy(request),
        request=request_token(call.method, request, request.request_id),
    )
    with call.large(ENTRIES_PER_ITEM * len(batch.items)):
        enrolled = call.engine.enrollment.enroll(batch, call.deadline)
        return pb.EnrollFacesResponse(
            outcomes=outcome_messages(enrolled.outcomes, request.items),
            revision=enrolled.revision,
            model_fingerprint=enrolled.model_fingerprint,
        )


class _EnrollStream:
    """One stream: remembers the gallery that its first message named."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._gallery = ""

    def begin(self, request: pb.StreamEnrollRequest) -> Callable[[], pb.StreamEnrollResponse]:
        """Check and queue a batch; the result waits until it is durable."""
        gallery = self._gallery_of(request)
        sequence = request.sequence
        policy = optional_policy(request)
        token = self._token(request, gallery)
        match request.WhichOneof("batch"):
            case "rows":
                rows = enroll_rows(gallery, request.rows, policy, token)
                wait = self._call.engine.enrollment.submit_rows(rows, self._call.deadline)
                return lambda: rows_response(sequence, wait())
            case "items":
                batch = EnrollBatch(gallery, enroll_items(request.items.items), policy, token)
                enrolled = self._call.engine.enrollment.enroll(batch, self._call.deadline)
                response = items_response(sequence, enrolled, request.items.items)
                return lambda: response
            case _:
                raise missing("batch", "set `rows` or `items`")

    def _token(self, request: pb.StreamEnrollRequest, gallery: str) -> RequestToken | None:
        """The batch's token; where in a stream it is sent, and whether it names the gallery, must not matter."""
        if not request.request_id:
            return None
        sequence, named = request.sequence, request.gallery
        request.sequence, request.gallery = 0, gallery
        try:
            return request_token(self._call.method, request, request.request_id)
        finally:
            request.sequence, request.gallery = sequence, named

    def _gallery_of(self, request: pb.StreamEnrollRequest) -> str:
        if not request.gallery and not self._gallery:
            raise missing("gallery", "name it in the first message of the stream")
        if request.gallery and self._gallery and request.gallery != self._gallery:
            raise InvalidArgument(
                f"gallery: this stream enrols in {self._gallery!r}, not in {request.gallery[:80]!r}; "
                "open another stream",
                field="gallery",
                reason="STREAM_GALLERY_CHANGED",
            )
        self._gallery = self._gallery or request.gallery
        return self._gallery


def _refuse(sequence: int, status: status_pb2.Status) -> pb.StreamEnrollResponse:
    return pb.StreamEnrollResponse(sequence=sequence, error=status)


STREAM_ENROLL = StreamMethod(open=lambda call: _EnrollStream(call).begin, refuse=_refuse)
