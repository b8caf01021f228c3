"""The published snapshot and the LMDB transactions that its views borrow.

A view must see LMDB and memory at one revision, and LMDB lets nobody open a transaction on anything but its newest
commit. So the writer opens a few read transactions right after it commits, before it publishes; views borrow them
and give them back. A view that finds none left opens a further one, and takes it when it is of the same commit; in
the moment between a commit and its publication it is not, and the view waits for the publication, which waits for
nothing. Transactions of an older snapshot are closed as they come back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import lmdb

from mien_server.errors import Unavailable
from mien_server.records.rows import GalleryRows
from mien_server.storage.databases import Transaction
from mien_server.storage.expiry import Carried, Expired, left_over
from mien_server.storage.gallery_state import GalleryState
from mien_server.storage.lmdb_errors import translated_read_error
from mien_server.storage.reading import RecordReader

__all__ = ["Snapshot", "SnapshotContent", "Snapshots"]

_READY_READERS_MIN = 2
# A bound on one wait, not on all: the state is looked at again after it.
_PUBLICATION_WAIT_S = 1.0
# For a reader that another view lends, while LMDB begins no further transaction.
_LENT_WAIT_S_MAX = 10.0


@dataclass(frozen=True, slots=True)
class SnapshotContent:
    """What a snapshot shows; never changed.

    Attributes:
        transaction_id: LMDB's number of the commit; some advance no revision.
        galleries: by number.
        numbers: gallery numbers by name, in the order of names.
        carried: what had expired in an earlier snapshot, by gallery, where that holds in this one.
    """

    revision: int
    transaction_id: int
    galleries: Mapping[int, GalleryState]
    numbers: Mapping[str, int]
    carried: Mapping[int, Carried] = field(default_factory=dict)
    _rows: dict[int, GalleryRows] = field(default_factory=dict, init=False, repr=False, compare=False)
    _expired: dict[int, Expired] = field(default_factory=dict, init=False, repr=False, compare=False)

    def rows(self, gallery_number: int) -> GalleryRows:
        """The rows of a gallery that is there, the same object for all views. Raises CorruptStore."""
        rows = self._rows.get(gallery_number)
        if rows is None:
            rows = self._rows[gallery_number] = self.galleries[gallery_number].rows(self.revision)
        return rows

    def expired(self, gallery_number: int, records: RecordReader, now_us: int) -> Expired | None:
        """What of a gallery that is there has expired; None when nothing has. The same object until more does.

        Raises:
            CorruptStore: the vector file cannot be mapped.
        """
        state = self.galleries[gallery_number]
        if now_us < state.next_expiry_us:
            return None
        known = self._expired.get(gallery_number)
        if known is None or now_us >= known.next_us:
            rows = self.rows(gallery_number)
            if known is None and gallery_number in self.carried:
                known = self.carried[gallery_number].of(rows, state.counts)
            known = left_over(records, gallery_number, rows, state.counts, now_us, known)
            self._expired[gallery_number] = known
        return known

    def to_carry(self, gallery_number: int) -> Carried | None:
        """What the next snapshot may be told of that has expired in this one; None when there is nothing."""
        known = self._expired.get(gallery_number)
        return self.carried.get(gallery_number) if known is None else Carried(known)


@dataclass(slots=True, eq=False)
class Snapshot:
    """A content with its transactions. The fields after it are guarded by the lock of `Snapshots`.

    Attributes:
        ready: transactions waiting for a view.
        holder_count: views open on it, or waiting to be.
        holder_count_peak: the most there were at once: what the next snapshot will need.
    """

    content: SnapshotContent
    ready: list[Transaction] = field(default_factory=list)
    holder_count: int = 0
    holder_count_peak: int = 0


class Snapshots:
    """Publishes snapshots, lends their transactions. Safe for many threads; `publish` is the writer's alone.

    Args:
        ready_reader_count_max: transactions opened ahead or kept, at most.
        on_release: called without the lock when the last view of an older snapshot has ended.
    """

    def __init__(self, environment: lmdb.Environment, first: SnapshotContent, ready_reader_count_max: int) -> None:
        self._environment = environment
        self._ready_reader_count_max = ready_reader_count_max
        self._lock = threading.Lock()
        self._published = threading.Condition(self._lock)
        self._current = Snapshot(first)
        self._older: set[Snapshot] = set()
        self._waiting_count = 0
        self._is_closed = False
        self._is_paused = False
        self._failure: str | None = None
        self.on_release: Callable[[], None] = lambda: None

    @property
    def current(self) -> SnapshotContent:
        """The published content."""
        return self._current.content

    def acquire(self) -> tuple[Snapshot, Transaction]:
        """Borrow a transaction of the published snapshot.

        Raises:
            Unavailable: the store is closed; LMDB has no reader left, or a commit could not be published and no
                reader of the one before it is left (STORAGE_READ_FAILED).
        """
        lent_until_s = time.monotonic() + _LENT_WAIT_S_MAX
        while True:
            with self._lock:
                while self._is_paused:
                    self._published.wait()
                if self._is_closed:
                    raise Unavailable("the store is closed", reason="STORE_CLOSED")
                snapshot = self._current
                snapshot.holder_count += 1
                snapshot.holder_count_peak = max(snapshot.holder_count_peak, snapshot.holder_count)
                if snapshot.ready:
                    return snapshot, snapshot.ready.pop()
            transaction = self._open_another(snapshot)
            if transaction is not None:
                return snapshot, transaction
            with self._lock:
                is_last = self._leave(snapshot)
                if self._current is snapshot and not snapshot.ready and not self._is_closed:
                    self._refuse_failed(snapshot, lent_until_s)
                    self._waiting_count += 1
                    self._published.wait(min(_PUBLICATION_WAIT_S, _LENT_WAIT_S_MAX))
                    self._waiting_count -= 1
            if is_last:
                self.on_release()

    def release(self, snapshot: Snapshot, transaction: Transaction) -> None:
        """Give a transaction back."""
        with self._lock:
            is_kept = snapshot is self._current and len(snapshot.ready) < self._ready_reader_count_max
            if is_kept:
                snapshot.ready.append(transaction)
                if self._waiting_count:
                    self._published.notify()
            else:
                transaction.abort()
            is_last = self._leave(snapshot)
        if is_last:
            self.on_release()

    def publish(self, content: SnapshotContent) -> None:
        """Make this the content that new views see. The last commit must be the one it shows."""
        ready_count = min(max(self._current.holder_count_peak, _READY_READERS_MIN), self._ready_reader_count_max)
        new = Snapshot(content, self._open_ready(content.transaction_id, ready_count))
        with self._lock:
            old, self._current = self._current, new
            self._failure = None
            unused, old.ready = old.ready, []
            if old.holder_count:
                self._older.add(old)
            self._published.notify_all()
        for transaction in unused:
            transaction.abort()

    def keep_readers(self) -> None:
        """See to it that views can be served when LMDB begins no further transaction after the next commit."""
        with self._lock:
            if self._current.ready or self._current.holder_count:
                return
        opened = self._open_ready(self._current.content.transaction_id, _READY_READERS_MIN)
        with self._lock:
            self._current.ready += opened

    @contextmanager
    def paused(self, wait_s_max: float) -> Iterator[bool]:
        """Have new views wait and the open ones end; gives whether no transaction is open now. For the writer."""
        with self._lock:
            self._is_paused = True
            is_quiet = self._published.wait_for(lambda: not self._older and self._current.holder_count == 0, wait_s_max)
            unused: list[Transaction] = []
            if is_quiet:
                unused, self._current.ready = self._current.ready, []
        try:
            for transaction in unused:
                transaction.abort()
            yield is_quiet
        finally:
            with self._lock:
                self._is_paused = False
                self._published.notify_all()

    def change_environment(self, environment: lmdb.Environment) -> None:
        """Take transactions of this one from here on. Only while paused."""
        self._environment = environment

    def fail(self, reason: str) -> None:
        """The newest commit cannot be published yet: views are served with the readers that the published one lends."""
        with self._lock:
            self._failure = reason
            self._published.notify_all()

    @property
    def has_failed(self) -> bool:
        """Whether LMDB may hold a commit that no view shows."""
        return self._failure is not None

    def copy_records(self, transaction: Transaction, descriptor: int) -> None:
        """Write LMDB's file as a transaction shows it, without free pages, to an open file or pipe.

        Raises:
            MienError: LMDB cannot read its file, or what is written to refuses.
        """
        try:
            self._environment.copyfd(descriptor, compact=True, txn=transaction)
        except lmdb.Error as error:
            raise translated_read_error(error, "meta") from error

    def oldest_transaction_id(self) -> int:
        """The oldest commit that a view still shows, or the published one."""
        with self._lock:
            return min(
                (snapshot.content.transaction_id for snapshot in self._older),
                default=self._current.content.transaction_id,
            )

    def close(self, wait_s_max: float) -> bool:
        """Refuse new views, wait for the open ones; answers whether all have ended."""
        with self._lock:
            self._is_closed = True
            self._published.notify_all()
            have_ended = self._published.wait_for(
                lambda: not self._older and self._current.holder_count == 0, wait_s_max
            )
            unused, self._current.ready = self._current.ready, []
        for transaction in unused:
            transaction.abort()
        return have_ended

    def _leave(self, snapshot: Snapshot) -> bool:
        """One holder less, the lock held; answers whether it was the last one of an older snapshot."""
        snapshot.holder_count -= 1
        if snapshot.holder_count:
            return False
        if self._is_closed or self._is_paused or self._failure is not None:
            self._published.notify_all()
        is_older = snapshot in self._older
        self._older.discard(snapshot)
        return is_older

    def _refuse_failed(self, snapshot: Snapshot, lent_until_s: float) -> None:
        """While the newest commit cannot be published a view waits only for readers that are lent. The lock is held."""
        is_hopeless = snapshot.holder_count == 0 or time.monotonic() >= lent_until_s
        if self._failure is not None and is_hopeless:
            raise Unavailable(
                f"the store cannot be read until an earlier write is settled: {self._failure}",
                reason="STORAGE_READ_FAILED",
            )

    def _open_another(self, snapshot: Snapshot) -> Transaction | None:
        """A new transaction, if it shows the snapshot's commit."""
        try:
            transaction = self._environment.begin()
        except lmdb.PanicError:
            # Until LMDB is opened anew, views share the transactions that there are.
            return None
        except lmdb.Error as error:
            with self._lock:
                is_last = self._leave(snapshot)
            if is_last:
                self.on_release()
            raise translated_read_error(error, "meta") from error
        if transaction.id() == snapshot.content.transaction_id:
            return transaction
        transaction.abort()
        return None

    def _open_ready(self, transaction_id: int, count: int) -> list[Transaction]:
        """Up to `count` transactions on the newest commit; fewer when LMDB lends no more."""
        opened: list[Transaction] = []
        try:
            for _ in range(count):
                opened.append(self._environment.begin())  # noqa: PERF401 - those opened before a failure are kept
        except lmdb.Error:
            pass
        assert all(transaction.id() == transaction_id for transaction in opened)
        return opened
