"""What an enrolment writes for the rows that are added. Every line here runs once a row: keep it in C."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from mien_server.errors import LimitExceeded
from mien_server.records.faces import Float32Array
from mien_server.records.policies import VectorType
from mien_server.records.store_pb2 import EnrolledRows, GalleryCounts, GalleryRecord, IdentityRecord, JournalOperation
from mien_server.storage import keys
from mien_server.storage.changes import AppendedRows, Changes
from mien_server.storage.checksums import row_checksums
from mien_server.storage.commands.derived import (
    put_face_expiries,
    put_face_labels,
    put_faces,
    put_identity_ids,
    put_identity_labels,
)
from mien_server.storage.commands.enrolment_choice import RowChoice
from mien_server.storage.commands.enrolment_columns import EnrolmentColumns, IdentitySeed
from mien_server.storage.databases import Database
from mien_server.storage.values import encode_face_header
from mien_server.storage.vector_file import vector_dtype

__all__ = ["EnrolmentChanges"]

T = TypeVar("T")

_IDENTITY_NUMBER_MAX = int(np.iinfo(np.uint32).max)
_NO_SEED = IdentitySeed()
_NEVER = (0,)


class EnrolmentChanges:
    """Makes the changes of one enrolment.

    Args:
        counts: of the gallery as it is; changed in place.
        revision: the identities made get it as their version.

    Attributes:
        changes: what is written, once `add` was called.
        new_identity_ids: ids of the identities that are made, in the order of rows.
    """

    def __init__(self, gallery: GalleryRecord, counts: GalleryCounts, create_time_us: int, revision: int) -> None:
        self._number = gallery.number
        self._dtype = vector_dtype(VectorType(gallery.vector_type))
        self._counts = counts
        self._create_time_us = create_time_us
        self._revision = revision
        self._tails: dict[tuple[str, int], bytes] = {}
        self.changes = Changes()
        self.new_identity_ids: list[str] = []
        self._new_identity_records: list[bytes] = []

    def add(self, columns: EnrolmentColumns, choice: RowChoice, seeds: Mapping[str, IdentitySeed]) -> None:
        """Add the rows of the choice.

        Raises:
            LimitExceeded: the gallery has no identity numbers left; a label is too long.
        """
        rows = choice.rows
        is_whole = len(rows) == len(columns.identity_ids)
        identity_ids = _taken(columns.identity_ids, rows, is_whole=is_whole)
        numbers_by_id = self._identities(Counter(identity_ids), choice.identities, seeds)
        numbers = [numbers_by_id[identity_id] for identity_id in identity_ids]
        face_ids = _taken(columns.face_ids, rows, is_whole=is_whole)
        first = self._counts.row_count
        vectors = columns.vectors if is_whole else columns.vectors[list(rows)]
        expire_times_us = _taken(columns.expire_times_us or _NEVER * len(columns.face_ids), rows, is_whole=is_whole)
        face_values = self._faces(
            first,
            numbers,
            face_ids,
            vectors,
            expire_times_us,
            _taken(columns.digests, rows, is_whole=is_whole),
            _taken(columns.records, rows, is_whole=is_whole),
        )
        if columns.face_labels:
            self._face_labels(columns, rows, first)
        if columns.expire_times_us:
            put_face_expiries(self.changes, self._number, first, expire_times_us)
        self._counts.row_count += len(rows)
        self._counts.face_count += len(rows)
        self.changes.put_counts(self._number, self._counts)
        appended = AppendedRows(first, vectors, np.array(numbers, dtype=np.uint32))
        self.changes.change(self._number).appended = appended
        entry = EnrolledRows(
            gallery_number=self._number,
            first_ordinal=first,
            first_new_identity_number=self._counts.next_identity_number - len(self.new_identity_ids),
            face_values=face_values,
            new_identity_ids=self.new_identity_ids,
            new_identity_records=self._new_identity_records,
        )
        self.changes.journal.append(JournalOperation(enroll=entry))

    def _identities(
        self, face_counts: Counter[str], existing: dict[str, IdentityRecord], seeds: Mapping[str, IdentitySeed]
    ) -> dict[str, int]:
        """Put the identities, made where missing; answers with their numbers by id."""
        first_number = self._counts.next_identity_number
        next_number = first_number
        puts = self.changes.puts[Database.IDENTITIES]
        prefix = keys.encode_gallery(self._number)
        numbers: dict[str, int] = {}
        for identity_id, face_count in face_counts.items():
            record = existing.get(identity_id)
            if record is None:
                numbers[identity_id] = next_number
                seed = seeds.get(identity_id, _NO_SEED)
                value = IdentityRecord(number=next_number).SerializeToString() + self._tail(seed, face_count)
                put_identity_labels(self.changes, self._number, next_number, seed.labels)
                self.new_identity_ids.append(identity_id)
                self._new_identity_records.append(value)
                next_number += 1
            else:
                numbers[identity_id] = record.number
                record.face_count += face_count
                value = record.SerializeToString()
            puts.append((prefix + identity_id.encode(), value))
        if next_number > _IDENTITY_NUMBER_MAX:
            raise LimitExceeded(
                f"the gallery has given out all {_IDENTITY_NUMBER_MAX} identity numbers; make a new one"
            )
        self._counts.next_identity_number = next_number
        self._counts.identity_count += next_number - first_number
        put_identity_ids(self.changes, self._number, first_number, self.new_identity_ids)
        return numbers

    def _tail(self, seed: IdentitySeed, face_count: int) -> bytes:
        """A new identity's record but for its number: messages one after the other are read as one."""
        tail = None if seed.labels else self._tails.get((seed.display_name, face_count))
        if tail is None:
            tail = IdentityRecord(
                display_name=seed.display_name,
                labels=seed.labels,
                face_count=face_count,
                create_time_us=self._create_time_us,
                update_time_us=self._create_time_us,
                version=self._revision,
            ).SerializeToString()
            if not seed.labels and not seed.display_name:
                self._tails["", face_count] = tail
        return tail

    def _faces(
        self,
        first_ordinal: int,
        numbers: list[int],
        face_ids: Sequence[str],
        vectors: Float32Array,
        expire_times_us: Sequence[int],
        digests: Sequence[bytes],
        records: Sequence[bytes],
    ) -> list[bytes]:
        """Put the faces; answers with their values."""
        time_us, header = self._create_time_us, encode_face_header
        checksums = row_checksums(vectors.astype(self._dtype, copy=False)).tolist()
        raw_ids = [face_id.encode() for face_id in face_ids]
        columns = zip(numbers, expire_times_us, checksums, digests, raw_ids, records, strict=True)
        values = [
            header(number, time_us, expires_us, checksum, digest, len(raw)) + raw + record
            for number, expires_us, checksum, digest, raw, record in columns
        ]
        put_faces(self.changes, self._number, first_ordinal, numbers, raw_ids, digests, values)
        return values

    def _face_labels(self, columns: EnrolmentColumns, rows: Sequence[int], first_ordinal: int) -> None:
        for ordinal, row in enumerate(rows, first_ordinal):
            put_face_labels(self.changes, self._number, ordinal, columns.face_labels.get(row, {}))


def _taken(column: Sequence[T], rows: Sequence[int], *, is_whole: bool) -> Sequence[T]:
    return column if is_whole else [column[row] for row in rows]
