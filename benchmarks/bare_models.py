"""The dlib recipe's models in a plain loop, a process for each core.

Pillow decodes, dlib's HOG detector looks at the same scales and turns as the recipe does, dlib aligns, ONNX Runtime
embeds, and nothing else: no limits, no hostile pictures, no quality, no queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import dlib
import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from mien_server.embedding.dlib_files import FIVE_POINT_PREDICTOR, model_file
from mien_server.embedding.dlib_graph import INPUT_NAME, OUTPUT_NAME, graph_file
from mien_server.embedding.parameters import (
    CHIP_PADDING,
    CHIP_SIZE_PX,
    HOG_PORTRAIT_SHARE,
    HOG_UPRIGHT_SCORE,
)

__all__ = ["BareModels"]

PIXELS_MAX = 500_000
"""Larger photographs would be scaled by the recipe; this loop takes none."""

GROUP_SIZE = 8
"""Photographs a process takes at a time; their faces go through the network together, as the recipe's do."""

Found = list[tuple[Any, float]]


class BareModels:
    """The loops as a pool of processes, each with its models loaded."""

    def __init__(self, process_count: int, cache_directory: Path) -> None:
        self._pool = get_context("spawn").Pool(process_count, _load, (cache_directory,))

    def run(self, photographs: Sequence[Path]) -> int:
        """Embed every face of the photographs; answers how many faces there were."""
        groups = [photographs[first : first + GROUP_SIZE] for first in range(0, len(photographs), GROUP_SIZE)]
        return sum(self._pool.imap_unordered(_embed, groups))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
        self._pool.join()


class _Models:
    def __init__(self, cache_directory: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(graph_file(cache_directory)), options)
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(model_file(FIVE_POINT_PREDICTOR)))

    def embed(self, paths: Sequence[Path]) -> int:
        """Faces of some photographs, embedded."""
        chips = [chip for path in paths for chip in self._chips(path)]
        if chips:
            self._session.run([OUTPUT_NAME], {INPUT_NAME: np.stack(chips)})
        return len(chips)

    def _chips(self, path: Path) -> list[npt.NDArray[np.uint8]]:
        pixels = np.array(Image.open(path).convert("RGB"))
        assert pixels.shape[0] * pixels.shape[1] <= PIXELS_MAX
        return [
            dlib.get_face_chip(pixels, self._predictor(pixels, box), CHIP_SIZE_PX, CHIP_PADDING)
            for box, _ in self._upright(pixels)
        ]

    def _upright(self, pixels: npt.NDArray[np.uint8]) -> Found:
        found = self._detect(pixels, 0)
        shorter = min(pixels.shape[:2])
        if not found or max(box.width() for box, _ in found) < HOG_PORTRAIT_SHARE * shorter:
            found = self._detect(pixels, 1) or found
        if found and max(score for _, score in found) >= HOG_UPRIGHT_SCORE:
            return found
        for turns in (1, 2, 3):
            self._detect(np.ascontiguousarray(np.rot90(pixels, turns)), 1)
        return found

    def _detect(self, pixels: npt.NDArray[np.uint8], doublings: int) -> Found:
        boxes, scores, _ = self._detector.run(pixels, doublings, 0.0)
        return list(zip(boxes, scores, strict=True))


_models: list[_Models] = []


def _load(cache_directory: Path) -> None:
    _models.append(_Models(cache_directory))


def _embed(paths: Sequence[Path]) -> int:
    return _models[0].embed(paths)
