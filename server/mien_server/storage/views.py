"""What a reader holds: the store at one revision, in LMDB and in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from mien_server.errors import InternalError, PreconditionFailed
from mien_server.records.store_pb2 import ErasureRecord, OperationRecord, RequestRecord, SnapshotRecord
from mien_server.storage.check import find_contradictions
from mien_server.storage.databases import Database, Reading
from mien_server.storage.doubts import Doubts
from mien_server.storage.gallery_view import GalleryView
from mien_server.storage.opening import OpenedStore
from mien_server.storage.patrolling import PatrolChunk, is_damaged, missing_files, patrol_chunk
from mien_server.storage.reading import RecordReader, gallery_not_found

__all__ = ["StoreView"]


class StoreView:
    """A context manager: the store as it was when entered, whatever is written meanwhile. One thread at a time.

    Cheap to open, and to be closed soon: LMDB cannot use the pages again that an open view may read. After its end
    every read raises InternalError; arrays, records and texts it returned stay valid.
    """

    __slots__ = (
        "_content",
        "_galleries",
        "_min_revision",
        "_now_us",
        "_opened",
        "_records",
        "_shows_expired",
        "_snapshot",
        "_txn",
    )

    def __init__(self, opened: OpenedStore, min_revision: int, *, shows_expired: bool) -> None:
        self._opened = opened
        self._min_revision = min_revision
        self._shows_expired = shows_expired
        self._records: RecordReader | None = None

    def __enter__(self) -> Self:
        """Pin the published snapshot.

        Raises:
            PreconditionFailed: REVISION_NOT_REACHED.
            Unavailable: the store is closed.
        """
        self._snapshot, self._txn = self._opened.snapshots.acquire()
        self._content = self._snapshot.content
        self._galleries: dict[int, GalleryView] = {}
        if self._content.revision < self._min_revision:
            self._opened.snapshots.release(self._snapshot, self._txn)
            raise PreconditionFailed(
                f"the store is at revision {self._content.revision}, not yet at {self._min_revision}; ask again later, "
                "or leave out min_revision",
                reason="REVISION_NOT_REACHED",
                metadata={"revision": str(self._content.revision), "min_revision": str(self._min_revision)},
            )
        # 0 is before every expiry.
        self._now_us = 0 if self._shows_expired else self._opened.clock.now_us()
        reading = Reading(self._txn, self._opened.handles)
        self._records = RecordReader(reading, serves_damaged=self._opened.serves_damaged)
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._records is not None:
            self._records.reading.end()
            self._records = None
            self._galleries.clear()
            self._opened.snapshots.release(self._snapshot, self._txn)

    @property
    def revision(self) -> int:
        """What the view shows."""
        return self._content.revision

    def gallery(self, name: str) -> GalleryView:
        """The gallery of that name. Raises NotFound (GALLERY_NOT_FOUND)."""
        number = self._content.numbers.get(name)
        if number is None:
            raise gallery_not_found(name)
        return self._gallery(number)

    def gallery_by_number(self, number: int) -> GalleryView | None:
        """The gallery of that number."""
        return self._gallery(number) if number in self._content.galleries else None

    def galleries(self, after: str = "", limit: int | None = None) -> list[GalleryView]:
        """Galleries in the order of their names, after the name `after`."""
        names = list(self._content.numbers)
        start = bisect_right(names, after) if after else 0
        end = None if limit is None else start + limit
        return [self._gallery(self._content.numbers[name]) for name in names[start:end]]

    def galleries_to_sweep(self) -> list[str]:
        """Names of the galleries in which something has expired and is still there."""
        states = self._content.galleries.values()
        return [state.record.name for state in states if state.next_expiry_us <= self._now_us]

    def request(self, request_id: str) -> RequestRecord | None:
        """What a write of that request id was answered with, as long as it is remembered."""
        return self._reader().request(request_id)

    def operation(self, name: str) -> OperationRecord | None:
        """The long-running operation of that name."""
        return self._reader().operation(name)

    def operations(self) -> list[OperationRecord]:
        """Every long-running operation, the newest first; names ascend with time, and no two are the same."""
        return sorted(self._reader().operations(), key=lambda record: record.name, reverse=True)

    def snapshots(self) -> list[SnapshotRecord]:
        """Every snapshot that this store remembers, in the order of names, which is that of time."""
        return self._reader().snapshots()

    def copy_records(self, descriptor: int) -> None:
        """Write a copy of LMDB's file, which shows what the view shows and nothing else, to an open file or pipe.

        Raises:
            MienError: it cannot be read, or what is written to refuses.
        """
        self._reader()
        self._opened.snapshots.copy_records(self._txn, descriptor)

    def erasure(self, name: str) -> ErasureRecord | None:
        """The erasure of that name."""
        return self._reader().erasure(name)

    def erasures_before(self, name: str) -> Iterator[ErasureRecord]:
        """Erasures, the newest first since names ascend with time: those before the one of this name, which need not be
        there; all where it is empty. To be consumed within the view.
        """
        return self._reader().erasures_before(name)

    @property
    def records(self) -> RecordReader:
        """Every record: for work on the store itself."""
        return self._reader()

    def patrol(self, database: Database, start: bytes, count: int) -> PatrolChunk:
        """Verify the checksums of up to `count` records of a database from the key `start` on, vectors included."""
        return patrol_chunk(self._reader(), self._content, database, start, count)

    def missing_files(self) -> Doubts:
        """Files of the store that are not there any more."""
        return missing_files(self._opened.layout, self._content)

    def is_damaged(self, place: Mapping[str, str]) -> bool:
        """Whether what a patrol found in a place is still there, and damaged."""
        return is_damaged(self._reader(), self._content, place)

    def check(self) -> list[str]:
        """Everything in the store that contradicts itself, one sentence each; reads it all, so it takes its time."""
        return find_contradictions(self._reader(), self._content)

    def _gallery(self, number: int) -> GalleryView:
        view = self._galleries.get(number)
        if view is None:
            view = GalleryView(self._content, number, self._reader(), self._now_us)
            self._galleries[number] = view
        return view

    def _reader(self) -> RecordReader:
        if self._records is None:
            raise InternalError("a view was used outside its `with` block")
        return self._records
