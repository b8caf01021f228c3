"""The patrol: every record and every vector verified while the store is served, slowly, once in a while.

Damage on a disk is found when it is read, and most of a store is not read for months. What the patrol finds is logged
and shown; it changes nothing, for what is damaged is refused whenever it is read. What a whole walk has found takes the
place of what was known before, so that nothing is counted twice, and what was deleted meanwhile not at all.
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
LOOK_INTERVAL_S = 10.0
"""How soon something damaged that was deleted is known no more."""
CHECKED_ROWS_MAX = 1_000_000
"""A larger store is not held against itself while it is served: that takes some 25 seconds a million faces."""
_FOUND_BY_WALKS = frozenset({"RECORD_DAMAGED", "VECTOR_DAMAGED", "VECTOR_UNREADABLE", "FILE_MISSING"})


@dataclass(frozen=True, slots=True)
class PatrolOptions:
    """How the patrol works.

    Attributes:
        interval_s: from the end of one to the start of the next; 0: never.
        bytes_per_s: read at most, on average.
    """

    interval_s: int = 7 * 86_400
    bytes_per_s: int = 20_000_000


class _Findings:
    """What one look at everything has found: the first thousand, and how many there are."""

    def __init__(self) -> None:
        self.listed: dict[tuple[str, ...], DamageInfo] = {}
        self.count = 0

    def add(self, damage: DamageInfo) -> None:
        """Take in what was not found before."""
        if (key := _key_of(damage)) in self.listed:
            return
        self.count += 1
        if len(self.listed) < LISTED_MAX:
            self.listed[key] = damage

    def drop(self, key: tuple[str, ...]) -> None:
        """It is not there any more."""
        if self.listed.pop(key, None) is not None:
            self.count -= 1


class Patrol:
    """A thread that walks over the store again and again. Safe from many threads."""

    def __init__(self, store: Store, options: PatrolOptions) -> None:
        self._store = store
        self._options = options
        self._is_closing = threading.Event()
        self._lock = threading.Lock()
        self._known = _Findings()
        self._walked = _Findings()
        self._looked_at_revision = store.revision
        self._has_less = False
        self._end_time_us = 0
        self._thread = threading.Thread(target=self._run, name="mien-patrol", daemon=True)
        self._take(store.damage, self._known)

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
            return tuple({**self._known.listed, **self._walked.listed}.values())[:LISTED_MAX]

    @property
    def damage_count(self) -> int:
        """How much is known to be damaged; at least so much where more than a thousand were found since the last walk
        ended.
        """
        with self._lock:
            new_count = len(self._walked.listed.keys() - self._known.listed.keys())
            return max(self._known.count + new_count, self._walked.count)

    def walk(self) -> None:
        """Verify everything once, at the rate that is allowed; ends early when the server does.

        Raises:
            MienError: the store could not be read.
        """
        start_s, read_bytes = time.monotonic(), 0
        with self._lock:
            self._walked = _Findings()
        for database in patrolled_databases():
            next_start: bytes | None = b""
            while next_start is not None and not self._is_closing.is_set():
                # A view each: an open one keeps LMDB from using pages again.
                with self._store.view() as view:
                    chunk = view.patrol(database, next_start, CHUNK_RECORDS)
                next_start = chunk.next_start
                read_bytes += chunk.read_bytes
                self._take(chunk.damages, self._walked)
                early_s = start_s + read_bytes / self._options.bytes_per_s - time.monotonic()
                if early_s > 0:
                    self._is_closing.wait(early_s)
        if not self._is_closing.is_set():
            with self._store.view() as view:
                self._take(view.missing_files(), self._walked)
            self._settle()
            self._end_time_us = time.time_ns() // 1000
            logger.info(
                "patrol: %d bytes of records and vectors verified, %d known damaged", read_bytes, self.damage_count
            )

    def look_again(self) -> None:
        """Find files that were removed, and forget what is damaged no more, for somebody has deleted it.

        Raises:
            MienError: the store could not be read.
        """
        # What finds no place in the list would be counted with every look.
        if len(self._known.listed) < LISTED_MAX:
            with self._store.view() as view:
                self._take(view.missing_files(), self._known)
        revision = self._store.revision
        if revision == self._looked_at_revision:
            return
        for damage in self.damages():
            if damage.reason not in _FOUND_BY_WALKS:
                continue
            # A view each, as in a walk.
            with self._store.view() as view:
                is_there = view.is_damaged(damage.place)
            if not is_there:
                with self._lock:
                    self._known.drop(_key_of(damage))
                    self._walked.drop(_key_of(damage))
                    self._has_less = True
        self._forget_what_followed()
        self._looked_at_revision = revision

    def _forget_what_followed(self) -> None:
        """What only the opening looks for (counts, names, labels that disagree) mostly follows from damaged records:
        once these are gone, everything is held against everything.
        """
        reasons = {damage.reason for damage in self.damages()}
        if not self._has_less or not reasons or reasons & _FOUND_BY_WALKS:
            return
        self._has_less = False
        with self._store.view(shows_expired=True) as view:
            row_count = sum(gallery.counts.row_count for gallery in view.galleries())
            is_whole = row_count <= CHECKED_ROWS_MAX and not view.check()
        if is_whole:
            with self._lock:
                self._known = _Findings()
            logger.info("patrol: nothing of the store is damaged any more")

    def _run(self) -> None:
        walk_at_s = time.monotonic() + min(FIRST_AFTER_S, self._options.interval_s)
        while not self._is_closing.wait(min(LOOK_INTERVAL_S, max(0.0, walk_at_s - time.monotonic()))):
            wait_s = float(self._options.interval_s)
            try:
                self.look_again()
                if time.monotonic() < walk_at_s:
                    continue
                self.walk()
            except MienError as error:
                logger.warning("the patrol could not go on, and begins anew in an hour: %s", error)
                wait_s = min(RETRY_AFTER_S, wait_s)
            except Exception:
                logger.exception("the patrol failed, and begins anew in an hour")
                wait_s = min(RETRY_AFTER_S, wait_s)
            walk_at_s = time.monotonic() + wait_s

    def _settle(self) -> None:
        """What a whole walk has found is what there is, beside what only the opening looks for."""
        with self._lock:
            walked = self._walked
            for key, damage in self._known.listed.items():
                if damage.reason not in _FOUND_BY_WALKS:
                    walked.add(damage)
                self._has_less |= key not in walked.listed
            self._known, self._walked = walked, _Findings()

    def _take(self, damages: Damages, findings: _Findings) -> None:
        for doubt in damages.listed:
            damage = DamageInfo(doubt.reason, doubt.message, dict(doubt.place))
            with self._lock:
                is_new = _key_of(damage) not in self._known.listed
                findings.add(damage)
            if is_new:
                logger.error("damaged: %s", doubt.message)
        with self._lock:
            findings.count += damages.count - len(damages.listed)


def _key_of(damage: DamageInfo) -> tuple[str, ...]:
    return (damage.reason, *sorted(f"{name}={value}" for name, value in damage.place.items()), damage.message)
