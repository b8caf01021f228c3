"""FAISS on rows as they are stored, without an index: compared with probes, all or some of them, and decoded.

Every function takes the number of threads, or uses one.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from mien_server.index.faiss_library import faiss, translated
from mien_server.index.request import Float32Array, Int64Array, UInt8Array

__all__ = ["decode_float16", "near_float16", "nearest_candidates", "nearest_rows", "similarities_of"]


@translated
def nearest_rows(
    probes: Float32Array, rows: Float32Array, count: int, selected: UInt8Array | None, threads: int
) -> tuple[Int64Array, Float32Array]:
    """The `count` rows of largest inner product with each probe, by comparing with all.

    Args:
        probes: [n, d], C-contiguous.
        rows: [m, d], C-contiguous.
        selected: bitmap of the rows that count; None for all.

    Returns:
        Row numbers int64 [n, count], -1 where there are fewer, and inner products float32 [n, count], descending.
    """
    faiss.omp_set_num_threads(threads)
    probe_count, dimension = probes.shape
    numbers = np.empty((probe_count, count), np.int64)
    products = np.empty((probe_count, count), np.float32)
    pointer = faiss.swig_ptr
    arguments = [pointer(probes), pointer(rows), dimension, probe_count, len(rows), count]
    arguments += [pointer(products), pointer(numbers)]
    if selected is not None:
        arguments.append(faiss.IDSelectorBitmap(selected.size, pointer(selected)))
    faiss.knn_inner_product(*arguments)
    return _padded(numbers, products)


def _padded(numbers: Int64Array, products: Float32Array) -> tuple[Int64Array, Float32Array]:
    """FAISS pads products with the lowest float; here it is -inf."""
    if numbers.size and numbers[:, -1].min() < 0:
        products[numbers < 0] = -np.inf
    return numbers, products


@translated
def nearest_candidates(
    probes: Float32Array, rows: Float32Array, candidates: Int64Array, count: int, threads: int
) -> tuple[Int64Array, Float32Array]:
    """The `count` rows of largest inner product with each probe among that probe's candidates.

    The same probe and row give the same bits wherever they stand, unlike the blocked products of `nearest_rows`.

    Args:
        probes: [n, d], C-contiguous.
        rows: [m, d], C-contiguous.
        candidates: row numbers [n, c], C-contiguous; the first one that is negative ends a probe's candidates.

    Returns:
        As `nearest_rows`.
    """
    faiss.omp_set_num_threads(threads)
    probe_count, dimension = probes.shape
    candidate_count = candidates.shape[1]
    numbers = np.empty((probe_count, count), np.int64)
    products = np.empty((probe_count, count), np.float32)
    pointer = faiss.swig_ptr
    # The stride is given: FAISS's default takes the number of rows for it.
    faiss.knn_inner_products_by_idx(
        pointer(probes),
        pointer(rows),
        pointer(candidates),
        dimension,
        probe_count,
        len(rows),
        candidate_count,
        count,
        pointer(products),
        pointer(numbers),
        candidate_count,
    )
    return _padded(numbers, products)


@translated
def similarities_of(probes: Float32Array, rows: Float32Array, candidates: Int64Array, threads: int) -> Float32Array:
    """Inner products float32 [n, c] of each probe with its candidates [n, c]; the bits of `nearest_candidates`."""
    faiss.omp_set_num_threads(threads)
    products = np.empty(candidates.shape, np.float32)
    pointer = faiss.swig_ptr
    faiss.fvec_inner_products_by_idx(
        pointer(products), pointer(probes), pointer(rows), pointer(candidates), probes.shape[1], *candidates.shape
    )
    return products


@translated
def near_float16(probe: Float32Array, rows: npt.NDArray[np.generic], count: int) -> tuple[Int64Array, Float32Array]:
    """The `count` float16 rows of about the largest inner products with the probe, in no order.

    FAISS multiplies float16 as it is stored several times faster than it decodes, but rounds as it likes.

    Args:
        probe: [d].
        rows: [m, d], C-contiguous, at least `count` of them.

    Returns:
        Row numbers int64 [count] and products float32 [count].
    """
    scanner = _float16_scanner(rows.shape[1])
    numbers, products = np.full(count, -1, np.int64), np.full(count, -np.inf, np.float32)
    pointer = faiss.swig_ptr
    scanner.set_query(pointer(probe))
    scanner.scan_codes(len(rows), pointer(rows.view(np.uint8)), None, pointer(products), pointer(numbers), count)
    return numbers, products


_THREAD = threading.local()


def _float16_scanner(dimension: int) -> Any:
    """This thread's own, for it holds the probe. It is made once: SWIG cannot be brought to free one."""
    scanners: dict[int, Any] = _THREAD.__dict__.setdefault("float16_scanners", {})
    if dimension not in scanners:
        quantizer = faiss.ScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16)
        arguments = {"store_pairs": True, "sel": None, "by_residual": False}
        scanner = quantizer.select_InvertedListScanner(faiss.METRIC_INNER_PRODUCT, None, **arguments)
        # Without ids of their own rows are told by list and place; as list 0 by place alone.
        scanner.set_list(0, 0.0)
        scanners[dimension] = scanner
    return scanners[dimension]


@translated
def decode_float16(rows: npt.NDArray[np.generic], threads: int) -> Float32Array:
    """The float16 rows [m, d] as float32, on several threads, where numpy takes one."""
    faiss.omp_set_num_threads(threads)
    contiguous = np.ascontiguousarray(rows, np.float16)
    decoded = np.empty(contiguous.shape, np.float32)
    if len(contiguous):
        quantizer = faiss.ScalarQuantizer(contiguous.shape[1], faiss.ScalarQuantizer.QT_fp16)
        pointer = faiss.swig_ptr
        quantizer.decode_c(pointer(contiguous.view(np.uint8)), pointer(decoded), len(contiguous))
    return decoded
