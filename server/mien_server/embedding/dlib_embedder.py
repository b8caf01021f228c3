"""dlib's recognition network on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from mien_server.embedding.dlib_graph import INPUT_NAME, OUTPUT_NAME, graph_file
from mien_server.embedding.embedders import unit_rows
from mien_server.errors import Unavailable
from mien_server.records.faces import Float32Array

__all__ = ["DlibEmbedder"]

LOG_SEVERITY_ERROR: Final = 3


class DlibEmbedder:
    """Embeds 150 x 150 chips into 128 dimensions on one thread.

    Args:
        cache_directory: where the network's graph is kept.

    Raises:
        Unavailable: RECIPE_UNAVAILABLE when the weights are missing or the graph cannot be loaded.
    """

    def __init__(self, cache_directory: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = LOG_SEVERITY_ERROR
        path = graph_file(cache_directory)
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # ONNX Runtime raises classes of its own that share no base but Exception.
            raise Unavailable(
                f"ONNX Runtime cannot load {path}: {error}; delete the file and start again",
                reason="RECIPE_UNAVAILABLE",
            ) from error

    def descriptors(self, chips: npt.NDArray[np.uint8]) -> Float32Array:
        """dlib's own descriptors, float32 [n, 128], not normalised."""
        (answer,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: chips})
        return np.asarray(answer, dtype=np.float32)

    def embed(self, chips: npt.NDArray[np.uint8]) -> Float32Array:
        """See `Embedder`."""
        return unit_rows(self.descriptors(chips))
