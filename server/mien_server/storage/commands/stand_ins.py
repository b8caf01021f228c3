"""What stands for a damaged record of an identity or a face while it is deleted: what its references say of it.

The record itself says nothing that could be trusted. Who refers to it is found by reading whole databases of its
gallery, with the writer held meanwhile: it is done where something damaged is deleted, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from google.protobuf.message import DecodeError

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import FaceRecord, IdentityRecord
from mien_server.storage import keys
from mien_server.storage.checksums import CHECKSUM_BYTES
from mien_server.storage.databases import Database
from mien_server.storage.reading import RecordReader
from mien_server.storage.values import FaceValue, decode_face, decode_message

__all__ = [
    "FaceStandIns",
    "IdentityStandIn",
    "Reference",
    "face_stand_ins",
    "id_of",
    "identity_stand_in",
    "ordinals_of",
]

_CHUNK = 4096
_NUMBER = slice(-keys.NUMBER_BYTES, None)

Reference: TypeAlias = tuple[Database, bytes]


@dataclass(frozen=True, slots=True)
class IdentityStandIn:
    """`record` has number, labels, time of expiry and count of faces; `references` go with it."""

    record: IdentityRecord
    references: list[Reference]


@dataclass(frozen=True, slots=True)
class FaceStandIns:
    """Faces in the order asked for, whole ones as they are; `references` go with the damaged ones, by ordinal."""

    faces: list[FaceValue]
    references: dict[int, list[Reference]] = field(default_factory=dict)


def identity_stand_in(records: RecordReader, gallery_number: int, identity_id: str) -> IdentityStandIn | None:
    """What can be said of an identity whose record is damaged; None when nothing whole says which number it has."""
    number = _number_of(records, gallery_number, identity_id)
    if number is None:
        return None
    record = IdentityRecord(number=number, face_count=len(records.faces_of(gallery_number, number)))
    references: list[Reference] = []
    wanted = {keys.encode_number(number)}
    for key in _keys_ending(records, Database.IDENTITY_LABEL_INDEX, gallery_number, wanted):
        references.append((Database.IDENTITY_LABEL_INDEX, key))
        _take_label(record.labels.__setitem__, key)
    for key in _expiries(records, gallery_number, keys.EXPIRY_IDENTITY, wanted):
        references.append((Database.EXPIRY, key))
        record.expire_time_us = keys.decode_expiry_time(key)
    return IdentityStandIn(record, references)


def id_of(records: RecordReader, gallery_number: int, identity_number: int) -> str | None:
    """The id of an identity that `identity_ids` does not tell, by its own record; None when none is whole."""
    for chunk in records.chunks(Database.IDENTITIES, keys.encode_gallery(gallery_number), _CHUNK):
        for key, raw in chunk:
            if decode_message(IdentityRecord, raw, Database.IDENTITIES, key).number == identity_number:
                return keys.decode_text(key)[1]
    return None


def ordinals_of(records: RecordReader, gallery_number: int, face_ids: Iterable[str]) -> dict[str, int]:
    """The ordinals of those of the faces that are there and whole, by their own records."""
    wanted = set(face_ids)
    found = {}
    for chunk in records.chunks(Database.FACES, keys.encode_gallery(gallery_number), _CHUNK):
        for key, raw in chunk:
            if (face_id := decode_face(key, raw).face_id) in wanted:
                found[face_id] = keys.decode_numbered(key)[1]
    return found


def face_stand_ins(records: RecordReader, gallery_number: int, ordinals: Sequence[int]) -> FaceStandIns:
    """The faces of these rows, and what can be said of those whose records are damaged.

    Raises:
        CorruptStore: ROW_NOT_RESOLVED, a row has no face.
    """
    with suppress(CorruptStore):
        return FaceStandIns(records.faces(gallery_number, ordinals))
    there: dict[int, FaceValue] = {}
    damaged: list[int] = []
    for ordinal in ordinals:
        key = keys.encode_numbered(gallery_number, ordinal)
        try:
            there[ordinal] = decode_face(key, records.face_values(gallery_number, [ordinal])[1][0])
        except CorruptStore:
            if records.reading.raw(Database.FACES, key) is None:
                raise
            damaged.append(ordinal)
    references = _stand_in(records, gallery_number, damaged, there)
    return FaceStandIns([there[ordinal] for ordinal in ordinals], references)


def _stand_in(
    records: RecordReader, gallery_number: int, damaged: Sequence[int], there: dict[int, FaceValue]
) -> dict[int, list[Reference]]:
    """Add the damaged faces to those that are there; answers with the keys that name them."""
    wanted = {keys.encode_number(ordinal) for ordinal in damaged}
    references: dict[int, list[Reference]] = {ordinal: [] for ordinal in damaged}
    face_ids = dict.fromkeys(damaged, "")
    owners = dict.fromkeys(damaged, 0)
    digests = dict.fromkeys(damaged, b"")
    face_records = {ordinal: FaceRecord() for ordinal in damaged}
    expire_times_us = dict.fromkeys(damaged, 0)
    prefix = keys.encode_gallery(gallery_number)
    for chunk in records.reading.raw_chunks(Database.FACE_IDS, prefix, _CHUNK):
        for key, raw in chunk:
            if raw[:-CHECKSUM_BYTES] in wanted:
                ordinal = keys.decode_number(raw[:-CHECKSUM_BYTES])
                references[ordinal].append((Database.FACE_IDS, key))
                with suppress(UnicodeDecodeError):
                    face_ids[ordinal] = keys.decode_text(key)[1]
    for key in _keys_ending(records, Database.IDENTITY_FACES, gallery_number, wanted):
        _, owner, ordinal = keys.decode_pair(key)
        references[ordinal].append((Database.IDENTITY_FACES, key))
        owners[ordinal] = owner
    for owner in set(owners.values()):
        for chunk in records.reading.raw_chunks(
            Database.FACE_DIGESTS, keys.encode_numbered(gallery_number, owner), _CHUNK
        ):
            for key, raw in chunk:
                if raw in wanted:
                    digests[keys.decode_number(raw)] = keys.decode_digest_key(key)[2]
    for key in _keys_ending(records, Database.FACE_LABEL_INDEX, gallery_number, wanted):
        ordinal = keys.decode_number(key[_NUMBER])
        references[ordinal].append((Database.FACE_LABEL_INDEX, key))
        _take_label(face_records[ordinal].labels.__setitem__, key)
    for key in _expiries(records, gallery_number, keys.EXPIRY_FACE, wanted):
        ordinal = keys.decode_number(key[_NUMBER])
        references[ordinal].append((Database.EXPIRY, key))
        expire_times_us[ordinal] = keys.decode_expiry_time(key)
    for ordinal in damaged:
        there[ordinal] = FaceValue(
            owners[ordinal],
            0,
            expire_times_us[ordinal],
            0,
            digests[ordinal],
            face_ids[ordinal],
            face_records[ordinal].SerializeToString(),
        )
    return references


def _number_of(records: RecordReader, gallery_number: int, identity_id: str) -> int | None:
    """The number that `identity_ids` has for an id: the one that is left in the damaged record, or looked for."""
    raw = records.reading.raw(Database.IDENTITIES, keys.encode_text(gallery_number, identity_id)) or b""
    with suppress(DecodeError, CorruptStore):
        left = IdentityRecord.FromString(raw[:-CHECKSUM_BYTES]).number
        if records.identity_ids(gallery_number, [left]) == [identity_id]:
            return left
    wanted = identity_id.encode()
    for chunk in records.chunks(Database.IDENTITY_IDS, keys.encode_gallery(gallery_number), _CHUNK):
        for key, found in chunk:
            if found == wanted:
                return keys.decode_numbered(key)[1]
    return None


def _keys_ending(
    records: RecordReader, database: Database, gallery_number: int, wanted: Iterable[bytes]
) -> Iterator[bytes]:
    """Keys of a gallery in a database of keys alone that end with one of these numbers."""
    numbers = frozenset(wanted)
    for chunk in records.reading.raw_chunks(database, keys.encode_gallery(gallery_number), _CHUNK):
        for key, _ in chunk:
            if key[_NUMBER] in numbers:
                yield key


def _expiries(records: RecordReader, gallery_number: int, kind: int, wanted: Iterable[bytes]) -> Iterator[bytes]:
    for key in _keys_ending(records, Database.EXPIRY, gallery_number, wanted):
        if keys.decode_expiries([key])["kind"][0] == kind:
            yield key


def _take_label(put: Callable[[str, str], None], key: bytes) -> None:
    with suppress(ValueError, IndexError):
        _, name, value = keys.decode_label(key[: -keys.NUMBER_BYTES])
        put(name, value)
