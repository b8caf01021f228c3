"""Answers to: who is this, is it the same person, which faces are near."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mien_client._types import enums
from mien_client._types.faces import ImageFaces
from mien_client.errors import MienClientError

__all__ = [
    "AnswerInfo",
    "Candidate",
    "Explanation",
    "FaceIdentification",
    "FaceNeighbors",
    "IdentifyAnswer",
    "ImageIdentification",
    "ImageNeighbors",
    "Neighbor",
    "NeighborColumns",
    "SearchAnswer",
    "StageTiming",
    "StreamedIdentifyAnswer",
    "StreamedSearchAnswer",
    "Threshold",
    "VerifyAnswer",
]


@dataclass(frozen=True, slots=True)
class StageTiming:
    """Time that one stage took in the server."""

    stage: str
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a search cost and what it is worth; rows are a probe's share.

    Attributes:
        plan: "flat", "exact", "ivf", "filtered-exact", ...
        lists_scanned: of `lists_total`; zero for exact plans.
        rows_scanned: rows whose codes or vectors were compared.
        rows_rescored: rows rescored exactly from the stored vectors.
        recall_estimate: rank-1 agreement measured for this effort at publish; 1 for exact plans.
        generation: the one searched; empty for a flat gallery.
        tail_rows: rows newer than it, compared exactly.
        step: the ladder step used.
        timings: time in the server by stage.
        matching_faces: faces that the filter allows; all faces of the gallery without one.
    """

    plan: str
    lists_scanned: int
    lists_total: int
    rows_scanned: int
    rows_rescored: int
    recall_estimate: float
    generation: str
    tail_rows: int
    step: int
    timings: tuple[StageTiming, ...]
    matching_faces: int = 0


@dataclass(frozen=True, slots=True)
class AnswerInfo:
    """The state an answer shows, the model it holds for, and what it cost when asked."""

    revision: int
    model_fingerprint: str
    explanation: Explanation | None


@dataclass(frozen=True, slots=True)
class Threshold:
    """The threshold that a decision used.

    Attributes:
        similarity: cosine similarity at or above which the decision is positive.
        origin: where it came from.
        detail: one sentence for a person: what the number rests on.
        extrapolated: the target asked for lies beyond the calibration's data.
    """

    similarity: float
    origin: enums.ThresholdOrigin
    detail: str
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """One person that a face may be."""

    identity_id: str
    display_name: str
    similarity: float
    distance: float
    # The identity's face most similar to the probe.
    face_id: str
    labels: Mapping[str, str]

    @property
    def name(self) -> str:
        """The display name, or the id where there is none."""
        return self.display_name or self.identity_id


@dataclass(frozen=True, slots=True, eq=False)
class FaceIdentification:
    """Who one face is.

    Attributes:
        decision: MATCH: the first candidate. UNKNOWN: nobody of the gallery.
        candidates: best first; for UNKNOWN the nearest people.
        error: this probe could not be looked up.
    """

    decision: enums.Decision
    candidates: tuple[Candidate, ...]
    error: MienClientError | None

    @property
    def match(self) -> Candidate | None:
        """The person decided for; None unless the decision is MATCH."""
        return self.candidates[0] if self.decision is enums.Decision.MATCH and self.candidates else None


@dataclass(frozen=True, slots=True, eq=False)
class ImageIdentification:
    """The faces of one photograph and who they are: `faces[i]` is about `image.faces[i]`."""

    image: ImageFaces
    faces: tuple[FaceIdentification, ...]


@dataclass(frozen=True, slots=True, eq=False)
class IdentifyAnswer:
    """Answers in the order of the request's embeddings and images."""

    embeddings: tuple[FaceIdentification, ...]
    images: tuple[ImageIdentification, ...]
    threshold: Threshold
    scoring: enums.IdentityScoring
    info: AnswerInfo


@dataclass(frozen=True, slots=True, eq=False)
class VerifyAnswer:
    """SAME or DIFFERENT, with the similarity and the threshold; the images where a side was a photograph."""

    decision: enums.Decision
    similarity: float
    distance: float
    threshold: Threshold
    left_image: ImageFaces | None
    right_image: ImageFaces | None
    info: AnswerInfo

    @property
    def is_same(self) -> bool:
        """Whether the decision is SAME."""
        return self.decision is enums.Decision.SAME


@dataclass(frozen=True, slots=True)
class Neighbor:
    """One enrolled face near a probe."""

    face_id: str
    identity_id: str
    similarity: float


@dataclass(frozen=True, slots=True, eq=False)
class FaceNeighbors:
    """The enrolled faces nearest to one probe, nearest first."""

    neighbors: tuple[Neighbor, ...]
    error: MienClientError | None


@dataclass(frozen=True, slots=True, eq=False)
class ImageNeighbors:
    """The faces of one photograph and their neighbours: `faces[i]` is about `image.faces[i]`."""

    image: ImageFaces
    faces: tuple[FaceNeighbors, ...]


@dataclass(frozen=True, slots=True, eq=False)
class NeighborColumns:
    """Neighbours of n probes in columns, probe after probe; m is the sum of `counts`.

    Attributes:
        counts: int64 [n], neighbours of each probe.
        similarities: float32 [m].
        identities: int64 [m], indices into `identity_ids`.
        face_ids: m ids.
        identity_ids: each identity once.
    """

    counts: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float32] = field(repr=False)
    identities: npt.NDArray[np.int64] = field(repr=False)
    face_ids: tuple[str, ...] = field(repr=False)
    identity_ids: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class SearchAnswer:
    """Answers in the order of the request's embeddings and images; `columns` when they were asked for."""

    embeddings: tuple[FaceNeighbors, ...]
    images: tuple[ImageNeighbors, ...]
    columns: NeighborColumns | None
    info: AnswerInfo


@dataclass(frozen=True, slots=True, eq=False)
class StreamedIdentifyAnswer:
    """The answer to one request of a stream, numbered from 0: `answer`, or the `error` of this request alone."""

    request: int
    answer: IdentifyAnswer | None
    error: MienClientError | None


@dataclass(frozen=True, slots=True, eq=False)
class StreamedSearchAnswer:
    """The answer to one request of a stream, numbered from 0: `answer`, or the `error` of this request alone."""

    request: int
    answer: SearchAnswer | None
    error: MienClientError | None
