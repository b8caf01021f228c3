"""facenet-pytorch's MTCNN as a detector, one picture at a time.

The library batches only pictures of one size and fails on some without a face, so it is never given a batch. Its
three networks come inside the package, pinned here by their SHA-256 through the fingerprint.
"""

from __future__ import annotations

from typing import Final

import facenet_pytorch
import numpy as np
import numpy.typing as npt
import torch

from mien_server.embedding.detection import Detection, without_duplicates, working_scale
from mien_server.embedding.parameters import (
    MTCNN_FACE_SIZE_MIN_PX,
    MTCNN_PIXELS_MAX,
    MTCNN_PYRAMID_FACTOR,
    MTCNN_THRESHOLDS,
    MTCNN_UPRIGHT_SCORE,
)
from mien_server.embedding.pixels import resized
from mien_server.records.faces import Box

__all__ = ["MtcnnFinder"]

BORDER_PX: Final = 32
OUTSIDE_CANDIDATE_TEXTS: Final = ("non-empty list", "does not match the shape", "must match the size")
"""How torch complains when facenet-pytorch drops a candidate from one list and not from the other."""

_Found = tuple[tuple[float, ...], float, npt.NDArray[np.float32]]


class MtcnnFinder:
    """MTCNN with its five points (image-left eye, image-right eye, nose, mouth corners)."""

    def __init__(self) -> None:
        self._network = facenet_pytorch.MTCNN(
            keep_all=True,
            min_face_size=MTCNN_FACE_SIZE_MIN_PX,
            thresholds=list(MTCNN_THRESHOLDS),
            factor=MTCNN_PYRAMID_FACTOR,
            device=torch.device("cpu"),
        )

    @property
    def lowest_score(self) -> float:
        """See `FaceFinder`."""
        return MTCNN_THRESHOLDS[-1]

    @property
    def upright_score(self) -> float:
        """See `FaceFinder`."""
        return MTCNN_UPRIGHT_SCORE

    def find(self, pixels: npt.NDArray[np.uint8]) -> list[Detection]:
        """See `FaceFinder`."""
        height, width = pixels.shape[:2]
        scale = working_scale(height, width, MTCNN_PIXELS_MAX, 1.0)
        working = resized(pixels, scale)
        if min(working.shape[:2]) <= MTCNN_FACE_SIZE_MIN_PX:
            return []
        found = self._detect(working, 0)
        if found is None:
            found = self._detect(np.pad(working, ((BORDER_PX, BORDER_PX), (BORDER_PX, BORDER_PX), (0, 0))), BORDER_PX)
        return without_duplicates(
            Detection(
                Box(*((edge / scale) for edge in (left, top, right - left, bottom - top))),
                score,
                points / np.float32(scale),
            )
            for (left, top, right, bottom), score, points in found or []
        )

    def glance(self, pixels: npt.NDArray[np.uint8], size_px: float) -> list[Detection]:  # noqa: ARG002 - it finds all
        """See `FaceFinder`."""
        return self.find(pixels)

    def _detect(self, pixels: npt.NDArray[np.uint8], border_px: int) -> list[_Found] | None:
        """Boxes (left, top, right, bottom), scores and points without the border; None when the library fails.

        It fails when a candidate lies wholly outside the picture; a border around the picture keeps it inside.
        """
        try:
            with torch.inference_mode():
                boxes, scores, points = self._network.detect(pixels, landmarks=True)
        except (RuntimeError, IndexError) as error:
            if not any(text in str(error) for text in OUTSIDE_CANDIDATE_TEXTS):
                raise
            return None
        if boxes is None:
            return []
        return [
            (
                tuple(float(edge) - border_px for edge in box),
                float(score),
                np.asarray(five, dtype=np.float32) - np.float32(border_px),
            )
            for box, score, five in zip(boxes, scores, points, strict=True)
        ]
