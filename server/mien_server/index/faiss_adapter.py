"""FAISS's inverted lists of codes: narrow, typed classes and functions.

Every function that searches, trains or encodes takes the number of threads; others use one.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mien_server.index.faiss_library import faiss, translated, write_file
from mien_server.index.request import Float32Array, Int64Array, UInt8Array

__all__ = [
    "CodeSpecification",
    "InvertedIndex",
    "ListWriter",
    "Projection",
    "Quantizer",
    "probe_directions",
    "train_centroids",
    "train_quantizer",
]

TRIMMED_BYTES_MIN = 16 * 1024 * 1024
"""Plain lists of fewer bytes are left to the allocator, which keeps what is freed for later."""

KMEANS_ITERATIONS = 12

NARROW_SHARE = 0.25
"""Of the squared length of rows, that lies along one direction in a narrow cone."""
STRETCH_POWER = 0.25
"""Along a direction rows are stretched by half this power of what they hold along it."""
HELD_MIN = 1e-6
"""Of what they hold along the first direction: rows are stretched along no other as if they held less."""
TURN_TOLERANCE = 1e-4


def _trim_memory() -> None:
    """Have the C library give back to the system what was freed: it keeps hundreds of megabytes of many small lists."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    # Only glibc has it, and only glibc needs it.
    if trim is not None:
        trim(0)


@dataclass(frozen=True, slots=True)
class CodeSpecification:
    """How an inverted index is laid out.

    Attributes:
        lists: inverted lists.
        subquantizers: 4-bit product quantiser codes for each row; 0 means 8 bits for each component instead.
        residual: codes are of the difference between the row and its list's centroid.
        directions: vectors are projected onto the gallery's so many leading directions first; 0: taken as they are.
    """

    lists: int
    subquantizers: int
    residual: bool
    directions: int = 0

    @property
    def name(self) -> str:
        """As FAISS's index factory names what is searched; " residual" where it is."""
        projection = f"PCAR{self.directions}," if self.directions else ""
        packing = "fs" if self.subquantizers else ""
        return projection + self.factory_name + packing + (" residual" if self.residual else "")

    @property
    def factory_name(self) -> str:
        """As FAISS's index factory names the plain lists."""
        code = f"PQ{self.subquantizers}x4" if self.subquantizers else "SQ8"
        return f"IVF{self.lists},{code}"


class Projection:
    """Onto some directions, rows and probes each in their own way, so that products are kept but for what is left out.

    Where the directions are of unit length and at right angles to each other both ways are the same. Never changed;
    safe for many threads.

    Args:
        directions: float32 [directions, dimension], what rows are multiplied by.
    """

    def __init__(self, directions: Float32Array) -> None:
        self._of_rows = _linear(directions)
        of_probes = probe_directions(directions)
        self._of_probes = self._of_rows if of_probes is directions else _linear(of_probes)

    @classmethod
    def leading(cls, sample: Float32Array, count: int, seed: int) -> Projection:
        """Onto the `count` directions along which rows [m, dimension] are longest, turned at random among themselves.

        Turned they hold about equally much each, as codes of equal length and tables of equal scale want it. In a
        narrow cone most of every probe lies along one direction, and so the error of codes along it counts most: rows
        are stretched along the leading directions, and probes shrunk, so that codes are more exact there.
        """
        moments = sample.T @ sample / np.float32(len(sample))
        lengths, directions = np.linalg.eigh(moments)
        leading = directions[:, -count:]
        if lengths[-1] > NARROW_SHARE * lengths.sum():
            # Along some directions rows may hold nothing at all, or by rounding less.
            held = np.maximum(lengths[-count:] / lengths[-1], HELD_MIN)
            leading = leading * held ** (STRETCH_POWER / 2)
        turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((count, count)))
        return cls((leading @ turn).T.astype(np.float32))

    @property
    def dimension(self) -> int:
        """Components of a vector before."""
        return int(self._of_rows.d_in)

    def of_rows(self, vectors: Float32Array, threads: int) -> Float32Array:
        """Rows [n, dimension], C-contiguous, as [n, directions]."""
        return _applied(self._of_rows, vectors, threads)

    def of_probes(self, vectors: Float32Array, threads: int) -> Float32Array:
        """Probes [n, dimension], C-contiguous, as [n, directions]."""
        return _applied(self._of_probes, vectors, threads)

    @translated
    def before(self, handle: Any) -> Any:
        """The FAISS index that projects rows and then is as this one."""
        return faiss.IndexPreTransform(self._of_rows, handle)

    @classmethod
    @translated
    def split(cls, handle: Any) -> tuple[Any, Projection | None]:
        """Inverse of `before`; None where the FAISS index does not project."""
        if not isinstance(handle, faiss.IndexPreTransform) or handle.chain.size() != 1:
            return handle, None
        transform = faiss.downcast_VectorTransform(handle.chain.at(0))
        directions = faiss.vector_float_to_array(transform.A).reshape(transform.d_out, transform.d_in)
        # A copy: what was read owns its parts.
        return _copy(faiss.downcast_index(handle.index)), cls(directions)


def probe_directions(directions: Float32Array) -> Float32Array:
    """What probes are multiplied by, [directions, dimension], where rows are multiplied by `directions`: the same where
    these are of unit length and at right angles to each other.
    """
    inverse = np.linalg.pinv(directions.astype(np.float64)).T.astype(np.float32)
    return directions if np.allclose(inverse, directions, atol=TURN_TOLERANCE) else inverse


def _linear(matrix: Float32Array) -> Any:
    count, dimension = matrix.shape
    transform = faiss.LinearTransform(dimension, count, False)  # noqa: FBT003 - SWIG takes no names; no offset
    faiss.copy_array_to_vector(np.ascontiguousarray(matrix).ravel(), transform.A)
    transform.is_trained = True
    return transform


@translated
def _applied(transform: Any, vectors: Float32Array, threads: int) -> Float32Array:
    faiss.omp_set_num_threads(threads)
    projected = np.empty((len(vectors), transform.d_out), np.float32)
    transform.apply_noalloc(len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(projected))
    return projected


def _copy(handle: Any) -> Any:
    return faiss.deserialize_index(faiss.serialize_index(handle))


class Quantizer:
    """What was trained: the lists' centroids and the codes. Never changed; safe for many threads at once.

    FAISS packs FastScan codes in blocks that it can search but neither merge nor thin out. So rows are gathered in
    plain lists (`ListWriter`), which are also what is stored, and packed once, when they are to be searched.

    What is called projected is on the directions that codes are made of, or as it was where there are none.
    """

    def __init__(self, handle: Any, projection: Projection | None = None) -> None:
        self._handle = handle
        self._projection = projection

    @classmethod
    @translated
    def read(cls, path: Path) -> Quantizer:
        """The quantiser in the file. Raises InternalError when it is none of ours."""
        handle, projection = Projection.split(faiss.read_index(str(path)))
        is_ours = isinstance(handle, faiss.IndexIVFPQ | faiss.IndexIVFScalarQuantizer)
        if not is_ours or handle.metric_type != faiss.METRIC_INNER_PRODUCT or handle.ntotal:
            raise ValueError(f"{path} holds {type(handle).__name__}, not a trained quantiser by inner product")
        return cls(handle, projection)

    @property
    def lists(self) -> int:
        """Number of inverted lists."""
        return int(self._handle.nlist)

    @property
    def dimension(self) -> int:
        """Components of one vector, before it is projected."""
        return int(self._handle.d) if self._projection is None else self._projection.dimension

    @translated
    def write(self, path: Path) -> None:
        """Write it to the file, without syncing it."""
        whole = self._handle if self._projection is None else self._projection.before(self._handle)
        write_file(path, functools.partial(faiss.write_index, whole))

    def projected(self, probes: Float32Array, threads: int) -> Float32Array:
        """The probes [n, d], C-contiguous, projected."""
        return probes if self._projection is None else self._projection.of_probes(probes, threads)

    @translated
    def writer(self) -> ListWriter:
        """Lists of this quantiser, empty."""
        return ListWriter(_copy(self._handle), self._projection)

    @translated
    def read_lists(self, path: Path) -> ListWriter:
        """The lists of this quantiser that `ListWriter.write` wrote. Raises InternalError when they are none."""
        lists = faiss.read_InvertedLists(faiss.FileIOReader(str(path)))
        if (lists.nlist, lists.code_size) != (self._handle.nlist, self._handle.code_size):
            raise ValueError(
                f"{path} holds {lists.nlist} lists of {lists.code_size} bytes a row, not of this quantiser"
            )
        handle = _copy(self._handle)
        # The handle owns them from here on.
        handle.replace_invlists(lists, True)  # noqa: FBT003 - SWIG takes no names
        handle.ntotal = lists.compute_ntotal()
        return ListWriter(handle, self._projection)

    @translated
    def nearest_lists(self, probes: Float32Array, count: int, threads: int) -> tuple[Int64Array, Float32Array]:
        """The `count` lists nearest to each projected probe, best first: int64 [n, count], and their products."""
        faiss.omp_set_num_threads(threads)
        products, lists = self._handle.quantizer.search(probes, count)
        return lists, products


class ListWriter:
    """Inverted lists that are being filled. One thread at a time."""

    def __init__(self, handle: Any, projection: Projection | None = None) -> None:
        self._handle = handle
        self._projection = projection

    @property
    def size(self) -> int:
        """Rows in the lists."""
        return int(self._handle.ntotal)

    @translated
    def add(self, vectors: Float32Array, ordinals: Int64Array, threads: int) -> None:
        """Encode the vectors [m, d] and append them to their lists."""
        projected = vectors if self._projection is None else self._projection.of_rows(vectors, threads)
        faiss.omp_set_num_threads(threads)
        self._handle.add_with_ids(projected, ordinals)

    @translated
    def merge(self, other: ListWriter) -> None:
        """Append the rows of lists of the same quantiser, which are empty afterwards."""
        self._handle.merge_from(other._handle, 0)

    @translated
    def keep(self, selected: UInt8Array) -> None:
        """Drop the rows whose ordinal's bit is not set."""
        faiss.omp_set_num_threads(1)
        selector = faiss.IDSelectorBitmap(selected.size, faiss.swig_ptr(selected))
        self._handle.remove_ids(faiss.IDSelectorNot(selector))

    @translated
    def ordinals(self) -> Int64Array:
        """The rows in the lists, int64 [size], list after list."""
        lists = self._handle.invlists
        parts = [
            faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)).copy()
            for number in range(lists.nlist)
            if lists.list_size(number)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    @translated
    def write(self, path: Path) -> None:
        """Write the rows, without what was trained, to the file, without syncing it."""
        write_file(path, functools.partial(faiss.write_InvertedLists, self._handle.invlists))

    @translated
    def finish(self) -> InvertedIndex:
        """The lists as they are searched. Nothing may be done with the writer afterwards."""
        sizes = np.array([self._handle.invlists.list_size(number) for number in range(self._handle.nlist)], np.int64)
        faiss.omp_set_num_threads(1)
        if isinstance(self._handle, faiss.IndexIVFPQ):
            packed = faiss.IndexIVFPQFastScan(self._handle)
            # It borrows what was trained; the plain rows are of no more use. Lists that are emptied keep their memory.
            freed_bytes = self.size * self._handle.code_size
            empty = faiss.ArrayInvertedLists(self._handle.nlist, self._handle.code_size)
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

    @translated
    def ordinals_of(self, number: int) -> Int64Array:
        """Ordinals int64 [m] of the rows in one list."""
        lists = self._handle.invlists
        count = lists.list_size(number)
        held: Int64Array = np.empty(0, np.int64)
        if count:
            ids = lists.get_ids(number)
            held = faiss.rev_swig_ptr(ids, count).copy()
            lists.release_ids(number, ids)
        return held

    @translated
    def candidates(
        self, probes: Float32Array, count: int, lists: int, selected: UInt8Array | None, threads: int
    ) -> Int64Array:
        """The `count` best ordinals of each probe by their codes, from its `lists` nearest lists.

        Args:
            probes: projected, [n, d], C-contiguous.
            selected: bitmap of the ordinals that count; None for all.

        Returns:
            Ordinals int64 [n, count], best first by code, ending in -1 where there are fewer.
        """
        faiss.omp_set_num_threads(threads)
        ordinals = np.empty((len(probes), count), np.int64)
        scores = np.empty((len(probes), count), np.float32)
        pointer = faiss.swig_ptr
        parameters = self._parameters_of(lists, selected)
        # Without FAISS's Python around it, which takes as long as a short scan.
        self._handle.search_c(len(probes), pointer(probes), count, pointer(scores), pointer(ordinals), parameters)
        return ordinals

    @translated
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
        faiss.omp_set_num_threads(threads)
        numbers, products = nearest
        ordinals = np.empty((len(probes), count), np.int64)
        scores = np.empty((len(probes), count), np.float32)
        pointer = faiss.swig_ptr
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
            selector = faiss.IDSelectorBitmap(selected.size, faiss.swig_ptr(selected))
            return faiss.SearchParametersIVF(nprobe=lists, sel=selector)
        parameters = self._parameters.get(lists)
        if parameters is None:
            # Read only once made; two threads that make the same one do no harm.
            parameters = self._parameters[lists] = faiss.SearchParametersIVF(nprobe=lists)
        return parameters


@translated
def train_centroids(sample: Float32Array, lists: int, seed: int, threads: int) -> Float32Array:
    """Centres float32 [lists, d] of unit norm of the sample [m, d], by spherical k-means."""
    faiss.omp_set_num_threads(threads)
    parameters = faiss.ClusteringParameters()
    parameters.spherical = True
    parameters.niter = KMEANS_ITERATIONS
    parameters.seed = seed
    parameters.min_points_per_centroid = 1
    clustering = faiss.Clustering(sample.shape[1], lists, parameters)
    clustering.train(sample, faiss.IndexFlatIP(sample.shape[1]))
    centroids: Float32Array = faiss.vector_float_to_array(clustering.centroids).reshape(lists, -1)
    return centroids


@translated
def train_quantizer(
    specification: CodeSpecification,
    sample: Float32Array,
    centroids: Float32Array,
    projection: Projection | None = None,
) -> Quantizer:
    """These centroids [lists, d], and codes trained on the sample [m, d].

    The centroids are copied, so that several codes can share one k-means. One thread is used: codes are many small
    problems, which several threads solve at half the speed.

    Args:
        projection: what sample and centroids are projected by already.
    """
    faiss.omp_set_num_threads(1)
    handle = faiss.index_factory(sample.shape[1], specification.factory_name, faiss.METRIC_INNER_PRODUCT)
    handle.by_residual = specification.residual
    handle.quantizer.add(centroids)
    if specification.subquantizers:
        # For searches by Hamming distance, which are none of ours; takes ten times as long as the rest.
        handle.do_polysemous_training = False
    # A quantizer that holds as many centroids as there are lists is left as it is.
    handle.train(sample)
    return Quantizer(handle, projection)
