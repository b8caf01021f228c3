"""The values of LMDB: the fixed header before a face's record, and protobuf messages, decoded or refused.

A value of `faces` is: identity number u64, times of enrolment and of expiry i64 (microseconds since 1970 UTC; an expiry
of 0: never), checksum of the vector u64, digest 16 bytes, length of the face id u16, all little-endian; the face id; a
FaceRecord. What is fixed stands before what is not, so that the headers of a million rows are read as one array.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError, Message

from mien_server.records.store_pb2 import FaceRecord
from mien_server.storage.databases import Database, corrupt
from mien_server.storage.keys import DIGEST_BYTES

__all__ = [
    "FACE_HEADER_DTYPE",
    "FaceValue",
    "decode_face",
    "decode_face_headers",
    "decode_face_ids",
    "decode_message",
    "decode_messages",
    "encode_face",
    "encode_face_header",
]

M = TypeVar("M", bound=Message)

_face_header = struct.Struct(f"<QqqQ{DIGEST_BYTES}sH")
encode_face_header: Callable[[int, int, int, int, bytes, int], bytes] = _face_header.pack
"""Header of: identity number, times in microseconds, checksum of the vector, digest, length of the face id."""

FACE_HEADER_DTYPE = np.dtype(
    [
        ("identity_number", "<u8"),
        ("create_time_us", "<i8"),
        ("expire_time_us", "<i8"),
        ("vector_checksum", "<u8"),
        ("digest", f"V{DIGEST_BYTES}"),
        ("face_id_length", "<u2"),
    ]
)
assert FACE_HEADER_DTYPE.itemsize == _face_header.size


def decode_message(message_type: type[M], raw: bytes, database: Database, key: bytes) -> M:
    """The message in `raw`.

    Raises:
        CorruptStore: these bytes are no such message.
    """
    message = message_type()
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise corrupt(database, key, f"no {message_type.__name__}: {error}") from error
    return message


def decode_messages(
    message_type: type[M], values: Sequence[bytes], database: Database, keys: Sequence[bytes]
) -> list[M]:
    """`decode_message` of many values.

    Raises:
        CorruptStore: some bytes are no such message.
    """
    try:
        return list(map(message_type.FromString, values))
    except DecodeError:
        return [decode_message(message_type, raw, database, key) for raw, key in zip(values, keys, strict=True)]


@dataclass(frozen=True, slots=True)
class FaceValue:
    """A value of `faces`, taken apart; `record` is still serialised.

    Attributes:
        expire_time_us: 0: never.
        vector_checksum: of the row's vector as stored.
    """

    identity_number: int
    create_time_us: int
    expire_time_us: int
    vector_checksum: int
    digest: bytes
    face_id: str
    record: bytes

    def message(self, key: bytes) -> FaceRecord:
        """The record with digest and times filled in from the header.

        Raises:
            CorruptStore: the record does not decode.
        """
        record = decode_message(FaceRecord, self.record, Database.FACES, key)
        record.digest = self.digest
        record.create_time_us = self.create_time_us
        record.expire_time_us = self.expire_time_us
        return record


def encode_face(face: FaceValue) -> bytes:
    """Inverse of `decode_face`."""
    face_id = face.face_id.encode()
    header = encode_face_header(
        face.identity_number,
        face.create_time_us,
        face.expire_time_us,
        face.vector_checksum,
        face.digest,
        len(face_id),
    )
    return header + face_id + face.record


def decode_face(key: bytes, raw: bytes) -> FaceValue:
    """A value of `faces`.

    Raises:
        CorruptStore: these bytes are no such value.
    """
    try:
        number, created_us, expires_us, checksum, digest, length = _face_header.unpack_from(raw)
        end = _face_header.size + length
        if end > len(raw):
            raise corrupt(Database.FACES, key, "the value ends within the face id")
        face_id = raw[_face_header.size : end].decode()
        return FaceValue(number, created_us, expires_us, checksum, digest, face_id, raw[end:])
    except (struct.error, UnicodeDecodeError) as error:
        raise corrupt(Database.FACES, key, f"no face: {error}") from error


def decode_face_headers(values: Sequence[bytes], keys: Sequence[bytes]) -> npt.NDArray[np.void]:
    """The headers of n values of `faces`, as a structured array [n] of FACE_HEADER_DTYPE.

    Raises:
        CorruptStore: a value is shorter than its header.
    """
    size = _face_header.size
    raw = b"".join([value[:size] for value in values])
    if len(raw) != size * len(values):
        short = next(index for index, value in enumerate(values) if len(value) < size)
        raise corrupt(Database.FACES, keys[short], "the value is shorter than a face's header")
    return np.frombuffer(raw, dtype=FACE_HEADER_DTYPE)


def decode_face_ids(values: Iterable[bytes], lengths: Iterable[int], keys: Sequence[bytes]) -> list[str]:
    """The face ids of values whose headers were decoded.

    Raises:
        CorruptStore: a face id is no UTF-8.
    """
    size = _face_header.size
    try:
        return [value[size : size + length].decode() for value, length in zip(values, lengths, strict=True)]
    except UnicodeDecodeError as error:
        raise corrupt(Database.FACES, keys[0], f"a face id of this or a following row is no UTF-8: {error}") from error
