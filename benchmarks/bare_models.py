"""The dlib recipe's models in a plain loop, a process for each core.

Pillow decodes, dlib's HOG detector searches the scales and turns that the recipe decides on (the recipe's own
`find_faces`: a copy of its rules would soon search other scales, and other work would be compared), dlib aligns, ONNX
Runtime embeds, and nothing else: no limits, no hostile pictures, no quality, no queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Self

import dlib
import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from mien_server.embedding.alignment import face_rectangle
from mien_server.embedding.dlib_files import FIVE_POINT_PREDICTOR, model_file
from mien_server.embedding.dlib_graph import INPUT_NAME, OUTPUT_NAME, graph_file
from mien_server.embedding.hog import HogFinder
from mien_server.embedding.orientation import find_faces
from mien_server.embedding.parameters import CHIP_PADDING, CHIP_SIZE_PX

__all__ = ["BareModels"]

GROUP_SIZE = 8
"""Photographs a process takes at a time; their faces go through the network together, as the recipe's do."""


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
        self._finder = HogFinder()
        self._predictor = dlib.shape_predictor(str(model_file(FIVE_POINT_PREDICTOR)))

    def embed(self, paths: Sequence[Path]) -> int:
        """Faces of some photographs, embedded."""
        chips = [chip for path in paths for chip in self._chips(path)]
        if chips:
            self._session.run([OUTPUT_NAME], {INPUT_NAME: np.stack(chips)})
        return len(chips)

    def _chips(self, path: Path) -> list[npt.NDArray[np.uint8]]:
        found = find_faces(np.array(Image.open(path).convert("RGB")), self._finder)
        shapes = [self._predictor(found.pixels, face_rectangle(detection)) for detection in found.detections]
        return [dlib.get_face_chip(found.pixels, shape, CHIP_SIZE_PX, CHIP_PADDING) for shape in shapes]


_models: list[_Models] = []


def _load(cache_directory: Path) -> None:
    _models.append(_Models(cache_directory))


def _embed(paths: Sequence[Path]) -> int:
    return _models[0].embed(paths)
