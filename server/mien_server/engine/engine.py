"""One engine: a store opened, its indexes loaded, its verbs at hand."""

from __future__ import annotations

import importlib.metadata
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from mien_server import __version__
from mien_server.config.limits import Limits
from mien_server.embedding import EmbeddingService, RecipeDescription
from mien_server.engine.context import EngineContext, now_us
from mien_server.engine.enrollment import Enrollment
from mien_server.engine.eraser import Eraser
from mien_server.engine.erasures import Erasures
from mien_server.engine.expiring import Sweeper
from mien_server.engine.faces import Faces
from mien_server.engine.galleries import Galleries
from mien_server.engine.identities import Identities
from mien_server.engine.indexing import Indexes, IndexOptions
from mien_server.engine.operation_log import OperationLog
from mien_server.engine.operations import Operations
from mien_server.engine.options import EngineOptions
from mien_server.engine.patrol import Patrol
from mien_server.engine.recognition import Recognition
from mien_server.engine.snapshots import Snapshots
from mien_server.engine.types import RecipeInfo, ServerInfo
from mien_server.storage import Store

__all__ = ["Engine"]

LIBRARIES = ("faiss-cpu", "lmdb", "numpy", "onnxruntime", "dlib-bin", "pillow", "torch", "facenet-pytorch")
"""Distributions whose versions shape answers."""


class Engine:
    """Everything that one store can do. Safe from many threads; close it when done, or use it in a `with` block."""

    def __init__(self, context: EngineContext, eraser: Eraser, start_time_us: int) -> None:
        self._context = context
        self._eraser = eraser
        self._start_time_us = start_time_us
        self.galleries = Galleries(context)
        self.identities = Identities(context)
        self.faces = Faces(context)
        self.enrollment = Enrollment(context)
        self.recognition = Recognition(context)
        self.operations = Operations(context)
        self.snapshots = context.snapshots
        self.sweeper = Sweeper(context.store, context.options.sweep_interval_s)
        self.erasures = Erasures(context, eraser, self.operations)

    @classmethod
    def open(cls, data: Path, options: EngineOptions | None = None) -> Engine:
        """Open the store in a directory, making it when there is none.

        Raises:
            Unavailable: STORE_LOCKED, another process has it.
            CorruptStore: what is there contradicts itself.
        """
        options = options or EngineOptions()
        # Before anything of this engine's own begins, such as an index that is missing.
        start_time_us = now_us()
        with ExitStack() as opened:
            store = Store.open(data, options.store)
            opened.callback(store.close)
            log = OperationLog(store, options.operation_age_max_s, options.limits.operations_waiting_max)
            log.recover(start_time_us)
            index_options = IndexOptions(options.rebuild, options.build_thread_count, options.rebuilds_automatically)
            indexes = Indexes(store, log, index_options)
            opened.callback(indexes.close)
            snapshots = Snapshots(store, log, indexes, options.snapshot_destinations, _versions())
            opened.callback(snapshots.close)
            indexes.open()
            patrol = Patrol(store, options.patrol)
            opened.callback(patrol.close)
            eraser = Eraser(store, log, indexes, snapshots, options.erasure_within_s)
            opened.callback(eraser.close)
            eraser.start()
            snapshots.open()
            embedding = EmbeddingService(options.embedding)
            engine = cls(EngineContext(options, store, indexes, embedding, snapshots, patrol), eraser, start_time_us)
            patrol.start()
            engine.sweeper.start()
            opened.pop_all()
            return engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def limits(self) -> Limits:
        """What a request may not exceed."""
        return self._context.limits

    @property
    def revision(self) -> int:
        """The newest revision that reads see."""
        return self._context.store.revision

    def server_info(self) -> ServerInfo:
        """What this server is and holds."""
        galleries = self.galleries.list("", self.limits.galleries_max)
        store, patrol = self._context.store, self._context.patrol
        return ServerInfo(
            version=__version__,
            store_id=store.store_id,
            revision=galleries.revision,
            start_time_us=self._start_time_us,
            recipes=tuple(_recipe_info(recipe) for recipe in self._context.embedding.recipes()),
            default_recipe=self._context.options.default_recipe,
            galleries=galleries.galleries,
            format_version=store.format_version,
            library_versions=_library_versions(),
            degraded_reasons=tuple(self.degraded_reasons()),
            damages=patrol.damages(),
            damage_count=patrol.damage_count,
            serves_damaged=self._context.options.store.serve_damaged,
            patrol_end_time_us=patrol.end_time_us,
        )

    def degraded_reasons(self) -> list[str]:
        """Why the store is not as it should be; empty when all is well."""
        damage_count = self._context.patrol.damage_count
        damaged = [_damage_words(damage_count)] if damage_count else []
        return [*damaged, *self._context.indexes.troubles(), *self._eraser.troubles(), *self.sweeper.troubles()]

    def close(self) -> None:
        """Stop patrol, sweep, erasures, snapshots, builds and workers, finish accepted writes, give the lock back."""
        self._context.patrol.close()
        self._context.snapshots.close()
        self.sweeper.close()
        self._eraser.close()
        self._context.indexes.close()
        self._context.embedding.close()
        self._context.store.close()


def _recipe_info(recipe: RecipeDescription) -> RecipeInfo:
    calibration = recipe.calibration
    return RecipeInfo(
        name=recipe.name,
        fingerprint=recipe.fingerprint,
        dimension=recipe.dimension,
        detector=recipe.detector,
        embedder=recipe.embedder,
        available=recipe.available,
        unavailable_reason=recipe.unavailable_reason,
        default_threshold=calibration.verification_threshold if calibration is not None else 0.0,
        threshold_detail=calibration.detail if calibration is not None else "nothing was measured; give a threshold",
        notices=recipe.notices,
    )


def _damage_words(count: int) -> str:
    things = "1 thing of the store is damaged" if count == 1 else f"{count} things of the store are damaged"
    return (
        f"{things} and not served: see GetServerInfo, and mien-index verify for more; delete what is damaged, restore "
        "the store from a copy, or save what is whole with mien-index verify STORE --repair NEW_STORE"
    )


def _versions() -> dict[str, str]:
    """Of what writes a snapshot."""
    return {"mien": __version__, **_library_versions()}


def _library_versions() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
