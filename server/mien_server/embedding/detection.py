"""What a detector answers, and what is done with the answers of every detector alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mien_server.embedding.parameters import SAME_FACE_OVERLAP
from mien_server.records.faces import Box

__all__ = ["Detection", "FaceFinder", "largest_first", "overlap", "without_duplicates", "working_scale"]


@dataclass(frozen=True, slots=True)
class Detection:
    """A face as a detector sees it, in the coordinates of the pixels it was given.

    Attributes:
        score: comparable within one detector only.
        points: float32 [5, 2], the detector's own landmarks; None when it has none.
    """

    box: Box
    score: float
    points: npt.NDArray[np.float32] | None = None


class FaceFinder(Protocol):
    """A detector. Pixels are uint8 [height, width, 3] RGB, C-contiguous."""

    @property
    def lowest_score(self) -> float:
        """The score at which it begins to call something a face."""
        ...

    @property
    def upright_score(self) -> float:
        """A face scoring at least this was never seen to be an upside-down or sideways one."""
        ...

    def find(self, pixels: npt.NDArray[np.uint8]) -> list[Detection]:
        """Every upright face, each once."""
        ...

    def glance(self, pixels: npt.NDArray[np.uint8], size_px: float) -> list[Detection]:
        """What one bounded pass finds: enough to tell which way up a picture with faces of `size_px` is.

        0 is a size that is not known: the smallest faces are looked for too.
        """
        ...


def overlap(left: Box, right: Box) -> float:
    """The intersection of two boxes as a share of the smaller one."""
    width = min(left.left + left.width, right.left + right.width) - max(left.left, right.left)
    height = min(left.top + left.height, right.top + right.height) - max(left.top, right.top)
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / max(1e-9, min(left.width * left.height, right.width * right.height))


def without_duplicates(detections: Iterable[Detection]) -> list[Detection]:
    """Each face once, seen at its best score."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda found: (-found.score, found.box.left, found.box.top)):
        if all(overlap(detection.box, other.box) < SAME_FACE_OVERLAP for other in kept):
            kept.append(detection)
    return kept


def largest_first(detections: Iterable[Detection]) -> list[Detection]:
    """Ordered by area; ties by score, then from left to right and top to bottom."""
    return sorted(
        detections, key=lambda found: (-found.box.width * found.box.height, -found.score, found.box.left, found.box.top)
    )


def working_scale(height: int, width: int, pixels_max: int, scale_max: float) -> float:
    """The largest scale, at most `scale_max`, at which a picture has at most `pixels_max` pixels."""
    return float(min(scale_max, (pixels_max / (height * width)) ** 0.5))
