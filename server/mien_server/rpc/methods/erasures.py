"""Erasures: ask for one, follow it, check its receipt."""

from __future__ import annotations

from mien.v1 import operations_service_pb2 as pb
from mien_server.rpc.convert.erasures import erasure_message, receipt_record, verification_message
from mien_server.rpc.convert.operations import operation_message
from mien_server.rpc.convert.values import missing
from mien_server.rpc.gate import Call
from mien_server.rpc.requests import next_page_token, page_cursor, page_size, request_token

__all__ = ["erase_identity", "get_erasure", "list_erasures", "verify_erasure"]


def erase_identity(request: pb.EraseIdentityRequest, call: Call) -> pb.EraseIdentityResponse:
    """EraseIdentity."""
    token = request_token(call.method, request, request.request_id)
    operation, revision = call.engine.erasures.erase(request.gallery, request.identity_id, token)
    return pb.EraseIdentityResponse(operation=operation_message(operation), revision=revision)


def get_erasure(request: pb.GetErasureRequest, call: Call) -> pb.GetErasureResponse:
    """GetErasure."""
    return pb.GetErasureResponse(erasure=erasure_message(call.engine.erasures.get(request.name)))


def list_erasures(request: pb.ListErasuresRequest, call: Call) -> pb.ListErasuresResponse:
    """ListErasures."""
    after = page_cursor(call.method, request, request.page_token)
    limit = page_size(request.page_size, call.engine.limits)
    listing = call.engine.erasures.list(request.gallery, after, limit, pending_only=request.pending_only)
    return pb.ListErasuresResponse(
        erasures=[erasure_message(erasure) for erasure in listing.erasures],
        next_page_token=next_page_token(call.method, request, listing.next_after),
    )


def verify_erasure(request: pb.VerifyErasureRequest, call: Call) -> pb.VerifyErasureResponse:
    """VerifyErasure."""
    if not request.HasField("receipt"):
        raise missing("receipt", "give the receipt as the erasure answered it")
    checks = call.engine.erasures.verify(receipt_record(request.receipt), request.identity_id, call.deadline)
    return verification_message(checks)
