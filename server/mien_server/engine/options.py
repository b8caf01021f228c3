"""Options of an engine."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from mien_server.config.limits import Limits
from mien_server.embedding import EmbeddingOptions
from mien_server.engine.patrol import PatrolOptions
from mien_server.index import RebuildPolicy
from mien_server.storage import StoreOptions

__all__ = ["EngineOptions"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine works.

    Attributes:
        default_recipe: recipe of galleries and calls that name none.
        search_thread_count: cores one batch search may use; one probe always uses one.
        build_thread_count: cores an index build may use.
        operation_age_max_s: finished operations are forgotten when they are older.
        patrol: how often, and how fast, everything is verified.
        sweep_interval_s: how often what has expired is deleted.
        erasure_within_s: an erasure that takes longer is overdue, and the server says so.
        rebuilds_automatically: whether indexes are built and rebuilt without being asked.
        snapshot_destinations: folders and URLs that snapshots may be written to, and below; none: no snapshots.
    """

    limits: Limits = field(default_factory=Limits)
    store: StoreOptions = field(default_factory=StoreOptions)
    embedding: EmbeddingOptions = field(default_factory=EmbeddingOptions)
    rebuild: RebuildPolicy = field(default_factory=RebuildPolicy)
    patrol: PatrolOptions = field(default_factory=PatrolOptions)
    default_recipe: str = "dlib"
    search_thread_count: int = field(default_factory=lambda: os.cpu_count() or 1)
    build_thread_count: int = field(default_factory=lambda: os.cpu_count() or 1)
    operation_age_max_s: int = 86_400
    sweep_interval_s: float = 60.0
    erasure_within_s: float = 60.0
    rebuilds_automatically: bool = True
    snapshot_destinations: tuple[str, ...] = ()
