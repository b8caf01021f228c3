"""From a detection to landmarks and the chip that a network is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import dlib
import numpy as np
import numpy.typing as npt

from mien_server.embedding.detection import Detection
from mien_server.embedding.dlib_files import FIVE_POINT_PREDICTOR, SIXTY_EIGHT_POINT_PREDICTOR, model_file
from mien_server.embedding.parameters import (
    CHIP_PADDING,
    CHIP_SIZE_PX,
    SQUARE_CENTRE_BELOW,
    SQUARE_SIDE_OF_HEIGHT,
)
from mien_server.records.faces import Float32Array

__all__ = [
    "AlignedFace",
    "Aligner",
    "DlibAligner",
    "EyesAndNose",
    "SixtyEightPoints",
    "face_rectangle",
]

GRID_STEPS: Final = 16


@dataclass(frozen=True, slots=True)
class EyesAndNose:
    """The three points every scheme of landmarks holds: float32 [2] each, left and right as in the picture."""

    left_eye: Float32Array
    right_eye: Float32Array
    nose: Float32Array


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """A face ready for its network, in the coordinates of the pixels it was found in.

    Attributes:
        points: float32 [5, 2], in the scheme of the aligner.
        chip: uint8 [size, size, 3], C-contiguous.
        outside_share: share of the chip that lies beyond the picture, 0 to 1.
    """

    points: Float32Array
    eyes_and_nose: EyesAndNose
    chip: npt.NDArray[np.uint8]
    outside_share: float


class Aligner(Protocol):
    """Turns detections into chips of one size."""

    def align(self, pixels: npt.NDArray[np.uint8], detection: Detection) -> AlignedFace:
        """The landmarks and the chip of one face."""
        ...


def face_rectangle(detection: Detection) -> Any:
    """The square that dlib's landmark predictors expect around the face, as a `dlib.rectangle`."""
    box = detection.box
    if detection.points is None:
        side, centre_y = box.width, box.top + box.height / 2
    else:
        side = SQUARE_SIDE_OF_HEIGHT * box.height
        centre_y = box.top + (0.5 + SQUARE_CENTRE_BELOW) * box.height
    left, top = box.left + box.width / 2 - side / 2, centre_y - side / 2
    return dlib.rectangle(round(left), round(top), round(left + side) - 1, round(top + side) - 1)


class DlibAligner:
    """dlib's five points (both corners of each eye, base of the nose) and its padded chip of 150 x 150."""

    def __init__(self) -> None:
        self._predictor = dlib.shape_predictor(str(model_file(FIVE_POINT_PREDICTOR)))

    def align(self, pixels: npt.NDArray[np.uint8], detection: Detection) -> AlignedFace:
        """See `Aligner`."""
        shape = self._predictor(pixels, face_rectangle(detection))
        points = _points(shape)
        chip = np.ascontiguousarray(dlib.get_face_chip(pixels, shape, CHIP_SIZE_PX, CHIP_PADDING))
        assert chip.shape == (CHIP_SIZE_PX, CHIP_SIZE_PX, 3)
        eyes = sorted((points[0:2].mean(axis=0), points[2:4].mean(axis=0)), key=lambda eye: float(eye[0]))
        details = dlib.get_face_chip_details(shape, CHIP_SIZE_PX, CHIP_PADDING)
        return AlignedFace(points, EyesAndNose(eyes[0], eyes[1], points[4]), chip, _outside_share(details, pixels))


class SixtyEightPoints:
    """dlib's 68 points in the iBUG order. Its training data excludes commercial use: only when asked for."""

    def __init__(self) -> None:
        self._predictor = dlib.shape_predictor(str(model_file(SIXTY_EIGHT_POINT_PREDICTOR)))

    def points(self, pixels: npt.NDArray[np.uint8], detection: Detection) -> Float32Array:
        """float32 [68, 2] in the coordinates of `pixels`."""
        return _points(self._predictor(pixels, face_rectangle(detection)))


def _points(shape: Any) -> Float32Array:
    return np.array([(part.x, part.y) for part in shape.parts()], dtype=np.float32)


def _outside_share(details: Any, pixels: npt.NDArray[np.uint8]) -> float:
    """The share of a grid over the turned chip that lies beyond the picture."""
    height, width = pixels.shape[:2]
    rectangle, angle = details.rect, details.angle
    centre_x = (rectangle.left() + rectangle.right()) / 2
    centre_y = (rectangle.top() + rectangle.bottom()) / 2
    steps = (np.arange(GRID_STEPS) + 0.5) / GRID_STEPS - 0.5
    across, down = np.meshgrid(steps * rectangle.width(), steps * rectangle.height())
    x = centre_x + across * np.cos(angle) - down * np.sin(angle)
    y = centre_y + across * np.sin(angle) + down * np.cos(angle)
    return float(np.mean((x < 0) | (y < 0) | (x >= width) | (y >= height)))
