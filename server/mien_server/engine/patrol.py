"""The patrol: every record and every vector verified while the store is served, slowly, once in a while.

Damage on a disk is found when it is read, and most of a store is not read for months. What the patrol finds is logged
and shown; it changes nothing, for what is damaged is refused whenever it is read.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from mien_server.engine.types import DamageInfo
from mien_server.errors import MienError
from mien_server.storage import Damages, Store, patrolled_databases

__all__ = ["Patrol", "PatrolOptions"]

logger = logging.getLogger(__name__)

CHUNK_RECORDS = 256
"""Verified at once: half a megabyte of 512 components, a few tenths of a millisecond of processor time."""
FIRST_AFTER_S = 60.0
"""A server that has just started has other things to do."""
RETRY_AFTER_S = 3600.0
LISTED_MAX = 1000


@dataclass(frozen=True, slots=True)
class PatrolOptions:
    """How the patrol works.

    Attributes:
        interval_s: from the end of one to the start of the next; 0: never.
        bytes_per_s: read at most, on average.
    """

    interval_s: int = 7 * 86_400
    bytes_per_s: int = 20_000_000


class Patrol:
    """A thread that walks over the store again and again. Safe from many threads."""

    def __init__(self, store: Store, options: PatrolOptions) -> None:
        self._store = store
        self._options = options
        self._is_closing = threading.Event()
        self._lock = threading.Lock()
        self._found: dict[tuple[str, ...], DamageInfo] = {}
        self._count = 0
        self._end_time_us = 0
        self._thread = threading.Thread(target=self._run, name="mien-patrol", daemon=True)
        self._take(store.damage)

    def start(self) -> None:
        """Begin to walk, where it is wanted."""
        if self._options.interval_s:
            self._thread.start()

    def close(self) -> None:
        """Stop soon."""
        self._is_closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def end_time_us(self) -> int:
        """When the last walk ended since the server started; 0: none has."""
        return self._end_time_us

    def damages(self) -> tuple[DamageInfo, ...]:
        """What is known to be damaged, the first thousand."""
        with self._lock:
            return tuple(self._found.values())

    @property
    def damage_count(self) -> int:
        """How much is known to be damaged."""
        return self._count

    def walk(self) -> None:
        """Verify everything once, at the rate that is allowed; ends early when the server does.

        Raises:
            MienError: the store could not be read.
        """
        start_s, read_bytes = time.monotonic(), 0
        for database in patrolled_databases():
            next_start: bytes | None = b""
            while next_start is not None and not self._is_closing.is_set():
                # A view each: an open one keeps LMDB from using pages again.
                with self._store.view() as view:
                    chunk = view.patrol(database, next_start, CHUNK_RECORDS)
                next_start = chunk.next_start
                read_bytes += chunk.read_bytes
                self._take(chunk.damages)
                early_s = start_s + read_bytes / self._options.bytes_per_s - time.monotonic()
                if early_s > 0:
                    self._is_closing.wait(early_s)
        if not self._is_closing.is_set():
            self._end_time_us = time.time_ns() // 1000
            logger.info("patrol: %d bytes of records and vectors verified, %d known damaged", read_bytes, self._count)

    def _run(self) -> None:
        wait_s = min(FIRST_AFTER_S, self._options.interval_s)
        while not self._is_closing.wait(wait_s):
            wait_s = float(self._options.interval_s)
            try:
                self.walk()
            except MienError as error:
                logger.warning("the patrol could not go on, and begins anew in an hour: %s", error)
                wait_s = min(RETRY_AFTER_S, wait_s)
            except Exception:
                logger.exception("the patrol failed, and begins anew in an hour")
                wait_s = min(RETRY_AFTER_S, wait_s)

    def _take(self, damages: Damages) -> None:
        for doubt in damages.listed:
            key = (doubt.reason, *sorted(f"{name}={value}" for name, value in doubt.place.items()), doubt.message)
            with self._lock:
                if key in self._found:
                    continue
                self._count += 1
                if len(self._found) < LISTED_MAX:
                    self._found[key] = DamageInfo(doubt.reason, doubt.message, dict(doubt.place))
            logger.error("damaged: %s", doubt.message)
        self._count += damages.count - len(damages.listed)
