"""What follows from identities and faces: the records of the databases that only help to find them.

For checks and repair, one record at a time. Commands write the same by `commands/derived.py`, in columns; that the two
agree is what a check of any store tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from mien_server.records.store_pb2 import IdentityRecord
from mien_server.storage import keys
from mien_server.storage.databases import Database
from mien_server.storage.values import FaceValue

__all__ = ["DERIVED", "Pair", "pairs_of_face", "pairs_of_identity"]

Pair: TypeAlias = tuple[bytes, bytes]

DERIVED = (
    Database.IDENTITY_IDS,
    Database.IDENTITY_LABEL_INDEX,
    Database.FACE_IDS,
    Database.IDENTITY_FACES,
    Database.FACE_DIGESTS,
    Database.FACE_LABEL_INDEX,
    Database.EXPIRY,
)


def pairs_of_identity(gallery_number: int, identity_id: str, record: IdentityRecord) -> Iterator[tuple[Database, Pair]]:
    """Key and value of each record that follows from an identity."""
    number = record.number
    yield Database.IDENTITY_IDS, (keys.encode_numbered(gallery_number, number), identity_id.encode())
    for key, value in record.labels.items():
        yield Database.IDENTITY_LABEL_INDEX, (keys.encode_labelled(gallery_number, key, value, number), b"")
    if record.expire_time_us:
        expiry = keys.encode_expiry(gallery_number, record.expire_time_us, keys.EXPIRY_IDENTITY, number)
        yield Database.EXPIRY, (expiry, b"")


def pairs_of_face(
    gallery_number: int, ordinal: int, face: FaceValue, labels: Mapping[str, str]
) -> Iterator[tuple[Database, Pair]]:
    """Key and value of each record that follows from a face; `labels` are those of its record."""
    raw = keys.encode_number(ordinal)
    owner = face.identity_number
    yield Database.FACE_IDS, (keys.encode_text(gallery_number, face.face_id), raw)
    yield Database.IDENTITY_FACES, (keys.encode_pair(gallery_number, owner, ordinal), b"")
    yield Database.FACE_DIGESTS, (keys.encode_digest_key(gallery_number, owner, face.digest), raw)
    for key, value in labels.items():
        yield Database.FACE_LABEL_INDEX, (keys.encode_labelled(gallery_number, key, value, ordinal), b"")
    if face.expire_time_us:
        expiry = keys.encode_expiry(gallery_number, face.expire_time_us, keys.EXPIRY_FACE, ordinal)
        yield Database.EXPIRY, (expiry, b"")
