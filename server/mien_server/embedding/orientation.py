"""Which way up a picture is, when no tag says so.

A detector of upright faces finds little in a sideways picture, but HOG does find faces in upside-down ones, with
low scores, and a network then embeds them into nonsense. So a picture is trusted to be upright only when its best
face scores like one that is; otherwise it is also looked at turned, and the turn with the best score wins, upright
in doubt. The turn is the picture's, not a face's: people in one picture are assumed to stand the same way up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien_server.embedding.detection import Detection, FaceFinder
from mien_server.embedding.parameters import TURN_SHARE
from mien_server.embedding.pixels import QUARTER_TURNS, turned

__all__ = ["FoundFaces", "find_faces"]


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """Faces of a picture turned clockwise by `degrees`, in the coordinates of the turned `pixels`."""

    degrees: int
    pixels: npt.NDArray[np.uint8]
    detections: list[Detection]


def find_faces(pixels: npt.NDArray[np.uint8], finder: FaceFinder) -> FoundFaces:
    """Every face of the picture at the turn at which its best face scores best."""
    upright = finder.find(pixels)
    upright_best = _best_score(upright)
    if upright_best >= finder.upright_score:
        return FoundFaces(0, pixels, upright)
    size_px = max((face.box.width for face in upright), default=0.0)
    scores = {degrees: _best_score(finder.glance(turned(pixels, degrees), size_px)) for degrees in QUARTER_TURNS}
    best_turn = max(QUARTER_TURNS, key=lambda degrees: scores[degrees])
    if scores[best_turn] <= max(upright_best, TURN_SHARE * finder.upright_score):
        return FoundFaces(0, pixels, upright)
    turned_pixels = turned(pixels, best_turn)
    found = finder.find(turned_pixels) or finder.glance(turned_pixels, 0.0)
    return FoundFaces(best_turn, turned_pixels, found)


def _best_score(detections: list[Detection]) -> float:
    return max((detection.score for detection in detections), default=float("-inf"))
