"""Mien's engine in this process: Identify and SearchFaces as the service calls them, people and decisions included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import engine_calls
from benchmarks.engine_store import GALLERY, create_gallery, enroll, rebuild
from benchmarks.peers.peer import Effort, Float32Array, Found, Named, Peer
from mien_server.engine import Engine, EngineOptions
from mien_server.engine.types import Probes, SearchChoices
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy

__all__ = ["MienPeer"]

ROWS_PER_BATCH = 5_000
OPTIONS = EngineOptions(search_thread_count=1, build_thread_count=1, rebuilds_automatically=False)


class MienPeer(Peer):
    """A gallery with every default; what differs between efforts is the recall target that the call names."""

    title = "**Mien**"
    distribution = "mien"

    def load(self) -> None:
        vectors, people = self.task.vectors, self.task.people
        with Engine.open(self.folder / "store", OPTIONS) as engine:
            create_gallery(engine, vectors.shape[1])
            for first in range(0, len(vectors), ROWS_PER_BATCH):
                part = slice(first, first + ROWS_PER_BATCH)
                enroll(engine, vectors[part], people[part], first)

    def index(self) -> None:
        with Engine.open(self.folder / "store", OPTIONS) as engine:
            rebuild(engine)

    def open(self) -> None:
        self._engine = Engine.open(self.folder / "store", OPTIONS)
        state = self._engine.galleries.get(GALLERY)[0].index_state
        self.how = (
            f"{state.code or 'exact'}, float32 rows; through the engine, hydrated and decided, every choice its own"
        )
        self._steps = state.ladder

    def close(self) -> None:
        self._engine.close()

    def efforts(self) -> Sequence[Effort]:
        return [
            Effort("recall target .9", {"recall_target": 0.9}),
            Effort("recall target .99", {"recall_target": 0.99}),
            Effort("default", {}),
        ]

    def search_efforts(self) -> Sequence[Effort]:
        steps = [
            Effort(f"step {step.step}: {step.lists} lists, {step.rescored} rescored", {"step": step.step})
            for step in self._steps
        ]
        return [*steps, Effort("default", {})]

    def prepare(self, probes: Float32Array) -> Probes:
        """As they come out of a request."""
        return engine_calls.packed(np.ascontiguousarray(probes))

    def nearest(self, probes: Any, k: int, effort: Effort) -> Found:
        answer = self._engine.recognition.search(
            GALLERY, probes, k=k, choices=SearchChoices(**effort.parameters), deadline=Deadline()
        )
        rows = np.array([int(face) for face in answer.face_ids], dtype=np.int64).reshape(-1, k)
        return Found(rows, answer.similarities.reshape(-1, k))

    def identify(self, probes: Any, effort: Effort, threshold: float) -> Named:
        answer = self._engine.recognition.identify(
            GALLERY,
            probes,
            candidate_count=1,
            choices=SearchChoices(**effort.parameters),
            policy=DecisionPolicy(similarity=threshold),
            deadline=Deadline(),
        )
        best = [one.candidates[0] for one in answer.embeddings]
        return Named(
            np.array([int(one.identity_id[1:]) for one in best], dtype=np.int64),
            np.array([one.similarity for one in best], dtype=np.float32),
            np.array([one.is_match for one in answer.embeddings], dtype=np.bool_),
        )
