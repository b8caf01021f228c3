"""Keeping generations close to the newest rows: a thread that seals tails and drops the dead, and never trains.

A seal costs some microseconds a row and a few disk syncs. It works beside the builds of the same gallery: whatever is
being built will be sealed up to the newest row before it serves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Protocol

from mien_server.engine.generations import Generations
from mien_server.engine.resting import Resting
from mien_server.errors import MienError
from mien_server.index import Generation, RebuildPolicy, SealReason, seal, wants_seal
from mien_server.records.rows import GalleryRows
from mien_server.storage import GalleryView, Store

__all__ = ["Sealer", "caught_up"]

logger = logging.getLogger(__name__)

SETTLE_S = 0.2
"""A gallery is looked at this long after a commit, so that a stream of commits is one look."""
NICENESS = 5
"""Serving comes first, yet a stream of enrolments must not outrun the seals."""
CATCHING_UP_ROUNDS_MAX = 8


class SealEnd(Protocol):
    """Who is told how looking at a gallery ended."""

    def __call__(self, number: int, error: Exception | None, *, is_sealed: bool) -> None:
        """As `Sealer` says of `on_end`."""


class Sealer:
    """The thread that seals.

    Args:
        policy_of: what a gallery wants; None when it is not to be touched without being asked.
        on_end: told the number of a gallery that was looked at, why it could not be sealed, and whether it was.
    """

    def __init__(
        self,
        store: Store,
        generations: Generations,
        policy_of: Callable[[GalleryView], RebuildPolicy | None],
        on_end: SealEnd,
    ) -> None:
        self._store = store
        self._generations = generations
        self._policy_of = policy_of
        self._on_end = on_end
        self._wake = threading.Condition()
        self._touched: set[int] = set()
        self._resting = Resting()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="mien-sealing", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def note(self, gallery_numbers: frozenset[int]) -> None:
        """Look at these galleries soon."""
        with self._wake:
            self._touched |= gallery_numbers
            self._wake.notify_all()

    def close(self) -> None:
        """Finish the seal under way and stop."""
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            # A server that stands back further already may not come forward.
            os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
        while (numbers := self._next()) is not None:
            for number in numbers:
                self._look(number)

    def _next(self) -> set[int] | None:
        """The galleries to look at, once there are any and they had time to settle; None when closing."""
        with self._wake:
            while True:
                self._wake.wait_for(lambda: self._is_closing or bool(self._touched))
                self._wake.wait_for(lambda: self._is_closing, SETTLE_S)
                if self._is_closing:
                    return None
                ready = self._resting.awake(self._touched)
                self._touched -= ready
                if ready:
                    return ready

    def _look(self, number: int) -> None:
        try:
            is_sealed = self.seal_if_wanted(number)
            self._resting.end(number)
            self._on_end(number, None, is_sealed=is_sealed)
        except Exception as raised:
            self._resting.begin(number)
            self.note(frozenset({number}))
            is_defect = not isinstance(raised, MienError | OSError)
            logger.warning("sealing gallery %d failed: %s", number, raised, exc_info=is_defect and raised)
            self._on_end(number, raised, is_sealed=False)

    def seal_if_wanted(self, number: int) -> bool:
        """Seal the gallery once, if its policy wants it now; whether it was.

        Raises:
            MienError, OSError: it could not be.
        """
        with self._generations.sealing, self._generations.holding(number) as generation:
            if generation is None:
                return False
            # Views end soon, the rows of one stay: no page of LMDB waits for a seal.
            with self._store.view(shows_expired=True) as view:
                gallery = view.gallery_by_number(number)
                policy = None if gallery is None else self._policy_of(gallery)
                if gallery is None or policy is None:
                    return False
                rows = gallery.rows
            reason = wants_seal(rows, generation, policy)
            if reason is None:
                return False
            directory = self._store.index_directory(number)
            made = seal(directory, generation, rows, 1, merge_all=reason is SealReason.TOMBSTONES)
            if not self._generations.publish(number, made, follows=generation):
                # A build came first, or the gallery has gone: whatever is there is looked at again.
                self.note(frozenset({number}))
                return False
        logger.debug("gallery %d: %s: %d segments", number, reason.value, len(made.manifest.segments))
        return True

    def drop_dead(self, number: int) -> bool:
        """Make the gallery's generation again without rows that are dead now, whatever its policy; whether it held any.

        For the thread that builds, when it does not: what is being built may hold them too.

        Raises:
            MienError, OSError: it could not be made.
        """
        with self._generations.sealing, self._generations.holding(number) as generation:
            with self._store.view(shows_expired=True) as view:
                gallery = view.gallery_by_number(number)
                if generation is None or gallery is None:
                    return False
                rows = gallery.rows
            if generation.tombstones(rows) == 0:
                return False
            if rows.live_count:
                made = seal(self._store.index_directory(number), generation, rows, 1, merge_all=True)
                self._generations.publish(number, made, follows=generation)
        if not rows.live_count:
            self._generations.unpublish(number)
        self._generations.prune(number)
        return True


def caught_up(
    store: Store, generations: Generations, number: int, generation: Generation, policy: RebuildPolicy
) -> Generation:
    """A generation that was just built, sealed until hardly a row is newer; the ones on the way are removed.

    Where a seal fails, it is the one reached: the sealer tries again, and shows why.
    """
    for _ in range(CATCHING_UP_ROUNDS_MAX):
        rows = _rows_now(store, number)
        if rows is None or wants_seal(rows, generation, policy) is not SealReason.TAIL:
            break
        try:
            made = seal(store.index_directory(number), generation, rows, 1)
        except (MienError, OSError) as error:
            logger.warning("a generation of gallery %d serves before it is sealed: %s", number, error)
            break
        generations.discard(number, generation.name)
        generation = made
    return generation


def _rows_now(store: Store, number: int) -> GalleryRows | None:
    with store.view(shows_expired=True) as view:
        gallery = view.gallery_by_number(number)
        return None if gallery is None else gallery.rows
