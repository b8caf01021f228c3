"""Two streams of records compared without either being held: by sums of hashes, then by what differs alone."""

from __future__ import annotations

from collections.abc import Iterable

from mien_server.storage.derived import Pair

__all__ = ["PairSums"]

_BUCKETS = 1024
_DIFFERING_MAX = 16


class PairSums:
    """Sums, by bucket, of the hashes of key and value: equal for equal records, in whatever order they come.

    The hash is Python's own, 64 bits keyed anew in each process: other records of the same sums are not met by chance.
    """

    __slots__ = ("_sums", "count")

    def __init__(self) -> None:
        self._sums = [0] * _BUCKETS
        self.count = 0

    def add(self, pair: Pair) -> None:
        """Take in one record."""
        value = hash(pair)
        self._sums[value % _BUCKETS] += value
        self.count += 1

    def add_all(self, pairs: Iterable[Pair]) -> None:
        """Take in many records."""
        sums = self._sums
        count = 0
        for count, value in enumerate(map(hash, pairs), 1):  # noqa: B007 - it is used after the loop
            sums[value % _BUCKETS] += value
        self.count += count

    def differing(self, other: PairSums) -> frozenset[int]:
        """Buckets in which the two differ, a few of them where there are many; none where all are equal."""
        unequal = [number for number in range(_BUCKETS) if self._sums[number] != other._sums[number]]
        return frozenset(unequal[:_DIFFERING_MAX])

    @staticmethod
    def within(pairs: Iterable[Pair], buckets: frozenset[int]) -> set[Pair]:
        """The records that fall into these buckets."""
        return {pair for pair in pairs if hash(pair) % _BUCKETS in buckets}
