"""The one thread that writes: takes what waits in groups, and does the chores in between."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from mien_server.errors import Overloaded, Unavailable
from mien_server.storage.commands.base import Command
from mien_server.storage.commit import Committer, Pending
from mien_server.storage.grouping import choose_group
from mien_server.storage.opening import OpenedStore
from mien_server.storage.options import StoreOptions
from mien_server.storage.outcomes import Committed, Replayed

__all__ = ["Writer"]

R = TypeVar("R")


class Writer:
    """A bounded queue and the thread that empties it."""

    _RECOVERY_RETRY_S = 1.0

    def __init__(self, opened: OpenedStore, options: StoreOptions) -> None:
        self._options = options
        self._committer = Committer(opened, options)
        self._changed = threading.Condition()
        self._waiting: deque[Pending[Any]] = deque()
        self._waiting_row_count = 0
        self._waiting_byte_count = 0
        self._is_woken = True
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="mien-store-writer", daemon=True)
        self._thread.start()

    def submit(self, command: Command[R], *, is_internal: bool) -> Future[Committed[R] | Replayed]:
        """Queue a command; see `Store.submit`."""
        pending = Pending(command, command.row_count, command.byte_count)
        with self._changed:
            if self._is_closing:
                raise Unavailable("the store is closing and takes no further writes", reason="STORE_CLOSED")
            queued = self._waiting_row_count + pending.row_count
            queued_bytes = self._waiting_byte_count + pending.byte_count
            if not is_internal and self._waiting:
                self._require_room(queued, queued_bytes)
            self._waiting.append(pending)
            self._waiting_row_count = queued
            self._waiting_byte_count = queued_bytes
            self._changed.notify()
        return pending.future

    def _require_room(self, queued: int, queued_bytes: int) -> None:
        options = self._options
        if queued > options.queue_rows_max or queued_bytes > options.queue_bytes_max:
            raise Overloaded(
                f"{self._waiting_row_count} rows of {self._waiting_byte_count:,} bytes wait to be written, the most "
                f"are {options.queue_rows_max} of {options.queue_bytes_max:,}; send it again in a moment",
                reason="WRITE_QUEUE_FULL",
                metadata={
                    "queue_rows_max": str(options.queue_rows_max),
                    "queue_bytes_max": str(options.queue_bytes_max),
                },
            )

    def on_commit(self, callback: Callable[[int, frozenset[int]], None]) -> None:
        """Have it called after each revision; see `Store.on_commit`."""
        self._committer.callbacks.append(callback)

    def wake(self) -> None:
        """Have the chores looked at."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, then end."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()
        self._committer.close()

    def _run(self) -> None:
        while True:
            group = self._take()
            if group is None:
                return
            if group:
                self._committer.commit(group)
            more = self._committer.do_chores(is_idle=not group)
            if more:
                self.wake()

    def _take(self) -> list[Pending[Any]] | None:
        """The next group; an empty one to do chores; None at the end."""
        with self._changed:
            while not self._waiting and not self._is_woken and not self._is_closing:
                if self._committer.waits_for_recovery:
                    self._changed.wait(self._RECOVERY_RETRY_S)
                    break
                self._changed.wait()
            self._is_woken = False
            if not self._waiting:
                return None if self._is_closing else []
            count = choose_group(
                (pending.row_count for pending in self._waiting),
                self._options.group_rows_max,
                self._options.group_commands_max,
            )
            group = [self._waiting.popleft() for _ in range(count)]
            self._waiting_row_count -= sum(pending.row_count for pending in group)
            self._waiting_byte_count -= sum(pending.byte_count for pending in group)
        return [pending for pending in group if pending.future.set_running_or_notify_cancel()]
