"""scann: inverted lists of anisotropic 4-bit product codes, rescored from float32 vectors."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers.peer import Effort, Found, Peer

__all__ = ["ScannPeer"]

TRAINING_ROWS_MAX = 250_000
ANISOTROPIC_THRESHOLD = 0.2
COMPONENTS_PER_BLOCK = 2
EFFORTS = ((0.05, 50), (0.1, 100), (0.25, 200), (0.5, 200), (1.0, 200), (1.0, 1000))
"""Share of the leaves searched, and rows rescored."""


class ScannPeer(Peer):
    """Its documentation's choices: sqrt(n) leaves, the anisotropic threshold .2, two components a code."""

    title = "scann"
    distribution = "scann"

    @property
    def _leaves(self) -> int:
        return round(math.sqrt(len(self.task.vectors)))

    def load(self) -> None:
        """The builder takes the vectors from memory."""

    def index(self) -> None:
        scann: Any = importlib.import_module("scann.scann_ops.py.scann_ops_pybind")
        count = min(len(self.task.vectors), TRAINING_ROWS_MAX)
        searcher = (
            scann.builder(np.array(self.task.vectors), 10, "dot_product")
            .set_n_training_threads(1)
            .tree(num_leaves=self._leaves, num_leaves_to_search=self._leaves // 10, training_sample_size=count)
            .score_ah(COMPONENTS_PER_BLOCK, anisotropic_quantization_threshold=ANISOTROPIC_THRESHOLD)
            .reorder(100)
            .build()
        )
        (self.folder / "searcher").mkdir()
        searcher.serialize(str(self.folder / "searcher"))

    def open(self) -> None:
        scann: Any = importlib.import_module("scann.scann_ops.py.scann_ops_pybind")
        self._searcher = scann.load_searcher(str(self.folder / "searcher"))
        self._searcher.set_num_threads(1)
        self.how = (
            f"{self._leaves} leaves, {COMPONENTS_PER_BLOCK} components a 4-bit code, anisotropic threshold "
            f"{ANISOTROPIC_THRESHOLD}, rescored from float32"
        )

    def efforts(self) -> Sequence[Effort]:
        return [
            Effort(
                f"{max(1, round(share * self._leaves))} leaves, {rescored} rescored",
                {"leaves": max(1, round(share * self._leaves)), "rescored": rescored},
            )
            for share, rescored in EFFORTS
        ]

    def nearest(self, probes: Any, k: int, effort: Effort) -> Found:
        leaves, rescored = effort.parameters["leaves"], effort.parameters["rescored"]
        if len(probes) == 1:
            rows, products = self._searcher.search(probes[0], k, rescored, leaves)
            return Found(rows[None].astype(np.int64), products[None])
        rows, products = self._searcher.search_batched(probes, k, rescored, leaves)
        return Found(rows.astype(np.int64), products)
