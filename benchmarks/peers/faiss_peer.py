"""Plain FAISS: its graph over 8-bit codes, and its inverted lists of 4-bit product codes; both rescored by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import faiss as _untyped_faiss
import numpy as np

from benchmarks.peers.peer import Effort, Found, Peer

__all__ = ["FaissGraphPeer", "FaissListsPeer"]

faiss: Any = _untyped_faiss

TRAINING_ROWS = 65_536
ADDED_ROWS = 65_536
ROWS_PER_LIST = 3_000
RESIDUAL_DIMENSION_MAX = 256
"""Embeddings of few components lie in a narrow cone, where codes of the residual are better."""
GRAPH_LINKS = 32
GRAPH_BUILD_EFFORT = 40
GRAPH_EFFORTS = (32, 64, 128, 256, 512, 1024)
LIST_SHARES = ((0.125, 200), (0.25, 200), (0.5, 200), (1.0, 200), (0.5, 400), (1.0, 400), (1.0, 1000))
"""Share of the lists scanned, and rows rescored."""


class _FaissPeer(Peer):
    """An index of FAISS's factory in one file."""

    distribution = "faiss-cpu"
    rescored_by: ClassVar[str]

    def _factory(self) -> str:
        raise NotImplementedError

    def _set_up(self, index: Any) -> None:
        """Choices that the factory's name cannot hold."""

    def load(self) -> None:
        """The index takes the vectors from memory."""

    def index(self) -> None:
        faiss.omp_set_num_threads(1)
        vectors = self.task.vectors
        index = faiss.index_factory(vectors.shape[1], self._factory(), faiss.METRIC_INNER_PRODUCT)
        self._set_up(faiss.downcast_index(index.base_index))
        chosen = np.random.default_rng(0).choice(len(vectors), min(TRAINING_ROWS, len(vectors)), replace=False)
        index.train(vectors[np.sort(chosen)])
        for first in range(0, len(vectors), ADDED_ROWS):
            index.add(np.asarray(vectors[first : first + ADDED_ROWS]))
        faiss.write_index(index, str(self.folder / "index.faiss"))

    def open(self) -> None:
        faiss.omp_set_num_threads(1)
        self._index = faiss.read_index(str(self.folder / "index.faiss"))
        self.how = f"{self._factory()}, rescored from {self.rescored_by}"

    def _search(self, probes: Any, k: int, rescored: int, base: Any) -> Found:
        parameters = faiss.IndexRefineSearchParameters(k_factor=max(1.0, rescored / k), base_index_params=base)
        similarities, rows = self._index.search(probes, k, params=parameters)
        return Found(rows, similarities)


class FaissGraphPeer(_FaissPeer):
    """IndexHNSWSQ with the build effort that FAISS sets."""

    title = "FAISS HNSW"
    rescored_by = "float32"

    def _factory(self) -> str:
        return f"HNSW{GRAPH_LINKS}_SQ8,RFlat"

    def efforts(self) -> Sequence[Effort]:
        return [Effort(f"ef {ef}", {"ef": ef}) for ef in GRAPH_EFFORTS]

    def nearest(self, probes: Any, k: int, effort: Effort) -> Found:
        ef = effort.parameters["ef"]
        base = faiss.SearchParametersHNSW(efSearch=max(ef, 2 * k))
        return self._search(probes, k, min(ef, max(20, 2 * k)), base)


class FaissListsPeer(_FaissPeer):
    """Few, large lists of PQ FastScan codes, rescored from float16: what Mien rests on, without stages."""

    title = "FAISS IVF-PQ"
    rescored_by = "float16"

    @property
    def _lists(self) -> int:
        return max(16, 1 << round(math.log2(len(self.task.vectors) / ROWS_PER_LIST)))

    def _factory(self) -> str:
        return f"IVF{self._lists},PQ64x4fs,Refine(SQfp16)"

    def _set_up(self, index: Any) -> None:
        index.by_residual = self.task.vectors.shape[1] <= RESIDUAL_DIMENSION_MAX
        index.cp.spherical = True

    def efforts(self) -> Sequence[Effort]:
        return [
            Effort(
                f"{max(1, round(share * self._lists))} lists, {rescored} rescored",
                {"lists": max(1, round(share * self._lists)), "rescored": rescored},
            )
            for share, rescored in LIST_SHARES
        ]

    def nearest(self, probes: Any, k: int, effort: Effort) -> Found:
        base = faiss.SearchParametersIVF(nprobe=effort.parameters["lists"])
        return self._search(probes, k, effort.parameters["rescored"], base)
