"""What the engine's parts share: the store, the indexes, the embedding service, and one snapshot of all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

from mien_server.config.limits import Limits
from mien_server.embedding import Calibration, EmbeddingService, RecipeDescription
from mien_server.engine.filter_cache import FilterCache
from mien_server.engine.gallery_facts import FactsOfGalleries
from mien_server.engine.indexing import Indexes
from mien_server.engine.options import EngineOptions
from mien_server.engine.patrol import Patrol
from mien_server.engine.snapshots import Snapshots
from mien_server.engine.types import IndexState, RequestToken
from mien_server.errors import Conflict, MienError, NotFound, Unavailable
from mien_server.index import Generation
from mien_server.storage import Command, Committed, GalleryView, Replayed, RequestKey, Store, StoreView, request_erased

__all__ = ["EngineContext", "GallerySnapshot", "check_replay", "now_us", "request_id_reused"]

Result = TypeVar("Result")


def now_us() -> int:
    """The wall clock in microseconds since the epoch."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class GallerySnapshot:
    """A gallery, its store at one revision and a generation no newer than that; and what filters found out before."""

    view: StoreView
    gallery: GalleryView
    generation: Generation | None
    filters: FilterCache

    @property
    def revision(self) -> int:
        """The revision that everything here shows."""
        return self.view.revision


class OpenSnapshot:
    """The block in which a gallery's snapshot may be used; a class because every search enters one."""

    __slots__ = ("_filters", "_gallery", "_generations", "_view")

    def __init__(
        self, generations: Mapping[int, Generation], view: StoreView, gallery: str, filters: FilterCache
    ) -> None:
        self._generations = generations
        self._view = view
        self._gallery = gallery
        self._filters = filters

    def __enter__(self) -> GallerySnapshot:
        view = self._view.__enter__()
        try:
            found = view.gallery(self._gallery)
        except BaseException:
            view.__exit__(None, None, None)
            raise
        return GallerySnapshot(view, found, self._generations.get(found.number), self._filters)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._view.__exit__(kind, error, trace)


@dataclass(frozen=True, slots=True)
class EngineContext:
    """The parts of one engine."""

    options: EngineOptions
    store: Store
    indexes: Indexes
    embedding: EmbeddingService
    snapshots: Snapshots
    patrol: Patrol
    filters: FilterCache = field(default_factory=FilterCache)
    facts: FactsOfGalleries = field(default_factory=FactsOfGalleries)

    @property
    def limits(self) -> Limits:
        """What a request may not exceed."""
        return self.options.limits

    def snapshot(self, gallery: str, min_revision: int = 0) -> OpenSnapshot:
        """A gallery as it is now, for the length of the block.

        Raises (when the block is entered):
            NotFound: GALLERY_NOT_FOUND.
            PreconditionFailed: REVISION_NOT_REACHED.
        """
        # The generations are taken first: a view opened after is at least as new as any of them.
        return OpenSnapshot(self.indexes.generations, self.store.view(min_revision), gallery, self.filters)

    def index_state(self, gallery: GalleryView) -> IndexState:
        """How the gallery is searched now."""
        return self.indexes.state(gallery)

    def calibration(self, gallery: GalleryView) -> Calibration | None:
        """What was measured for the gallery's model; None for a model that no recipe makes now."""
        recipe = gallery.record.recipe
        if not recipe:
            return None
        try:
            description = self.embedding.recipe(recipe)
        except NotFound:
            return None
        return description.calibration if description.fingerprint == gallery.record.model_fingerprint else None

    def usable_recipe(self, name: str) -> RecipeDescription:
        """A recipe whose parts are all here.

        Raises:
            NotFound: RECIPE_NOT_FOUND.
            Unavailable: RECIPE_UNAVAILABLE, with what to do.
        """
        description = self.embedding.recipe(name)
        if not description.available:
            raise Unavailable(
                f"recipe {name!r} cannot be used: {description.unavailable_reason}",
                reason="RECIPE_UNAVAILABLE",
                metadata={"recipe": name},
            )
        return description

    def write(
        self,
        make_command: Callable[[RequestKey[Result] | None], Command[Result]],
        request: RequestToken | None,
        encode: Callable[[Result], bytes],
    ) -> Committed[Result] | Replayed:
        """Commit a command, once for each request id.

        Raises:
            MienError: what the command refuses; Conflict(REQUEST_ID_REUSED).
        """
        key = None if request is None else RequestKey(request.request_id, request.fingerprint, encode)
        return self.store.write(make_command(key))


def check_replay(view: StoreView, request: RequestToken | None) -> Replayed | None:
    """The first outcome of a request id, before any work is done for it again; None when it is new.

    Raises:
        Conflict: REQUEST_ID_REUSED, the id was used for another body; REQUEST_ERASED.
    """
    if request is None:
        return None
    record = view.request(request.request_id)
    if record is None:
        return None
    if record.fingerprint != request.fingerprint:
        raise request_id_reused(request.request_id)
    if record.is_erased:
        raise request_erased(request.request_id)
    return Replayed(revision=record.revision, outcome=record.outcome)


def request_id_reused(request_id: str) -> MienError:
    """The refusal of a request id that was used for another body."""
    return Conflict(
        f"request id {request_id!r} was used for another request; a new request needs a new id",
        reason="REQUEST_ID_REUSED",
        metadata={"request_id": request_id},
    )
