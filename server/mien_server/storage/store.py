"""The store: opening, reading, writing, closing."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from mien_server.errors import InternalError
from mien_server.storage.commands.base import Command
from mien_server.storage.doubts import Doubts
from mien_server.storage.opening import OpenedStore, close_files, open_store
from mien_server.storage.options import StoreOptions
from mien_server.storage.outcomes import Committed, Replayed
from mien_server.storage.scrubbing import Scrubber
from mien_server.storage.views import StoreView
from mien_server.storage.writer import Writer

__all__ = ["Store"]

R = TypeVar("R")


class Store:
    """One directory, open in this process and no other. Safe for many threads; not to be used in a forked child.

    Attributes:
        path: the directory.
        store_id: 32 hexadecimal digits, made with the store.
        format_version: of what is on disk.
        scrubber: overwrites what the records' file holds beside live records.
        damage: what is damaged and not served; empty unless `StoreOptions.serve_damaged`.
    """

    def __init__(self, opened: OpenedStore, options: StoreOptions) -> None:
        self._opened = opened
        self.damage: Doubts = opened.damage
        self._process_id = os.getpid()
        self._close_wait_s_max = options.close_wait_s_max
        self._is_closed = False
        self.path: Path = opened.layout.root
        self.store_id: str = opened.store_format.store_id
        self.format_version: int = opened.store_format.version
        self.scrubber = Scrubber(opened)
        self._writer = Writer(opened, options)
        opened.snapshots.on_release = self._writer.wake

    @classmethod
    def open(cls, path: Path, options: StoreOptions | None = None) -> Self:
        """Open the store in `path`, or make one where the folder is absent or empty.

        Raises:
            Unavailable: STORE_LOCKED, another process has it open; or the system refuses.
            PreconditionFailed: the folder holds other things, or a newer format.
            CorruptStore: what is on disk contradicts itself; the message names the file.
        """
        options = options or StoreOptions()
        return cls(open_store(path, options), options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def revision(self) -> int:
        """The revision that a view opened now shows; 0 in a new store."""
        return self._opened.snapshots.current.revision

    def now_us(self) -> int:
        """The store's time: the wall clock in microseconds since 1970 UTC, but that it never goes back."""
        return self._opened.clock.now_us()

    def view(self, min_revision: int = 0, *, shows_expired: bool = False) -> StoreView:
        """A view of the published snapshot, to be entered: `with store.view() as view`.

        Args:
            shows_expired: for who looks after all that is kept (an index, a snapshot, an erasure): what has expired
                is there until it is swept. Otherwise the view shows nothing that had expired when it was entered.

        Raises, when entered:
            PreconditionFailed: REVISION_NOT_REACHED, the store is not at `min_revision` yet.
            Unavailable: STORE_CLOSED.
        """
        self._refuse_fork()
        return StoreView(self._opened, min_revision, shows_expired=shows_expired)

    def submit(self, command: Command[R], *, is_internal: bool = False) -> Future[Committed[R] | Replayed]:
        """Queue a write. The future is done when it is durable and every new view sees it, or with the error.

        Args:
            is_internal: the server's own bookkeeping, small and never refused for what callers have queued.

        Raises:
            Overloaded: WRITE_QUEUE_FULL.
            Unavailable: STORE_CLOSED.
        """
        self._refuse_fork()
        return self._writer.submit(command, is_internal=is_internal)

    def write(self, command: Command[R], *, is_internal: bool = False) -> Committed[R] | Replayed:
        """`submit` and wait for the answer."""
        return self.submit(command, is_internal=is_internal).result()

    def between_commits(self, work: Callable[[], R]) -> Future[R]:
        """Have the writer do some work when it does not write: short, since every write waits for it.

        Raises:
            Unavailable: STORE_CLOSED.
        """
        self._refuse_fork()
        future = self._opened.upkeep.add(work)
        self._writer.wake()
        return future

    @property
    def newest_transaction_id(self) -> int:
        """The commit that a view opened now shows."""
        return self._opened.snapshots.current.transaction_id

    @property
    def oldest_transaction_id(self) -> int:
        """The oldest commit that an open view shows, or the newest one."""
        return self._opened.snapshots.oldest_transaction_id()

    def index_directory(self, gallery_number: int) -> Path:
        """Where the generations of a gallery lie; made by whoever writes the first one."""
        return self._opened.layout.index_folder(gallery_number)

    def on_commit(self, callback: Callable[[int, frozenset[int]], None]) -> None:
        """Have `callback(revision, numbers of galleries touched)` called after each revision is published.

        It runs on the writer thread, after the writes were answered, and must be quick; what it raises is logged.
        """
        self._writer.on_commit(callback)

    def close(self) -> None:
        """Finish the writes that are queued, refuse further ones, wait for open views, and let go of the directory."""
        if self._is_closed:
            return
        self._is_closed = True
        self._writer.close()
        self._opened.upkeep.close()
        close_files(self._opened, self._close_wait_s_max)

    def _refuse_fork(self) -> None:
        if os.getpid() != self._process_id:
            raise InternalError("a store was used in a forked child; open it in the process that uses it")
