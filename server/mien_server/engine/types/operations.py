"""Long-running work and what the server says of itself."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from mien_server.engine.types.erasures import ErasureInfo
from mien_server.engine.types.galleries import GalleryInfo, IndexState
from mien_server.errors import MienError

__all__ = [
    "AbsentFeature",
    "DamageInfo",
    "OperationInfo",
    "OperationKind",
    "OperationState",
    "RecipeInfo",
    "ServerInfo",
    "SnapshotResult",
    "SnapshotSummary",
]


class OperationKind(enum.IntEnum):
    """Numbers of mien.v1.OperationKind."""

    REBUILD_INDEX = 1
    SNAPSHOT = 4
    ERASE = 7


class OperationState(enum.IntEnum):
    """Numbers of mien.v1.OperationState."""

    PENDING = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELLED = 5

    @property
    def is_done(self) -> bool:
        """Whether it will not change any more."""
        return self not in {OperationState.PENDING, OperationState.RUNNING}


@dataclass(frozen=True, slots=True)
class SnapshotResult:
    """What a snapshot came to; `new_bytes` were written for it, the rest is shared with the one before."""

    name: str
    destination: str
    revision: int
    size_bytes: int
    new_bytes: int
    file_count: int
    duration_us: int


@dataclass(frozen=True, slots=True)
class SnapshotSummary:
    """A snapshot as a list shows it: see mien.v1.Snapshot. `verify_time_us` is 0 when it was not verified."""

    name: str
    destination: str
    store_id: str
    format_version: int
    revision: int
    time_us: int
    size_bytes: int
    file_count: int
    face_count: int
    verify_time_us: int
    damage: str


@dataclass(frozen=True, slots=True)
class OperationInfo:
    """Long-running work as it stands. `error` is set when it failed or was cancelled."""

    name: str
    kind: OperationKind
    gallery: str
    state: OperationState
    progress: float
    stage: str
    create_time_us: int
    end_time_us: int
    error: MienError | None
    result_generation: str
    result_rows: int
    index_state: IndexState | None
    result_snapshot: SnapshotResult | None = None
    erasure: ErasureInfo | None = None


@dataclass(frozen=True, slots=True)
class RecipeInfo:
    """A recipe as the server offers it: see mien.v1.RecipeInfo. `default_threshold` is 0 when nothing was measured."""

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
class AbsentFeature:
    """A method or field of the contract that this server does not implement, by full name."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class DamageInfo:
    """Something of the store that is damaged; `place`: file, offset, ordinal, database, key, as far as it has them."""

    reason: str
    message: str
    place: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What this server is. The contract's absences are the rpc layer's to add.

    Attributes:
        degraded_reasons: why it is not at its best; empty when all is well.
        damages: what is known to be damaged, the first thousand of `damage_count`.
        serves_damaged: whether the store may be served without what is damaged.
        patrol_end_time_us: when everything was verified last since the start; 0: not yet.
    """

    version: str
    store_id: str
    revision: int
    start_time_us: int
    recipes: tuple[RecipeInfo, ...]
    default_recipe: str
    galleries: tuple[GalleryInfo, ...]
    format_version: int
    library_versions: Mapping[str, str]
    degraded_reasons: tuple[str, ...] = ()
    damages: tuple[DamageInfo, ...] = ()
    damage_count: int = 0
    serves_damaged: bool = False
    patrol_end_time_us: int = 0
