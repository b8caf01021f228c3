"""Plain FAISS on the files of a store: the same index, the same rows, the same effort, nothing else.

`IndexIVFPQFastScan.search` on the generation's own lists, all in one, then FAISS's own `knn_inner_products_by_idx` over
the mapped float32 rows: what `IndexRefineFlat` does, without a second copy of the rows in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss as _untyped_faiss
import numpy as np
import numpy.typing as npt

from mien_server.index import current_generation
from mien_server.index.manifest import QUANTIZER_FILE_NAME, Manifest, Stage, Staging, read_manifest
from mien_server.index.plan import RESCORED_FOR_EACH_WANTED
from mien_server.storage.vector_file import VECTORS_OFFSET

__all__ = ["RawFaiss", "faiss", "raw_index", "store_files"]

faiss: Any = _untyped_faiss

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

GALLERY_FOLDER = "00000001"
"""The only gallery of a loaded store is its first."""
SAMPLE_ROWS_PER_LIST = 128
KMEANS_ITERATIONS = 12
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
        shape = (self.manifest.rows, self.manifest.dimension)
        self.rows: Float32Array = np.memmap(vectors, np.dtype("<f4"), "r", VECTORS_OFFSET, shape)
        # FAISS wants a plain array.
        self.rows = np.asarray(self.rows)

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
        candidates = self._index.search(probes, rescored, params=parameters)[1]
        numbers = np.empty((len(probes), k), np.int64)
        products = np.empty((len(probes), k), np.float32)
        pointer = faiss.swig_ptr
        faiss.knn_inner_products_by_idx(
            pointer(probes),
            pointer(self.rows),
            pointer(candidates),
            probes.shape[1],
            len(probes),
            len(self.rows),
            rescored,
            k,
            pointer(products),
            pointer(numbers),
            rescored,
        )
        return numbers, products

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

    def exact_best(self, probes: Float32Array, threads: int) -> tuple[Int64Array, Float32Array]:
        """The row of the largest inner product with each probe and that product, both [n], by comparing with all."""
        faiss.omp_set_num_threads(threads)
        products, numbers = faiss.knn(probes, self.rows, 1, metric=faiss.METRIC_INNER_PRODUCT)
        return numbers[:, 0], products[:, 0]


def _read_index(generation: Path, manifest: Manifest) -> tuple[Any, Any]:
    """All rows of a generation in one index, and what it borrows its centroids from."""
    plain = faiss.read_index(str(generation / QUANTIZER_FILE_NAME))
    for segment in manifest.segments:
        lists = faiss.read_InvertedLists(faiss.FileIOReader(str(generation / segment.file)))
        plain.invlists.merge_from(lists, 0)
        plain.ntotal += segment.held
    if not isinstance(plain, faiss.IndexIVFPQ):
        return plain, plain
    packed = faiss.IndexIVFPQFastScan(plain)
    plain.reset()
    return packed, plain


def raw_index(vectors: Float32Array, name: str, threads: int) -> Any:
    """An empty trained index of that factory name, as plain FAISS makes it."""
    faiss.omp_set_num_threads(threads)
    index = faiss.index_factory(vectors.shape[1], name, faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False
    index.cp.spherical = True
    index.cp.niter = KMEANS_ITERATIONS
    count = min(len(vectors), max(16_384, SAMPLE_ROWS_PER_LIST * index.nlist))
    chosen = np.random.default_rng(0).choice(len(vectors), count, replace=False)
    index.train(vectors[np.sort(chosen)])
    return index
