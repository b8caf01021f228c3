"""Galleries: create, get, list, update, delete."""

from __future__ import annotations

from collections.abc import Collection

from mien.v1 import gallery_service_pb2 as pb
from mien_server.rpc.convert.galleries import gallery_message, gallery_spec, time_to_live
from mien_server.rpc.convert.policies import decision_policy, enrollment_policy, index_policy
from mien_server.rpc.convert.values import missing
from mien_server.rpc.gate import Call
from mien_server.rpc.requests import (
    masked_paths,
    next_page_token,
    page_cursor,
    page_size,
    request_token,
    version_of,
)

__all__ = ["create_gallery", "delete_gallery", "get_gallery", "list_galleries", "update_gallery"]

_UPDATABLE = ("display_name", "labels", "decision_policy", "enrollment_policy", "index_policy", "default_time_to_live")


def create_gallery(request: pb.CreateGalleryRequest, call: Call) -> pb.CreateGalleryResponse:
    """CreateGallery."""
    _require_gallery(request)
    token = request_token(call.method, request, request.request_id)
    gallery, revision = call.engine.galleries.create(gallery_spec(request.gallery), token)
    return pb.CreateGalleryResponse(gallery=gallery_message(gallery), revision=revision)


def get_gallery(request: pb.GetGalleryRequest, call: Call) -> pb.GetGalleryResponse:
    """GetGallery."""
    gallery, revision = call.engine.galleries.get(request.gallery, request.min_revision)
    return pb.GetGalleryResponse(gallery=gallery_message(gallery), revision=revision)


def list_galleries(request: pb.ListGalleriesRequest, call: Call) -> pb.ListGalleriesResponse:
    """ListGalleries."""
    after = page_cursor(call.method, request, request.page_token)
    limit = page_size(request.page_size, call.engine.limits)
    listing = call.engine.galleries.list(after, limit, request.min_revision)
    return pb.ListGalleriesResponse(
        galleries=[gallery_message(gallery) for gallery in listing.galleries],
        next_page_token=next_page_token(call.method, request, listing.next_after),
        revision=listing.revision,
    )


def update_gallery(request: pb.UpdateGalleryRequest, call: Call) -> pb.UpdateGalleryResponse:
    """UpdateGallery."""
    _require_gallery(request)
    gallery = request.gallery
    paths = masked_paths(request.update_mask, _UPDATABLE, _filled(gallery), "gallery")
    updated, revision = call.engine.galleries.update(
        gallery.name,
        display_name=gallery.display_name if "display_name" in paths else None,
        labels=dict(gallery.labels) if "labels" in paths else None,
        decision_policy=(
            decision_policy(gallery.decision_policy, "gallery.decision_policy") if "decision_policy" in paths else None
        ),
        enrollment_policy=(
            enrollment_policy(gallery.enrollment_policy, "gallery.enrollment_policy")
            if "enrollment_policy" in paths
            else None
        ),
        index_policy=index_policy(gallery.index_policy, "gallery.index_policy") if "index_policy" in paths else None,
        default_time_to_live_us=time_to_live(gallery) if "default_time_to_live" in paths else None,
        version=version_of(gallery.etag, "gallery.etag"),
        request=request_token(call.method, request, request.request_id),
    )
    return pb.UpdateGalleryResponse(gallery=gallery_message(updated), revision=revision)


def delete_gallery(request: pb.DeleteGalleryRequest, call: Call) -> pb.DeleteGalleryResponse:
    """DeleteGallery."""
    deleted = call.engine.galleries.delete(
        request.gallery,
        force=request.force,
        version=version_of(request.etag, "etag"),
        request=request_token(call.method, request, request.request_id),
    )
    return pb.DeleteGalleryResponse(
        deleted_identities=deleted.identity_count, deleted_faces=deleted.face_count, revision=deleted.revision
    )


def _require_gallery(request: pb.CreateGalleryRequest | pb.UpdateGalleryRequest) -> None:
    if not request.HasField("gallery"):
        raise missing("gallery", "give the gallery, at least its name")


def _filled(gallery: pb.Gallery) -> Collection[str]:
    messages = [name for name in _UPDATABLE[2:] if gallery.HasField(name)]
    texts = [name for name in _UPDATABLE[:2] if getattr(gallery, name)]
    return [*texts, *messages]
