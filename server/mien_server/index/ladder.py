"""What each effort finds and costs, measured on the gallery's own faces against exact search."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from mien_server.index.bitmaps import set_ordinals
from mien_server.index.flat import search_flat
from mien_server.index.manifest import LadderStep
from mien_server.index.probing import ProbeSet
from mien_server.index.ranking import NO_ORDINAL
from mien_server.index.request import Float32Array, Int64Array, UInt8Array
from mien_server.index.rescore import StoredVectors, best_candidates

__all__ = [
    "Answers",
    "Effort",
    "ExactAnswers",
    "SearchedLists",
    "code_ranks",
    "exact_answers",
    "ladder_of",
    "measure_efforts",
    "rescored_steps",
    "standard_error",
    "weighted_share",
]

RECALL_DEPTH = 10
STRANGER_DEPTH = 3
"""Other people's rows looked at for each probe: the best, and what a search may take for it."""

EXACT_DEPTH_MAX = 256
LIST_SHARES = (1 / 32, 1 / 16, 3 / 32, 1 / 8, 1 / 4, 1 / 2, 5 / 8, 3 / 4, 1)
"""Of the lists: what the steps scan."""

RESCORED_STEPS = (50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800)
NARROW_SHARE_MAX = 1 / 4
NARROW_RESCORED_MAX, WIDE_RESCORED_MIN = 200, 100
"""Candidates tried with at most this share of the lists, and with more."""

RESCORED_SHARE_MAX = 1 / 16
"""Of the rows, but 400 at least: whoever rescores more may as well compare with all."""

DEEP_STEP, DEEP_SHARE_MAX = 3200, 1 / 600
"""More candidates than that are tried up to this share of the rows: codes put more before the right one."""

CANDIDATES_MIN = 3200
"""Candidates of all lists, among which those of few lists are known well enough."""

BEYOND = 1 << 40
"""A place that no row has."""

DEPTH_RECALL_ENOUGH = 0.995
"""Recall at 10 of all lists from which on no more candidates are tried."""

TIMED_PROBES = 24


class SearchedLists(Protocol):
    """What is measured: inverted lists of codes."""

    @property
    def lists(self) -> int:
        """Number of inverted lists."""

    @property
    def size(self) -> int:
        """Rows in the lists."""

    def list_numbers(self, row_count: int) -> npt.NDArray[np.int32]:
        """As `SegmentedIndex.list_numbers`."""

    def list_ranks(self, probes: Float32Array, threads: int) -> npt.NDArray[np.int32]:
        """As `SegmentedIndex.list_ranks`."""

    def candidates(
        self, probes: Float32Array, count: int, lists: int, selected: UInt8Array | None, threads: int
    ) -> Int64Array:
        """As `SegmentedIndex.candidates`."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Exact search's answers to n probes, best first.

    Attributes:
        ordinals: int64 [n, w], padded with -1.
        similarities: float32 [n, w], padded with -inf.
        weights: float64 [n], of sum 1.
    """

    ordinals: Int64Array
    similarities: Float32Array
    weights: npt.NDArray[np.float64]

    @property
    def is_best(self) -> npt.NDArray[np.bool_]:
        """bool [n, w]: as similar as the first."""
        is_best: npt.NDArray[np.bool_] = (self.similarities == self.similarities[:, :1]) & (self.ordinals >= 0)
        return is_best


@dataclass(frozen=True, slots=True)
class ExactAnswers:
    """What exact search answers to the probes.

    Attributes:
        mated: w = RECALL_DEPTH, without the row that each must not find.
        strangers: w = STRANGER_DEPTH, without all rows of the probe's person, as if that person were in no gallery.
            The weight is 0 where a person has too many rows to see past them.
    """

    mated: Answers
    strangers: Answers


@dataclass(frozen=True, slots=True, eq=False)
class Effort:
    """What a search of so many lists and rescored candidates finds of exact search's answers, and costs.

    Attributes:
        finds_mated: bool [n, RECALL_DEPTH]: whether it finds this row of `ExactAnswers.mated`.
        finds_strangers: bool [n, STRANGER_DEPTH].
        milliseconds: processor time of one probe.
    """

    lists: int
    rescored: int
    finds_mated: npt.NDArray[np.bool_]
    finds_strangers: npt.NDArray[np.bool_]
    milliseconds: float


def exact_answers(
    vectors: StoredVectors,
    live: UInt8Array,
    identity_numbers: npt.NDArray[np.uint32],
    probes: ProbeSet,
    threads: int,
) -> ExactAnswers:
    """Compare the probes with every live row."""
    face_counts = _face_counts(identity_numbers[set_ordinals(live, 0, len(vectors))], probes.persons)
    depth = min(max(RECALL_DEPTH + 1, int(face_counts.max()) + STRANGER_DEPTH), EXACT_DEPTH_MAX)
    ordinals, similarities = search_flat(vectors, 0, len(vectors), live, probes.vectors, depth, threads)
    is_left_out = ordinals == probes.left_out[:, None]
    mated = _without(is_left_out, ordinals, similarities, RECALL_DEPTH)
    is_own = (identity_numbers[ordinals] == probes.persons[:, None]) & (ordinals >= 0)
    strangers = _without(is_own, ordinals, similarities, STRANGER_DEPTH)
    weights = np.where(face_counts + STRANGER_DEPTH <= depth, probes.weights, 0.0)
    weights /= weights.sum() or 1.0
    return ExactAnswers(Answers(*mated, probes.weights), Answers(*strangers, weights))


def _face_counts(live_numbers: npt.NDArray[np.uint32], persons: npt.NDArray[np.uint32]) -> Int64Array:
    """How many live faces each of the persons has."""
    ordered = np.sort(live_numbers)
    counts: Int64Array = np.searchsorted(ordered, persons, "right") - np.searchsorted(ordered, persons, "left")
    return counts


def _without(
    is_out: npt.NDArray[np.bool_], ordinals: Int64Array, similarities: Float32Array, width: int
) -> tuple[Int64Array, Float32Array]:
    """The first `width` answers of each probe that are not out; padded where there are fewer."""
    order = np.argsort(is_out, axis=1, kind="stable")[:, :width]
    is_padding = np.take_along_axis(is_out, order, 1)
    return (
        np.where(is_padding, NO_ORDINAL, np.take_along_axis(ordinals, order, 1)),
        np.where(is_padding, np.float32(-np.inf), np.take_along_axis(similarities, order, 1)),
    )


def measure_efforts(
    vectors: StoredVectors,
    index: SearchedLists,
    probes: ProbeSet,
    exact: ExactAnswers,
    threads: int,
    report: Callable[[float], None],
) -> list[Effort]:
    """Every combination of lists and rescored candidates that may be worth having.

    Args:
        report: told the share that is done.
    """
    list_steps = sorted({max(1, round(share * index.lists)) for share in LIST_SHARES})
    places = _Places.found(index, probes, exact, len(vectors), threads)
    report(0.5)
    rescored_steps = _rescored_steps(index.size, places, exact)
    costs = _Costs.measured(vectors, index, probes.vectors, list_steps, rescored_steps)
    efforts = []
    for lists in list_steps:
        # What few lists miss is not found by rescoring more of them; where many are scanned, a few rows more cost
        # little beside, and changed faces are somewhat easier for codes than new photographs are.
        is_narrow = lists <= NARROW_SHARE_MAX * index.lists
        allowed = range(NARROW_RESCORED_MAX + 1) if is_narrow else range(WIDE_RESCORED_MIN, index.size + 1)
        tried = [step for step in rescored_steps if step in allowed] or rescored_steps[-1:]
        mated, strangers = places.ranks(lists)
        for rescored in tried:
            cost = costs.milliseconds(lists, rescored)
            efforts.append(Effort(lists, rescored, mated < rescored, strangers < rescored, cost))
    report(1.0)
    return efforts


def _rescored_steps(rows: int, places: _Places, exact: ExactAnswers) -> list[int]:
    """Numbers of candidates to try: up to the one from which on more would find hardly anything."""
    steps = rescored_steps(rows)
    ranks, _ = places.ranks(places.list_ranks.shape[1])
    wanted = exact.mated.ordinals >= 0
    for number, step in enumerate(steps):
        is_deep_enough = np.all(ranks[wanted[:, 0], 0] < step)
        if is_deep_enough and np.mean(ranks[wanted] < step) >= DEPTH_RECALL_ENOUGH:
            return steps[: number + 1]
    return steps


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where codes put exact search's answers among all rows, by which it is known where they do among fewer lists.

    Attributes:
        candidates: int64 [n, c]: of each probe, best first by code, from all lists.
        wanted: int64 [n, w]: the row that the probe must not find, then exact search's mated answers and strangers.
        list_numbers: int32 [row_count + 1]: the list of each row; the last stands for no row.
        list_ranks: int32 [n, lists]: how many lists are nearer to the probe.
    """

    candidates: Int64Array
    wanted: Int64Array
    list_numbers: npt.NDArray[np.int32]
    list_ranks: npt.NDArray[np.int32]

    @classmethod
    def found(cls, index: SearchedLists, probes: ProbeSet, exact: ExactAnswers, row_count: int, threads: int) -> Self:
        """By one scan of all lists."""
        count = min(rescored_steps(index.size)[-1] + 1, index.size)
        candidates = index.candidates(
            probes.vectors, max(count, min(CANDIDATES_MIN, index.size)), index.lists, None, threads
        )
        wanted = np.concatenate([probes.left_out[:, None], exact.mated.ordinals, exact.strangers.ordinals], axis=1)
        # Rows that are no more, or not yet, in a list are like those that do not exist.
        numbers = np.append(index.list_numbers(row_count), np.int32(-1))
        return cls(candidates, wanted, numbers, index.list_ranks(probes.vectors, threads))

    def ranks(self, lists: int) -> tuple[Int64Array, Int64Array]:
        """At which place, from 0, the codes put each exact answer among the rows of the nearest lists; else far beyond.

        Returns:
            Of the mated answers int64 [n, RECALL_DEPTH], of the strangers' int64 [n, STRANGER_DEPTH].
        """
        places = np.full(self.wanted.shape, BEYOND)
        # Padding, -1, reads and writes the last entry.
        place_of = np.full(self.list_numbers.size, BEYOND)
        for probe, found in enumerate(self.candidates):
            ranks_of_lists = self.list_ranks[probe]
            scanned = found[(found >= 0) & (ranks_of_lists[self.list_numbers[found]] < lists)]
            place_of[scanned] = np.arange(scanned.size)
            places[probe] = place_of[self.wanted[probe]]
            place_of[scanned] = BEYOND
        # A probe's own row takes no place. A stranger's other rows do: the few places err on the safe side.
        places -= places > places[:, :1]
        return places[:, 1 : 1 + RECALL_DEPTH], places[:, 1 + RECALL_DEPTH :]


@dataclass(frozen=True, slots=True)
class _Costs:
    """Processor time of one probe, in milliseconds: that of any probe, of each list and of each candidate.

    What was measured is smoothed: a busy machine would otherwise make more lists look cheaper than fewer.
    """

    of_probe: float
    of_list: float
    of_candidate: float

    @classmethod
    def measured(
        cls,
        vectors: StoredVectors,
        index: SearchedLists,
        probes: Float32Array,
        list_steps: list[int],
        rescored_steps: list[int],
    ) -> Self:
        middle = list_steps[len(list_steps) // 2]
        efforts = [(lists, rescored_steps[0]) for lists in list_steps]
        efforts += [(middle, rescored) for rescored in rescored_steps[1:]]
        times = np.array([_milliseconds(vectors, index, probes, *effort) for effort in efforts])
        # Errors are in proportion to times. None of the three is negative.
        counted = np.array([(1, *effort) for effort in efforts]) / times[:, None]
        of_probe, of_list, of_candidate = np.maximum(np.linalg.lstsq(counted, np.ones(len(times)))[0], 0.0).tolist()
        return cls(of_probe, max(of_list, 1e-9), max(of_candidate, 1e-9))

    def milliseconds(self, lists: int, rescored: int) -> float:
        return self.of_probe + self.of_list * lists + self.of_candidate * rescored


def ladder_of(efforts: list[Effort], mated: Answers) -> tuple[LadderStep, ...]:
    """The efforts worth having, cheapest first; each finds more than the one before."""
    wanted_counts = np.maximum((mated.ordinals >= 0).sum(axis=1), 1)
    measured = []
    for effort in efforts:
        finds_best = (effort.finds_mated & mated.is_best).any(axis=1)
        recall = weighted_share(effort.finds_mated.sum(axis=1) / wanted_counts, mated.weights)
        measured.append(
            LadderStep(
                step=0,
                lists=effort.lists,
                rescored=effort.rescored,
                rank1_agreement=weighted_share(finds_best, mated.weights),
                recall_at_10=recall,
                milliseconds=effort.milliseconds,
                standard_error=standard_error(finds_best, mated.weights),
            )
        )
    return _worth_having(measured)


def weighted_share(found: npt.ArrayLike, weights: npt.NDArray[np.float64]) -> float:
    """Weighted mean of what was found for each probe; exactly 1 where all was."""
    return 1.0 - float(np.sum(weights * (1.0 - np.asarray(found, np.float64))))


def standard_error(found: npt.ArrayLike, weights: npt.NDArray[np.float64]) -> float:
    """Of `weighted_share`. A miss among the hard probes, which are many and count little, is less of a surprise.

    One miss more than was seen is counted, of such a probe: where none was seen, that does not mean that none happens.
    """
    excess = np.asarray(found, np.float64) - weighted_share(found, weights)
    return float(np.sqrt(np.sum((weights * excess) ** 2) + np.min(weights) ** 2))


def code_ranks(index: SearchedLists, probes: Float32Array, best: Int64Array, depth: int, threads: int) -> Int64Array:
    """At which place, from 0, codes put the best row [n] of each probe, all lists scanned; `depth` where beyond."""
    candidates = index.candidates(probes, depth, index.lists, None, threads)
    is_best = candidates == best[:, None]
    ranks: Int64Array = np.where(is_best.any(axis=1), is_best.argmax(axis=1), depth)
    return ranks


def rescored_steps(rows: int) -> list[int]:
    """Numbers of candidates that may be worth rescoring among so many rows."""
    shallow_max = min(max(RESCORED_STEPS[3], int(RESCORED_SHARE_MAX * rows)), rows)
    deep_max = max(DEEP_STEP, int(DEEP_SHARE_MAX * rows))
    return [step for step in RESCORED_STEPS if step <= min(shallow_max, deep_max)] or [shallow_max]


def _milliseconds(
    vectors: StoredVectors, index: SearchedLists, probes: Float32Array, lists: int, rescored: int
) -> float:
    """Median time of one probe on one thread; its own time, for the machine is busy serving meanwhile."""
    times = []
    for number in range(min(TIMED_PROBES, len(probes))):
        probe = probes[number : number + 1]
        start = time.thread_time()
        candidates = index.candidates(probe, rescored, lists, None, 1)
        best_candidates(vectors, probe, candidates, min(RECALL_DEPTH, rescored), 1)
        times.append(time.thread_time() - start)
    return float(np.median(times)) * 1e3


def _worth_having(measured: list[LadderStep]) -> tuple[LadderStep, ...]:
    """Those that find more than every cheaper one, numbered from 1."""
    ladder: list[LadderStep] = []
    best = (-1.0, -1.0)
    for step in sorted(measured, key=lambda step: (step.milliseconds, step.lists, step.rescored)):
        found = (step.rank1_agreement, step.recall_at_10)
        if found > best:
            best = found
            ladder.append(replace(step, step=len(ladder) + 1))
    return tuple(ladder)
