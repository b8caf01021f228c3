"""The generations that serve, and the one way to change them.

Two threads make generations: one builds and measures, in processes that take their time, the other seals. Each begins
with what serves then, so what it made is published only while that still serves. Whatever a generation's folder is
needed for, serving or being read by a builder, holds it; it is removed once nothing does.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from mien_server.index import Generation, current_or_none, prune, publish, retire, unpublish
from mien_server.storage import Store

__all__ = ["Generations"]

logger = logging.getLogger(__name__)


class Generations:
    """By gallery number. Safe from many threads.

    Attributes:
        served: immutable, replaced as a whole: whoever searches reads it once.
        sealing: held by whoever makes a generation beside the thread that builds, until it is published.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.sealing = threading.Lock()
        self._holds: dict[tuple[int, str], int] = {}
        self._doomed: set[tuple[int, str]] = set()
        self.served: Mapping[int, Generation] = MappingProxyType({})

    def begin(self, loaded: Mapping[int, Generation]) -> None:
        """Serve what was loaded at the start."""
        self.served = MappingProxyType(dict(loaded))

    @contextmanager
    def holding(self, number: int) -> Iterator[Generation | None]:
        """What serves a gallery now, its folder kept for the length of the block; None where nothing does."""
        with self._lock:
            generation = self.served.get(number)
            if generation is not None:
                self._holds[number, generation.name] = self._holds.get((number, generation.name), 0) + 1
        try:
            yield generation
        finally:
            if generation is not None:
                self._let_go(number, generation.name)

    def _let_go(self, number: int, name: str) -> None:
        key = (number, name)
        with self._lock:
            self._holds[key] -= 1
            if not self._holds[key]:
                del self._holds[key]
                if key in self._doomed:
                    self._doomed.discard(key)
                    self._remove(number, name)

    def publish(self, number: int, made: Generation, follows: Generation | None = None) -> bool:
        """Let `made` serve from now on; whether it does.

        It does not when the gallery has gone, or when `follows` is given and serves no more: then `made` is removed.
        Otherwise its predecessor is.

        Raises:
            OSError: the disk refuses; `made` is removed.
        """
        with self._lock:
            before = self.served.get(number)
            is_late = follows is not None and before is not follows
            try:
                is_published = not is_late and not self._is_gone(number)
                if is_published:
                    publish(self._store.index_directory(number), made.name)
            except BaseException:
                # It may have been published without being durable; then a restart finds it, or what was before.
                if current_or_none(self._store.index_directory(number)) != made.name:
                    self._remove(number, made.name)
                raise
            if not is_published:
                self._remove(number, made.name)
                return False
            self.served = MappingProxyType({**self.served, number: made})
            if before is not None:
                self._remove(number, before.name)
            return True

    def prune(self, number: int) -> None:
        """Remove whatever lies in a gallery's folder and nobody needs. For the thread that builds, when it does not."""
        with self.sealing, self._lock:
            held = {name for one, name in self._holds if one == number}
            if (serving := self.served.get(number)) is not None:
                held.add(serving.name)
            try:
                prune(self._store.index_directory(number), held)
            except OSError as error:
                logger.warning("leftovers in the index folder of gallery %d stay: %s", number, error)

    def discard(self, number: int, name: str) -> None:
        """Remove a generation that was made and will not serve."""
        with self._lock:
            self._remove(number, name)

    def forget(self, number: int) -> None:
        """Serve nothing any more for a gallery; its folder is somebody else's matter."""
        with self._lock:
            self._drop(number)

    def unpublish(self, number: int) -> None:
        """Serve nothing any more for a gallery, and remove all that was made for it.

        Raises:
            OSError: the disk refuses.
        """
        with self.sealing, self._lock:
            unpublish(self._store.index_directory(number))
            self._drop(number)

    def _drop(self, number: int) -> None:
        if number in self.served:
            self.served = MappingProxyType({one: kept for one, kept in self.served.items() if one != number})

    def _is_gone(self, number: int) -> bool:
        with self._store.view() as view:
            return view.gallery_by_number(number) is None

    def _remove(self, number: int, name: str) -> None:
        """Remove a generation's folder, now or when nobody holds it any more. The lock is held."""
        if (number, name) in self._holds:
            self._doomed.add((number, name))
            return
        try:
            retire(self._store.index_directory(number), name)
        except OSError as error:
            # The next start removes it.
            logger.warning("generation %s of gallery %d stays on disk: %s", name, number, error)
