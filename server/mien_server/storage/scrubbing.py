"""Overwriting what LMDB's file holds beside live records: freed pages, and the gaps within live ones.

Branches of its trees keep keys that were deleted: `stale_separators` finds them, and whoever wants them gone has the
records behind them put again. Three more things keep deleted records, and each is cleaned where nobody can meet it:

1. LMDB's own buffers. It keeps the memory of pages it has written and uses it again without clearing it, so that a
   later commit may write an old page's bytes into the gap of a new one. `wipe_buffers` fills all that memory within a
   transaction that it then aborts. From there on commits write nothing that was deleted before.
2. Gaps of live pages. A read transaction pins the pages of its commit: LMDB changes none of them and uses none again,
   so `clean_gaps` may work beside the writer.
3. Free pages. LMDB's list of them says which; those that it would itself use next, by the same rule, are overwritten by
   `clean_free`, a slice at a time, on the writer thread. The rule spares what the newest commit set free: so one more
   commit must follow the one whose gaps were cleaned.

What is overwritten is never read by LMDB, before or after a crash, so no order of writes can do harm. That it is not
read rests on LMDB's format: the pages of a commit are added up first, and nothing is written when one is in doubt.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import lmdb
import numpy as np
import numpy.typing as npt

from mien_server.errors import Unavailable
from mien_server.storage.databases import Database, Handles, Transaction
from mien_server.storage.lmdb_format import DATA_FILE_NAME, HEAD, OVERFLOW
from mien_server.storage.lmdb_pages import Gaps, Meta, PagesNotUnderstood, free_pages, map_pages, read_meta, separators
from mien_server.storage.upkeep import Upkeep

__all__ = ["OpenedRecords", "Range", "Scrubber", "write_zeros"]

log = logging.getLogger(__name__)

Bytes: TypeAlias = npt.NDArray[np.uint8]
Numbers: TypeAlias = npt.NDArray[np.int64]

SLICE_PAGES = 4096
"""Free pages overwritten while writes wait: 16 MiB, some ten milliseconds."""

# A value that fills a page behind its header, and so leaves nothing of what the memory held.
_FILLER = b"\xa5"
_WIPES = 2
# LMDB begins to write within the transaction beyond 131,071 changed pages.
_WIPED_PAGES_MAX = 120_000
_WIPED_PAGES_MIN = 1024
# So many new pages one after the other: a used one may by chance end in zeros.
_NEW_PAGES_MIN = 256
# A changed key changes its leaf, and at times makes another by splitting it.
_PAGES_PER_KEY = 2
_META_READS_MAX = 8
_ZEROS = bytes(1 << 20)
_READER = re.compile(r"^\s*\d+\s+\S+\s+(\d+|-)\s*$")


class Range(NamedTuple):
    """Keys of a database from `first` on, before `end`; None: all of them."""

    database: Database
    first: bytes
    end: bytes | None


class OpenedRecords(Protocol):
    """What is open; environment and handles are others after LMDB was opened anew, which waits for `pinned` to end."""

    environment: lmdb.Environment
    handles: Handles
    upkeep: Upkeep

    def pinned(self) -> AbstractContextManager[Transaction]:
        """A read transaction of the newest commit, or the one before it."""


class Scrubber:
    """Cleans the file of one environment. Each method says on which thread.

    Raises:
        PagesNotUnderstood: the file is not as expected; nothing was written.
        OSError, lmdb.Error, Unavailable: the system refuses.
    """

    def __init__(self, records: OpenedRecords) -> None:
        self._records = records
        self._path = Path(records.environment.path()) / DATA_FILE_NAME
        self._buffer_pages = 0

    def wipe_buffers(self) -> int:
        """Fill the memory that LMDB will write from, and answer with its pages. On the writer thread.

        LMDB does not say how much it is: as much as its largest transaction changed, which is two pages for each key at
        most, and it never gets less. Memory that it has taken anew is zeros, and it does that once there is no other:
        so it is filled until zeros come, unless no commit since the last time can have added to what was filled then.
        """
        page_bytes = int(self._records.environment.stat()["psize"])
        changed = min(_WIPED_PAGES_MIN + _PAGES_PER_KEY * self._records.upkeep.changed_keys_max, _WIPED_PAGES_MAX)
        # The pages of the tree above the values are not filled. They come last in the next transaction's turn.
        counts: list[int] = []
        while len(counts) < _WIPES:
            try:
                counts.append(self._wiped(page_bytes, max(changed, self._buffer_pages)))
            except lmdb.MapFullError:
                # Filling takes pages that nothing holds yet, as a commit of that size would.
                self._records.upkeep.grow_map()
        self._buffer_pages = max(counts)
        self._records.upkeep.changed_keys_max = 0
        return self._buffer_pages

    def _wiped(self, page_bytes: int, count_max: int) -> int:
        short, whole = (_FILLER * length for length in (page_bytes // 2, page_bytes - HEAD.size))
        handle = self._records.handles[Database.ERASURES]
        new_count = 0
        transaction = self._records.environment.begin(write=True, buffers=True)
        try:
            for number in range(count_max):
                # Behind every key that there is: names of erasures are text.
                key = b"\xff%07d" % number
                transaction.put(key, short, db=handle, append=True)
                value = transaction.get(key, db=handle)
                assert value is not None
                new_count = new_count + 1 if _is_new(value, page_bytes) else 0
                transaction.put(key, whole, db=handle)
                if new_count >= _NEW_PAGES_MIN:
                    return number + 1
            return count_max
        finally:
            transaction.abort()

    def stale_separators(self, database: Database, is_wanted: Callable[[bytes], bool]) -> list[Range]:
        """Where a key that was deleted still parts the tree of a database, of wanted keys. On any thread.

        A range ends before the next key that parts the tree at the same height or above: put again from its first key,
        everything within it gets pages, and keys above them, anew.
        """
        with self._pinned() as (file, meta, transaction):
            handle = self._records.handles[database]
            # The highest first of those that are equal.
            parting = sorted({*separators(file, meta, database.value.encode())}, key=lambda one: (one[1], -one[0]))
            stale = []
            for place, (height, key) in enumerate(parting):
                if is_wanted(key) and transaction.get(key, db=handle) is None:
                    following = (parting[other] for other in range(place + 1, len(parting)))
                    ends = (other for level, other in following if level >= height and other != key)
                    stale.append(Range(database, key, next(ends, None)))
            return stale

    def clean_gaps(self, check: Callable[[], None] = lambda: None) -> tuple[int, int]:
        """Overwrite the gaps of all live pages. On any thread but the writer's.

        Args:
            check: called between pages; what it raises ends the work.

        Returns:
            The transaction id of the commit whose pages they are, and how many pages it has.
        """
        with self._pinned() as (file, meta, _):
            pages = map_pages(file, meta, check)
            gaps = pages.every_gap()
            descriptor = os.open(self._path, os.O_RDWR)
            try:
                for start, stop in _unclean(file, gaps):
                    check()
                    write_zeros(descriptor, start, stop - start)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
            return meta.transaction_id, pages.live_count

    def clean_free(self, after: int) -> tuple[int | None, int]:
        """Overwrite a slice of the free pages numbered above `after`. On the writer thread, between commits.

        Returns:
            The last page looked at, None at the end; and how many were overwritten.
        """
        with _mapped(self._path) as file:
            meta = read_meta(file)
            size = meta.page_bytes
            page_count = file.size // size
            free = free_pages(file, meta, min(meta.transaction_id, self.oldest_reader()))
            # What a transaction wrote that never was committed lies behind the last page.
            free = np.concatenate([free, np.arange(meta.last_page + 1, page_count, dtype=np.int64)])
            free = free[(free > after) & (free < page_count)][:SLICE_PAGES]
            if not free.size:
                return None, 0
            rows = file[: page_count * size].reshape(-1, size)
            unclean = free[rows[free].any(axis=1)]
            descriptor = os.open(self._path, os.O_RDWR)
            try:
                for first, last in _runs(unclean):
                    write_zeros(descriptor, first * size, (last - first) * size)
            finally:
                os.close(descriptor)
            return int(free[-1]), int(unclean.size)

    def sync(self) -> None:
        """Make what was overwritten durable. On any thread."""
        descriptor = os.open(self._path, os.O_RDWR)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def oldest_reader(self) -> int:
        """The oldest commit that a read transaction shows; the newest one where there is none."""
        oldest = int(self._records.environment.info()["last_txnid"])
        for line in self._records.environment.readers().splitlines()[1:]:
            match = _READER.match(line)
            if match is None:
                raise PagesNotUnderstood(f"LMDB lists a reader as {line!r}")
            if match[1] != "-":
                oldest = min(oldest, int(match[1]))
        return oldest

    @contextmanager
    def _pinned(self) -> Iterator[tuple[Bytes, Meta, Transaction]]:
        """The file and the newest commit, pinned by a read transaction."""
        for _ in range(_META_READS_MAX):
            with self._records.pinned() as transaction, _mapped(self._path) as file:
                try:
                    meta = read_meta(file, transaction.id())
                except PagesNotUnderstood:
                    # Two commits came before its meta page was read.
                    continue
                yield file, meta, transaction
                return
        raise Unavailable("commits come too fast to pin one; it is tried again", reason="STORAGE_READ_FAILED")


def _is_new(value: memoryview, page_bytes: int) -> bool:
    """Whether the page of a value that fills half of it was zeros before: what lies behind the value still is.

    The value begins behind the header of a page of its own, so that the whole page may be read.
    """
    address = np.frombuffer(value, dtype=np.uint8).ctypes.data
    _, _, flags, count = struct.unpack("<QHHI", ctypes.string_at(address - HEAD.size, HEAD.size))
    if not flags & OVERFLOW or count != 1:
        return False
    behind = page_bytes - HEAD.size - len(value)
    return ctypes.string_at(address + len(value), behind) == bytes(behind)


@contextmanager
def _mapped(path: Path) -> Iterator[Bytes]:
    """The whole file, read only, uint8 [n]."""
    with path.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    yield np.frombuffer(mapped, dtype=np.uint8)


def _unclean(file: Bytes, gaps: Gaps) -> Iterator[tuple[int, int]]:
    """The gaps that are not zeros alone."""
    for start, stop in zip(gaps.starts.tolist(), gaps.stops.tolist(), strict=True):
        # A gap behind the end of the file was never written.
        if file[start:stop].any():
            yield start, min(stop, file.size)


def _runs(pages: Numbers) -> Iterator[tuple[int, int]]:
    """Ascending numbers as runs [first, last)."""
    if not pages.size:
        return
    cuts = np.flatnonzero(np.diff(pages) != 1) + 1
    for run in np.split(pages, cuts):
        yield int(run[0]), int(run[-1]) + 1


def write_zeros(descriptor: int, offset: int, length: int) -> None:
    """Overwrite bytes of a file. Raises OSError."""
    while length > 0:
        written = os.pwrite(descriptor, _ZEROS[:length], offset)
        offset += written
        length -= written
