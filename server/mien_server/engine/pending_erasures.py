"""Which erasures are not done, which of them is to be tried next, and what holds each up.

New ones are tried together and at once. Those that failed are tried again, later each time, apart from new ones; where
it is not known by whose fault, in halves, until it is.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["BATCH_MAX", "RETRY_AFTER_S", "RETRY_AFTER_S_MAX", "PendingErasures"]

BATCH_MAX = 256
"""Erasures that are carried out together."""
RETRY_AFTER_S = 5.0
"""After a first failure; twice as long after each further one."""
RETRY_AFTER_S_MAX = 300.0


@dataclass(slots=True)
class _Entry:
    name: str
    gallery: str
    create_time_us: int
    due_s: float = 0.0
    failure_count: int = 0
    batch_max: int = BATCH_MAX
    trouble: str = ""
    is_in_doubt: bool = False


class PendingErasures:
    """Safe from many threads. Times are of `time.monotonic()`, but for those in microseconds since 1970 UTC."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def add(self, name: str, gallery: str, create_time_us: int, now_s: float, *, is_in_doubt: bool = False) -> None:
        """There is an erasure, or, in doubt, there may be: it is to be tried now, whatever it failed by before."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                entry = self._entries[name] = _Entry(name, gallery, create_time_us, is_in_doubt=is_in_doubt)
            entry.is_in_doubt &= is_in_doubt
            entry.due_s = now_s

    def settle_doubts(self, now_s: float) -> bool:
        """What was in doubt is settled: the store says now which of them there are. Answers whether any was."""
        with self._lock:
            doubtful = [entry for entry in self._entries.values() if entry.is_in_doubt]
            for entry in doubtful:
                entry.is_in_doubt, entry.due_s = False, now_s
            return bool(doubtful)

    def next_s(self) -> float:
        """When the next one is to be tried; infinite when none is."""
        with self._lock:
            return min((entry.due_s for entry in self._entries.values()), default=math.inf)

    def batch(self, now_s: float) -> list[str]:
        """Those to be tried together now, by their names: new ones, or such as failed before."""
        with self._lock:
            due = sorted(
                (entry for entry in self._entries.values() if entry.due_s <= now_s),
                # Those that failed may fail again: what is new does not wait for them.
                key=lambda entry: (bool(entry.trouble), entry.due_s, entry.name),
            )
            chosen: list[str] = []
            room = BATCH_MAX
            for entry in due:
                if bool(entry.trouble) != bool(due[0].trouble):
                    continue
                room = min(room, entry.batch_max)
                if len(chosen) >= room:
                    break
                chosen.append(entry.name)
            return sorted(chosen)

    def note_failure(
        self, names: Sequence[str], trouble: str, now_s: float, *, is_shared: bool = False, is_waiting: bool = False
    ) -> None:
        """These failed.

        Args:
            is_waiting: by nothing but that something else comes first: they are tried again as soon as after a first
                failure.
            is_shared: by the fault of some, and nobody knows whose: they are tried in smaller batches at once.
        """
        with self._lock:
            for name in names:
                if (entry := self._entries.get(name)) is None:
                    continue
                entry.trouble = trouble
                if is_shared and len(names) > 1:
                    entry.due_s, entry.batch_max = now_s, len(names) // 2
                    continue
                failures_before = 0 if is_waiting else min(entry.failure_count, 10)
                entry.due_s = now_s + min(RETRY_AFTER_S * 2.0**failures_before, RETRY_AFTER_S_MAX)
                # What was halved for a cause that has passed goes together again.
                entry.batch_max = min(2 * entry.batch_max, BATCH_MAX)
                entry.failure_count += not is_waiting

    def remove(self, names: Iterable[str], looked_s: float) -> None:
        """These are done, or are none, as was seen at a time; those in doubt are kept until that is settled."""
        with self._lock:
            for name in names:
                entry = self._entries.get(name)
                if entry is None or entry.due_s > looked_s:
                    # A doubt was settled since: it is looked at again.
                    continue
                if entry.is_in_doubt:
                    entry.due_s = looked_s + RETRY_AFTER_S_MAX
                else:
                    del self._entries[name]

    def names(self) -> list[str]:
        """All of them, the newest first."""
        with self._lock:
            return sorted(self._entries, reverse=True)

    def trouble_of(self, name: str) -> str:
        """What it last failed by; empty where it did not, or is done."""
        with self._lock:
            entry = self._entries.get(name)
            return "" if entry is None else entry.trouble

    def has(self, name: str) -> bool:
        """Whether it is one of them."""
        with self._lock:
            return name in self._entries

    def begun_before(self, time_us: int) -> list[tuple[str, str]]:
        """Those that were asked for before a time, the newest first, by name and gallery."""
        with self._lock:
            old = [
                entry for entry in self._entries.values() if not entry.is_in_doubt and entry.create_time_us < time_us
            ]
        return [(entry.name, entry.gallery) for entry in sorted(old, key=lambda entry: entry.name, reverse=True)]
