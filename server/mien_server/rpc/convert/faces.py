"""Faces found and faces enrolled, identities, and what became of a photograph."""

from __future__ import annotations

from mien.v1 import gallery_service_pb2, recognition_service_pb2, types_pb2
from mien_server.engine.images import image_error
from mien_server.engine.types import FaceInfo, IdentityInfo
from mien_server.records.faces import Box, FaceAnalysis, Float32Array, ImageAnalysis, Quality
from mien_server.rpc.convert.values import embedding_message, enum_number, timestamp
from mien_server.rpc.errors import status_of
from mien_server.rpc.requests import etag_of

__all__ = [
    "detected_face_message",
    "face_message",
    "identity_message",
    "image_faces_message",
]


def identity_message(identity: IdentityInfo) -> gallery_service_pb2.Identity:
    """An identity as a message."""
    return gallery_service_pb2.Identity(
        id=identity.id,
        display_name=identity.display_name,
        labels=identity.labels,
        face_count=identity.face_count,
        create_time=timestamp(identity.create_time_us),
        update_time=timestamp(identity.update_time_us),
        etag=etag_of(identity.version),
        expire_time=timestamp(identity.expire_time_us),
    )


def face_message(face: FaceInfo) -> gallery_service_pb2.Face:
    """An enrolled face as a message, with its embedding where it was asked for."""
    return gallery_service_pb2.Face(
        id=face.id,
        identity_id=face.identity_id,
        labels=face.labels,
        source=face.source,
        image_sha256=face.image_sha256,
        box=None if face.box is None else _box_message(face.box),
        landmarks=None if face.landmarks_five is None else _landmarks_message(face.landmarks_five, None),
        quality=None if face.quality is None else _quality_message(face.quality),
        detector_score=face.detector_score,
        model_fingerprint=face.model_fingerprint,
        create_time=timestamp(face.create_time_us),
        expire_time=timestamp(face.expire_time_us),
        embedding=None if face.embedding is None else embedding_message(face.embedding, face.model_fingerprint),
    )


def detected_face_message(face: FaceAnalysis, model: str | None) -> types_pb2.DetectedFace:
    """A face found in a photograph; with its embedding when the name of its model is given."""
    return types_pb2.DetectedFace(
        box=_box_message(face.box),
        landmarks=_landmarks_message(face.landmarks_five, face.landmarks_sixty_eight),
        detector_score=face.detector_score,
        quality=_quality_message(face.quality),
        aligned_png=face.aligned_png or b"",
        rotation_degrees=face.rotation_degrees,
        embedding=None if model is None or face.embedding is None else embedding_message(face.embedding, model),
    )


def image_faces_message(
    analysis: ImageAnalysis, source: str, field: str, model: str | None = None
) -> recognition_service_pb2.ImageFaces:
    """What was found in a photograph; with embeddings when the name of their model is given.

    Args:
        field: where the photograph stands in the request, for its error.
    """
    error = image_error(analysis, field)
    return recognition_service_pb2.ImageFaces(
        image_status=enum_number(analysis.status),
        error=None if error is None else status_of(error, source),
        width=analysis.width,
        height=analysis.height,
        faces=[detected_face_message(face, model) for face in analysis.faces],
        image_sha256=analysis.sha256,
        source=source,
    )


def _box_message(box: Box) -> types_pb2.BoundingBox:
    return types_pb2.BoundingBox(left=box.left, top=box.top, width=box.width, height=box.height)


def _landmarks_message(five: Float32Array, sixty_eight: Float32Array | None) -> types_pb2.Landmarks:
    return types_pb2.Landmarks(five=_points(five), sixty_eight=[] if sixty_eight is None else _points(sixty_eight))


def _points(points: Float32Array) -> list[types_pb2.Point]:
    return [types_pb2.Point(x=x, y=y) for x, y in points.tolist()]


def _quality_message(quality: Quality) -> types_pb2.Quality:
    return types_pb2.Quality(
        score=quality.score,
        reasons=[enum_number(reason) for reason in quality.reasons],
        face_size_px=quality.face_size_px,
        sharpness=quality.sharpness,
        brightness=quality.brightness,
        contrast=quality.contrast,
        yaw=quality.yaw,
        roll_degrees=quality.roll_degrees,
    )
