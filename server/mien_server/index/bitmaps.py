"""Row bitmaps: uint8, little-endian bits, bit i for ordinal i."""

from __future__ import annotations

import numpy as np

from mien_server.index.request import Int64Array, UInt8Array

__all__ = ["bitmap_of", "intersection", "set_count", "set_ordinals", "slice_bits"]

BITS_PER_BYTE = 8

DENSE_BYTES_SHARE = 2
"""When more than one in so many bytes has a bit set, all are unpacked."""


def set_count(bitmap: UInt8Array, first: int, last: int) -> int:
    """Number of set bits among [first, last); bits past the bitmap's end count as clear."""
    return _set_before(bitmap, last) - _set_before(bitmap, first)


def _set_before(bitmap: UInt8Array, last: int) -> int:
    whole_bytes, bits = divmod(last, BITS_PER_BYTE)
    whole_bytes = min(whole_bytes, bitmap.size)
    # Counting words of eight bytes is several times faster than byte by byte.
    whole_words = whole_bytes // 8 * 8
    count = int(np.bitwise_count(bitmap[:whole_words].view(np.uint64)).sum(dtype=np.uint32)) if whole_words else 0
    if whole_words < whole_bytes:
        count += int(np.bitwise_count(bitmap[whole_words:whole_bytes]).sum(dtype=np.uint32))
    if bits and whole_bytes < bitmap.size:
        count += (int(bitmap[whole_bytes]) & ((1 << bits) - 1)).bit_count()
    return count


def set_ordinals(bitmap: UInt8Array, first: int, last: int) -> Int64Array:
    """Ordinals of the set bits among [first, last), ascending."""
    first_byte = first // BITS_PER_BYTE
    last_byte = min(-(-last // BITS_PER_BYTE), bitmap.size)
    within = bitmap[first_byte:last_byte]
    # Sparse bitmaps are the usual case here: only bytes with a bit in them are unpacked. numpy finds what is true among
    # booleans ten times faster than what is not zero among numbers.
    occupied = np.flatnonzero(within != 0)
    if occupied.size * DENSE_BYTES_SHARE > within.size:
        ordinals = _set_bits(within)
    else:
        places = _set_bits(within[occupied])
        ordinals = occupied[places >> 3] * BITS_PER_BYTE + (places & 7)
    ordinals += first_byte * BITS_PER_BYTE
    if ordinals.size and (ordinals[0] < first or ordinals[-1] >= last):
        ordinals = ordinals[(ordinals >= first) & (ordinals < last)]
    return ordinals


def _set_bits(bitmap: UInt8Array) -> Int64Array:
    return np.flatnonzero(np.unpackbits(bitmap, bitorder="little").view(np.bool_))


def bitmap_of(ordinals: Int64Array, row_count: int) -> UInt8Array:
    """The bitmap, ceil(row_count / 8) bytes, of these ordinals, all of them below `row_count`."""
    bitmap = np.zeros(-(-row_count // BITS_PER_BYTE), np.uint8)
    np.bitwise_or.at(bitmap, ordinals >> 3, np.left_shift(1, ordinals & 7).astype(np.uint8))
    return bitmap


def slice_bits(bitmap: UInt8Array, first: int, last: int) -> UInt8Array:
    """The bits [first, last) as a bitmap of their own, bit 0 being `first`."""
    if first % BITS_PER_BYTE == 0:
        return bitmap[first // BITS_PER_BYTE : -(-last // BITS_PER_BYTE)]
    bits = np.unpackbits(bitmap[first // BITS_PER_BYTE : -(-last // BITS_PER_BYTE)], bitorder="little")[
        first % BITS_PER_BYTE :
    ]
    return np.packbits(bits, bitorder="little")


def intersection(live: UInt8Array, allowed: UInt8Array, row_count: int) -> UInt8Array:
    """The rows that are both live and allowed, ceil(row_count / 8) bytes; what `allowed` lacks is not allowed."""
    byte_count = -(-row_count // BITS_PER_BYTE)
    both = np.zeros(byte_count, np.uint8)
    common = min(byte_count, live.size, allowed.size)
    np.bitwise_and(live[:common], allowed[:common], out=both[:common])
    return both
