"""What a snapshot keeps in memory of a gallery, and how a commit makes the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien_server.errors import CorruptStore, Unavailable
from mien_server.records.rows import GalleryRows
from mien_server.records.store_pb2 import GalleryCounts, GalleryRecord
from mien_server.storage.changes import AppendedRows, GalleryChange, MovedRows
from mien_server.storage.expiry import NEVER_US
from mien_server.storage.vector_file import VectorFile, VectorMapping, grown_capacity

__all__ = ["GalleryDraft", "GalleryState", "LabelFacts"]


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """What anything derived from the labels, times and owners of a gallery's rows depends on.

    Something found out in one snapshot also holds in another of equal `relabelled` and `moved`, and of the same or a
    larger `deleted`, for rows below the smaller `row_count` and identity numbers below the smaller
    `next_identity_number`, but that it may name rows that were deleted since: a face's labels and time never change,
    numbers are never used again, and what is new gets a larger one.

    Attributes:
        relabelled: commits since the store was opened that changed labels of identities which stay.
        moved: commits since then that gave rows to another identity.
        deleted: commits since then that deleted rows or identities.
    """

    relabelled: int = 0
    moved: int = 0
    deleted: int = 0
    row_count: int = 0
    next_identity_number: int = 0


@dataclass(frozen=True, slots=True)
class GalleryState:
    """A gallery at one revision; never changed once published, nor are its record and counts.

    Attributes:
        identity_numbers: uint32 [at least row_count]; rows beyond the count belong to the writer.
        live: uint8 [ceil(row_count / 8)], little-endian bits.
        mapping: room for at least row_count rows.
        relabelled, moved, deleted: see LabelFacts.
        next_expiry_us: before this time nothing in it has expired.
        has_quarantine: some faces are damaged, and their rows count as deleted.
    """

    record: GalleryRecord
    counts: GalleryCounts
    identity_numbers: npt.NDArray[np.uint32]
    live: npt.NDArray[np.uint8]
    mapping: VectorMapping
    relabelled: int = 0
    moved: int = 0
    deleted: int = 0
    next_expiry_us: int = NEVER_US
    has_quarantine: bool = False

    @property
    def facts(self) -> LabelFacts:
        """What labels, times and owners in this state depend on."""
        counts = self.counts
        return LabelFacts(self.relabelled, self.moved, self.deleted, counts.row_count, counts.next_identity_number)

    @classmethod
    def empty(cls, record: GalleryRecord, counts: GalleryCounts, file: VectorFile) -> GalleryState:
        """A gallery that was just made."""
        return cls(record, counts, np.zeros(0, np.uint32), np.zeros(0, np.uint8), VectorMapping(file, 0))

    def rows(self, revision: int) -> GalleryRows:
        """The rows as the index reads them.

        Raises:
            CorruptStore: the vector file is gone or too short.
            Unavailable: STORAGE_READ_FAILED, the system does not let it be mapped now.
        """
        row_count = self.counts.row_count
        try:
            vectors = self.mapping.rows(row_count)
        except (FileNotFoundError, ValueError) as error:
            path = self.mapping.file.path
            raise CorruptStore(f"{path}: its {row_count} committed rows cannot be mapped: {error}") from error
        except OSError as error:
            raise Unavailable(
                f"{self.mapping.file.path}: cannot be read: {error}; try again, and look at the limits of open files "
                "and of memory if it goes on",
                reason="STORAGE_READ_FAILED",
            ) from error
        identity_numbers = self.identity_numbers[:row_count]
        identity_numbers.flags.writeable = False
        return GalleryRows(
            revision=revision,
            vectors=vectors,
            live=self.live,
            identity_numbers=identity_numbers,
            live_count=int(np.unpackbits(self.live).sum()) if self.has_quarantine else self.counts.face_count,
            location=self.mapping.file.location,
        )


def _with_room(array: npt.NDArray[np.uint32], used: int, needed: int) -> npt.NDArray[np.uint32]:
    if needed <= array.shape[0]:
        return array
    grown = np.zeros(max(needed, 2 * array.shape[0], 1024), dtype=np.uint32)
    grown[:used] = array[:used]
    return grown


class GalleryDraft:
    """The next state of one gallery, as the changes of a group are added to it.

    Appended identity numbers are written beyond the published rows, where no reader looks; everything else is
    changed in copies. A draft that is dropped leaves the published state as it was.
    """

    def __init__(self, state: GalleryState) -> None:
        self._base = state
        self._record = state.record
        self._counts = state.counts
        self._row_count = state.counts.row_count
        self._identity_numbers = state.identity_numbers
        self._numbers_are_ours = False
        self._live = state.live
        self._live_is_ours = False
        self._relabels = False
        self._moves = False
        self._deletes = False
        self.unwritten: list[AppendedRows] = []
        self.removed_identity_numbers: list[int] = []
        self.first_expiry_us = NEVER_US

    @property
    def file(self) -> VectorFile:
        """The gallery's vectors."""
        return self._base.mapping.file

    @property
    def has_new_rows(self) -> bool:
        """Whether rows were added."""
        return self._row_count > self._base.counts.row_count

    @property
    def first_new_identity(self) -> int:
        """Identities from this number on are in no published state."""
        return int(self._base.counts.next_identity_number)

    def note_identities(self, *, relabels: bool, removed: Sequence[int]) -> None:
        """A command changed labels of identities that the published state has and that stay, or deleted identities."""
        self._relabels |= relabels
        self._deletes |= bool(removed)
        self.removed_identity_numbers += removed

    def note_expiry(self, first_us: int | None) -> None:
        """A command put times of expiry, the first of which is this."""
        if first_us is not None:
            self.first_expiry_us = min(self.first_expiry_us, first_us)

    def add(self, change: GalleryChange) -> None:
        """Take in the change of one command; rows it adds join `unwritten` until somebody writes them."""
        if change.record is not None:
            self._record = change.record
        if change.counts is not None:
            self._counts = change.counts
        if change.appended is not None:
            self._append(change.appended)
        if change.moved is not None:
            self._move(change.moved)
        if change.deleted_ordinals is not None:
            self._deletes = True
            self._own_live()
            bits = (1 << (change.deleted_ordinals & 7)).astype(np.uint8)
            np.bitwise_and.at(self._live, change.deleted_ordinals >> 3, ~bits)

    def finish(self, next_expiry_us: int) -> tuple[GalleryState, int | None]:
        """The next state, and the rows to make room for in the file when what it has does not do."""
        assert self._counts.row_count == self._row_count
        mapping = self._base.mapping
        room = None
        if self._row_count > mapping.capacity:
            room = grown_capacity(mapping.file, mapping.capacity, self._row_count)
            mapping = VectorMapping(mapping.file, room)
        live = self._live[: (self._row_count + 7) // 8]
        live.flags.writeable = False
        state = GalleryState(
            self._record,
            self._counts,
            self._identity_numbers,
            live,
            mapping,
            relabelled=self._base.relabelled + self._relabels,
            moved=self._base.moved + self._moves,
            deleted=self._base.deleted + self._deletes,
            next_expiry_us=next_expiry_us,
            has_quarantine=self._base.has_quarantine,
        )
        return state, room

    def map_ahead(self, state: GalleryState) -> None:
        """Map the file of the next state where this one's is mapped: who reads now must be able to read on.

        Raises:
            OSError: the system does not let it be mapped.
        """
        if self._base.mapping.is_mapped and state.mapping is not self._base.mapping:
            state.mapping.rows(0)

    def _append(self, rows: AppendedRows) -> None:
        assert rows.first_ordinal == self._row_count
        end = self._row_count + rows.identity_numbers.shape[0]
        grown = _with_room(self._identity_numbers, self._row_count, end)
        self._numbers_are_ours |= grown is not self._identity_numbers
        self._identity_numbers = grown
        grown[self._row_count : end] = rows.identity_numbers
        self._own_live((end + 7) // 8)
        _set_bits(self._live, self._row_count, end)
        self._row_count = end
        self.unwritten.append(rows)

    def _move(self, rows: MovedRows) -> None:
        self._moves = True
        if not self._numbers_are_ours:
            self._identity_numbers = self._identity_numbers.copy()
            self._numbers_are_ours = True
        self._identity_numbers[rows.ordinals] = rows.identity_number

    def _own_live(self, length: int = 0) -> None:
        """Make the bitmap a copy of this draft, of at least `length` bytes and some more for the next command."""
        old = self._live
        if self._live_is_ours and length <= old.shape[0]:
            return
        length = max(length, old.shape[0])
        self._live = np.zeros(length + max(length // 8, 1024), dtype=np.uint8)
        self._live[: old.shape[0]] = old
        self._live_is_ours = True


def _set_bits(bitmap: npt.NDArray[np.uint8], first: int, end: int) -> None:
    """Set bits [first, end) of a bitmap of little-endian bits."""
    first_byte, last_byte = first >> 3, (end - 1) >> 3
    if end <= first:
        return
    head = (0xFF << (first & 7)) & 0xFF
    tail = 0xFF >> (7 - ((end - 1) & 7))
    if first_byte == last_byte:
        bitmap[first_byte] |= head & tail
        return
    bitmap[first_byte] |= head
    bitmap[first_byte + 1 : last_byte] = 0xFF
    bitmap[last_byte] |= tail
