"""The sweep: a thread that deletes what has expired. Nobody finds it meanwhile; storage sees to that."""

from __future__ import annotations

import logging
import threading
from typing import NamedTuple

from mien_server.errors import CorruptStore, MienError, NotFound
from mien_server.storage import Committed, RemoveExpired, Store

__all__ = ["SWEPT_ROWS", "Sweeper", "Swept"]

logger = logging.getLogger(__name__)

SWEPT_ROWS = 512
"""Faces deleted by one commit: other writes wait for some hundredths of a second."""


class Swept(NamedTuple):
    """What a sweep deleted."""

    face_count: int
    identity_count: int


class Sweeper:
    """The thread that sweeps: once when it starts, for what passed while the store was closed, then at intervals.

    Args:
        interval_s: seconds from the end of a sweep to the next.
    """

    def __init__(self, store: Store, interval_s: float) -> None:
        self._store = store
        self._interval_s = interval_s
        self._trouble: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mien-sweep", daemon=True)

    def start(self) -> None:
        """Begin to sweep."""
        self._thread.start()

    def close(self) -> None:
        """Finish the commit under way and stop."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def sweep(self) -> Swept:
        """Delete everything that has expired by now, a bounded piece at a time; stops between two when closing.

        Raises:
            MienError: the store refuses, and the rest is left for the next sweep.
            CorruptStore: a record is damaged; what comes before it in its gallery, and in others all, was deleted.
        """
        with self._store.view() as view:
            names = view.galleries_to_sweep()
        faces = identities = 0
        damage: CorruptStore | None = None
        for name in names:
            is_more_due = True
            while is_more_due and not self._closing.is_set():
                try:
                    written = self._store.write(RemoveExpired(name, SWEPT_ROWS), is_internal=True)
                except NotFound:
                    # The gallery was deleted meanwhile.
                    break
                except CorruptStore as error:
                    # What is damaged in one gallery keeps nobody of another.
                    damage = error
                    break
                assert isinstance(written, Committed)
                faces += written.result.face_count
                identities += written.result.identity_count
                is_more_due = written.result.is_more_due
        self._trouble = None if damage is None else damage.message
        if damage is not None:
            raise damage
        return Swept(faces, identities)

    def troubles(self) -> list[str]:
        """Why not everything that has expired is deleted; empty when all is well."""
        return [] if self._trouble is None else [f"what has expired could not be deleted: {self._trouble}"]

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                swept = self.sweep()
            except MienError as error:
                logger.warning("what has expired could not be deleted, and is tried again: %s", error)
            except Exception:
                logger.exception("what has expired could not be deleted, and is tried again")
            else:
                if any(swept):
                    logger.info("deleted %d faces and %d identities that had expired", *swept)
            self._closing.wait(self._interval_s)
