"""Identities and faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mien_server.records.faces import Box, Float32Array, Quality

__all__ = [
    "FaceInfo",
    "FaceListing",
    "IdentityInfo",
    "IdentityListing",
    "RemovedFaces",
]


@dataclass(frozen=True, slots=True)
class IdentityInfo:
    """An identity at one revision. `version` is the etag; `expire_time_us` 0 is never."""

    id: str
    display_name: str
    labels: Mapping[str, str]
    face_count: int
    create_time_us: int
    update_time_us: int
    version: int
    expire_time_us: int = 0


@dataclass(frozen=True, slots=True)
class IdentityListing:
    """A page of identities in the byte order of their ids; `next_after` is empty on the last page.

    Attributes:
        total: identities on all pages together.
    """

    identities: tuple[IdentityInfo, ...]
    next_after: str
    revision: int
    total: int


@dataclass(frozen=True, slots=True)
class FaceInfo:
    """An enrolled face. `landmarks_five` is float32 [5, 2] or None; `embedding` float32 [dimension] when asked for.

    Attributes:
        expire_time_us: its own, its identity's left aside; 0: never.
    """

    id: str
    identity_id: str
    labels: Mapping[str, str]
    source: str
    image_sha256: bytes
    box: Box | None
    landmarks_five: Float32Array | None
    quality: Quality | None
    detector_score: float
    model_fingerprint: str
    create_time_us: int
    embedding: Float32Array | None = None
    expire_time_us: int = 0


@dataclass(frozen=True, slots=True)
class FaceListing:
    """A page of faces in the order of enrolment; `next_after` is -1 on the last page.

    Attributes:
        total: faces on all pages together.
    """

    faces: tuple[FaceInfo, ...]
    next_after: int
    revision: int
    total: int


@dataclass(frozen=True, slots=True)
class RemovedFaces:
    """Outcome of a move or a deletion of faces."""

    face_count: int
    emptied_identity_ids: tuple[str, ...]
    revision: int
