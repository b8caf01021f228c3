"""The lists of a generation: segments of rows, one after the other, that share one quantiser.

A probe is compared with the centroids once, then each segment's lists are scanned, and the best by their codes are
kept. Codes of one quantiser can be compared whatever segment they lie in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mien_server.index.faiss_adapter import InvertedIndex, Quantizer
from mien_server.index.ranking import NO_ORDINAL
from mien_server.index.request import Float32Array, Int64Array, UInt8Array

__all__ = ["SEGMENT_RATIO_MIN", "SegmentedIndex", "first_to_merge"]

SEGMENT_RATIO_MIN = 6
"""A segment holds at least so many times the rows of the next, or is merged with it: a million rows lie in five
segments at most, and a row is copied some dozen times on its way to the largest, 40 to 72 bytes each time."""


class SegmentedIndex:
    """Immutable. Searches are safe from many threads at once."""

    def __init__(self, quantizer: Quantizer, segments: Sequence[InvertedIndex]) -> None:
        self.quantizer = quantizer
        self.segments = tuple(segments)

    @property
    def lists(self) -> int:
        """Inverted lists, over all segments: a list is a centroid's, whatever segment its rows lie in."""
        return self.quantizer.lists

    @property
    def dimension(self) -> int:
        """Components of one vector."""
        return self.quantizer.dimension

    @property
    def size(self) -> int:
        """Rows in the lists."""
        return sum(segment.size for segment in self.segments)

    @property
    def list_imbalance(self) -> float:
        """1 when all lists are equally long; the factor by which a scan costs more than it would then."""
        sizes = np.sum([segment.list_sizes for segment in self.segments], axis=0, dtype=np.float64)
        return float(self.lists * np.sum(sizes**2) / max(np.sum(sizes), 1.0) ** 2)

    def list_numbers(self, row_count: int) -> npt.NDArray[np.int32]:
        """Which list each of the rows is in, int32 [row_count]; -1 for one that is in none."""
        numbers = np.full(row_count, -1, np.int32)
        for segment in self.segments:
            for number in range(self.lists):
                numbers[segment.ordinals_of(number)] = number
        return numbers

    def list_ranks(self, probes: Float32Array, threads: int) -> npt.NDArray[np.int32]:
        """How many lists are nearer to each probe than each list is, int32 [n, lists]."""
        nearest, _ = self.quantizer.nearest_lists(self.quantizer.projected(probes, threads), self.lists, threads)
        ranks = np.empty(nearest.shape, np.int32)
        np.put_along_axis(ranks, nearest, np.arange(self.lists, dtype=np.int32)[None, :], axis=1)
        return ranks

    def candidates(
        self, probes: Float32Array, count: int, lists: int, selected: UInt8Array | None, threads: int
    ) -> Int64Array:
        """The `count` best ordinals of each probe by their codes, from its `lists` nearest lists.

        Args:
            probes: [n, d], C-contiguous.
            selected: bitmap of the ordinals that count; None for all.

        Returns:
            Ordinals int64 [n, count], best first by code, ending in -1 where there are fewer.
        """
        probes = self.quantizer.projected(probes, threads)
        if len(self.segments) == 1:
            return self.segments[0].candidates(probes, count, lists, selected, threads)
        nearest = self.quantizer.nearest_lists(probes, lists, threads)
        parts = [
            segment.scan(probes, min(count, segment.size), nearest, selected, threads) for segment in self.segments
        ]
        ordinals, scores = (np.concatenate([part[side] for part in parts], axis=1) for side in (0, 1))
        if ordinals.shape[1] < count:
            missing = ((0, 0), (0, count - ordinals.shape[1]))
            ordinals = np.pad(ordinals, missing, constant_values=NO_ORDINAL)
            scores = np.pad(scores, missing, constant_values=-np.inf)
        return _best(ordinals, scores, count)


def _best(ordinals: Int64Array, scores: Float32Array, count: int) -> Int64Array:
    """The `count` ordinals of the highest scores of each line, best first."""
    if ordinals.shape[1] > count:
        chosen = np.argpartition(scores, -count, axis=1)[:, -count:]
        ordinals, scores = np.take_along_axis(ordinals, chosen, 1), np.take_along_axis(scores, chosen, 1)
    return np.take_along_axis(ordinals, np.argsort(-scores, axis=1, kind="stable"), 1)


def first_to_merge(held: Sequence[int], added: int) -> int:
    """From which segment on all become one with `added` new rows; `len(held)` when the new rows are one by themselves.

    Args:
        held: rows of each segment, oldest first.
    """
    first, together = len(held), added
    while first and held[first - 1] < SEGMENT_RATIO_MIN * together:
        first -= 1
        together += held[first]
    return first
