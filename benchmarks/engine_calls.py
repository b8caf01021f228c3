"""The engine's two searching verbs as functions of probes, for the figures that time them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.workbench import GALLERY
from mien_server.engine import Engine
from mien_server.engine.types import (
    Explanation,
    IdentificationAnswer,
    NeighborsAnswer,
    PackedEmbeddings,
    Probes,
    SearchChoices,
)
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy

__all__ = [
    "CANDIDATES",
    "FACES_FOR_CANDIDATES",
    "NEIGHBORS",
    "effort_of",
    "identify",
    "packed",
    "packed_rows",
    "search",
]

NEIGHBORS = 10
CANDIDATES = 5
FACES_FOR_CANDIDATES = 3 * CANDIDATES
"""How many faces the engine looks at for so many candidates, where nobody fills the first places alone."""

Float32Array = npt.NDArray[np.float32]


def packed(probes: Float32Array) -> Probes:
    """Probes [n, d] as they come out of a request."""
    return Probes(embeddings=packed_rows(probes))


def packed_rows(vectors: Float32Array) -> PackedEmbeddings:
    """Embeddings [n, d] as they come out of a request."""
    return PackedEmbeddings(vectors.tobytes(), vectors.shape[1], len(vectors))


def search(engine: Engine, probes: Probes, *, explain: bool = False) -> NeighborsAnswer:
    """The nearest faces, hydrated, at the default effort."""
    choices = SearchChoices(explain=explain)
    return engine.recognition.search(GALLERY, probes, k=NEIGHBORS, choices=choices, deadline=Deadline())


def identify(
    engine: Engine,
    probes: Probes,
    *,
    explain: bool = False,
    policy: DecisionPolicy | None = None,
    recall_target: float | None = None,
) -> IdentificationAnswer:
    """Candidates and decisions, hydrated; at the default effort and by the gallery's policy where none is given."""
    choices = SearchChoices(explain=explain, recall_target=recall_target)
    return engine.recognition.identify(
        GALLERY, probes, candidate_count=CANDIDATES, choices=choices, policy=policy, deadline=Deadline()
    )


def effort_of(answer: NeighborsAnswer | IdentificationAnswer) -> Explanation:
    """What the engine says it did."""
    if answer.explanation is None:
        raise RuntimeError("the engine was not asked to explain")
    if not answer.explanation.plan.startswith("ivf"):
        raise RuntimeError(f"the gallery is searched by the plan {answer.explanation.plan!r}; use more rows")
    return answer.explanation
