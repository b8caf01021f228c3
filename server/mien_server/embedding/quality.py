"""How fit a face is for recognition: measures, a score for each, and the reasons for a low one. Pure.

Each measure is turned into 0..1 by a ramp between a value at which recognition is hopeless and one above which it
no longer matters; the face's score is the smallest. Sharpness, brightness and contrast are measured on the middle of
the aligned chip, where the face is and the background is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from mien_server.embedding.alignment import EyesAndNose
from mien_server.records.faces import Float32Array, Quality, QualityReason

__all__ = ["FaceMeasures", "measure_quality"]

MIDDLE_SHARE: Final = 0.6
REASON_SCORE: Final = 0.5
LUMA_WEIGHTS: Final = np.asarray([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Ramp:
    """0 at `hopeless` and beyond, 1 at `fine` and beyond, linear between; either way round."""

    hopeless: float
    fine: float

    def __call__(self, value: float) -> float:
        """The score of one value."""
        return min(1.0, max(0.0, (value - self.hopeless) / (self.fine - self.hopeless)))


SIZE_PX: Final = Ramp(16.0, 64.0)
SHARPNESS: Final = Ramp(0.0, 40.0)
DARKNESS: Final = Ramp(0.06, 0.22)
BRIGHTNESS: Final = Ramp(0.97, 0.82)
CONTRAST: Final = Ramp(0.02, 0.10)
YAW: Final = Ramp(1.0, 0.4)
OUTSIDE_SHARE: Final = Ramp(0.5, 0.1)


@dataclass(frozen=True, slots=True)
class FaceMeasures:
    """What quality is computed from.

    Attributes:
        chip: uint8 [size, size, 3].
        face_size_px: shorter side of the face's box.
        eyes_and_nose: in any frame in which the face is upright, within 45 degrees.
        roll_degrees: rotation of the eye line in the upright picture.
        detector_score: scaled to 0..1.
        outside_share: share of the chip beyond the picture.
    """

    chip: npt.NDArray[np.uint8]
    face_size_px: float
    eyes_and_nose: EyesAndNose
    roll_degrees: float
    detector_score: float
    outside_share: float


def measure_quality(measures: FaceMeasures) -> Quality:
    """Measures, score and reasons of one face. Deterministic."""
    grey = _middle(measures.chip.astype(np.float32) @ LUMA_WEIGHTS)
    sharpness = float(np.var(_laplacian(grey)))
    brightness = float(grey.mean()) / 255.0
    contrast = float(grey.std()) / 255.0
    yaw = _yaw(measures.eyes_and_nose)
    scores = {
        QualityReason.TOO_SMALL: SIZE_PX(measures.face_size_px),
        QualityReason.BLURRED: SHARPNESS(sharpness),
        QualityReason.TOO_DARK: DARKNESS(brightness),
        QualityReason.TOO_BRIGHT: BRIGHTNESS(brightness),
        QualityReason.LOW_CONTRAST: CONTRAST(contrast),
        QualityReason.TURNED_AWAY: YAW(yaw),
        QualityReason.LOW_DETECTOR_SCORE: measures.detector_score,
        QualityReason.CUT_OFF: OUTSIDE_SHARE(measures.outside_share),
    }
    return Quality(
        score=min(scores.values()),
        reasons=tuple(reason for reason, score in scores.items() if score < REASON_SCORE),
        face_size_px=measures.face_size_px,
        sharpness=sharpness,
        brightness=brightness,
        contrast=contrast,
        yaw=yaw,
        roll_degrees=measures.roll_degrees,
    )


def _middle(grey: Float32Array) -> Float32Array:
    height, width = grey.shape
    margin_y, margin_x = (round(side * (1 - MIDDLE_SHARE) / 2) for side in (height, width))
    return grey[margin_y : height - margin_y, margin_x : width - margin_x]


def _laplacian(grey: Float32Array) -> Float32Array:
    """The four-neighbour Laplacian of the inner pixels."""
    around: Float32Array = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return around - 4 * grey[1:-1, 1:-1]


def _yaw(points: EyesAndNose) -> float:
    """How far the nose lies from the middle between the eyes, along the eye line: 0 is frontal, 1 is over an eye."""
    eye_line = points.right_eye - points.left_eye
    length_squared = float(eye_line @ eye_line)
    if length_squared == 0.0:
        return 1.0
    position = float((points.nose - points.left_eye) @ eye_line) / length_squared
    return min(1.0, abs(position - 0.5) * 2.0)
