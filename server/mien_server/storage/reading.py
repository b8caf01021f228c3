"""Records by what they are called: every read of LMDB that a command or a view makes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt

from mien_server.errors import CorruptStore, NotFound
from mien_server.records.store_pb2 import (
    ErasureRecord,
    GalleryCounts,
    GalleryRecord,
    HeldSnapshotRecord,
    IdentityRecord,
    JournalEntry,
    OperationRecord,
    RequestRecord,
    SnapshotRecord,
)
from mien_server.storage import keys
from mien_server.storage.databases import Database, Reading, corrupt
from mien_server.storage.values import FaceValue, decode_face, decode_message, decode_messages

__all__ = ["People", "RecordReader", "gallery_not_found"]

# Read at once where damaged records are passed over: about a page of a list.
_WHOLE_ITEMS = 128
_LAST_ASKED_FROM = 4
"""Face ids looked up, from which on it pays to ask for the last one first: that takes as long as two of them."""


def _number(database: Database, key: bytes, raw: bytes) -> int:
    try:
        return keys.decode_number(raw)
    except struct.error as error:
        raise corrupt(database, key, f"no number of eight bytes: {error}") from error


def _text(database: Database, key: bytes, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise corrupt(database, key, f"no UTF-8: {error}") from error


def _are_all_there(values: list[bytes | None]) -> TypeGuard[list[bytes]]:
    return None not in values


def _pass_over(_damage: CorruptStore) -> None:
    """It is listed already."""


def gallery_not_found(name: str) -> NotFound:
    """The error for a gallery that is not there."""
    return NotFound(
        f"there is no gallery {name!r}; create it, or check the name",
        reason="GALLERY_NOT_FOUND",
        metadata={"gallery": name},
    )


class People(NamedTuple):
    """Identities in columns: the id of each, its record, and how many bytes that takes.

    A tuple because it is made for every answer, in a fraction of a frozen dataclass's time.
    """

    identity_ids: list[str]
    records: list[IdentityRecord]
    record_bytes: list[int]


class RecordReader:
    """Typed reads of one transaction. Whatever does not decode raises CorruptStore.

    Attributes:
        serves_damaged: lists, filters and writes of many leave out what is damaged and go on with the rest; what was
            asked for by itself is refused all the same.
    """

    __slots__ = ("reading", "serves_damaged")

    def __init__(self, reading: Reading, *, serves_damaged: bool = False) -> None:
        self.reading = reading
        self.serves_damaged = serves_damaged

    def gallery_number(self, name: str) -> int | None:
        """The number of the gallery of that name."""
        raw = self.reading.get(Database.GALLERY_NAMES, keys.encode_name(name, "gallery name"))
        return None if raw is None else keys.decode_gallery(raw)

    def gallery(self, name: str) -> GalleryRecord:
        """The gallery of that name. Raises NotFound (GALLERY_NOT_FOUND)."""
        number = self.gallery_number(name)
        if number is None:
            raise gallery_not_found(name)
        record = self.gallery_by_number(number)
        if record is None:
            raise corrupt(Database.GALLERIES, keys.encode_gallery(number), f"the gallery {name!r} has no record")
        return record

    def gallery_by_number(self, number: int) -> GalleryRecord | None:
        """The gallery of that number."""
        key = keys.encode_gallery(number)
        raw = self.reading.get(Database.GALLERIES, key)
        return None if raw is None else decode_message(GalleryRecord, raw, Database.GALLERIES, key)

    def galleries(self) -> list[GalleryRecord]:
        """Every gallery, by number."""
        return [
            decode_message(GalleryRecord, raw, Database.GALLERIES, key)
            for key, raw in self.reading.items(Database.GALLERIES, b"")
        ]

    def gallery_count(self) -> int:
        """How many galleries there are."""
        return sum(1 for _ in self.reading.keys(Database.GALLERIES, b""))

    def counts(self, gallery_number: int) -> GalleryCounts:
        """The counts of a gallery that is there."""
        key = keys.encode_gallery(gallery_number)
        raw = self.reading.get(Database.GALLERY_COUNTS, key)
        if raw is None:
            raise corrupt(Database.GALLERY_COUNTS, key, "the gallery has no counts")
        return decode_message(GalleryCounts, raw, Database.GALLERY_COUNTS, key)

    def identity(self, gallery_number: int, identity_id: str) -> IdentityRecord | None:
        """The identity of that id. Raises CorruptStore, with what to do about it where the rest is served."""
        try:
            return self.identities_by_id(gallery_number, [identity_id]).get(identity_id)
        except CorruptStore as error:
            if not self.serves_damaged:
                raise
            key = keys.encode_text(gallery_number, identity_id).hex()
            raise CorruptStore(
                f"identity {identity_id!r}: its record is damaged (meta/: database identities, key {key}), it is "
                "left out of lists and searches; delete it and enrol it anew, or restore the store from a copy",
                reason=error.reason,
                metadata={**error.metadata, "identity_id": identity_id},
            ) from error

    def identities_by_id(self, gallery_number: int, identity_ids: Iterable[str]) -> dict[str, IdentityRecord]:
        """Those of the identities that are there. Ids that can be none (too long) are not there."""
        wanted = {
            keys.encode_text(gallery_number, identity_id): identity_id
            for identity_id in identity_ids
            if len(identity_id) <= keys.IDENTITY_ID_BYTES_MAX
        }
        longest = keys.GALLERY_BYTES + keys.IDENTITY_ID_BYTES_MAX
        there = self._there(Database.IDENTITIES, sorted(key for key in wanted if len(key) <= longest))
        return {wanted[key]: decode_message(IdentityRecord, raw, Database.IDENTITIES, key) for key, raw in there}

    def whole_identities(self, gallery_number: int, identity_ids: Iterable[str]) -> dict[str, IdentityRecord]:
        """As `identities_by_id`, without those that are damaged, where the rest is served."""
        wanted = list(identity_ids)
        if not self.serves_damaged:
            return self.identities_by_id(gallery_number, wanted)
        found = {}
        for identity_id in wanted:
            with suppress(CorruptStore):
                found.update(self.identities_by_id(gallery_number, [identity_id]))
        return found

    def identities_after(
        self, gallery_number: int, after_id: str, limit: int | None
    ) -> list[tuple[str, IdentityRecord]]:
        """Identities whose ids come after `after_id` in byte order, with their ids; without those that are damaged,
        where the rest is served.
        """
        prefix = keys.encode_gallery(gallery_number)
        # A zero byte appended makes the smallest key after that of `after_id`; LMDB takes no key beyond its limit.
        start = keys.encode_text(gallery_number, after_id)[: keys.GALLERY_BYTES + keys.IDENTITY_ID_BYTES_MAX]
        start = start + b"\0" if after_id else b""
        items = (
            self._whole_identity_items(prefix, start)
            if self.serves_damaged
            else self.reading.items(Database.IDENTITIES, prefix, start)
        )
        return [
            (
                _text(Database.IDENTITIES, key, key[keys.GALLERY_BYTES :]),
                decode_message(IdentityRecord, raw, Database.IDENTITIES, key),
            )
            for key, raw in islice(items, limit)
        ]

    def _whole_identity_items(self, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        for chunk in self.reading.whole_chunks(Database.IDENTITIES, prefix, _WHOLE_ITEMS, _pass_over, start):
            yield from chunk

    def chunks(
        self, database: Database, prefix: bytes, size: int, start: bytes = b""
    ) -> Iterator[list[tuple[bytes, bytes]]]:
        """As `Reading.chunks`, without the records that are damaged, where the rest is served."""
        if self.serves_damaged:
            return filter(None, self.reading.whole_chunks(database, prefix, size, _pass_over, start))
        return self.reading.chunks(database, prefix, size, start)

    def identity_ids(self, gallery_number: int, numbers: Sequence[int]) -> list[str]:
        """The id of each identity number, repeated ones allowed.

        Raises:
            CorruptStore: IDENTITY_NOT_RESOLVED, there is none of that number.
        """
        distinct = sorted(set(numbers))
        ids = self._decoded_ids(gallery_number, distinct, self._raw_ids(gallery_number, distinct))
        if len(distinct) == len(numbers) and distinct == list(numbers):
            return ids
        by_number = dict(zip(distinct, ids, strict=True))
        return list(map(by_number.__getitem__, numbers))

    def people(self, gallery_number: int, numbers: Sequence[int]) -> People:
        """The identities of these numbers, in the order given; none repeated.

        Raises:
            CorruptStore: IDENTITY_NOT_RESOLVED, there is none of that number; ROW_NOT_RESOLVED, it has no record.
        """
        raw_ids = self._raw_ids(gallery_number, numbers)
        ids = self._decoded_ids(gallery_number, numbers, raw_ids)
        prefix = keys.encode_gallery(gallery_number)
        wanted = [prefix + raw_id for raw_id in raw_ids]
        values = self.reading.get_many(Database.IDENTITIES, wanted)
        if not _are_all_there(values):
            missing = values.index(None)
            what = f"the identity {ids[missing]!r} has faces but no record"
            raise corrupt(Database.IDENTITIES, wanted[missing], what, "ROW_NOT_RESOLVED")
        return People(ids, decode_messages(IdentityRecord, values, Database.IDENTITIES, wanted), list(map(len, values)))

    def _raw_ids(self, gallery_number: int, numbers: Sequence[int]) -> list[bytes]:
        wanted = keys.encode_numbered_many(gallery_number, numbers)
        found = self.reading.get_many(Database.IDENTITY_IDS, wanted)
        if not _are_all_there(found):
            missing = wanted[found.index(None)]
            raise corrupt(
                Database.IDENTITY_IDS, missing, "faces name an identity that has no id", "IDENTITY_NOT_RESOLVED"
            )
        return found

    def _decoded_ids(self, gallery_number: int, numbers: Sequence[int], raw_ids: list[bytes]) -> list[str]:
        try:
            return [raw.decode() for raw in raw_ids]
        except UnicodeDecodeError as error:
            key = keys.encode_numbered(gallery_number, numbers[0])
            raise corrupt(Database.IDENTITY_IDS, key, f"this or a following id is no UTF-8: {error}") from error

    def _there(self, database: Database, wanted: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Key and value of each of the keys that is there, in the order given."""
        found = self.reading.get_many(database, wanted)
        return [(key, raw) for key, raw in zip(wanted, found, strict=True) if raw is not None]

    def face_ordinals(self, gallery_number: int, face_ids: Iterable[str]) -> dict[str, int]:
        """The ordinals of those of the faces that are there."""
        longest = keys.GALLERY_BYTES + keys.FACE_ID_BYTES_MAX
        wanted = {keys.encode_text(gallery_number, face_id): face_id for face_id in face_ids}
        last = self._last_face_id(gallery_number) if len(wanted) >= _LAST_ASKED_FROM else None
        likely = (key for key in wanted if len(key) <= longest and (last is None or key <= last))
        there = self._there(Database.FACE_IDS, sorted(likely))
        return {wanted[key]: _number(Database.FACE_IDS, key, raw) for key, raw in there}

    def _last_face_id(self, gallery_number: int) -> bytes | None:
        """The last key of `face_ids`: ids that ascend with time, as those do that the server makes, come after it. None
        where there is none, or it is damaged and may stand for another.
        """
        last = self.reading.last_key(Database.FACE_IDS, keys.encode_gallery(gallery_number))
        with suppress(CorruptStore):
            return last if last is not None and self.reading.get(Database.FACE_IDS, last) is not None else None
        return None

    def whole_face_ordinals(self, gallery_number: int, face_ids: Iterable[str]) -> dict[str, int]:
        """As `face_ordinals`, without those whose record is damaged, where the rest is served."""
        wanted = list(face_ids)
        if not self.serves_damaged:
            return self.face_ordinals(gallery_number, wanted)
        found = {}
        for face_id in wanted:
            with suppress(CorruptStore):
                found.update(self.face_ordinals(gallery_number, [face_id]))
        return found

    def face_values(self, gallery_number: int, ordinals: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
        """Keys and values of `faces` of these rows, in the order given, repeated ones allowed.

        Raises:
            CorruptStore: ROW_NOT_RESOLVED, a row has no face.
        """
        wanted = keys.encode_numbered_many(gallery_number, ordinals)
        found = self.reading.get_many(Database.FACES, wanted)
        if not _are_all_there(found):
            missing = wanted[found.index(None)]
            raise corrupt(
                Database.FACES, missing, f"row {keys.decode_numbered(missing)[1]} has no face", "ROW_NOT_RESOLVED"
            )
        return wanted, found

    def faces(self, gallery_number: int, ordinals: Sequence[int]) -> list[FaceValue]:
        """The faces of these rows. Raises CorruptStore (ROW_NOT_RESOLVED)."""
        face_keys, values = self.face_values(gallery_number, ordinals)
        return [decode_face(key, raw) for key, raw in zip(face_keys, values, strict=True)]

    def faces_of(
        self, gallery_number: int, identity_number: int, after_ordinal: int = -1, limit: int | None = None
    ) -> npt.NDArray[np.int64]:
        """Ordinals of an identity's faces, ascending, int64 [n]."""
        prefix = keys.encode_numbered(gallery_number, identity_number)
        start = keys.encode_pair(gallery_number, identity_number, after_ordinal + 1)
        found = islice(self.reading.keys(Database.IDENTITY_FACES, prefix, start), limit)
        return keys.decode_trailing_numbers(found).astype(np.int64)

    def digest_ordinals(self, digest_keys: Iterable[bytes]) -> dict[bytes, int]:
        """The first ordinal of each key of `face_digests` that is there."""
        there = self._there(Database.FACE_DIGESTS, sorted(set(digest_keys)))
        return {key: _number(Database.FACE_DIGESTS, key, raw) for key, raw in there}

    def request(self, request_id: str) -> RequestRecord | None:
        """What a request id was answered with."""
        key = keys.encode_name(request_id, "request id", keys.REQUEST_ID_BYTES_MAX)
        raw = self.reading.get(Database.REQUESTS, key)
        return None if raw is None else decode_message(RequestRecord, raw, Database.REQUESTS, key)

    def operation(self, name: str) -> OperationRecord | None:
        """The long-running operation of that name."""
        key = keys.encode_name(name, "operation name")
        raw = self.reading.get(Database.OPERATIONS, key)
        return None if raw is None else decode_message(OperationRecord, raw, Database.OPERATIONS, key)

    def operations(self) -> list[OperationRecord]:
        """Every long-running operation, in the order of names."""
        return [
            decode_message(OperationRecord, raw, Database.OPERATIONS, key)
            for key, raw in self.reading.items(Database.OPERATIONS, b"")
        ]

    def snapshots(self) -> list[SnapshotRecord]:
        """Every snapshot remembered, in the order of names."""
        return [
            decode_message(SnapshotRecord, raw, Database.SNAPSHOTS, key)
            for key, raw in self.reading.items(Database.SNAPSHOTS, b"")
        ]

    def erasure(self, name: str) -> ErasureRecord | None:
        """The erasure of that name."""
        key = keys.encode_name(name, "erasure name")
        raw = self.reading.get(Database.ERASURES, key)
        return None if raw is None else decode_message(ErasureRecord, raw, Database.ERASURES, key)

    def erasures_before(self, name: str) -> Iterator[ErasureRecord]:
        """Erasures whose names come before this one, descending; all where it is empty. To be consumed at once."""
        for key, raw in self.reading.items_before(Database.ERASURES, name.encode()):
            yield decode_message(ErasureRecord, raw, Database.ERASURES, key)

    def erasure_secret(self) -> bytes | None:
        """The store's key for hashes and seals of receipts; None before the first erasure."""
        return self.reading.get(Database.META, keys.META_ERASURE_SECRET)

    def snapshots_until(self, revision: int) -> list[HeldSnapshotRecord]:
        """The snapshots that were taken of this revision and of older ones."""
        taken = [one for one in self.snapshots() if one.revision <= revision]
        return [HeldSnapshotRecord(name=one.name, revision=one.revision) for one in taken]

    def next_gallery_number(self) -> int:
        """The number of the next gallery made; 1 in a new store."""
        raw = self.reading.get(Database.META, keys.META_NEXT_GALLERY_NUMBER)
        return 1 if raw is None else _number(Database.META, keys.META_NEXT_GALLERY_NUMBER, raw)

    def revision(self) -> int:
        """The revision this transaction sees; 0 in a new store."""
        raw = self.reading.get(Database.META, keys.META_REVISION)
        return 0 if raw is None else _number(Database.META, keys.META_REVISION, raw)

    def latest_time_us(self) -> int:
        """The time of the last commit that advanced the revision, microseconds since 1970 UTC; 0 in a new store."""
        raw = self.reading.get(Database.META, keys.META_TIME)
        return 0 if raw is None else _number(Database.META, keys.META_TIME, raw)

    def journal_bytes(self) -> int:
        """Bytes that the entries of the journal take; 0 in a new store."""
        raw = self.reading.get(Database.META, keys.META_JOURNAL_BYTES)
        return 0 if raw is None else _number(Database.META, keys.META_JOURNAL_BYTES, raw)

    def journal(self, first_revision: int) -> Iterator[JournalEntry]:
        """The entries from that revision on, ascending. To be consumed at once."""
        start = keys.encode_number(first_revision)
        for key, raw in self.reading.items(Database.JOURNAL, b"", start):
            yield decode_message(JournalEntry, raw, Database.JOURNAL, key)

    def store_id(self) -> str | None:
        """The store id in LMDB; None when the store was never finished being made."""
        raw = self.reading.get(Database.META, keys.META_STORE_ID)
        return None if raw is None else _text(Database.META, keys.META_STORE_ID, raw)
