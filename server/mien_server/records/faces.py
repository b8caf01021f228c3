"""What a photograph turns into: statuses, boxes, landmarks, quality, embeddings."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "Box",
    "FaceAnalysis",
    "Float32Array",
    "ImageAnalysis",
    "ImageStatus",
    "Quality",
    "QualityReason",
]

Float32Array = npt.NDArray[np.float32]


class ImageStatus(enum.IntEnum):
    """What a picture turned out to be. Numbers of mien.v1.ImageStatus."""

    OK = 1
    NO_FACE = 2
    EMPTY = 3
    UNSUPPORTED_TYPE = 4
    TRUNCATED = 5
    CORRUPT = 6
    TOO_MANY_BYTES = 7
    TOO_MANY_PIXELS = 8
    TOO_SMALL = 9
    WORKER_CRASHED = 10


class QualityReason(enum.IntEnum):
    """Why a face is of low quality. Numbers of mien.v1.QualityReason."""

    TOO_SMALL = 1
    BLURRED = 2
    TOO_DARK = 3
    TOO_BRIGHT = 4
    LOW_CONTRAST = 5
    TURNED_AWAY = 6
    LOW_DETECTOR_SCORE = 7
    OCCLUDED = 8
    CUT_OFF = 9


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in upright pixel coordinates (after EXIF orientation); may reach beyond the picture."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How fit a face is for recognition; see mien.v1.Quality for each measure."""

    score: float
    reasons: tuple[QualityReason, ...]
    face_size_px: float
    sharpness: float
    brightness: float
    contrast: float
    yaw: float
    roll_degrees: float


@dataclass(frozen=True, slots=True)
class FaceAnalysis:
    """One face of a photograph.

    Attributes:
        landmarks_five: float32 [5, 2], x and y in upright pixels.
        landmarks_sixty_eight: float32 [68, 2], or None when not asked for.
        embedding: float32 [dimension] of unit norm, or None when only detection was asked for.
        aligned_png: the aligned chip as PNG, or None when not asked for.
        rotation_degrees: clockwise turn of the picture at which the face was found upright.
    """

    box: Box
    landmarks_five: Float32Array
    landmarks_sixty_eight: Float32Array | None
    detector_score: float
    quality: Quality
    rotation_degrees: int
    embedding: Float32Array | None
    aligned_png: bytes | None


@dataclass(frozen=True, slots=True)
class ImageAnalysis:
    """One photograph: its status and every face in it, the largest first.

    `message` is empty for OK; otherwise it says what is wrong and what to do. Width and height are those after the
    EXIF orientation was applied, zero when nothing was decoded.
    """

    status: ImageStatus
    message: str
    width: int
    height: int
    sha256: bytes
    faces: tuple[FaceAnalysis, ...]
