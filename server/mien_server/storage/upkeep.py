"""Work that must not meet a commit: queued by any thread, done by the writer thread between two groups of writes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from mien_server.errors import Unavailable

__all__ = ["Upkeep"]

R = TypeVar("R")


class Upkeep:
    """The queue. Safe for many threads; `do_one` is the writer's alone.

    Attributes:
        changed_keys_max: keys that the largest commit changed since LMDB's buffers were wiped.
        grow_map: gives LMDB more address space, for work that fills it; whoever commits says how. Raises MienError.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._is_closed = False
        self.changed_keys_max = 0
        self.grow_map: Callable[[], None] = _refuse_growing

    def add(self, work: Callable[[], R]) -> Future[R]:
        """Have `work` done soon; it holds up every write, so it must be short. Raises Unavailable (STORE_CLOSED)."""
        future: Future[R] = Future()
        with self._lock:
            if self._is_closed:
                raise _closed()
            self._waiting.append((work, future))
        return future

    def note_commit(self, changed_keys: int) -> None:
        """A commit of that many keys was made."""
        self.changed_keys_max = max(self.changed_keys_max, changed_keys)

    def do_one(self) -> bool:
        """Do what waits longest; answers whether more waits. Never raises: whoever asked gets the error."""
        with self._lock:
            if not self._waiting:
                return False
            work, future = self._waiting.popleft()
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - it is the asker's
            future.set_exception(error)
        with self._lock:
            return bool(self._waiting)

    def close(self) -> None:
        """Refuse what waits and whatever comes."""
        with self._lock:
            self._is_closed = True
            waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            future.set_exception(_closed())


def _refuse_growing() -> None:
    raise Unavailable("LMDB's address space is full, and nobody is there to make it larger", reason="STORAGE_FULL")


def _closed() -> Unavailable:
    return Unavailable("the store is closing", reason="STORE_CLOSED")
