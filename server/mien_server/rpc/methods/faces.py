"""Faces: get, list, move, delete."""

from __future__ import annotations

from mien.v1 import gallery_service_pb2 as pb
from mien_server.rpc.convert.faces import face_message
from mien_server.rpc.convert.filters import row_filter
from mien_server.rpc.gate import Call
from mien_server.rpc.requests import next_page_token, page_ordinal, page_size, request_token

__all__ = ["delete_faces", "get_face", "list_faces", "move_faces"]


def get_face(request: pb.GetFaceRequest, call: Call) -> pb.GetFaceResponse:
    """GetFace."""
    face, revision = call.engine.faces.get(
        request.gallery,
        request.face_id,
        include_embedding=request.include_embedding,
        min_revision=request.min_revision,
    )
    return pb.GetFaceResponse(face=face_message(face), revision=revision)


def list_faces(request: pb.ListFacesRequest, call: Call) -> pb.ListFacesResponse:
    """ListFaces."""
    listing = call.engine.faces.list(
        request.gallery,
        request.identity_id,
        row_filter=row_filter(request.filter, "filter"),
        after=page_ordinal(call.method, request, request.page_token),
        limit=page_size(request.page_size, call.engine.limits),
        include_embedding=request.include_embedding,
        min_revision=request.min_revision,
        deadline=call.deadline,
    )
    cursor = "" if listing.next_after < 0 else str(listing.next_after)
    return pb.ListFacesResponse(
        faces=[face_message(face) for face in listing.faces],
        next_page_token=next_page_token(call.method, request, cursor),
        revision=listing.revision,
        total_size=listing.total,
    )


def move_faces(request: pb.MoveFacesRequest, call: Call) -> pb.MoveFacesResponse:
    """MoveFaces."""
    moved = call.engine.faces.move(
        request.gallery,
        list(request.face_ids),
        request.target_identity_id,
        delete_emptied_identities=request.delete_emptied_identities,
        request=request_token(call.method, request, request.request_id),
    )
    return pb.MoveFacesResponse(
        moved_count=moved.face_count, emptied_identity_ids=moved.emptied_identity_ids, revision=moved.revision
    )


def delete_faces(request: pb.DeleteFacesRequest, call: Call) -> pb.DeleteFacesResponse:
    """DeleteFaces."""
    deleted = call.engine.faces.delete(
        request.gallery,
        list(request.face_ids),
        allow_missing=request.allow_missing,
        delete_emptied_identities=request.delete_emptied_identities,
        request=request_token(call.method, request, request.request_id),
    )
    return pb.DeleteFacesResponse(
        deleted_count=deleted.face_count, emptied_identity_ids=deleted.emptied_identity_ids, revision=deleted.revision
    )
