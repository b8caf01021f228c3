"""Checksums of each record in LMDB and of each row of vectors, so that damage is never taken for data.

A record's is CRC-32 of its database, key and value, four bytes little-endian behind the value: a value under another
key, or in another database, does not have it. A row's is kept in its face's record, and so tells too when rows have
changed places.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "CHECKSUM_BYTES",
    "WHOLE_CRC",
    "Words",
    "is_record_whole",
    "record_with_checksum",
    "records_with_checksum",
    "row_checksums",
]

CHECKSUM_BYTES = 4
WHOLE_CRC = 0x2144DF1C
"""CRC-32 of anything that its own CRC-32, little-endian, follows."""
_WORD_BYTES = 8
# Weyl's increment and the two multipliers of SplitMix64 (Steele, Lea, Flood 2014).
_INCREMENT = 0x9E3779B97F4A7C15
_MULTIPLIERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))

_pack = struct.Struct("<I").pack

Words: TypeAlias = npt.NDArray[np.uint64]


def record_with_checksum(seed: int, key: bytes, value: bytes) -> bytes:
    """The value with its checksum behind it; `seed` is CRC-32 of the database's name."""
    return value + _pack(zlib.crc32(value, zlib.crc32(key, seed)))


def records_with_checksum(seed: int, items: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """`record_with_checksum` of many."""
    crc32, pack = zlib.crc32, _pack
    return [(key, value + pack(crc32(value, crc32(key, seed)))) for key, value in items]


def is_record_whole(seed: int, key: bytes, raw: bytes) -> bool:
    """Whether these bytes are a value with its checksum."""
    return zlib.crc32(raw, zlib.crc32(key, seed)) == WHOLE_CRC


def row_checksums(rows: npt.NDArray[Any]) -> Words:
    """Of n rows [n, dimension] of the stored type, float32 or float16: uint64 [n].

    A row's bytes, as 64-bit words (zeros behind the last), times odd constants, summed modulo 2^64: the multilinear
    hash of Carter and Wegman, ten times as fast here as CRC-32 of each row. A change within one word is always found,
    since an odd number times a difference is not zero; of any other one in about 2^63 is missed.
    """
    count = rows.shape[0]
    if not count:
        return np.zeros(0, dtype=np.uint64)
    raw = np.ascontiguousarray(rows).reshape(count, -1).view(np.uint8)
    if missing := -raw.shape[1] % _WORD_BYTES:
        raw = np.pad(raw, ((0, 0), (0, missing)))
    words = raw.view("<u8")
    sums: Words = np.einsum("ij,j->i", words, _weights(words.shape[1]))
    return sums


@lru_cache(maxsize=64)
def _weights(count: int) -> Words:
    """The first odd numbers of SplitMix64, uint64 [count]."""
    with np.errstate(over="ignore"):
        mixed = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_INCREMENT)
        for shift, multiplier in _MULTIPLIERS:
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(multiplier)
        weights: Words = (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)
    return weights
