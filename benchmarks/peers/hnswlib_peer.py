"""hnswlib: the graph that most vector databases are made of, over float32 vectors."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers.peer import Effort, Found, Peer

__all__ = ["HnswlibPeer"]

LINKS = 16
BUILD_EFFORT = 200
EFFORTS = (16, 64, 256, 512, 1024)


class HnswlibPeer(Peer):
    """The parameters of its own documentation."""

    title = "hnswlib"
    distribution = "hnswlib"
    how = f"HNSW, float32, M = {LINKS}, ef_construction = {BUILD_EFFORT}"

    def _empty(self) -> Any:
        index = importlib.import_module("hnswlib").Index(space="ip", dim=self.task.vectors.shape[1])
        index.set_num_threads(1)
        return index

    def load(self) -> None:
        """Adding builds the graph."""

    def index(self) -> None:
        index = self._empty()
        index.init_index(max_elements=len(self.task.vectors), M=LINKS, ef_construction=BUILD_EFFORT, random_seed=100)
        index.add_items(self.task.vectors, num_threads=1)
        index.save_index(str(self.folder / "index.bin"))

    def open(self) -> None:
        self._index = self._empty()
        self._index.load_index(str(self.folder / "index.bin"))
        self._index.set_num_threads(1)

    def efforts(self) -> Sequence[Effort]:
        return [Effort(f"ef {ef}", {"ef": ef}) for ef in EFFORTS]

    def nearest(self, probes: Any, k: int, effort: Effort) -> Found:
        self._index.set_ef(max(k, effort.parameters["ef"]))
        rows, distances = self._index.knn_query(probes, k, num_threads=1)
        return Found(rows.astype(np.int64), 1.0 - distances)
