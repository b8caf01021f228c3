"""Plain FAISS on the files of a store: the same index, the same rows, the same effort, nothing else.

`IndexIVFPQFastScan.search` on the generation's own lists, all in one, then FAISS's own `knn_inner_products_by_idx` over
the mapped rows: what `IndexRefineFlat` does, without a second copy of the rows in memory. Rows of float16 are decoded
first, each once a call, by FAISS's own scalar quantizer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss as _untyped_faiss
import numpy as np
import numpy.typing as npt

from benchmarks.exact import StoredRows, blocks_of, exact_nearest
from mien_server.engine.types import Explanation
from mien_server.index import current_generation
from mien_server.index.faiss_adapter import probe_directions
from mien_server.index.manifest import QUANTIZER_FILE_NAME, Manifest, Stage, Staging, read_manifest
from mien_server.index.plan import RESCORED_FOR_EACH_WANTED
from mien_server.records.policies import VectorType
from mien_server.storage.vector_file import VECTORS_OFFSET

__all__ = ["RawFaiss", "RawSearch", "faiss", "raw_index", "store_files", "stored_rows"]

faiss: Any = _untyped_faiss

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

RawSearch = Callable[[Float32Array, int], tuple[Int64Array, Float32Array]]
"""Row numbers and inner products of probes [n, d], on that many threads."""

GALLERY_FOLDER = "00000001"
"""The only gallery of a loaded store is its first."""
VECTOR_TYPE_OFFSET = 16
"""In the header of the vector file: a u32."""
SAMPLE_ROWS_PER_LIST = 128
KMEANS_ITERATIONS = 12
DECODED_PROBES = 64
"""Probes whose float16 candidates are decoded at a time: some tens of megabytes."""
ADDED_ROWS = 16_384


def store_files(store: Path) -> tuple[Path, Path, Path]:
    """The file that holds the gallery's vectors, the folder of its generation and the file of the store's records."""
    index_folder = store / "index" / GALLERY_FOLDER
    name = current_generation(index_folder)
    if name is None:
        raise RuntimeError(f"{index_folder} has no generation; a gallery this small is not indexed, use more rows")
    return (
        store / "vectors" / GALLERY_FOLDER / "rows.vec",
        index_folder / name,
        store / "meta" / "data.mdb",
    )


class RawFaiss:
    """Searches the files of a store."""

    def __init__(self, store: Path) -> None:
        vectors, generation, _ = store_files(store)
        self.manifest = read_manifest(generation)
        self._index, self._trained = _read_index(generation, self.manifest)
        self.rows = stored_rows(vectors, self.manifest.rows, self.manifest.dimension)
        self._decoder = faiss.ScalarQuantizer(self.manifest.dimension, faiss.ScalarQuantizer.QT_fp16)

    @property
    def index(self) -> Any:
        """The FAISS index."""
        return self._index

    def search(
        self, probes: Float32Array, k: int, *, lists: int, rescored: int, threads: int
    ) -> tuple[Int64Array, Float32Array]:
        """Row numbers int64 [n, k] and exact inner products float32 [n, k], best first."""
        faiss.omp_set_num_threads(threads)
        parameters = faiss.SearchParametersIVF(nprobe=lists)
        if isinstance(self._index, faiss.IndexPreTransform):
            parameters = faiss.SearchParametersPreTransform(index_params=parameters)
        candidates = self._index.search(probes, rescored, params=parameters)[1]
        if self.rows.dtype == np.float32:
            return _best_by_number(probes, self.rows, candidates, k)
        blocks = range(0, len(probes), DECODED_PROBES)
        found = [
            self._best_decoded(probes[at : at + DECODED_PROBES], candidates[at : at + DECODED_PROBES], k)
            for at in blocks
        ]
        return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])

    def _best_decoded(self, probes: Float32Array, candidates: Int64Array, k: int) -> tuple[Int64Array, Float32Array]:
        """The k best of each probe's candidates, rows of float16."""
        wanted, positions = np.unique(candidates, return_inverse=True)
        padded = int(wanted[0] < 0)
        decoded = self._decoder.decode(self.rows[wanted[padded:]].view(np.uint8))
        numbers, products = _best_by_number(probes, decoded, positions.reshape(candidates.shape) - padded, k)
        return np.where(numbers < 0, -1, wanted[padded + numbers]), products

    def search_staged(
        self, probes: Float32Array, k: int, *, staging: Staging, decision_similarity: float, threads: int
    ) -> tuple[Int64Array, Float32Array]:
        """As `search`, by the stages that the generation's manifest names: few lists first, more where in doubt."""

        def scan(some: Float32Array, stage: Stage) -> tuple[Int64Array, Float32Array]:
            rescored = max(stage.rescored, RESCORED_FOR_EACH_WANTED * k)
            return self.search(some, k, lists=stage.lists, rescored=rescored, threads=threads)

        numbers, products = scan(probes, staging.first)
        undecided = np.flatnonzero(products[:, 0] < max(staging.stop_similarity, decision_similarity))
        if undecided.size:
            numbers[undecided], products[undecided] = scan(probes[undecided], staging.full)
        return numbers, products

    def at_effort(self, found: Explanation, k: int, decision_similarity: float) -> RawSearch:
        """The same search as one that the engine explained: its lists and short list, or its stages."""
        staging = self.staging(found)
        if staging is None:
            lists, rescored = found.lists_scanned, found.rows_rescored
            return lambda some, threads: self.search(some, k, lists=lists, rescored=rescored, threads=threads)
        return lambda some, threads: self.search_staged(
            some, k, staging=staging, decision_similarity=decision_similarity, threads=threads
        )

    def staging(self, found: Explanation) -> Staging | None:
        """The stages that were taken: those whose agreement the engine told."""
        if "staged" not in found.plan:
            return None
        return next(one for one in self.manifest.stagings if one.rank1_agreement == found.recall_estimate)

    def exact_best(self, probes: Float32Array, threads: int) -> tuple[Int64Array, Float32Array]:
        """The row of the largest inner product with each probe and that product, both [n], by comparing with all."""
        best = exact_nearest(blocks_of(self.rows), probes, 1, threads)
        return best.rows[:, 0], best.similarities[:, 0]


def stored_rows(vectors: Path, row_count: int, dimension: int) -> StoredRows:
    """The first rows of a vector file, mapped: float32 or float16, as they are stored."""
    stored_bytes = vectors.open("rb").read(VECTORS_OFFSET)
    vector_type = VectorType(int.from_bytes(stored_bytes[VECTOR_TYPE_OFFSET : VECTOR_TYPE_OFFSET + 4], "little"))
    component = np.dtype("<f4" if vector_type is VectorType.FLOAT32 else "<f2")
    # FAISS wants a plain array.
    rows: StoredRows = np.asarray(np.memmap(vectors, component, "r", VECTORS_OFFSET, (row_count, dimension)))
    return rows


def _best_by_number(
    probes: Float32Array, rows: StoredRows, candidates: Int64Array, k: int
) -> tuple[Int64Array, Float32Array]:
    """The k best of each probe's candidates [n, c], which are numbers of float32 rows."""
    numbers = np.empty((len(probes), k), np.int64)
    products = np.empty((len(probes), k), np.float32)
    count = candidates.shape[1]
    pointer = faiss.swig_ptr
    faiss.knn_inner_products_by_idx(
        pointer(probes),
        pointer(rows),
        pointer(candidates),
        probes.shape[1],
        len(probes),
        len(rows),
        count,
        k,
        pointer(products),
        pointer(numbers),
        count,
    )
    return numbers, products


def _read_index(generation: Path, manifest: Manifest) -> tuple[Any, Any]:
    """All rows of a generation in one index, and what it borrows its centroids from."""
    whole = faiss.read_index(str(generation / QUANTIZER_FILE_NAME))
    is_projected = isinstance(whole, faiss.IndexPreTransform)
    plain = faiss.downcast_index(whole.index) if is_projected else whole
    for segment in manifest.segments:
        lists = faiss.read_InvertedLists(faiss.FileIOReader(str(generation / segment.file)))
        plain.invlists.merge_from(lists, 0)
        plain.ntotal += segment.held
    if not isinstance(plain, faiss.IndexIVFPQ):
        return whole, whole
    packed = faiss.IndexIVFPQFastScan(plain)
    plain.reset()
    if is_projected:
        packed = faiss.IndexPreTransform(_of_probes(faiss.downcast_VectorTransform(whole.chain.at(0))), packed)
    return packed, whole


def _of_probes(of_rows: Any) -> Any:
    """The transformation of probes that keeps their products with rows that were transformed so."""
    directions = faiss.vector_float_to_array(of_rows.A).reshape(of_rows.d_out, of_rows.d_in)
    of_probes = faiss.LinearTransform(of_rows.d_in, of_rows.d_out, False)  # noqa: FBT003 - SWIG takes no names
    faiss.copy_array_to_vector(np.ascontiguousarray(probe_directions(directions)).ravel(), of_probes.A)
    of_probes.is_trained = True
    return of_probes


def raw_index(vectors: Float32Array, name: str, threads: int) -> Any:
    """An empty trained index of that factory name, as plain FAISS makes it."""
    faiss.omp_set_num_threads(threads)
    index = faiss.index_factory(vectors.shape[1], name, faiss.METRIC_INNER_PRODUCT)
    lists = faiss.downcast_index(faiss.extract_index_ivf(index))
    lists.by_residual = False
    lists.cp.spherical = True
    lists.cp.niter = KMEANS_ITERATIONS
    count = min(len(vectors), max(16_384, SAMPLE_ROWS_PER_LIST * lists.nlist))
    chosen = np.random.default_rng(0).choice(len(vectors), count, replace=False)
    index.train(vectors[np.sort(chosen)])
    return index
