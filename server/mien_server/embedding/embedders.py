"""What every network looks like to a recipe."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from mien_server.errors import InternalError
from mien_server.records.faces import Float32Array

__all__ = ["CHIPS_PER_RUN_MAX", "Embedder", "unit_rows"]

CHIPS_PER_RUN_MAX: Final = 16
"""Chips through a network at once: beyond it speed no longer grows, memory does."""

LEAST_NORM: Final = 1e-6


class Embedder(Protocol):
    """A network on one thread."""

    def embed(self, chips: npt.NDArray[np.uint8]) -> Float32Array:
        """Unit embeddings float32 [n, dimension] of chips uint8 [n, size, size, 3], n >= 1."""
        ...


def unit_rows(raw: Float32Array) -> Float32Array:
    """Each row divided by its norm, computed in float64. C-contiguous float32.

    Raises:
        InternalError: EMBEDDING_NOT_FINITE when a network answered nothing that has a direction.
    """
    wide = raw.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    if not np.all(np.isfinite(norms)) or float(norms.min()) < LEAST_NORM:
        raise InternalError("the network answered a vector without a direction", reason="EMBEDDING_NOT_FINITE")
    return np.ascontiguousarray(wide / norms, dtype=np.float32)
