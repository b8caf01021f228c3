"""Exact search by comparing with every row, a block of rows at a time: what everything approximate is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import faiss as _untyped_faiss
import numpy as np
import numpy.typing as npt

__all__ = ["ExactNearest", "StoredRows", "blocks_of", "exact_nearest"]

faiss: Any = _untyped_faiss

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
StoredRows = npt.NDArray[np.float32] | npt.NDArray[np.float16]

BLOCK_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class ExactNearest:
    """The k nearest rows of n probes, best first.

    Attributes:
        rows: int64 [n, k].
        similarities: float32 [n, k].
    """

    rows: Int64Array
    similarities: Float32Array


def blocks_of(rows: StoredRows) -> Iterator[Float32Array]:
    """Rows, mapped or not, as float32 blocks of a size that memory does not notice."""
    for first in range(0, len(rows), BLOCK_ROWS):
        yield np.asarray(rows[first : first + BLOCK_ROWS], dtype=np.float32)


def exact_nearest(blocks: Iterator[Float32Array], probes: Float32Array, k: int, threads: int) -> ExactNearest:
    """Compare probes [n, d] with the rows of all blocks, which are numbered through; there are at least k of them."""
    faiss.omp_set_num_threads(threads)
    best = ExactNearest(np.full((len(probes), k), -1, np.int64), np.full((len(probes), k), -np.inf, np.float32))
    first = 0
    for block in blocks:
        similarities, rows = faiss.knn(probes, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        best = _merged(best, ExactNearest(rows + first, similarities))
        first += len(block)
    return best


def _merged(one: ExactNearest, other: ExactNearest) -> ExactNearest:
    """The best of both, as many as `one` has."""
    rows = np.concatenate([one.rows, other.rows], axis=1)
    similarities = np.concatenate([one.similarities, other.similarities], axis=1)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, : one.rows.shape[1]]
    return ExactNearest(np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarities, order, axis=1))
