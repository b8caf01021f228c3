"""Exact search: every selected row is compared with every probe.

The rows are compared by blocked products, as fast as BLAS is, which round a little differently from place to place. So
a few more than wanted are kept and compared again one by one, where the same probe and row always give the same bits;
where rounding could have kept a row out, that probe is done over with all rows that come near.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mien_server.index import faiss_rows
from mien_server.index.bitmaps import bitmap_of, set_count, set_ordinals, slice_bits
from mien_server.index.faiss_library import BLAS_WORK_MIN
from mien_server.index.ranking import NO_ORDINAL, best_of, in_order, padding
from mien_server.index.request import Float32Array, Int64Array, UInt8Array
from mien_server.index.rescore import ROUNDING, StoredVectors, best_candidates, float32_rows

__all__ = ["search_chosen", "search_flat"]

MARGIN_ROWS = 8
"""Rows kept beyond k, so that a tie of that many at the end is settled without a second pass."""

STORED_PROBES_MAX = 8
"""Up to so many probes are compared with float16 rows as they are stored; for more, decoding them once takes less."""

BLOCK_COMPONENTS = 4 * 1024 * 1024
"""Components of the rows that are copied or decoded at once: 16 MiB."""

PROBES_MAX = 4096
"""Probes answered at once, which bounds the memory of a call."""

SPARSE_SHARE = 0.25
"""Below this share of selected rows, visiting them one by one beats testing every row."""

PAIRS_MAX = 2 * 1024 * 1024
"""Pairs of a probe and a row listed at once: 16 MiB of ordinals."""


def search_flat(
    vectors: StoredVectors,
    first: int,
    last: int,
    selected: UInt8Array | None,
    probes: Float32Array,
    k: int,
    threads: int,
) -> tuple[Int64Array, Float32Array]:
    """The k most similar of the rows [first, last), exactly.

    Args:
        vectors: [row_count, dimension], float32 or float16, C-contiguous; rows from `last` on are not read.
        selected: bitmap over all ordinals of the rows that count; None for all.
        probes: float32 [n, dimension], C-contiguous.

    Returns:
        Ordinals int64 [n, k] padded with -1, similarities float32 [n, k] padded with -inf, in order.
    """
    available = last - first if selected is None else set_count(selected, first, last)
    if available <= 0 or not len(probes):
        return padding(len(probes), k)
    if available == last - first:
        selected = None
    if selected is not None and available < SPARSE_SHARE * (last - first) and _are_visited(vectors, available, probes):
        return search_chosen(vectors, set_ordinals(selected, first, last), probes, k, threads)
    parts = [
        _search_block(vectors, first, last, selected, available, probes[start : start + PROBES_MAX], k, threads)
        for start in range(0, len(probes), PROBES_MAX)
    ]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def search_chosen(
    vectors: StoredVectors, ordinals: Int64Array, probes: Float32Array, k: int, threads: int
) -> tuple[Int64Array, Float32Array]:
    """As `search_flat`, of the rows of these ordinals, int64 [m], ascending and distinct.

    For a few probes this takes no time for rows that are not among them, however many there are.
    """
    if not ordinals.size or not len(probes):
        return padding(len(probes), k)
    if _are_visited(vectors, ordinals.size, probes):
        candidates = np.ascontiguousarray(np.broadcast_to(ordinals, (len(probes), ordinals.size)))
        return best_candidates(vectors, probes, candidates, k, threads)
    first, last = int(ordinals[0]), int(ordinals[-1]) + 1
    return search_flat(vectors, first, last, bitmap_of(ordinals, last), probes, k, threads)


def _are_visited(vectors: StoredVectors, available: int, probes: Float32Array) -> bool:
    """Whether each probe is compared with so many selected rows one by one, rather than with their blocks."""
    if probes.size >= BLAS_WORK_MIN or len(probes) * available > PAIRS_MAX:
        return False
    # What is decoded is held at once.
    return vectors.dtype == np.float32 or available * vectors.shape[1] <= BLOCK_COMPONENTS


def _search_block(
    vectors: StoredVectors,
    first: int,
    last: int,
    selected: UInt8Array | None,
    available: int,
    probes: Float32Array,
    k: int,
    threads: int,
) -> tuple[Int64Array, Float32Array]:
    kept = min(k + MARGIN_ROWS, available)
    candidates, products = _nearest(vectors, first, last, selected, probes, kept, threads)
    ordinals, similarities = best_candidates(vectors, probes, candidates, kept, threads)
    if kept < available:
        # A row left out has a product of at most the last one kept.
        uncertain = products.min(axis=1) >= similarities[:, k - 1] - ROUNDING
        if uncertain.any():
            floors = similarities[uncertain, k - 1] - np.float32(2 * ROUNDING)
            ordinals[uncertain, :k], similarities[uncertain, :k] = _all_near(
                vectors, first, last, selected, probes[uncertain], floors, k, threads
            )
    if kept >= k:
        return np.ascontiguousarray(ordinals[:, :k]), np.ascontiguousarray(similarities[:, :k])
    return best_of([(ordinals, similarities)], k)


def _nearest(
    vectors: StoredVectors,
    first: int,
    last: int,
    selected: UInt8Array | None,
    probes: Float32Array,
    kept: int,
    threads: int,
) -> tuple[Int64Array, Float32Array]:
    """Ordinals and blocked products, both [n, kept], of the `kept` best rows of each probe, in no order."""
    one_by_one = probes.size < BLAS_WORK_MIN
    if vectors.dtype == np.float32 and (selected is None or one_by_one):
        rows = float32_rows(vectors, slice(first, last), threads)
        mask = None if selected is None else slice_bits(selected, first, last)
        numbers, products = faiss_rows.nearest_rows(probes, rows, kept, mask, threads)
        # Nothing is padded: `kept` rows are available.
        numbers += first
        return numbers, products
    best = padding(len(probes), 0)
    if selected is None and len(probes) <= STORED_PROBES_MAX and vectors.dtype == np.float16:
        found = [faiss_rows.near_float16(probe, vectors[first:last], kept) for probe in probes]
        return np.stack([one[0] for one in found]) + first, np.stack([one[1] for one in found])
    for ordinals, rows in _blocks(vectors, first, last, selected, threads):
        numbers, products = faiss_rows.nearest_rows(probes, rows, min(kept, len(rows)), None, threads)
        best = _best_unordered(best, (ordinals[numbers], products), kept)
    return best


def _best_unordered(
    one: tuple[Int64Array, Float32Array], other: tuple[Int64Array, Float32Array], kept: int
) -> tuple[Int64Array, Float32Array]:
    """The `kept` best of two answers, or all of them, in no order."""
    ordinals, products = np.hstack([one[0], other[0]]), np.hstack([one[1], other[1]])
    if ordinals.shape[1] <= kept:
        return ordinals, products
    chosen = np.argpartition(products, -kept, axis=1)[:, -kept:]
    return np.take_along_axis(ordinals, chosen, 1), np.take_along_axis(products, chosen, 1)


def _blocks(
    vectors: StoredVectors, first: int, last: int, selected: UInt8Array | None, threads: int
) -> Iterator[tuple[Int64Array, Float32Array]]:
    """Ordinals int64 [m] and float32 rows [m, dimension] of the selected rows, a block at a time."""
    block_rows = max(1, BLOCK_COMPONENTS // vectors.shape[1])
    for start in range(first, last, block_rows):
        end = min(start + block_rows, last)
        if selected is None:
            yield np.arange(start, end), float32_rows(vectors, slice(start, end), threads)
            continue
        ordinals = set_ordinals(selected, start, end)
        if ordinals.size:
            yield ordinals, float32_rows(vectors, ordinals, threads)


def _all_near(
    vectors: StoredVectors,
    first: int,
    last: int,
    selected: UInt8Array | None,
    probes: Float32Array,
    floors: Float32Array,
    k: int,
    threads: int,
) -> tuple[Int64Array, Float32Array]:
    """The k best rows of each probe, in order, both [n, k].

    Args:
        probes: [n, dimension], C-contiguous.
        floors: [n]; at least k rows have a product with the probe of that or more, the k best among them.
    """
    best_ordinals, best_similarities = padding(len(probes), k)
    for ordinals, rows in _blocks(vectors, first, last, selected, threads):
        width = max(1, PAIRS_MAX // len(rows))
        for start in range(0, len(probes), width):
            here = slice(start, start + width)
            near = _listed(probes[here] @ rows.T >= floors[here, None])
            similarities = faiss_rows.similarities_of(probes[here], rows, near, threads)
            similarities[near < 0] = -np.inf
            best_ordinals[here], best_similarities[here] = _first_best(
                np.hstack([best_ordinals[here], np.where(near < 0, NO_ORDINAL, ordinals[near])]),
                np.hstack([best_similarities[here], similarities]),
                k,
            )
    return in_order(best_ordinals, best_similarities)


def _listed(is_chosen: npt.NDArray[np.bool_]) -> Int64Array:
    """The columns that are true in each line of [n, m], ascending, int64 [n, w], padded with -1."""
    lines, columns = np.nonzero(is_chosen)
    counts = np.bincount(lines, minlength=len(is_chosen))
    listed = np.full((len(is_chosen), int(counts.max())), -1, np.int64)
    listed[lines, np.arange(len(lines)) - np.repeat(np.cumsum(counts) - counts, counts)] = columns
    return listed


def _first_best(ordinals: Int64Array, similarities: Float32Array, k: int) -> tuple[Int64Array, Float32Array]:
    """The k most similar of each line [n, w], of equal ones the first; in the order they stand. Both [n, k]."""
    if similarities.shape[1] == k:
        return ordinals, similarities
    last = -np.partition(-similarities, k - 1, axis=1)[:, k - 1 : k]
    is_better, is_tied = similarities > last, similarities == last
    is_chosen = is_better | (is_tied & (np.cumsum(is_tied, axis=1) <= k - is_better.sum(axis=1, keepdims=True)))
    return ordinals[is_chosen].reshape(-1, k), similarities[is_chosen].reshape(-1, k)
