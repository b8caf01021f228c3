"""Qdrant's engine in this process: one optimised segment, HNSW over int8 codes, rescored from float32 vectors."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from benchmarks.peers.peer import Effort, Float32Array, Found, Peer, padded

__all__ = ["QdrantPeer"]

LINKS = 16
BUILD_EFFORT = 100
ROWS_PER_UPSERT = 1000
RESCORED_MIN = 20
EFFORTS = (32, 64, 128, 512, 1024, 2048)


class QdrantPeer(Peer):
    """The graph's default parameters; scalar quantisation as its documentation recommends it, kept in memory."""

    title = "Qdrant edge"
    distribution = "qdrant-edge-py"
    how = f"HNSW, m = {LINKS}, ef_construct = {BUILD_EFFORT}, int8 scalar quantisation, rescored; one segment"

    def _library(self) -> Any:
        return importlib.import_module("qdrant_edge")

    def _config(self) -> Any:
        qdrant = self._library()
        dimension = self.task.vectors.shape[1]
        return qdrant.EdgeConfig(
            vectors=qdrant.EdgeVectorParams(size=dimension, distance=qdrant.Distance.Dot),
            hnsw_config=qdrant.HnswIndexConfig(
                m=LINKS, ef_construct=BUILD_EFFORT, full_scan_threshold=10_000, max_indexing_threads=1
            ),
            quantization_config=qdrant.ScalarQuantizationConfig(
                type=qdrant.ScalarType.Int8, quantile=0.99, always_ram=True
            ),
            # One segment: on one core several would be searched one after the other.
            optimizers=qdrant.EdgeOptimizersConfig(default_segment_number=1, max_segment_size=1 << 30),
            max_search_threads=1,
        )

    def load(self) -> None:
        qdrant = self._library()
        (self.folder / "shard").mkdir()
        shard = qdrant.EdgeShard.create(str(self.folder / "shard"), self._config())
        for first in range(0, len(self.task.vectors), ROWS_PER_UPSERT):
            block = self.task.vectors[first : first + ROWS_PER_UPSERT].tolist()
            points = [qdrant.Point(first + place, vector, {}) for place, vector in enumerate(block)]
            shard.update(qdrant.UpdateOperation.upsert_points(points))
        shard.flush()
        shard.close()

    def index(self) -> None:
        shard = self._library().EdgeShard.load(str(self.folder / "shard"))
        shard.optimize()
        shard.flush()
        shard.close()

    def open(self) -> None:
        self._shard = self._library().EdgeShard.load(str(self.folder / "shard"), self._config())

    def close(self) -> None:
        self._shard.close()

    def efforts(self) -> Sequence[Effort]:
        return [Effort(f"ef {ef}", {"ef": ef}) for ef in EFFORTS]

    def prepare(self, probes: Float32Array) -> Any:
        """Lists of floats, which is what the interface takes."""
        return probes.tolist()

    def nearest(self, probes: Any, k: int, effort: Effort) -> Found:
        requests = [self._request(vector, k, effort.parameters["ef"]) for vector in probes]
        if len(requests) == 1:
            answers = [self._shard.query(requests[0])]
        else:
            answers = self._shard.query_batch(self._library().QueryBatchRequest(requests))
        return padded(
            [[one.id for one in answer] for answer in answers], [[one.score for one in answer] for answer in answers], k
        )

    def _request(self, vector: list[float], k: int, ef: int) -> Any:
        qdrant = self._library()
        # Codes order rows roughly: rescoring only what is asked for would change nothing.
        oversampling = max(2.0, RESCORED_MIN / k)
        codes = qdrant.QuantizationSearchParams(rescore=True, oversampling=oversampling)
        return qdrant.QueryRequest(
            limit=k,
            query=qdrant.Query.Nearest(vector),
            with_payload=False,
            with_vector=False,
            params=qdrant.SearchParams(hnsw_ef=ef, quantization=codes),
        )
