"""Identities: get, list, update, delete."""

from __future__ import annotations

from mien.v1 import gallery_service_pb2 as pb
from mien_server.rpc.convert.faces import identity_message
from mien_server.rpc.convert.filters import row_filter
from mien_server.rpc.convert.values import expiry_microseconds, missing
from mien_server.rpc.gate import Call
from mien_server.rpc.requests import (
    masked_paths,
    next_page_token,
    page_cursor,
    page_size,
    request_token,
    version_of,
)

__all__ = ["delete_identity", "get_identity", "list_identities", "update_identity"]

_UPDATABLE = ("display_name", "labels", "expire_time")


def get_identity(request: pb.GetIdentityRequest, call: Call) -> pb.GetIdentityResponse:
    """GetIdentity."""
    identity, revision = call.engine.identities.get(request.gallery, request.identity_id, request.min_revision)
    return pb.GetIdentityResponse(identity=identity_message(identity), revision=revision)


def list_identities(request: pb.ListIdentitiesRequest, call: Call) -> pb.ListIdentitiesResponse:
    """ListIdentities."""
    after = page_cursor(call.method, request, request.page_token)
    limit = page_size(request.page_size, call.engine.limits)
    chosen = row_filter(request.filter, "filter")
    listing = call.engine.identities.list(
        request.gallery, chosen, after, limit, request.min_revision, deadline=call.deadline
    )
    return pb.ListIdentitiesResponse(
        identities=[identity_message(identity) for identity in listing.identities],
        next_page_token=next_page_token(call.method, request, listing.next_after),
        revision=listing.revision,
        total_size=listing.total,
    )


def update_identity(request: pb.UpdateIdentityRequest, call: Call) -> pb.UpdateIdentityResponse:
    """UpdateIdentity."""
    if not request.HasField("identity"):
        raise missing("identity", "give the identity, at least its id")
    identity = request.identity
    filled = [name for name in _UPDATABLE[:2] if getattr(identity, name)]
    if identity.HasField("expire_time"):
        filled.append("expire_time")
    paths = masked_paths(request.update_mask, _UPDATABLE, filled, "identity")
    updated, revision = call.engine.identities.update(
        request.gallery,
        identity.id,
        display_name=identity.display_name if "display_name" in paths else None,
        labels=dict(identity.labels) if "labels" in paths else None,
        expire_time_us=expiry_microseconds(identity) if "expire_time" in paths else None,
        version=version_of(identity.etag, "identity.etag"),
        allow_missing=request.allow_missing,
        request=request_token(call.method, request, request.request_id),
    )
    return pb.UpdateIdentityResponse(identity=identity_message(updated), revision=revision)


def delete_identity(request: pb.DeleteIdentityRequest, call: Call) -> pb.DeleteIdentityResponse:
    """DeleteIdentity."""
    removed = call.engine.identities.delete(
        request.gallery,
        request.identity_id,
        version=version_of(request.etag, "etag"),
        allow_missing=request.allow_missing,
        request=request_token(call.method, request, request.request_id),
    )
    return pb.DeleteIdentityResponse(deleted_faces=removed.face_count, revision=removed.revision)
