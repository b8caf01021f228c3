"""LanceDB: its default vector index (inverted lists of product codes in columnar files), rescored from float32."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from benchmarks.peers.peer import Effort, Found, Peer, padded

__all__ = ["LancePeer"]

TABLE = "faces"
ROWS_PER_BATCH = 10_000
EFFORTS = ((20, 50), (50, 100), (100, 200), (200, 400), (1000, 400))
"""Partitions probed, and rows rescored."""


class LancePeer(Peer):
    """`create_index` with its defaults; only the metric is named."""

    title = "LanceDB"
    distribution = "lancedb"
    how = "IVF_PQ, its default sizes, rescored from float32"
    # With a single thread in its pools it waits for itself; two share the one core.
    environment: ClassVar[Mapping[str, str]] = {
        "TOKIO_WORKER_THREADS": "2",
        "LANCE_CPU_THREADS": "2",
        "LANCE_IO_THREADS": "2",
        "RUST_LOG": "error",
    }

    def _database(self) -> Any:
        return importlib.import_module("lancedb").connect(str(self.folder / "database"))

    def load(self) -> None:
        arrow: Any = importlib.import_module("pyarrow")
        dimension = self.task.vectors.shape[1]
        schema = arrow.schema([("row", arrow.int64()), ("vector", arrow.list_(arrow.float32(), dimension))])

        def batches() -> Iterator[Any]:
            for first in range(0, len(self.task.vectors), ROWS_PER_BATCH):
                block = np.asarray(self.task.vectors[first : first + ROWS_PER_BATCH])
                vectors = arrow.FixedSizeListArray.from_arrays(arrow.array(block.ravel()), dimension)
                numbers = arrow.array(np.arange(first, first + len(block)))
                yield arrow.record_batch([numbers, vectors], schema=schema)

        reader = arrow.RecordBatchReader.from_batches(schema, batches())
        self._database().create_table(TABLE, data=reader)

    def index(self) -> None:
        self._database().open_table(TABLE).create_index(metric="dot", vector_column_name="vector")

    def open(self) -> None:
        self._table = self._database().open_table(TABLE)

    def efforts(self) -> Sequence[Effort]:
        return [
            Effort(f"{partitions} partitions, {rescored} rescored", {"partitions": partitions, "rescored": rescored})
            for partitions, rescored in EFFORTS
        ]

    def nearest(self, probes: Any, k: int, effort: Effort) -> Found:
        answers = [self._one(probe, k, effort) for probe in probes]
        rows = [answer["row"].to_pylist() for answer in answers]
        return padded(rows, [(1.0 - answer["_distance"].to_numpy()).tolist() for answer in answers], k)

    def _one(self, probe: Any, k: int, effort: Effort) -> Any:
        # What is rescored is a multiple of what is asked for.
        factor = max(1, effort.parameters["rescored"] // k)
        query = (
            self._table.search(probe, vector_column_name="vector")
            .distance_type("dot")
            .select(["row", "_distance"])
            .limit(k)
        )
        return query.nprobes(effort.parameters["partitions"]).refine_factor(factor).to_arrow()
