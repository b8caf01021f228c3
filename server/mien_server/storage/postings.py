"""Who carries which label, and when it was made: what filters are made of, for one gallery in one snapshot.

Everything can be read from a first number on, so that what was read in an older snapshot is only added to; LabelFacts
says when that may be done. What takes long comes in blocks, for a caller who may have gone away.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import FaceRecord, IdentityRecord
from mien_server.storage import keys
from mien_server.storage.databases import Database, corrupt
from mien_server.storage.gallery_state import LabelFacts
from mien_server.storage.reading import RecordReader
from mien_server.storage.values import decode_face, decode_face_headers, decode_message

__all__ = ["LabelBlock", "Postings", "Subject", "TimeBlock", "ValueKind"]

BLOCK_RECORDS = 65_536
"""Records read between two looks at the deadline."""

Numbers: TypeAlias = npt.NDArray[np.int64]
TimeBlock: TypeAlias = tuple[Numbers, npt.NDArray[np.int64]]
"""Numbers int64 [n] and their times of creation in microseconds, int64 [n]."""
LabelBlock: TypeAlias = tuple[Numbers, npt.NDArray[np.uint8], npt.NDArray[np.float64]]
"""Numbers int64 [n] that carry a label, the kind of each one's value, uint8 [n], and what it is as a number."""


class Subject(enum.Enum):
    """What a label is on. Its numbers are identity numbers, or ordinals of rows."""

    IDENTITY = Database.IDENTITY_LABEL_INDEX
    FACE = Database.FACE_LABEL_INDEX


class ValueKind(enum.IntEnum):
    """What a label's value can be compared with."""

    ABSENT = 0
    TEXT = 1
    NUMBER = 2


class Postings:
    """Reads of one gallery's labels, times and owners. Ends with its view.

    What has expired is among it until it is swept, so that what is found out holds at other times too: who answers
    from it leaves out rows that the view does not show.
    """

    __slots__ = ("_number", "_prefix", "_reading", "_records", "facts")

    def __init__(self, records: RecordReader, gallery_number: int, facts: LabelFacts) -> None:
        self._records = records
        self._reading = records.reading
        self._number = gallery_number
        self._prefix = keys.encode_gallery(gallery_number)
        self.facts = facts

    def extent(self, subject: Subject) -> int:
        """Every number of this subject is below this one."""
        return self.facts.row_count if subject is Subject.FACE else self.facts.next_identity_number

    def identity_numbers(self, identity_ids: Sequence[str]) -> Numbers:
        """Numbers of those of the identities that are there, int64 [n], ascending."""
        records = self._records.whole_identities(self._number, identity_ids).values()
        return np.unique(np.array([record.number for record in records], dtype=np.int64))

    def faces_of(self, identity_number: int, after_ordinal: int, limit: int) -> Numbers:
        """Up to `limit` ordinals of an identity's faces after `after_ordinal`, int64 [n], ascending."""
        return self._records.faces_of(self._number, identity_number, after_ordinal, limit)

    def labelled(self, subject: Subject, key: str, value: str, first: int = 0) -> Iterator[Numbers]:
        """Numbers from `first` on whose label has this value, ascending, in blocks int64 [n]."""
        prefix = keys.encode_label(self._number, key, value)
        start = prefix + keys.encode_number(first)
        for chunk in self._reading.chunks(subject.value, prefix, BLOCK_RECORDS, start):
            yield keys.decode_trailing_numbers([found for found, _ in chunk]).astype(np.int64)

    def labels(self, subject: Subject, key: str) -> Iterator[LabelBlock]:
        """Everybody who carries a label, by value."""
        kinds: dict[bytes, tuple[ValueKind, float]] = {}
        prefix = keys.encode_label_key(self._number, key)
        for chunk in self._reading.chunks(subject.value, prefix, BLOCK_RECORDS):
            found = [key for key, _ in chunk]
            values = [key[: -keys.NUMBER_BYTES] for key in found]
            for value in set(values) - kinds.keys():
                kinds[value] = _kind_of(_label_value(subject.value, value))
            pairs = [kinds[value] for value in values]
            numbers = keys.decode_trailing_numbers(found).astype(np.int64)
            yield numbers, *_columns(pairs)

    def labels_from(self, subject: Subject, key: str, first: int) -> Iterator[LabelBlock]:
        """As `labels`, of numbers from `first` on, from their own records: for a few new ones among many."""
        records = self._faces_from(first) if subject is Subject.FACE else self._identities_from(first)
        for numbers, found in records:
            values = [record.labels.get(key) for record in found]
            has_label = np.array([value is not None for value in values], dtype=np.bool_)
            yield numbers[has_label], *_columns([_kind_of(value) for value in values if value is not None])

    def times_from(self, subject: Subject, first: int) -> Iterator[TimeBlock]:
        """When those from `first` on were made: identities, or faces enrolled."""
        if subject is Subject.IDENTITY:
            for numbers, records in self._identities_from(first):
                yield numbers, np.array([record.create_time_us for record in records], dtype=np.int64)
            return
        start = keys.encode_numbered(self._number, first)
        for chunk in self._records.chunks(Database.FACES, self._prefix, BLOCK_RECORDS, start):
            found, values = zip(*chunk, strict=True)
            times = decode_face_headers(values, found)["create_time_us"].astype(np.int64)
            yield keys.decode_trailing_numbers(found).astype(np.int64), times

    def _identities_from(self, first: int) -> Iterator[tuple[Numbers, list[IdentityRecord]]]:
        """Identities by number."""
        start = keys.encode_numbered(self._number, first)
        for chunk in self._records.chunks(Database.IDENTITY_IDS, self._prefix, BLOCK_RECORDS, start):
            wanted = sorted(self._prefix + raw for _, raw in chunk)
            records = []
            for key, raw in self._identities(wanted):
                if raw is None:
                    raise corrupt(Database.IDENTITY_IDS, chunk[0][0], "this or a following number names no identity")
                records.append(decode_message(IdentityRecord, raw, Database.IDENTITIES, key))
            yield np.array([record.number for record in records], dtype=np.int64), records

    def _identities(self, wanted: list[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
        """Values of these keys; without those that are damaged, where the rest is served."""
        if not self._records.serves_damaged:
            yield from zip(wanted, self._reading.get_many(Database.IDENTITIES, wanted), strict=True)
            return
        for key in wanted:
            with suppress(CorruptStore):
                yield key, self._reading.get(Database.IDENTITIES, key)

    def _faces_from(self, first: int) -> Iterator[tuple[Numbers, list[FaceRecord]]]:
        """Records of faces, without what the header holds, by ordinal."""
        start = keys.encode_numbered(self._number, first)
        for chunk in self._records.chunks(Database.FACES, self._prefix, BLOCK_RECORDS, start):
            numbers = keys.decode_trailing_numbers([key for key, _ in chunk]).astype(np.int64)
            raw_records = [(key, decode_face(key, raw).record) for key, raw in chunk]
            yield numbers, [decode_message(FaceRecord, raw, Database.FACES, key) for key, raw in raw_records]


def _label_value(database: Database, prefix: bytes) -> str:
    try:
        return keys.decode_label(prefix)[2]
    except (ValueError, IndexError) as error:
        raise corrupt(database, prefix, f"no label: {error}") from error


def _kind_of(value: str) -> tuple[ValueKind, float]:
    try:
        return ValueKind.NUMBER, float(value)
    except ValueError:
        return ValueKind.TEXT, 0.0


def _columns(pairs: list[tuple[ValueKind, float]]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    kinds = np.array([kind for kind, _ in pairs], dtype=np.uint8)
    return kinds, np.array([number for _, number in pairs], dtype=np.float64)
