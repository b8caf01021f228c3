"""What a server is, and work that takes longer than a call."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from mien_client._types import enums
from mien_client._types.erasures import Erasure
from mien_client._types.galleries import IndexState
from mien_client.errors import MienClientError

__all__ = [
    "AbsentFeature",
    "CreateSnapshotResult",
    "Damage",
    "GalleryInfo",
    "Limits",
    "Operation",
    "RebuildIndexResult",
    "RecipeInfo",
    "ServerInfo",
    "Snapshot",
]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may not exceed. Counts unless the name ends in a unit."""

    message_bytes_max: int
    image_bytes_max: int
    image_pixels_max: int
    images_per_request_max: int
    faces_per_image_max: int
    embeddings_per_request_max: int
    dimension_max: int
    k_max: int
    candidate_count_max: int
    page_size_max: int
    enroll_items_max: int
    face_ids_per_request_max: int
    identity_id_bytes_max: int
    face_id_bytes_max: int
    labels_max: int
    label_value_bytes_max: int
    filter_ids_max: int
    galleries_max: int
    source_bytes_max: int
    display_name_bytes_max: int
    neighbors_per_request_max: int
    message_elements_max: int
    operations_waiting_max: int


@dataclass(frozen=True, slots=True)
class RecipeInfo:
    """A recipe of the server; `unavailable_reason` says what to do where it is not available."""

    name: str
    fingerprint: str
    dimension: int
    detector: str
    embedder: str
    available: bool
    unavailable_reason: str
    default_threshold: float
    threshold_detail: str
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GalleryInfo:
    """A gallery in short."""

    name: str
    identity_count: int
    face_count: int
    index_state: IndexState


@dataclass(frozen=True, slots=True)
class AbsentFeature:
    """A method or field of the contract that the server does not implement."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Damage:
    """Something of the store that is damaged; `place`: file, offset, ordinal, database, key, as far as it has them."""

    reason: str
    message: str
    place: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server is and holds.

    Attributes:
        degraded_reasons: why it is not at its best; empty when all is well.
        damages: what is known to be damaged in the store, the first thousand of `damage_count`; none of it is served.
        serves_damaged: whether it was told to serve a damaged store without what is damaged.
        patrol_end_time: when everything was verified last since the server started.
    """

    version: str
    store_id: str
    revision: int
    start_time: datetime.datetime | None
    limits: Limits
    recipes: tuple[RecipeInfo, ...]
    default_recipe: str
    galleries: tuple[GalleryInfo, ...]
    absent: tuple[AbsentFeature, ...]
    format_version: int
    library_versions: Mapping[str, str]
    degraded_reasons: tuple[str, ...] = ()
    damages: tuple[Damage, ...] = ()
    damage_count: int = 0
    serves_damaged: bool = False
    patrol_end_time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class RebuildIndexResult:
    """What a rebuild published."""

    generation: str
    rows: int
    index_state: IndexState
    duration_s: float


@dataclass(frozen=True, slots=True)
class CreateSnapshotResult:
    """A snapshot that was taken.

    Attributes:
        name: a folder of that name is in the destination.
        revision: of the store that it shows.
        new_bytes: written for it; the rest is shared with the snapshot before.
    """

    name: str
    destination_uri: str
    revision: int
    size_bytes: int
    new_bytes: int
    file_count: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of a whole store at one revision.

    Attributes:
        size_bytes: of all its files, those shared with other snapshots included.
        verify_time: when it was last read and found whole; None: never, or it is damaged.
        damage: why it cannot be used; then name and destination are all that is known.
    """

    name: str
    destination_uri: str
    store_id: str
    revision: int
    format_version: int
    create_time: datetime.datetime | None
    size_bytes: int
    file_count: int
    face_count: int
    verify_time: datetime.datetime | None
    damage: str


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """Long-running work.

    Attributes:
        name: give it to get_operation, wait_operation or cancel_operation.
        progress: 0 to 1.
        stage: what it is doing, for a person.
        error: why it failed or was cancelled.
        rebuild_index: the result, when it is a rebuild that succeeded.
        create_snapshot: the result, when it is a snapshot that was taken.
        erase_identity: the erasure with its receipt, when it is one that succeeded.
    """

    name: str
    kind: enums.OperationKind
    gallery: str
    state: enums.OperationState
    progress: float
    stage: str
    create_time: datetime.datetime | None
    end_time: datetime.datetime | None
    error: MienClientError | None
    rebuild_index: RebuildIndexResult | None
    create_snapshot: CreateSnapshotResult | None = None
    erase_identity: Erasure | None = None

    @property
    def is_done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in {
            enums.OperationState.SUCCEEDED,
            enums.OperationState.FAILED,
            enums.OperationState.CANCELLED,
        }
