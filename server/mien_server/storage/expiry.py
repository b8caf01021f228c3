"""What has expired: hidden from every view the moment it passes, deleted by the sweep that follows.

`expiry` names everything that expires, by its time. It is written with faces and identities in one transaction, so a
view finds in its own snapshot, exactly, what passed since and is still there. The answer to "what is left" is kept with
the snapshot until the next expiry passes.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mien_server.records.rows import GalleryRows
from mien_server.records.store_pb2 import GalleryCounts
from mien_server.storage import keys
from mien_server.storage.databases import Database, Reading
from mien_server.storage.reading import RecordReader

__all__ = ["NEVER_US", "Carried", "Clock", "Expired", "due_entries", "first_expiry_us", "has_expired", "left_over"]

NEVER_US = 2**63 - 1
"""Later than every time that can be given."""

_ENTRIES_AT_ONCE = 512
# Looking up the rows of one identity costs as much as passing over so many rows in memory.
_LOOKUP_ROWS = 5_000

Numbers: TypeAlias = npt.NDArray[np.int64]


class Clock:
    """The wall clock, but that it never goes back: what has expired stays so. Safe for many threads.

    Args:
        wall_us: microseconds since 1970 UTC.
        latest_us: what was read last before the store was closed.
    """

    def __init__(self, wall_us: Callable[[], int], latest_us: int = 0) -> None:
        self._wall_us = wall_us
        self._latest_us = latest_us
        self._lock = threading.Lock()

    def now_us(self) -> int:
        """The time in microseconds since 1970 UTC, at least what it ever was."""
        with self._lock:
            self._latest_us = max(self._latest_us, self._wall_us())
            return self._latest_us


def has_expired(expire_time_us: int, now_us: int) -> bool:
    """Whether a time of expiry has passed; 0 never does."""
    return 0 < expire_time_us <= now_us


def first_expiry_us(reading: Reading, gallery_number: int) -> int:
    """When the gallery's next face or identity expires, or the first one that is not swept did; NEVER_US."""
    for key in reading.keys(Database.EXPIRY, keys.encode_gallery(gallery_number)):
        return keys.decode_expiry_time(key)
    return NEVER_US


def due_entries(reading: Reading, gallery_number: int, after_us: int, now_us: int) -> Iterator[npt.NDArray[np.void]]:
    """Entries of `expiry` of the times (after_us, now_us] in blocks, and the first later one in the last of them."""
    start = keys.encode_expiry_time(gallery_number, after_us + 1)
    prefix = keys.encode_gallery(gallery_number)
    for chunk in reading.raw_chunks(Database.EXPIRY, prefix, _ENTRIES_AT_ONCE, start):
        entries = keys.decode_expiries([key for key, _ in chunk])
        end = int(np.searchsorted(entries["time_us"], now_us, "right"))
        yield entries[: end + 1]
        if end < len(entries):
            return


def due_numbers(
    reading: Reading, gallery_number: int, now_us: int
) -> Iterator[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]]:
    """Ordinals of faces and numbers of identities that have expired by themselves, in blocks."""
    for entries in due_entries(reading, gallery_number, 0, now_us):
        due = entries[entries["time_us"] <= now_us]
        is_face = due["kind"] == keys.EXPIRY_FACE
        yield due["number"][is_face], due["number"][~is_face]


@dataclass(frozen=True, eq=False)
class Expired:
    """What of a gallery has expired and is not swept yet, and what is left without it; never changed.

    Attributes:
        last_us: when the last of it did.
        next_us: when the next will.
        identity_numbers: identities that have expired themselves, int64 [n], ascending.
        whole: the gallery's rows with all that is there.
        rows: the gallery's rows, expired ones not live.
        counts: of what is left.
    """

    last_us: int
    next_us: int
    identity_numbers: Numbers
    whole: GalleryRows
    rows: GalleryRows
    counts: GalleryCounts

    def hides(self, ordinals: Numbers) -> npt.NDArray[np.bool_]:
        """Whether each of these rows, which are there, has expired, bool [n]."""
        places = ordinals >> 3
        gone = self.whole.live[places] & ~self.rows.live[places]
        is_hidden: npt.NDArray[np.bool_] = (gone >> (ordinals & 7).astype(np.uint8)) & 1 == 1
        return is_hidden

    @functools.cached_property
    def face_counts(self) -> Mapping[int, int]:
        """By identity number, how many of its faces have expired."""
        gone = np.unpackbits(self.whole.live & ~self.rows.live, count=self.whole.row_count, bitorder="little")
        owners, counts = np.unique(self.whole.identity_numbers[gone.view(np.bool_)], return_counts=True)
        return dict(zip(owners.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Carried:
    """What had expired in an earlier snapshot, for a later one that was made by nobody who could not know of it.

    A commit at `known.last_us` or later deletes what it names of that, and gives nothing else an earlier time unless it
    puts one: so all of it that is still there has expired in the later snapshot too, and nothing else has by then.

    Attributes:
        removed: identity numbers that were deleted since.
    """

    known: Expired
    removed: tuple[int, ...] = ()

    def after(self, now_us: int, first_expiry_us: int, removed: Sequence[int]) -> Carried | None:
        """For the snapshot of a further commit; None where it has to be found out anew.

        Args:
            now_us: the time of the commit.
            first_expiry_us: the earliest time that it puts.
            removed: identity numbers that it deletes.
        """
        last_us = self.known.last_us
        return (
            Carried(self.known, (*self.removed, *removed)) if last_us <= now_us and last_us < first_expiry_us else None
        )

    def of(self, whole: GalleryRows, counts: GalleryCounts) -> Expired:
        """What is left of it in the later snapshot, of these rows and counts; what passed since is not in it."""
        known = self.known
        live = whole.live.copy()
        live[: known.rows.live.size] &= known.rows.live | ~known.whole.live
        people = known.identity_numbers
        people = people[~np.isin(people, np.array(self.removed, np.int64))]
        return _expired(known.last_us, known.next_us, people, whole, live, counts)


def left_over(
    records: RecordReader,
    gallery_number: int,
    whole: GalleryRows,
    counts: GalleryCounts,
    now_us: int,
    known: Expired | None,
) -> Expired:
    """What has expired at a time.

    Args:
        whole: the gallery's rows in the same snapshot, and `counts` likewise.
        known: what was found in the same snapshot for an earlier time.
    """
    last_us = 0 if known is None else known.last_us
    blocks = list(due_entries(records.reading, gallery_number, last_us, now_us))
    entries = np.concatenate([keys.decode_expiries([]), *blocks])
    is_due = entries["time_us"] <= now_us
    due, later = entries[is_due], entries[~is_due]
    next_us = int(later["time_us"][0]) if later.size else NEVER_US
    if known is not None and not due.size:
        return replace(known, next_us=next_us)
    is_face = due["kind"] == keys.EXPIRY_FACE
    people = np.sort(due["number"][~is_face].astype(np.int64))
    gone = [due["number"][is_face].astype(np.int64), _rows_of(records, gallery_number, whole, people)]
    if known is not None:
        people = np.union1d(known.identity_numbers, people)
    live = _without((whole if known is None else known.rows).live, np.concatenate(gone))
    return _expired(int(due["time_us"][-1]), next_us, people, whole, live, counts)


def _expired(
    last_us: int,
    next_us: int,
    identity_numbers: Numbers,
    whole: GalleryRows,
    live: npt.NDArray[np.uint8],
    counts: GalleryCounts,
) -> Expired:
    left = GalleryCounts()
    left.CopyFrom(counts)
    left.face_count = int(np.bitwise_count(live).sum())
    left.identity_count -= identity_numbers.size
    live.flags.writeable = False
    rows = replace(whole, live=live, live_count=int(left.face_count))
    return Expired(last_us, next_us, identity_numbers, whole, rows, left)


def _rows_of(records: RecordReader, gallery_number: int, rows: GalleryRows, identity_numbers: Numbers) -> Numbers:
    """The live rows of these identities."""
    if identity_numbers.size * _LOOKUP_ROWS <= rows.row_count:
        parts = [records.faces_of(gallery_number, number) for number in identity_numbers.tolist()]
        return np.concatenate([np.zeros(0, np.int64), *parts])
    is_live = np.unpackbits(rows.live, count=rows.row_count, bitorder="little").view(np.bool_)
    return np.flatnonzero(is_live & np.isin(rows.identity_numbers, identity_numbers.astype(np.uint32), kind="table"))


def _without(live: npt.NDArray[np.uint8], ordinals: Numbers) -> npt.NDArray[np.uint8]:
    """A bitmap of live rows with these taken out."""
    left = live.copy()
    np.bitwise_and.at(left, ordinals >> 3, ~(1 << (ordinals & 7)).astype(np.uint8))
    return left
