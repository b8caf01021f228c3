"""Galleries, identities, and what writes to them answer."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from mien_client._types import enums
from mien_client._types.faces import DetectedFace, Face
from mien_client._types.requests import DecisionPolicy, EnrollmentPolicy, IndexPolicy
from mien_client.errors import MienClientError

__all__ = [
    "DeletedFaces",
    "DeletedGallery",
    "DeletedIdentity",
    "EffortStep",
    "EmbeddingModel",
    "EnrollAck",
    "EnrollAnswer",
    "EnrollOutcome",
    "Gallery",
    "Identity",
    "IndexState",
    "MovedFaces",
]


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """Where a gallery's embeddings come from: `recipe`, or `precomputed` (the caller's name of the model)."""

    recipe: str
    precomputed: str
    dimension: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class EffortStep:
    """One measured step of a generation's ladder."""

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
        state: FLAT, READY, BUILDING or DEGRADED.
        detail: why, when DEGRADED.
        generation: name of the one served; empty when flat.
        indexed_rows: rows that it covers.
        tail_rows: newer rows, compared exactly.
        tombstones: deleted rows that it still holds.
        lists: inverted lists.
        code: how rows are coded.
        ladder: efforts as they were measured.
        build_time: when its lists and codes were trained, UTC.
        segment_count: segments that its lists lie in.
        list_imbalance: 1 when all lists are equally long; a scan costs so many times more.
        trained_rows: rows when it was trained.
        measured_rows: rows when the ladder was measured.
        measure_time: when that was, UTC.
        drift: by how much the agreement promised before was missed then, at worst; None before the second measuring.
        default_agreement: rank-1 agreement with exact search of an identification that names no effort.
    """

    state: enums.IndexStateName
    detail: str
    generation: str
    indexed_rows: int
    tail_rows: int
    tombstones: int
    lists: int
    code: str
    ladder: tuple[EffortStep, ...]
    build_time: datetime.datetime | None
    segment_count: int
    list_imbalance: float
    trained_rows: int
    measured_rows: int
    measure_time: datetime.datetime | None
    drift: float | None
    default_agreement: float


@dataclass(frozen=True, slots=True)
class Gallery:
    """A named set of identities whose faces share one embedding model.

    Attributes:
        identity_count: exact at `revision`, as is `face_count`.
        etag: give it to update or delete to be refused when someone else wrote in between.
        revision: the committed write whose state this shows; 0 in a list, where the list carries none.
        default_time_to_live: how long faces that name no time of their own are kept; None: for ever.
    """

    name: str
    display_name: str
    labels: Mapping[str, str]
    model: EmbeddingModel
    decision_policy: DecisionPolicy
    enrollment_policy: EnrollmentPolicy
    index_policy: IndexPolicy
    identity_count: int
    face_count: int
    index_state: IndexState
    vector_type: enums.VectorType
    create_time: datetime.datetime | None
    update_time: datetime.datetime | None
    etag: str
    revision: int
    default_time_to_live: datetime.timedelta | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """One person of a gallery; `revision` as in Gallery.

    Attributes:
        expire_time: UTC, when neither the identity nor its faces are found any more; None for never.
    """

    id: str
    display_name: str
    labels: Mapping[str, str]
    face_count: int
    create_time: datetime.datetime | None
    update_time: datetime.datetime | None
    etag: str
    revision: int
    expire_time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class DeletedGallery:
    """What went with a gallery."""

    deleted_identities: int
    deleted_faces: int
    revision: int


@dataclass(frozen=True, slots=True)
class DeletedIdentity:
    """What went with an identity."""

    deleted_faces: int
    revision: int


@dataclass(frozen=True, slots=True)
class MovedFaces:
    """What moving did; one that was there already is not counted."""

    moved_count: int
    emptied_identity_ids: tuple[str, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class DeletedFaces:
    """What deleting faces did."""

    deleted_count: int
    emptied_identity_ids: tuple[str, ...]
    revision: int


@dataclass(frozen=True, slots=True, eq=False)
class EnrollOutcome:
    """What became of one item.

    Attributes:
        error: why it was refused; None when its face is in the gallery now.
        faces: enrolled, or there already; usually one.
        duplicate: the face was there already and nothing was added.
        identity_created: the identity was made by this item.
        image_status: for photographs.
        detected_faces: every face found, enrolled or not.
        warnings: reasons of a quality gate that warned.
    """

    error: MienClientError | None
    faces: tuple[Face, ...]
    duplicate: bool
    identity_created: bool
    image_status: enums.ImageStatus
    detected_faces: tuple[DetectedFace, ...]
    warnings: tuple[enums.QualityReason, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EnrollAnswer:
    """Outcomes in the order of the items; everything enrolled is durable at `revision`."""

    outcomes: tuple[EnrollOutcome, ...]
    revision: int
    model_fingerprint: str


@dataclass(frozen=True, slots=True, eq=False)
class EnrollAck:
    """The acknowledgement of one streamed batch.

    Attributes:
        batch: its number in the stream, from 0.
        revision: every row that succeeded is durable at it.
        error: the whole batch was refused and nothing of it was written; None otherwise.
        enrolled_count: rows added.
        duplicate_count: rows that were there already.
        face_ids: for rows: in their order, empty where refused.
        row_errors: for rows: what was refused, by row.
        outcomes: for items: one each.
    """

    batch: int
    revision: int
    error: MienClientError | None
    enrolled_count: int
    duplicate_count: int
    face_ids: tuple[str, ...]
    row_errors: Mapping[int, MienClientError]
    outcomes: tuple[EnrollOutcome, ...]
