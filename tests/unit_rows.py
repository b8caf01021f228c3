"""Random unit vectors for tests, and the nearest of them as numpy sees it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Rows", "nearest", "unit_rows"]

Rows = npt.NDArray[np.float32]


def unit_rows(count: int, dimension: int, seed: int | np.random.Generator = 1) -> Rows:
    """Float32 [count, dimension] of unit norm, the same for the same seed."""
    rows = np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def nearest(rows: Rows, probes: Rows, k: int) -> tuple[npt.NDArray[np.int64], Rows]:
    """Numbers int64 [n, k] of the k rows most similar to each probe, nearest first, and their similarities."""
    similarities = probes @ rows.T
    chosen = np.argpartition(similarities, -k, axis=1)[:, -k:]
    order = np.argsort(-np.take_along_axis(similarities, chosen, 1), axis=1)
    chosen = np.take_along_axis(chosen, order, 1)
    return chosen, np.take_along_axis(similarities, chosen, 1)
