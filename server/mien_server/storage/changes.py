"""What one command writes, every choice made: records, rows, and what the snapshot in memory learns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mien_server.records.faces import Float32Array
from mien_server.records.store_pb2 import GalleryCounts, GalleryRecord, JournalOperation
from mien_server.storage.databases import Database
from mien_server.storage.keys import (
    decode_expiry_time,
    decode_numbered,
    decode_trailing_numbers,
    encode_gallery,
    encode_name,
)

__all__ = ["AppendedRows", "Changes", "GalleryChange", "MovedRows"]


@dataclass(frozen=True, slots=True)
class AppendedRows:
    """Rows [first_ordinal, first_ordinal + n): vectors float32 [n, dimension], identity_numbers uint32 [n]."""

    first_ordinal: int
    vectors: Float32Array
    identity_numbers: npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class MovedRows:
    """Rows given to another identity: ordinals int64 [n]."""

    ordinals: npt.NDArray[np.int64]
    identity_number: int


@dataclass(slots=True)
class GalleryChange:
    """What the snapshot learns about one gallery; None: as it was."""

    number: int
    record: GalleryRecord | None = None
    counts: GalleryCounts | None = None
    appended: AppendedRows | None = None
    moved: MovedRows | None = None
    deleted_ordinals: npt.NDArray[np.int64] | None = None
    is_created: bool = False
    is_deleted: bool = False


@dataclass(slots=True)
class Changes:
    """What is written, deletes before puts.

    Attributes:
        puts: key and value by database.
        deletes: keys by database, with all their values.
        pair_deletes: single values of keys that can have several.
        gallery: the gallery that changes, if one does.
        journal: what the journal keeps; a command that advances the revision has at least one entry.
    """

    puts: dict[Database, list[tuple[bytes, bytes]]] = field(default_factory=lambda: defaultdict(list))
    deletes: dict[Database, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    pair_deletes: dict[Database, list[tuple[bytes, bytes]]] = field(default_factory=lambda: defaultdict(list))
    gallery: GalleryChange | None = None
    journal: list[JournalOperation] = field(default_factory=list)

    @property
    def key_count(self) -> int:
        """How many keys are put or deleted."""
        return sum(len(changed) for part in (self.puts, self.deletes, self.pair_deletes) for changed in part.values())

    @property
    def deleted_count(self) -> int:
        """How many faces are deleted."""
        deleted = None if self.gallery is None else self.gallery.deleted_ordinals
        return 0 if deleted is None else int(deleted.size)

    @property
    def writes(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.puts or self.deletes or self.pair_deletes)

    def relabels(self, new_identity_number: int) -> bool:
        """Whether an identity below `new_identity_number` gets other labels and stays."""
        database = Database.IDENTITY_LABEL_INDEX
        labelled = [key for key, _ in self.puts.get(database, ())] + self.deletes.get(database, [])
        numbers = set(decode_trailing_numbers(labelled).tolist())
        gone = self.removed_identity_numbers
        return any(number < new_identity_number for number in numbers.difference(gone))

    @property
    def removed_identity_numbers(self) -> list[int]:
        """Identities that are deleted."""
        return [decode_numbered(key)[1] for key in self.deletes.get(Database.IDENTITY_IDS, ())]

    @property
    def first_expiry_us(self) -> int | None:
        """The earliest time of expiry that is put; None when none is."""
        # Of one gallery the first key has the first time.
        first = min(self.puts.get(Database.EXPIRY, ()), default=None)
        return None if first is None else decode_expiry_time(first[0])

    def put(self, database: Database, key: bytes, value: bytes) -> None:
        """Put one record."""
        self.puts[database].append((key, value))

    def put_many(self, database: Database, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        """Put many records; there are as many keys as values."""
        self.puts[database].extend(zip(keys, values, strict=True))

    def delete(self, database: Database, key: bytes) -> None:
        """Delete one record with all its values."""
        self.deletes[database].append(key)

    def change(self, gallery_number: int) -> GalleryChange:
        """What the snapshot learns about the gallery; a command changes one gallery at most."""
        if self.gallery is None:
            self.gallery = GalleryChange(gallery_number)
        assert self.gallery.number == gallery_number
        return self.gallery

    def put_gallery(self, record: GalleryRecord, *, is_created: bool) -> None:
        """Put a gallery's record; a new one's name too."""
        key = encode_gallery(record.number)
        self.put(Database.GALLERIES, key, record.SerializeToString())
        if is_created:
            self.put(Database.GALLERY_NAMES, encode_name(record.name, "gallery name"), key)
        change = self.change(record.number)
        change.record = record
        change.is_created = is_created
        self.journal.append(JournalOperation(put_gallery=record))

    def put_counts(self, gallery_number: int, counts: GalleryCounts) -> None:
        """Put a gallery's counts."""
        self.put(Database.GALLERY_COUNTS, encode_gallery(gallery_number), counts.SerializeToString())
        self.change(gallery_number).counts = counts
