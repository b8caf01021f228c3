"""Every key of LMDB, encoded and decoded: the one place that knows their bytes.

Numbers are big-endian, so that the order of the keys is the order of the numbers. Everything of a gallery starts
with its number, so that a gallery is one run of keys in each database.

    galleries             gallery u32
    gallery_names         name
    gallery_counts        gallery u32
    identities            gallery u32, identity id
    identity_ids          gallery u32, identity number u64
    faces                 gallery u32, ordinal u64
    face_ids              gallery u32, face id
    identity_faces        gallery u32, identity number u64, ordinal u64
    face_digests          gallery u32, identity number u64, digest 16 bytes    (value, several: ordinal u64)
    identity_label_index  gallery u32, label, identity number u64
    face_label_index      gallery u32, label, ordinal u64
    expiry                gallery u32, time in microseconds u64, kind u8, ordinal or identity number u64
    journal               revision u64
    requests              request id
    request_times         time in microseconds u64, request id
    operations            name
    snapshots             name
    erasures              name

A label is: length of its key u8, key, length of its value u16, value. A kind is EXPIRY_FACE or EXPIRY_IDENTITY. The
longest key of all takes 4 + 1 + 63 + 2 + 256 + 8 = 334 of the 511 bytes that LMDB allows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import repeat

import numpy as np
import numpy.typing as npt

from mien_server.errors import InvalidArgument, LimitExceeded

__all__ = [
    "DIGEST_BYTES",
    "EXPIRY_FACE",
    "EXPIRY_IDENTITY",
    "FACE_ID_BYTES_MAX",
    "GALLERY_BYTES",
    "IDENTITY_ID_BYTES_MAX",
    "LABEL_KEY_BYTES_MAX",
    "LABEL_VALUE_BYTES_MAX",
    "META_ERASURE_SECRET",
    "META_FORMAT_VERSION",
    "META_JOURNAL_BYTES",
    "META_NEXT_GALLERY_NUMBER",
    "META_PURGE_PREFIX",
    "META_REVISION",
    "META_STORE_ID",
    "META_TIME",
    "NAME_BYTES_MAX",
    "NUMBER_BYTES",
    "REQUEST_ID_BYTES_MAX",
    "decode_digest_key",
    "decode_expiries",
    "decode_expiry_time",
    "decode_gallery",
    "decode_label",
    "decode_name",
    "decode_number",
    "decode_numbered",
    "decode_pair",
    "decode_purge",
    "decode_request_time",
    "decode_text",
    "decode_trailing_numbers",
    "encode_digest_key",
    "encode_expiry",
    "encode_expiry_many",
    "encode_expiry_time",
    "encode_gallery",
    "encode_label",
    "encode_label_key",
    "encode_labelled",
    "encode_name",
    "encode_number",
    "encode_numbered",
    "encode_numbered_many",
    "encode_pair",
    "encode_pair_many",
    "encode_purge",
    "encode_request_time",
    "encode_text",
]

IDENTITY_ID_BYTES_MAX = 256
FACE_ID_BYTES_MAX = 64
REQUEST_ID_BYTES_MAX = 128
NAME_BYTES_MAX = 128
LABEL_KEY_BYTES_MAX = 63
LABEL_VALUE_BYTES_MAX = 256
DIGEST_BYTES = 16
GALLERY_BYTES = 4
NUMBER_BYTES = 8

EXPIRY_FACE = 1
EXPIRY_IDENTITY = 2

META_REVISION = b"revision"
META_STORE_ID = b"store_id"
META_FORMAT_VERSION = b"format_version"
META_ERASURE_SECRET = b"erasure_secret"
META_JOURNAL_BYTES = b"journal_bytes"
META_NEXT_GALLERY_NUMBER = b"next_gallery_number"
META_TIME = b"time"
META_PURGE_PREFIX = b"purge:"

_gallery = struct.Struct(">I")
_number = struct.Struct(">Q")
_numbered = struct.Struct(">IQ")
_pair = struct.Struct(">IQQ")
_digest_key = struct.Struct(f">IQ{DIGEST_BYTES}s")
_expiry = struct.Struct(">IQBQ")
_EXPIRY_DTYPE = np.dtype([("gallery", ">u4"), ("time_us", ">u8"), ("kind", "u1"), ("number", ">u8")])
assert _EXPIRY_DTYPE.itemsize == _expiry.size


def encode_gallery(gallery_number: int) -> bytes:
    """Key of `galleries` and `gallery_counts`, and the prefix of everything else of a gallery."""
    return _gallery.pack(gallery_number)


def decode_gallery(key: bytes) -> int:
    """The gallery number that a key starts with."""
    return int(_gallery.unpack_from(key)[0])


def encode_number(number: int) -> bytes:
    """A u64: key of `journal`, value of `face_ids` and `face_digests`."""
    return _number.pack(number)


def decode_number(raw: bytes) -> int:
    """Inverse of `encode_number`."""
    return int(_number.unpack(raw)[0])


def encode_numbered(gallery_number: int, number: int) -> bytes:
    """Key of `faces` (ordinal) and `identity_ids` (identity number)."""
    return _numbered.pack(gallery_number, number)


def encode_numbered_many(gallery_number: int, numbers: Iterable[int]) -> list[bytes]:
    """`encode_numbered` of many numbers of one gallery."""
    return list(map(_numbered.pack, repeat(gallery_number), numbers))


def decode_numbered(key: bytes) -> tuple[int, int]:
    """Gallery number and ordinal or identity number."""
    gallery_number, number = _numbered.unpack(key)
    return gallery_number, number


def encode_pair(gallery_number: int, first: int, second: int) -> bytes:
    """Key of `identity_faces`: identity number, ordinal."""
    return _pair.pack(gallery_number, first, second)


def encode_pair_many(gallery_number: int, firsts: Iterable[int], seconds: Iterable[int]) -> list[bytes]:
    """`encode_pair` of many pairs of one gallery."""
    return list(map(_pair.pack, repeat(gallery_number), firsts, seconds))


def decode_pair(key: bytes) -> tuple[int, int, int]:
    """Gallery number, identity number, ordinal."""
    gallery_number, first, second = _pair.unpack(key)
    return gallery_number, first, second


def encode_digest_key(gallery_number: int, identity_number: int, digest: bytes) -> bytes:
    """Key of `face_digests`."""
    return _digest_key.pack(gallery_number, identity_number, digest)


def decode_digest_key(key: bytes) -> tuple[int, int, bytes]:
    """Gallery number, identity number, digest."""
    gallery_number, identity_number, digest = _digest_key.unpack(key)
    return gallery_number, identity_number, digest


def encode_expiry(gallery_number: int, time_us: int, kind: int, number: int) -> bytes:
    """Key of `expiry`: when a face (its ordinal) or an identity (its number) expires."""
    return _expiry.pack(gallery_number, time_us, kind, number)


def encode_expiry_many(gallery_number: int, times_us: Iterable[int], kind: int, numbers: Iterable[int]) -> list[bytes]:
    """`encode_expiry` of many of one gallery and kind."""
    return list(map(_expiry.pack, repeat(gallery_number), times_us, repeat(kind), numbers))


def encode_expiry_time(gallery_number: int, time_us: int) -> bytes:
    """Before every key of `expiry` of that time, and after those of earlier ones."""
    return _numbered.pack(gallery_number, time_us)


def decode_expiry_time(key: bytes) -> int:
    """The time in a key of `expiry`, microseconds."""
    return int(_numbered.unpack_from(key)[1])


def decode_expiries(keys: Iterable[bytes]) -> npt.NDArray[np.void]:
    """Keys of `expiry` as a structured array [n] of gallery, time_us, kind and number."""
    return np.frombuffer(b"".join(keys), dtype=_EXPIRY_DTYPE)


def encode_text(gallery_number: int, text: str) -> bytes:
    """Key of `identities` (identity id) and `face_ids` (face id)."""
    return _gallery.pack(gallery_number) + text.encode()


def decode_text(key: bytes) -> tuple[int, str]:
    """Gallery number and identity id or face id."""
    return decode_gallery(key), key[_gallery.size :].decode()


def encode_name(name: str, what: str, bytes_max: int = NAME_BYTES_MAX) -> bytes:
    """Key of `gallery_names`, `operations`, `snapshots` and `requests`: the text itself.

    Raises:
        InvalidArgument: empty.
        LimitExceeded: longer than `bytes_max`.
    """
    key = name.encode()
    if not key:
        raise InvalidArgument(f"the {what} is empty; give one of 1 to {bytes_max} bytes", field=what)
    if len(key) > bytes_max:
        raise LimitExceeded(f"the {what} has {len(key)} bytes, more than {bytes_max}; shorten it", field=what)
    return key


def decode_name(key: bytes) -> str:
    """Inverse of `encode_name`."""
    return key.decode()


def encode_label_key(gallery_number: int, label_key: str) -> bytes:
    """Prefix of every value of a label key in the label indexes.

    Raises:
        LimitExceeded: the label's key is longer than LABEL_KEY_BYTES_MAX.
    """
    raw = label_key.encode()
    if len(raw) > LABEL_KEY_BYTES_MAX:
        raise LimitExceeded(
            f"the label key {label_key!r} has {len(raw)} bytes, more than {LABEL_KEY_BYTES_MAX}; shorten it"
        )
    return _gallery.pack(gallery_number) + bytes([len(raw)]) + raw


def encode_label(gallery_number: int, label_key: str, label_value: str) -> bytes:
    """Prefix of every number under one label in the label indexes.

    Raises:
        LimitExceeded: the label's key or value is too long.
    """
    raw = label_value.encode()
    if len(raw) > LABEL_VALUE_BYTES_MAX:
        raise LimitExceeded(
            f"the value of label {label_key!r} has {len(raw)} bytes, more than {LABEL_VALUE_BYTES_MAX}; shorten it"
        )
    return encode_label_key(gallery_number, label_key) + len(raw).to_bytes(2, "big") + raw


def encode_labelled(gallery_number: int, label_key: str, label_value: str, number: int) -> bytes:
    """Key of `identity_label_index` (identity number) and `face_label_index` (ordinal)."""
    return encode_label(gallery_number, label_key, label_value) + _number.pack(number)


def decode_label(prefix: bytes) -> tuple[int, str, str]:
    """Gallery number, label key and value of what `encode_label` made.

    Raises:
        ValueError: these are not such bytes.
    """
    key_start = _gallery.size + 1
    key_end = key_start + prefix[_gallery.size]
    value_start = key_end + 2
    if value_start + int.from_bytes(prefix[key_end:value_start], "big") != len(prefix):
        raise ValueError("the lengths in a label's key do not add up")
    return decode_gallery(prefix), prefix[key_start:key_end].decode(), prefix[value_start:].decode()


def decode_trailing_numbers(keys: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    """The u64 at the end of each key, as uint64 [n]."""
    return np.frombuffer(b"".join([key[-NUMBER_BYTES:] for key in keys]), dtype=">u8").astype(np.uint64)


def encode_request_time(time_us: int, request_id: str) -> bytes:
    """Key of `request_times`."""
    return _number.pack(time_us) + request_id.encode()


def decode_request_time(key: bytes) -> tuple[int, str]:
    """Time in microseconds and request id."""
    return int(_number.unpack_from(key)[0]), key[_number.size :].decode()


def encode_purge(gallery_number: int) -> bytes:
    """Key of `meta` that says that records of a deleted gallery are still to be taken out."""
    return META_PURGE_PREFIX + _gallery.pack(gallery_number)


def decode_purge(key: bytes) -> int:
    """The gallery number of such a key."""
    return int(_gallery.unpack(key[len(META_PURGE_PREFIX) :])[0])
