"""Exact similarities of chosen rows, straight from the stored vectors."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from mien_server.index import faiss_rows
from mien_server.index.ranking import NO_ORDINAL, in_order, with_ties_in_order
from mien_server.index.request import Float32Array, Int64Array

__all__ = ["ROUNDING", "StoredVectors", "best_candidates", "float32_rows"]

StoredVectors = npt.NDArray[np.float32] | npt.NDArray[np.float16]

ROUNDING = 2e-6
"""More than two ways of summing the product of unit vectors differ by."""

GATHERED_COMPONENTS_MAX = 16 * 1024 * 1024
"""Components decoded at once from float16 rows: 64 MiB."""

MARGIN_ROWS = 8
"""Rows of float16 that are decoded beyond those wanted, so that how products are rounded hardly ever matters."""

SCRATCH_BYTES_MAX = 8 * 1024 * 1024
"""Of candidates' rows, that a thread keeps room for."""


def float32_rows(vectors: StoredVectors, chosen: slice | Int64Array, threads: int) -> Float32Array:
    """These rows as C-contiguous float32; without a copy where a slice of float32 rows is asked for."""
    rows = vectors[chosen]
    if rows.dtype == np.float16:
        return faiss_rows.decode_float16(rows, threads)
    return np.ascontiguousarray(rows, np.float32)


def best_candidates(
    vectors: StoredVectors, probes: Float32Array, candidates: Int64Array, count: int, threads: int
) -> tuple[Int64Array, Float32Array]:
    """The `count` best of each probe's candidates by exact similarity, in order.

    Args:
        vectors: [row_count, dimension], float32 or float16.
        probes: float32 [n, dimension], C-contiguous.
        candidates: ordinals int64 [n, c], C-contiguous, distinct within a probe; -1 ends a probe's candidates.

    Returns:
        Ordinals int64 [n, count] padded with -1, similarities float32 [n, count] padded with -inf.
    """
    rescore = _best_stored if vectors.dtype == np.float32 else _best_decoded
    # One more than wanted tells whether the last wanted ties with one left out.
    ordinals, similarities = rescore(vectors, probes, candidates, count + 1, threads)
    # Padding looks like a tie as well. Where there is neither, as nearly always, all is in order.
    if not (similarities[:, 1:] == similarities[:, :-1]).any():
        return np.ascontiguousarray(ordinals[:, :count]), np.ascontiguousarray(similarities[:, :count])
    is_torn = (similarities[:, count - 1] == similarities[:, count]) & (ordinals[:, count] != NO_ORDINAL)
    for probe in np.flatnonzero(is_torn):
        here = slice(probe, probe + 1)
        all_answers = rescore(vectors, probes[here], candidates[here], candidates.shape[1], threads)
        ordered = in_order(*all_answers)
        ordinals[here], similarities[here] = ordered[0][:, : count + 1], ordered[1][:, : count + 1]
    ordinals, similarities = np.ascontiguousarray(ordinals[:, :count]), np.ascontiguousarray(similarities[:, :count])
    with_ties_in_order(ordinals, similarities)
    return ordinals, similarities


def _best_stored(
    vectors: StoredVectors, probes: Float32Array, candidates: Int64Array, count: int, threads: int
) -> tuple[Int64Array, Float32Array]:
    """The best candidates in the order FAISS leaves them, equal ones in any; straight from float32 rows."""
    rows = float32_rows(vectors, slice(None), threads)
    return faiss_rows.nearest_candidates(probes, rows, candidates, count, threads)


def _best_decoded(
    vectors: StoredVectors, probes: Float32Array, candidates: Int64Array, count: int, threads: int
) -> tuple[Int64Array, Float32Array]:
    """As _best_stored, from float16 rows: most candidates are ruled out as they are stored, what is left is decoded."""
    kept = count + MARGIN_ROWS
    if candidates.shape[1] <= kept:
        return _best_of_decoded(vectors, probes, candidates, count, threads)
    near = np.full((len(probes), kept), NO_ORDINAL, np.int64)
    ruled_out = np.full(len(probes), -np.inf, np.float32)
    is_padded = candidates[:, -1] < 0
    for probe, found in enumerate(candidates):
        some = found[found >= 0] if is_padded[probe] else found
        if some.size <= kept:
            near[probe, : some.size] = some
            continue
        rows = np.take(vectors, some, axis=0, out=_scratch(some.size, vectors.shape[1]), mode="clip")
        places, products = faiss_rows.near_float16(probes[probe], rows, kept)
        near[probe] = some[places]
        ruled_out[probe] = products.min()
    ordinals, similarities = _best_of_decoded(vectors, probes, near, count, threads)
    # A row that was ruled out may round to as much as the last one wanted.
    is_unsure = (ruled_out > -np.inf) & (ruled_out >= similarities[:, -1] - np.float32(ROUNDING))
    for probe in np.flatnonzero(is_unsure).tolist():
        here = slice(probe, probe + 1)
        ordinals[here], similarities[here] = _best_of_decoded(vectors, probes[here], candidates[here], count, threads)
    return ordinals, similarities


_THREAD = threading.local()


def _scratch(row_count: int, dimension: int) -> npt.NDArray[np.float16]:
    """Room for so many rows, the same for each call of a thread: fresh memory costs as much as filling it."""
    size = row_count * dimension
    held: npt.NDArray[np.float16] | None = getattr(_THREAD, "room", None)
    if held is None or held.size < size:
        held = np.empty(size, np.float16)
        if held.nbytes <= SCRATCH_BYTES_MAX:
            _THREAD.room = held
    return held[:size].reshape(row_count, dimension)


def _best_of_decoded(
    vectors: StoredVectors, probes: Float32Array, candidates: Int64Array, count: int, threads: int
) -> tuple[Int64Array, Float32Array]:
    """As _best_stored, by decoding each candidate row once for a block of probes."""
    probe_count, width = candidates.shape
    ordinals = np.empty((probe_count, count), np.int64)
    similarities = np.empty((probe_count, count), np.float32)
    block = max(1, GATHERED_COMPONENTS_MAX // max(1, width * vectors.shape[1]))
    for first in range(0, probe_count, block):
        here = slice(first, min(first + block, probe_count))
        rows, positions = np.unique(candidates[here], return_inverse=True)
        positions = positions.reshape(candidates[here].shape)
        padded = int(rows.size > 0 and rows[0] < 0)
        numbers, similarities[here] = faiss_rows.nearest_candidates(
            probes[here], float32_rows(vectors, rows[padded:], threads), positions - padded, count, threads
        )
        ordinals[here] = np.where(numbers < 0, NO_ORDINAL, rows[padded + numbers])
    return ordinals, similarities
