"""Faces as they are found in photographs and kept in galleries."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mien_client._types import enums
from mien_client.errors import MienClientError

__all__ = ["BoundingBox", "DetectedFace", "DetectionAnswer", "Face", "ImageFaces", "Landmarks", "Quality"]


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """Pixels of the upright picture (EXIF orientation applied); may reach beyond it."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Points in pixels of the upright picture: `five` float32 [5, 2], `sixty_eight` float32 [68, 2] or [0, 2]."""

    five: npt.NDArray[np.float32]
    sixty_eight: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Quality:
    """How fit a face is for recognition.

    Attributes:
        score: 0 (useless) to 1 (good).
        reasons: why the score is low.
        face_size_px: shorter side of the face box.
        sharpness: variance of the Laplacian of the aligned grey chip.
        brightness: mean luminance of the aligned chip, 0 to 1.
        contrast: standard deviation of that luminance, 0 to 1.
        yaw: how far the head is turned, 0 (frontal) to 1.
        roll_degrees: rotation of the eye line in the picture.
    """

    score: float
    reasons: tuple[enums.QualityReason, ...]
    face_size_px: float
    sharpness: float
    brightness: float
    contrast: float
    yaw: float
    roll_degrees: float


@dataclass(frozen=True, slots=True, eq=False)
class DetectedFace:
    """A face found in a photograph.

    Attributes:
        box: where it is.
        landmarks: None when the detector gives none.
        detector_score: comparable only within one detector.
        quality: how fit it is.
        rotation_degrees: clockwise rotation at which it was found upright; box and landmarks are turned back.
        aligned_png: the aligned chip, when asked for.
        embedding: float32 [d], when asked for.
    """

    box: BoundingBox
    landmarks: Landmarks | None
    detector_score: float
    quality: Quality
    rotation_degrees: int = 0
    aligned_png: bytes = field(default=b"", repr=False)
    embedding: npt.NDArray[np.float32] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class ImageFaces:
    """What was found in one photograph.

    Attributes:
        status: OK, or why the picture could not be used.
        error: set when it could not be used; the message says what to do.
        width: pixels, after the EXIF orientation was applied.
        height: likewise.
        faces: largest first.
        sha256: of the picture's bytes.
        source: the name that the caller gave it.
    """

    status: enums.ImageStatus
    error: MienClientError | None
    width: int
    height: int
    faces: tuple[DetectedFace, ...]
    sha256: bytes
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class DetectionAnswer:
    """What detection or embedding found: `images` in the order of the request."""

    images: tuple[ImageFaces, ...]
    model_fingerprint: str


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One enrolled embedding and where it came from.

    Attributes:
        id: unique in the gallery.
        identity_id: whose it is.
        labels: the face's own.
        source: the caller's name of the picture.
        image_sha256: of the picture's bytes; empty for embeddings.
        box: None for embeddings; likewise landmarks and quality.
        landmarks: see `box`.
        quality: see `box`.
        detector_score: 0 for embeddings.
        model_fingerprint: of the model that made the embedding.
        create_time: UTC; None when the server did not say.
        embedding: float32 [d], when asked for.
        expire_time: UTC, when it is found no more; None for never. Its identity may expire earlier.
    """

    id: str
    identity_id: str
    labels: Mapping[str, str]
    source: str
    image_sha256: bytes
    box: BoundingBox | None
    landmarks: Landmarks | None
    quality: Quality | None
    detector_score: float
    model_fingerprint: str
    create_time: datetime.datetime | None
    embedding: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    expire_time: datetime.datetime | None = None
