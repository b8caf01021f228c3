"""Messages -> types: faces, photographs, the small things that everything shares."""

from __future__ import annotations

import datetime

import numpy as np
import numpy.typing as npt
from google.protobuf import timestamp_pb2

from mien.v1 import gallery_service_pb2 as galleries_v1
from mien.v1 import recognition_service_pb2 as recognition_v1
from mien.v1 import types_pb2 as types_v1
from mien_client._rpc.failures import optional_error
from mien_client._types import enums, faces
from mien_client._wire.enums import enum_value
from mien_client.errors import ServerFailure

__all__ = ["detected_face", "detection_answer", "embedding", "face", "image_faces", "moment", "vectors"]


def moment(timestamp: timestamp_pb2.Timestamp) -> datetime.datetime | None:
    """UTC, or None for a time that is not set."""
    if timestamp.seconds == 0 and timestamp.nanos == 0:
        return None
    return timestamp.ToDatetime(tzinfo=datetime.UTC)


def vectors(message: types_v1.Embeddings) -> npt.NDArray[np.float32]:
    """Packed embeddings as float32 [n, d], read-only.

    Raises:
        ServerFailure: the bytes are not n x d components.
    """
    count = message.count or (1 if message.data else 0)
    if len(message.data) != count * message.dimension * 4:
        raise ServerFailure(
            f"the server sent {len(message.data)} bytes as {count} embeddings of {message.dimension} components",
            reason="UNEXPECTED_ANSWER",
        )
    values = np.frombuffer(message.data, dtype="<f4").astype(np.float32, copy=False)
    return values.reshape(count, message.dimension)


def embedding(message: types_v1.Embeddings) -> npt.NDArray[np.float32] | None:
    """One embedding as float32 [d]; None when it was not asked for."""
    return vectors(message)[0] if message.data else None


def _box(message: types_v1.BoundingBox) -> faces.BoundingBox:
    return faces.BoundingBox(message.left, message.top, message.width, message.height)


def _landmarks(message: types_v1.Landmarks) -> faces.Landmarks:
    return faces.Landmarks(
        five=np.array([(point.x, point.y) for point in message.five], np.float32).reshape(-1, 2),
        sixty_eight=np.array([(point.x, point.y) for point in message.sixty_eight], np.float32).reshape(-1, 2),
    )


def _quality(message: types_v1.Quality) -> faces.Quality:
    return faces.Quality(
        score=message.score,
        reasons=tuple(enum_value(enums.QualityReason, reason) for reason in message.reasons),
        face_size_px=message.face_size_px,
        sharpness=message.sharpness,
        brightness=message.brightness,
        contrast=message.contrast,
        yaw=message.yaw,
        roll_degrees=message.roll_degrees,
    )


def detected_face(message: types_v1.DetectedFace) -> faces.DetectedFace:
    """A face found in a photograph."""
    return faces.DetectedFace(
        box=_box(message.box),
        landmarks=_landmarks(message.landmarks) if message.HasField("landmarks") else None,
        detector_score=message.detector_score,
        quality=_quality(message.quality),
        rotation_degrees=message.rotation_degrees,
        aligned_png=message.aligned_png,
        embedding=embedding(message.embedding),
    )


def image_faces(message: recognition_v1.ImageFaces) -> faces.ImageFaces:
    """What was found in one photograph."""
    return faces.ImageFaces(
        status=enum_value(enums.ImageStatus, message.image_status),
        error=optional_error(message.error),
        width=message.width,
        height=message.height,
        faces=tuple(detected_face(found) for found in message.faces),
        sha256=message.image_sha256,
        source=message.source,
    )


def detection_answer(
    message: recognition_v1.DetectFacesResponse | recognition_v1.EmbedFacesResponse,
) -> faces.DetectionAnswer:
    """What detection or embedding found."""
    return faces.DetectionAnswer(tuple(image_faces(found) for found in message.images), message.model_fingerprint)


def face(message: galleries_v1.Face) -> faces.Face:
    """One enrolled face."""
    return faces.Face(
        id=message.id,
        identity_id=message.identity_id,
        labels=dict(message.labels),
        source=message.source,
        image_sha256=message.image_sha256,
        box=_box(message.box) if message.HasField("box") else None,
        landmarks=_landmarks(message.landmarks) if message.HasField("landmarks") else None,
        quality=_quality(message.quality) if message.HasField("quality") else None,
        detector_score=message.detector_score,
        model_fingerprint=message.model_fingerprint,
        create_time=moment(message.create_time),
        embedding=embedding(message.embedding),
        expire_time=moment(message.expire_time),
    )
