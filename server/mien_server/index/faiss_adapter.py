"""The one module that imports faiss: narrow, typed functions, and the one place where its exceptions become ours.

Every function that searches, trains or encodes takes the number of threads; others use one. OpenMP keeps that setting
for each calling thread, so each call sets it anew for its own thread and disturbs no other. FAISS releases the GIL
while it computes, and its BLAS follows the same setting.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from mien_server.errors import InternalError, Unavailable
from mien_server.index.request import Float32Array, Int64Array, UInt8Array

__all__ = [
    "BLAS_WORK_MIN",
    "FAISS_VERSION",
    "CodeSpecification",
    "InvertedIndex",
    "ListWriter",
    "Quantizer",
    "decode_float16",
    "near_float16",
    "nearest_candidates",
    "nearest_rows",
    "similarities_of",
    "train_centroids",
    "train_quantizer",
]

_P = ParamSpec("_P")
_R = TypeVar("_R")

WAIT_POLICY_VARIABLE = "OMP_WAIT_POLICY"


def _load_faiss() -> Any:
    """The library, untyped, for SWIG gives it no useful types.

    Its OpenMP threads sleep while they wait: by default they spin, and take the cores that other calls, the writer
    and a builder need. OpenMP reads the variable while it is loaded, and nobody else needs to see it.
    """
    is_unset = WAIT_POLICY_VARIABLE not in os.environ
    os.environ.setdefault(WAIT_POLICY_VARIABLE, "PASSIVE")
    try:
        import faiss
    finally:
        if is_unset:
            del os.environ[WAIT_POLICY_VARIABLE]
    return faiss


_faiss = _load_faiss()
FAISS_VERSION: str = _faiss.__version__

BLAS_WORK_MIN = 2048
"""Probes times dimension from which exact search multiplies matrices: FAISS's own 128,000 is 7 times too high."""

_faiss.cvar.distance_compute_blas_threshold = BLAS_WORK_MIN

TRIMMED_BYTES_MIN = 16 * 1024 * 1024
"""Plain lists of fewer bytes are left to the allocator, which keeps what is freed for later."""

KMEANS_ITERATIONS = 12


def _trim_memory() -> None:
    """Have the C library give back to the system what was freed: it keeps hundreds of megabytes of many small lists."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    # Only glibc has it, and only glibc needs it.
    if trim is not None:
        trim(0)


def _translated(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let the library's exceptions leave as InternalError, and Unavailable where memory is short."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except MemoryError as error:
            raise Unavailable("FAISS got no memory; try again later", reason="OUT_OF_MEMORY") from error
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            raise InternalError(
                f"FAISS refused {function.__name__}: {error}; this is a defect, please report it",
                reason="INDEX_LIBRARY_FAILED",
            ) from error

    return call


def _write_file(path: Path, write: Callable[[Any], None]) -> None:
    """Have the library write through Python's file, for its own is silent when the last bytes find no room."""
    with path.open("wb") as file:
        write(_faiss.PyCallbackIOWriter(file.write))


@_translated
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
    _faiss.omp_set_num_threads(threads)
    probe_count, dimension = probes.shape
    numbers = np.empty((probe_count, count), np.int64)
    products = np.empty((probe_count, count), np.float32)
    pointer = _faiss.swig_ptr
    arguments = [pointer(probes), pointer(rows), dimension, probe_count, len(rows), count]
    arguments += [pointer(products), pointer(numbers)]
    if selected is not None:
        arguments.append(_faiss.IDSelectorBitmap(selected.size, pointer(selected)))
    _faiss.knn_inner_product(*arguments)
    return _padded(numbers, products)


def _padded(numbers: Int64Array, products: Float32Array) -> tuple[Int64Array, Float32Array]:
    """FAISS pads products with the lowest float; here it is -inf."""
    if numbers.size and numbers[:, -1].min() < 0:
        products[numbers < 0] = -np.inf
    return numbers, products


@_translated
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
    _faiss.omp_set_num_threads(threads)
    probe_count, dimension = probes.shape
    candidate_count = candidates.shape[1]
    numbers = np.empty((probe_count, count), np.int64)
    products = np.empty((probe_count, count), np.float32)
    pointer = _faiss.swig_ptr
    # The stride is given: FAISS's default takes the number of rows for it.
    _faiss.knn_inner_products_by_idx(
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


@_translated
def similarities_of(probes: Float32Array, rows: Float32Array, candidates: Int64Array, threads: int) -> Float32Array:
    """Inner products float32 [n, c] of each probe with its candidates [n, c]; the bits of `nearest_candidates`."""
    _faiss.omp_set_num_threads(threads)
    products = np.empty(candidates.shape, np.float32)
    pointer = _faiss.swig_ptr
    _faiss.fvec_inner_products_by_idx(
        pointer(products), pointer(probes), pointer(rows), pointer(candidates), probes.shape[1], *candidates.shape
    )
    return products


@_translated
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
    pointer = _faiss.swig_ptr
    scanner.set_query(pointer(probe))
    scanner.scan_codes(len(rows), pointer(rows.view(np.uint8)), None, pointer(products), pointer(numbers), count)
    return numbers, products


_THREAD = threading.local()


def _float16_scanner(dimension: int) -> Any:
    """This thread's own, for it holds the probe. It is made once: SWIG cannot be brought to free one."""
    scanners: dict[int, Any] = _THREAD.__dict__.setdefault("float16_scanners", {})
    if dimension not in scanners:
        quantizer = _faiss.ScalarQuantizer(dimension, _faiss.ScalarQuantizer.QT_fp16)
        arguments = {"store_pairs": True, "sel": None, "by_residual": False}
        scanner = quantizer.select_InvertedListScanner(_faiss.METRIC_INNER_PRODUCT, None, **arguments)
        # Without ids of their own rows are told by list and place; as list 0 by place alone.
        scanner.set_list(0, 0.0)
        scanners[dimension] = scanner
    return scanners[dimension]


@_translated
def decode_float16(rows: npt.NDArray[np.generic], threads: int) -> Float32Array:
    """The float16 rows [m, d] as float32, on several threads, where numpy takes one."""
    _faiss.omp_set_num_threads(threads)
    contiguous = np.ascontiguousarray(rows, np.float16)
    decoded = np.empty(contiguous.shape, np.float32)
    if len(contiguous):
        quantizer = _faiss.ScalarQuantizer(contiguous.shape[1], _faiss.ScalarQuantizer.QT_fp16)
        pointer = _faiss.swig_ptr
        quantizer.decode_c(pointer(contiguous.view(np.uint8)), pointer(decoded), len(contiguous))
    return decoded


@dataclass(frozen=True, slots=True)
class CodeSpecification:
    """How an inverted index is laid out.

    Attributes:
        lists: inverted lists.
        subquantizers: 4-bit product quantiser codes for each row; 0 means 8 bits for each component instead.
        residual: codes are of the difference between the row and its list's centroid.
    """

    lists: int
    subquantizers: int
    residual: bool

    @property
    def name(self) -> str:
        """As FAISS's index factory names what is searched; " residual" where it is."""
        is_packed = self.subquantizers > 0
        return self.factory_name + ("fs" if is_packed else "") + (" residual" if self.residual else "")

    @property
    def factory_name(self) -> str:
        """As FAISS's index factory names the plain lists."""
        code = f"PQ{self.subquantizers}x4" if self.subquantizers else "SQ8"
        return f"IVF{self.lists},{code}"


class Quantizer:
    """What was trained: the lists' centroids and the codes. Never changed; safe for many threads at once.

    FAISS packs FastScan codes in blocks that it can search but neither merge nor thin out. So rows are gathered in
    plain lists (`ListWriter`), which are also what is stored, and packed once, when they are to be searched.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @classmethod
    @_translated
    def read(cls, path: Path) -> Quantizer:
        """The quantiser in the file. Raises InternalError when it is none of ours."""
        handle = _faiss.read_index(str(path))
        is_ours = isinstance(handle, _faiss.IndexIVFPQ | _faiss.IndexIVFScalarQuantizer)
        if not is_ours or handle.metric_type != _faiss.METRIC_INNER_PRODUCT or handle.ntotal:
            raise ValueError(f"{path} holds {type(handle).__name__}, not a trained quantiser by inner product")
        return cls(handle)

    @property
    def lists(self) -> int:
        """Number of inverted lists."""
        return int(self._handle.nlist)

    @property
    def dimension(self) -> int:
        """Components of one vector."""
        return int(self._handle.d)

    @_translated
    def write(self, path: Path) -> None:
        """Write it to the file, without syncing it."""
        _write_file(path, functools.partial(_faiss.write_index, self._handle))

    @_translated
    def writer(self) -> ListWriter:
        """Lists of this quantiser, empty."""
        return ListWriter(_faiss.deserialize_index(_faiss.serialize_index(self._handle)))

    @_translated
    def read_lists(self, path: Path) -> ListWriter:
        """The lists of this quantiser that `ListWriter.write` wrote. Raises InternalError when they are none."""
        lists = _faiss.read_InvertedLists(_faiss.FileIOReader(str(path)))
        if (lists.nlist, lists.code_size) != (self._handle.nlist, self._handle.code_size):
            raise ValueError(
                f"{path} holds {lists.nlist} lists of {lists.code_size} bytes a row, not of this quantiser"
            )
        handle = _faiss.deserialize_index(_faiss.serialize_index(self._handle))
        # The handle owns them from here on.
        handle.replace_invlists(lists, True)  # noqa: FBT003 - SWIG takes no names
        handle.ntotal = lists.compute_ntotal()
        return ListWriter(handle)

    @_translated
    def nearest_lists(self, probes: Float32Array, count: int, threads: int) -> tuple[Int64Array, Float32Array]:
        """The `count` lists nearest to each probe, best first: int64 [n, count], and products with their centroids."""
        _faiss.omp_set_num_threads(threads)
        products, lists = self._handle.quantizer.search(probes, count)
        return lists, products


class ListWriter:
    """Inverted lists that are being filled. One thread at a time."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @property
    def size(self) -> int:
        """Rows in the lists."""
        return int(self._handle.ntotal)

    @_translated
    def add(self, vectors: Float32Array, ordinals: Int64Array, threads: int) -> None:
        """Encode the vectors [m, d] and append them to their lists."""
        _faiss.omp_set_num_threads(threads)
        self._handle.add_with_ids(vectors, ordinals)

    @_translated
    def merge(self, other: ListWriter) -> None:
        """Append the rows of lists of the same quantiser, which are empty afterwards."""
        self._handle.merge_from(other._handle, 0)

    @_translated
    def keep(self, selected: UInt8Array) -> None:
        """Drop the rows whose ordinal's bit is not set."""
        _faiss.omp_set_num_threads(1)
        selector = _faiss.IDSelectorBitmap(selected.size, _faiss.swig_ptr(selected))
        self._handle.remove_ids(_faiss.IDSelectorNot(selector))

    @_translated
    def write(self, path: Path) -> None:
        """Write the rows, without what was trained, to the file, without syncing it."""
        _write_file(path, functools.partial(_faiss.write_InvertedLists, self._handle.invlists))

    @_translated
    def finish(self) -> InvertedIndex:
        """The lists as they are searched. Nothing may be done with the writer afterwards."""
        sizes = np.array([self._handle.invlists.list_size(number) for number in range(self._handle.nlist)], np.int64)
        _faiss.omp_set_num_threads(1)
        if isinstance(self._handle, _faiss.IndexIVFPQ):
            packed = _faiss.IndexIVFPQFastScan(self._handle)
            # It borrows what was trained; the plain rows are of no more use. Lists that are emptied keep their memory.
            freed_bytes = self.size * self._handle.code_size
            empty = _faiss.ArrayInvertedLists(self._handle.nlist, self._handle.code_size)
            empty.this.disown()
            self._handle.replace_invlists(empty, True)  # noqa: FBT003 - SWIG takes no names; the handle owns them
            self._handle.ntotal = 0
            if freed_bytes >= TRIMMED_BYTES_MIN:
                _trim_memory()
            return InvertedIndex(packed, self._handle, sizes)
        return InvertedIndex(self._handle, self._handle, sizes)


class InvertedIndex:
    """Inverted lists of codes, by inner product; numbers are ordinals. Searches are safe from many threads at once.

    Attributes:
        list_sizes: int64 [lists], rows of each list.
    """

    def __init__(self, handle: Any, owner: Any, list_sizes: Int64Array) -> None:
        self._handle = handle
        self._owner = owner
        self._parameters: dict[int, Any] = {}
        self.list_sizes = list_sizes

    @property
    def lists(self) -> int:
        """Number of inverted lists."""
        return int(self._handle.nlist)

    @property
    def size(self) -> int:
        """Rows in the lists."""
        return int(self._handle.ntotal)

    @_translated
    def candidates(
        self, probes: Float32Array, count: int, lists: int, selected: UInt8Array | None, threads: int
    ) -> Int64Array:
        """The `count` best ordinals of each probe by their codes, from its `lists` nearest lists.

        Args:
            probes: [n, d], C-contiguous.
            selected: bitmap of the ordinals that count; None for all.

        Returns:
            Ordinals int64 [n, count], best first by code, ending in -1 where there are fewer.
        """
        _faiss.omp_set_num_threads(threads)
        parameters = self._parameters_of(lists, selected)
        ordinals: Int64Array = self._handle.search(probes, count, params=parameters)[1]
        return ordinals

    @_translated
    def scan(
        self,
        probes: Float32Array,
        count: int,
        nearest: tuple[Int64Array, Float32Array],
        selected: UInt8Array | None,
        threads: int,
    ) -> tuple[Int64Array, Float32Array]:
        """As `candidates`, in lists that `Quantizer.nearest_lists` found; with the codes' products float32 [n, count].

        Products of lists of one quantiser can be compared. Where there is no row they are the lowest float.
        """
        _faiss.omp_set_num_threads(threads)
        numbers, products = nearest
        ordinals = np.empty((len(probes), count), np.int64)
        scores = np.empty((len(probes), count), np.float32)
        pointer = _faiss.swig_ptr
        self._handle.search_preassigned_c(
            len(probes),
            pointer(probes),
            count,
            pointer(numbers),
            pointer(products),
            pointer(scores),
            pointer(ordinals),
            False,  # noqa: FBT003 - SWIG takes no names; ordinals are wanted, not places in the lists
            self._parameters_of(numbers.shape[1], selected),
        )
        return ordinals, scores

    def _parameters_of(self, lists: int, selected: UInt8Array | None) -> Any:
        if selected is not None:
            selector = _faiss.IDSelectorBitmap(selected.size, _faiss.swig_ptr(selected))
            return _faiss.SearchParametersIVF(nprobe=lists, sel=selector)
        parameters = self._parameters.get(lists)
        if parameters is None:
            # Read only once made; two threads that make the same one do no harm.
            parameters = self._parameters[lists] = _faiss.SearchParametersIVF(nprobe=lists)
        return parameters


@_translated
def train_centroids(sample: Float32Array, lists: int, seed: int, threads: int) -> Float32Array:
    """Centres float32 [lists, d] of unit norm of the sample [m, d], by spherical k-means."""
    _faiss.omp_set_num_threads(threads)
    parameters = _faiss.ClusteringParameters()
    parameters.spherical = True
    parameters.niter = KMEANS_ITERATIONS
    parameters.seed = seed
    parameters.min_points_per_centroid = 1
    clustering = _faiss.Clustering(sample.shape[1], lists, parameters)
    clustering.train(sample, _faiss.IndexFlatIP(sample.shape[1]))
    centroids: Float32Array = _faiss.vector_float_to_array(clustering.centroids).reshape(lists, -1)
    return centroids


@_translated
def train_quantizer(specification: CodeSpecification, sample: Float32Array, centroids: Float32Array) -> Quantizer:
    """These centroids [lists, d], and codes trained on the sample [m, d].

    The centroids are copied, so that several codes can share one k-means. One thread is used: codes are many small
    problems, which several threads solve at half the speed.
    """
    _faiss.omp_set_num_threads(1)
    handle = _faiss.index_factory(sample.shape[1], specification.factory_name, _faiss.METRIC_INNER_PRODUCT)
    handle.by_residual = specification.residual
    handle.quantizer.add(centroids)
    if specification.subquantizers:
        # For searches by Hamming distance, which are none of ours; takes ten times as long as the rest.
        handle.do_polysemous_training = False
    # A quantizer that holds as many centroids as there are lists is left as it is.
    handle.train(sample)
    return Quantizer(handle)
