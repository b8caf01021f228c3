"""Sets of rows, or of identity numbers, as filters combine and keep them: few numbers as a list, many as a bitmap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Bitmap",
    "FewRows",
    "Flags",
    "ManyRows",
    "Numbers",
    "RowSet",
    "complement",
    "intersection",
    "rows_flagged",
    "rows_numbered",
]

Bitmap = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]

BITS_PER_MEMBER = 32
"""A set with fewer members than one in so many takes less room as a list of uint32 than as a bitmap."""


@dataclass(frozen=True, slots=True)
class FewRows:
    """A set as a list, never changed.

    Attributes:
        members: uint32 [n], ascending, distinct.
    """

    members: npt.NDArray[np.uint32]

    @property
    def nbytes(self) -> int:
        """Memory of its array."""
        return self.members.nbytes

    def numbers(self) -> Numbers:
        """Its members, int64 [n], ascending."""
        return self.members.astype(np.int64)

    def flags(self, extent: int) -> Flags:
        """For each number below `extent` whether it is in the set."""
        flags = np.zeros(extent, np.bool_)
        flags[self.members[: np.searchsorted(self.members, extent)]] = True
        return flags

    def bitmap(self, extent: int) -> Bitmap:
        """The set as ceil(extent / 8) bytes of little-endian bits, numbers beyond left out."""
        bitmap = np.zeros(-(-extent // 8), np.uint8)
        return _with_bits(bitmap, self.members[: np.searchsorted(self.members, 8 * bitmap.size)])

    def extended(self, more: RowSet, extent: int) -> RowSet:
        """The set with the members of another, all larger than its own and below `extent`."""
        return rows_numbered(np.concatenate([self.numbers(), more.numbers()]), extent)


@dataclass(frozen=True, slots=True)
class ManyRows:
    """A set as a bitmap, never changed.

    Attributes:
        bits: uint8, little-endian bits; what lies beyond its end is not in the set.
    """

    bits: Bitmap

    @property
    def nbytes(self) -> int:
        """Memory of its array."""
        return self.bits.nbytes

    def numbers(self) -> Numbers:
        """Its members, int64 [n], ascending."""
        return np.flatnonzero(np.unpackbits(self.bits, bitorder="little"))

    def flags(self, extent: int) -> Flags:
        """For each number below `extent` whether it is in the set."""
        flags: Flags = np.unpackbits(self.bitmap(extent), count=extent, bitorder="little").view(np.bool_)
        return flags

    def bitmap(self, extent: int) -> Bitmap:
        """As FewRows.bitmap, but that bits of the last byte beyond the extent may be set. Not to be changed."""
        byte_count = -(-extent // 8)
        if self.bits.size >= byte_count:
            return self.bits[:byte_count]
        return np.concatenate([self.bits, np.zeros(byte_count - self.bits.size, np.uint8)])

    def extended(self, more: RowSet, extent: int) -> RowSet:
        """As FewRows.extended."""
        bits = np.zeros(-(-extent // 8), np.uint8)
        bits[: self.bits.size] = self.bits
        return ManyRows(_with_bits(bits, more.numbers()))

    def holds(self, numbers: npt.NDArray[np.uint32]) -> Flags:
        """Whether each of the numbers, ascending, is in the set."""
        inside = numbers[: np.searchsorted(numbers, 8 * self.bits.size)]
        held = np.zeros(numbers.size, np.bool_)
        held[: inside.size] = (self.bits[inside >> 3] >> (inside & 7).astype(np.uint8)) & 1
        return held


RowSet: TypeAlias = "FewRows | ManyRows"


def rows_numbered(numbers: Numbers, extent: int) -> RowSet:
    """The set of these numbers, in any order, repeated ones allowed, all of them below `extent`."""
    if numbers.size * BITS_PER_MEMBER < extent:
        return FewRows(np.unique(numbers).astype(np.uint32))
    flags = np.zeros(extent, np.bool_)
    flags[numbers] = True
    return ManyRows(np.packbits(flags, bitorder="little"))


def rows_flagged(flags: Flags, first: int) -> RowSet:
    """The set of first + i for each flag i that is true."""
    if first or np.count_nonzero(flags) * BITS_PER_MEMBER < flags.size:
        return FewRows((np.flatnonzero(flags) + first).astype(np.uint32))
    return ManyRows(np.packbits(flags, bitorder="little"))


def intersection(one: RowSet, other: RowSet) -> RowSet:
    """What is in both."""
    if isinstance(one, ManyRows):
        if isinstance(other, ManyRows):
            common = min(one.bits.size, other.bits.size)
            return ManyRows(one.bits[:common] & other.bits[:common])
        one, other = other, one
    if isinstance(other, ManyRows):
        return FewRows(one.members[other.holds(one.members)])
    return FewRows(np.intersect1d(one.members, other.members, assume_unique=True))


def complement(rows: RowSet, extent: int) -> RowSet:
    """What is below `extent` and not in the set; what lies beyond, up to a whole byte, may be in it."""
    return ManyRows(~rows.bitmap(extent))


def _with_bits(bitmap: Bitmap, numbers: npt.NDArray[np.integer]) -> Bitmap:
    """The bitmap with these bits set, in place."""
    np.bitwise_or.at(bitmap, numbers >> 3, np.left_shift(1, numbers & 7).astype(np.uint8))
    return bitmap
