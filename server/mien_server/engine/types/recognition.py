"""Probes, filters and choices in; candidates, decisions and explanations out.

What an answer holds by the thousand is a named tuple: made in a third of a frozen dataclass's time.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mien_server.engine.types.requests import ImageInput, PackedEmbeddings
from mien_server.records.faces import Float32Array, ImageAnalysis
from mien_server.records.policies import IdentityScoring

__all__ = [
    "Candidate",
    "Condition",
    "ConditionSubject",
    "Explanation",
    "Filter",
    "FoundImages",
    "Identification",
    "IdentificationAnswer",
    "NeighborsAnswer",
    "Probes",
    "SearchChoices",
    "StageTiming",
    "Threshold",
    "ThresholdOrigin",
    "VerificationAnswer",
    "VerifySide",
]


class ConditionSubject(enum.IntEnum):
    """Numbers of mien.v1.Condition.Subject."""

    IDENTITY_LABEL = 1
    FACE_LABEL = 2
    IDENTITY_CREATE_TIME = 3
    FACE_CREATE_TIME = 4


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of a filter; exactly one of the tests is set.

    Attributes:
        number_range: closed (minimum, maximum); a None bound is open.
        time_range_us: (from inclusive, to exclusive) in microseconds since the epoch; a None bound is open.
    """

    subject: ConditionSubject
    key: str = ""
    one_of: tuple[str, ...] | None = None
    number_range: tuple[float | None, float | None] | None = None
    time_range_us: tuple[int | None, int | None] | None = None
    exists: bool | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which faces a search may answer: all parts must hold."""

    identity_labels: Mapping[str, str] = field(default_factory=dict)
    identity_ids: tuple[str, ...] = ()
    excluded_identity_ids: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it holds for everyone."""
        return not (self.identity_labels or self.identity_ids or self.excluded_identity_ids or self.conditions)


@dataclass(frozen=True, slots=True)
class SearchChoices:
    """Options of a search: at most one of `recall_target`, `step` and `exact`."""

    filter: Filter = field(default_factory=Filter)
    recall_target: float | None = None
    step: int | None = None
    exact: bool = False
    min_similarity: float | None = None
    min_revision: int = 0
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Probes:
    """What is looked up; embeddings come first in every answer."""

    embeddings: PackedEmbeddings | None = None
    images: Sequence[ImageInput] = ()


class StageTiming(NamedTuple):
    """Time of one stage in the server."""

    stage: str
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a search cost and what it is worth: see mien.v1.Explanation."""

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


class ThresholdOrigin(enum.IntEnum):
    """Numbers of mien.v1.Threshold.Origin."""

    REQUEST = 1
    GALLERY_POLICY = 2
    RECIPE_DEFAULT = 3
    CALIBRATION = 4


@dataclass(frozen=True, slots=True)
class Threshold:
    """The cosine similarity at or above which a decision is positive, and what it rests on."""

    similarity: float
    origin: ThresholdOrigin
    detail: str
    extrapolated: bool = False


class Candidate(NamedTuple):
    """One identity proposed for a face; `distance` is None unless the policy names a metric."""

    identity_id: str
    display_name: str
    labels: Mapping[str, str]
    similarity: float
    distance: float | None
    face_id: str


class Identification(NamedTuple):
    """Who one face is; best candidate first. `is_match` is the decision on the first candidate."""

    is_match: bool
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class IdentificationAnswer:
    """Identifications of the embeddings, then of every face of every image."""

    embeddings: tuple[Identification, ...]
    images: tuple[tuple[ImageAnalysis, str, tuple[Identification, ...]], ...]
    threshold: Threshold
    scoring: IdentityScoring
    revision: int
    model_fingerprint: str
    explanation: Explanation | None


@dataclass(frozen=True, slots=True)
class NeighborsAnswer:
    """Nearest faces in columns, probe after probe.

    Attributes:
        counts: int64 [probes], neighbours of each probe.
        similarities: float32 [sum(counts)], descending within a probe.
        face_ids: one for each neighbour.
        identity_indexes: int64 [sum(counts)], into `identity_ids`.
        identity_ids: each identity once.
        images: analysis and source of each image; the probes of its faces follow those of the embeddings, in order.
        embedding_count: the first probes are the request's embeddings.
    """

    counts: npt.NDArray[np.int64]
    similarities: Float32Array
    face_ids: Sequence[str]
    identity_indexes: npt.NDArray[np.int64]
    identity_ids: Sequence[str]
    images: tuple[tuple[ImageAnalysis, str], ...]
    embedding_count: int
    revision: int
    model_fingerprint: str
    explanation: Explanation | None


@dataclass(frozen=True, slots=True)
class FoundImages:
    """Photographs with their faces, in the order of the request, each with the caller's source."""

    images: tuple[tuple[ImageAnalysis, str], ...]
    model_fingerprint: str


@dataclass(frozen=True, slots=True)
class VerifySide:
    """One side of a verification; exactly one is set."""

    image: ImageInput | None = None
    embedding: PackedEmbeddings | None = None
    face_id: str = ""
    identity_id: str = ""


@dataclass(frozen=True, slots=True)
class VerificationAnswer:
    """Whether the two are the same person; `revision` is 0 when no gallery took part."""

    is_same: bool
    similarity: float
    distance: float | None
    threshold: Threshold
    left_image: ImageAnalysis | None
    right_image: ImageAnalysis | None
    revision: int
    model_fingerprint: str
