"""Opening LMDB anew in the running process: after a commit of unknown outcome, and when its map is full.

When the write of a meta page fails, LMDB refuses everything until it is opened again, and one question is open that
only the disk can answer: whether the commit will be there after a loss of power. So the meta pages are first written
again as this machine sees them and synced, through a descriptor of our own that was opened after the failure: from
then on disk and memory name the same commit as the newest. Until that has worked nothing may be written, for a new
commit goes over pages that the one in doubt may use.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import lmdb

from mien_server.errors import CorruptStore, MienError, Unavailable
from mien_server.storage.committing import OutcomeUnknown
from mien_server.storage.lmdb_format import META_PAGES
from mien_server.storage.opening import OpenedStore, open_meta
from mien_server.storage.options import StoreOptions

__all__ = ["Recovery", "rewrite_meta_pages"]

log = logging.getLogger(__name__)

MAP_GROWTH = 2
VIEWS_WAIT_S_MAX = 2.0
"""How long new views wait for the open ones to end, before what needs LMDB to itself is put off."""
VIEWS_REST_S = 10.0
"""How long it is put off, so that a view which stays open for long holds up others for a small share of the time."""


class Recovery:
    """Puts right what stops the writer. Belongs to the writer thread."""

    def __init__(self, opened: OpenedStore, options: StoreOptions) -> None:
        self._opened = opened
        self._options = options
        self._page_bytes = int(opened.environment.stat()["psize"])
        self._map_size_bytes = int(opened.environment.info()["map_size"])
        self._doubt: OutcomeUnknown | None = None
        self._is_shut = False
        self._put_off_until_s = 0.0

    @property
    def is_needed(self) -> bool:
        """Whether nothing can be written until `settle` has worked."""
        return self._is_shut or self._doubt is not None

    def note(self, doubt: OutcomeUnknown) -> None:
        """A commit may have been kept, and no view shows it."""
        self._doubt = doubt
        log.error("nothing is written until it is settled: %s", doubt.message)
        self._opened.snapshots.fail(doubt.message)

    def settle(self) -> Callable[[], None] | None:
        """Find out what became of the commit in doubt and publish it if it was kept: then what is left to be done.

        None when it was not kept, or nothing is in doubt.

        Raises:
            Unavailable: STORAGE_WRITE_FAILED, it cannot be found out yet.
            CorruptStore: LMDB is at a commit that nobody here made.
        """
        if not self.is_needed:
            return None
        try:
            newest = None if self._is_shut else self._newest_transaction_id()
            if newest is None:
                rewrite_meta_pages(self._opened.layout.records_file, self._page_bytes)
                self._reopen(self._map_size_bytes)
                newest = self._newest_transaction_id()
            doubt = self._publish(newest)
        except (OSError, lmdb.Error, MemoryError) as error:
            raise self._not_yet(error) from error
        if doubt is not None:
            log.warning("the commit in doubt was kept; writing goes on")
            return doubt.on_kept
        log.warning("LMDB was opened anew, and nothing was kept of what it refused; writing goes on")
        return None

    def grow_map(self) -> None:
        """Give LMDB twice the address space. No transaction of the writer is open.

        Raises:
            Unavailable: STORAGE_FULL, the system lends no more; STORAGE_WRITE_FAILED, a view stays open.
        """
        before_bytes, grown_bytes = self._map_size_bytes, MAP_GROWTH * self._map_size_bytes
        try:
            self._reopen(grown_bytes)
        except Unavailable as error:
            if error.reason != "STORAGE_MAP_REFUSED":
                raise
            raise Unavailable(
                f"{self._opened.layout.meta}: the records fill the {before_bytes} bytes of address space of LMDB, "
                f"and the system does not lend {grown_bytes}; raise its limit (ulimit -v) and send the write again "
                "(nothing of it was kept)",
                reason="STORAGE_FULL",
            ) from error
        self._opened.snapshots.publish(self._opened.snapshots.current)
        log.info("%s: %d bytes of address space were full, now %d", self._opened.layout.meta, before_bytes, grown_bytes)

    def _newest_transaction_id(self) -> int | None:
        """LMDB's newest commit; None when it refuses to answer. Raises lmdb.Error."""
        try:
            with self._opened.environment.begin() as transaction:
                return transaction.id()
        except lmdb.PanicError:
            return None

    def _publish(self, newest: int | None) -> OutcomeUnknown | None:
        """Show the newest commit; answers with the one in doubt when it is that."""
        snapshots, doubt = self._opened.snapshots, self._doubt
        if doubt is not None and newest == doubt.content.transaction_id:
            snapshots.publish(doubt.content)
        elif newest == snapshots.current.transaction_id:
            snapshots.publish(snapshots.current)
            doubt = None
        else:
            raise CorruptStore(
                f"{self._opened.layout.meta}: LMDB is at commit {newest}, and the last one made here was "
                f"{snapshots.current.transaction_id}; restore the store from a copy"
            )
        self._doubt = None
        return doubt

    def _reopen(self, map_size_bytes: int) -> None:
        """Close LMDB and open it again with that much address space, while views wait.

        Raises:
            Unavailable: views do not end; or LMDB cannot be opened, and is open as it was or, failing that, shut.
            OSError, lmdb.Error: likewise.
        """
        opened = self._opened
        views_are_open = Unavailable(
            f"{opened.layout.meta}: has to be opened anew, and reads are under way; send the write again "
            "(nothing of it was kept)",
            reason="STORAGE_WRITE_FAILED",
        )
        if time.monotonic() < self._put_off_until_s:
            raise views_are_open
        with opened.snapshots.paused(VIEWS_WAIT_S_MAX) as is_quiet:
            if not is_quiet:
                self._put_off_until_s = time.monotonic() + VIEWS_REST_S
                raise views_are_open
            opened.environment.close()
            self._is_shut = True
            try:
                self._open(map_size_bytes)
            except MienError:
                if map_size_bytes != self._map_size_bytes:
                    self._open(self._map_size_bytes)
                raise
            self._map_size_bytes = map_size_bytes

    def _open(self, map_size_bytes: int) -> None:
        opened = self._opened
        opened.environment, opened.handles = open_meta(opened.layout, self._options, map_size_bytes)
        opened.snapshots.change_environment(opened.environment)
        self._is_shut = False

    def _not_yet(self, error: Exception) -> MienError:
        return Unavailable(
            f"{self._opened.layout.meta}: nothing is written until it is settled what became of an earlier write, and "
            f"that fails: {error!r}; look after the disk, and send it again (nothing of this write was kept)",
            reason="STORAGE_WRITE_FAILED",
        )


def rewrite_meta_pages(path: Path, page_bytes: int) -> None:
    """Write LMDB's meta pages again as they are read here, and sync them. Nobody writes to the file meanwhile.

    After a failed write the system may call a page clean that the disk never got, or got in part; only pages that are
    written again are known to be there. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        pages = os.pread(descriptor, META_PAGES * page_bytes, 0)
        if os.pwrite(descriptor, pages, 0) != META_PAGES * page_bytes:
            raise OSError(errno.EIO, "the meta pages were written in part", str(path))
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
