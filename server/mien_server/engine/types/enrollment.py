"""Enrolment: items in, outcomes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mien_server.engine.types.people import FaceInfo
from mien_server.engine.types.requests import ImageInput, PackedEmbeddings, RequestToken
from mien_server.errors import MienError
from mien_server.records.faces import ImageAnalysis, ImageStatus, QualityReason
from mien_server.records.policies import EnrollmentPolicy

__all__ = [
    "EnrollBatch",
    "EnrollItem",
    "EnrollOutcome",
    "EnrollRows",
    "EnrollRowsOutcome",
    "EnrolledFaces",
]


@dataclass(frozen=True, slots=True)
class EnrollItem:
    """One photograph or one embedding of one person; exactly one of `image` and `embedding`.

    Attributes:
        expire_time_us: when the face expires; 0: as the gallery's default says.
    """

    identity_id: str
    identity_display_name: str = ""
    identity_labels: Mapping[str, str] = field(default_factory=dict)
    image: ImageInput | None = None
    embedding: PackedEmbeddings | None = None
    face_id: str = ""
    face_labels: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    expire_time_us: int = 0


@dataclass(frozen=True, slots=True)
class EnrollBatch:
    """Items to enrol in one gallery; `policy` replaces the gallery's where it is set."""

    gallery: str
    items: Sequence[EnrollItem]
    policy: EnrollmentPolicy | None = None
    request: RequestToken | None = None


@dataclass(frozen=True, slots=True)
class EnrollOutcome:
    """What became of one item; `error` is None when its face is in the gallery."""

    error: MienError | None = None
    faces: tuple[FaceInfo, ...] = ()
    duplicate: bool = False
    identity_created: bool = False
    image: ImageAnalysis | None = None
    warnings: tuple[QualityReason, ...] = ()

    @property
    def image_status(self) -> ImageStatus | None:
        """Status of the photograph; None for embeddings."""
        return None if self.image is None else self.image.status


@dataclass(frozen=True, slots=True)
class EnrolledFaces:
    """Outcomes in the order of the items."""

    outcomes: tuple[EnrollOutcome, ...]
    revision: int
    model_fingerprint: str


@dataclass(frozen=True, slots=True)
class EnrollRows:
    """Embeddings in columns: row i belongs to identity_ids[i]. The other columns are empty or one a row.

    Attributes:
        expire_times_us: when each face expires; 0: as the gallery's default says.
    """

    gallery: str
    embeddings: PackedEmbeddings
    identity_ids: Sequence[str]
    face_ids: Sequence[str] = ()
    sources: Sequence[str] = ()
    expire_times_us: Sequence[int] = ()
    policy: EnrollmentPolicy | None = None
    request: RequestToken | None = None


@dataclass(frozen=True, slots=True)
class EnrollRowsOutcome:
    """Face ids by row (empty where refused) and errors by row."""

    face_ids: Sequence[str]
    errors: Mapping[int, MienError]
    enrolled_count: int
    duplicate_count: int
    revision: int
