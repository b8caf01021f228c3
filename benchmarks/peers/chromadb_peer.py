"""Chroma: an embedded database around hnswlib."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers.peer import Effort, Found, Peer, padded

__all__ = ["ChromaPeer"]

COLLECTION = "faces"
ROWS_PER_BATCH = 5_000
EFFORTS = (16, 100, 256, 512, 1024)


class ChromaPeer(Peer):
    """Its default graph (16 neighbours, ef_construction 100), inner product, one thread."""

    title = "Chroma"
    distribution = "chromadb"
    how = "HNSW, float32, 16 neighbours, ef_construction = 100"

    def _client(self) -> Any:
        chromadb: Any = importlib.import_module("chromadb")
        settings = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False)
        return chromadb.PersistentClient(path=str(self.folder / "database"), settings=settings)

    def load(self) -> None:
        """Adding builds the graph."""

    def index(self) -> None:
        collection = self._client().create_collection(
            COLLECTION,
            embedding_function=None,
            configuration={"hnsw": {"space": "ip", "num_threads": 1}},
        )
        for first in range(0, len(self.task.vectors), ROWS_PER_BATCH):
            block = np.asarray(self.task.vectors[first : first + ROWS_PER_BATCH])
            collection.add(ids=[str(first + place) for place in range(len(block))], embeddings=block)

    def open(self) -> None:
        self._collection = self._client().get_collection(COLLECTION, embedding_function=None)
        self._ef = 0

    def efforts(self) -> Sequence[Effort]:
        return [Effort(f"ef {ef}", {"ef": ef}) for ef in EFFORTS]

    def nearest(self, probes: Any, k: int, effort: Effort) -> Found:
        if effort.parameters["ef"] != self._ef:
            self._ef = effort.parameters["ef"]
            self._collection.modify(configuration={"hnsw": {"ef_search": self._ef}})
            # An index that is loaded keeps the effort that it was loaded with.
            importlib.import_module("chromadb.api.client").SharedSystemClient.clear_system_cache()
            self._collection = self._client().get_collection(COLLECTION, embedding_function=None)
        answer = self._collection.query(query_embeddings=probes, n_results=k, include=["distances"])
        rows = [[int(one) for one in ids] for ids in answer["ids"]]
        return padded(rows, [[1.0 - one for one in distances] for distances in answer["distances"]], k)
