"""Galleries and how they are searched."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from mien_server.records.policies import DecisionPolicy, EnrollmentPolicy, IndexPolicy, VectorType

__all__ = [
    "DeletedGallery",
    "EffortLadderStep",
    "GalleryInfo",
    "GalleryListing",
    "GallerySpec",
    "IndexState",
    "IndexStateKind",
]


@dataclass(frozen=True, slots=True)
class GallerySpec:
    """What a caller says of a gallery to be made. Either `recipe` or both precomputed fields."""

    name: str
    display_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    recipe: str = ""
    precomputed_name: str = ""
    precomputed_dimension: int = 0
    decision_policy: DecisionPolicy = field(default_factory=DecisionPolicy)
    enrollment_policy: EnrollmentPolicy = field(default_factory=EnrollmentPolicy)
    index_policy: IndexPolicy = field(default_factory=IndexPolicy)
    vector_type: VectorType = VectorType.FLOAT32
    default_time_to_live_us: int = 0


class IndexStateKind(enum.IntEnum):
    """Numbers of mien.v1.IndexState.State."""

    FLAT = 1
    READY = 2
    BUILDING = 3
    DEGRADED = 4


@dataclass(frozen=True, slots=True)
class EffortLadderStep:
    """One measured step: see mien.v1.EffortStep."""

    step: int
    lists: int
    rescored: int
    rank1_agreement: float
    recall_at_10: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class IndexState:
    """How a gallery is searched now.

    Attributes:
        segment_count: segments that its lists lie in.
        list_imbalance: 1 when all lists are equally long; a scan costs so many times more.
        trained_rows: live rows when its lists and codes were trained.
        measured_rows: rows when its ladder was measured.
        drift: by how much the agreement promised before was missed at the last measuring; None before the second.
        default_agreement: rank-1 agreement with exact search of an identification that names no effort, as measured.
    """

    kind: IndexStateKind
    detail: str = ""
    generation: str = ""
    indexed_rows: int = 0
    tail_rows: int = 0
    tombstones: int = 0
    lists: int = 0
    code: str = ""
    ladder: tuple[EffortLadderStep, ...] = ()
    build_time_us: int = 0
    segment_count: int = 0
    list_imbalance: float = 0.0
    trained_rows: int = 0
    measured_rows: int = 0
    measure_time_us: int = 0
    drift: float | None = None
    default_agreement: float = 1.0


@dataclass(frozen=True, slots=True)
class GalleryInfo:
    """A gallery at one revision. `version` is the etag; `recipe` is empty for precomputed ones."""

    name: str
    display_name: str
    labels: Mapping[str, str]
    recipe: str
    precomputed_name: str
    dimension: int
    model_fingerprint: str
    decision_policy: DecisionPolicy
    enrollment_policy: EnrollmentPolicy
    index_policy: IndexPolicy
    vector_type: VectorType
    identity_count: int
    face_count: int
    index_state: IndexState
    create_time_us: int
    update_time_us: int
    version: int
    default_time_to_live_us: int = 0


@dataclass(frozen=True, slots=True)
class GalleryListing:
    """A page of galleries by name; `next_after` is empty on the last page."""

    galleries: tuple[GalleryInfo, ...]
    next_after: str
    revision: int


@dataclass(frozen=True, slots=True)
class DeletedGallery:
    """What went with a deleted gallery."""

    identity_count: int
    face_count: int
    revision: int
