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

RESCORED_STEPS = (50, 100, 200, 400, 800, 1600, 3200)
NARROW_SHARE_MAX = 1 / 4
NARROW_RESCORED_MAX, WIDE_RESCORED_MIN = 200, 100
"""Candidates tried with at most this share of the lists, and with more."""

RESCORED_SHARE_MAX = 1 / 16
"""Of the rows, but 400 at least: whoever rescores more may as well compare with all."""

DEPTH_PROBES = 200
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

    def of(self, probes: Int64Array) -> Self:
        """Of these probes only; weights as they are."""
        return replace(
            self,
            ordinals=self.ordinals[probes],
            similarities=self.similarities[probes],
            weights=self.weights[probes],
        )


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

    def of(self, probes: Int64Array) -> Self:
        """Of these probes only; weights as they are."""
        return replace(self, mated=self.mated.of(probes), strangers=self.strangers.of(probes))


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
    rescored_steps = _rescored_steps(vectors, index, probes, exact, threads)
    costs = _Costs.measured(vectors, index, probes.vectors, list_steps, rescored_steps)
    efforts = []
    for number, lists in enumerate(list_steps):
        # What few lists miss is not found by rescoring more of them; where many are scanned, a few rows more cost
        # little beside, and changed faces are somewhat easier for codes than new photographs are.
        is_narrow = lists <= NARROW_SHARE_MAX * index.lists
        allowed = range(NARROW_RESCORED_MAX + 1) if is_narrow else range(WIDE_RESCORED_MIN, index.size + 1)
        tried = [step for step in rescored_steps if step in allowed] or rescored_steps[-1:]
        mated, strangers = _ranks(vectors, index, probes, exact, lists, tried[-1], threads)
        for rescored in tried:
            cost = costs.milliseconds(lists, rescored)
            efforts.append(Effort(lists, rescored, mated < rescored, strangers < rescored, cost))
        report((number + 1) / len(list_steps))
    return efforts


def _rescored_steps(
    vectors: StoredVectors, index: SearchedLists, probes: ProbeSet, exact: ExactAnswers, threads: int
) -> list[int]:
    """Numbers of candidates to try: up to the one from which on more would find hardly anything."""
    steps = rescored_steps(index.size)
    # Any of them in equal parts, hard and easy ones.
    some = np.linspace(0, len(probes.vectors) - 1, min(DEPTH_PROBES, len(probes.vectors))).astype(np.int64)
    part = ProbeSet(
        np.ascontiguousarray(probes.vectors[some]), probes.left_out[some], probes.persons[some], probes.weights[some]
    )
    ranks, _ = _ranks(vectors, index, part, exact.of(some), index.lists, steps[-1], threads)
    wanted = exact.mated.ordinals[some] >= 0
    for number, step in enumerate(steps):
        is_deep_enough = np.all(ranks[wanted[:, 0], 0] < step)
        if is_deep_enough and np.mean(ranks[wanted] < step) >= DEPTH_RECALL_ENOUGH:
            return steps[: number + 1]
    return steps


@dataclass(frozen=True, slots=True)
class _Costs:
    """Processor time of one probe, in milliseconds: a part for the lists and a part for the candidates.

    Attributes:
        of_lists: by lists scanned, with the fewest candidates.
        of_rescored: by candidates, what they cost more than the fewest.
    """

    of_lists: dict[int, float]
    of_rescored: dict[int, float]

    @classmethod
    def measured(
        cls,
        vectors: StoredVectors,
        index: SearchedLists,
        probes: Float32Array,
        list_steps: list[int],
        rescored_steps: list[int],
    ) -> Self:
        fewest = rescored_steps[0]
        of_lists = {lists: _milliseconds(vectors, index, probes, lists, fewest) for lists in list_steps}
        middle = list_steps[len(list_steps) // 2]
        of_rescored = {fewest: 0.0}
        for rescored in rescored_steps[1:]:
            more = _milliseconds(vectors, index, probes, middle, rescored) - of_lists[middle]
            of_rescored[rescored] = max(more, *of_rescored.values())
        return cls(of_lists, of_rescored)

    def milliseconds(self, lists: int, rescored: int) -> float:
        return self.of_lists[lists] + self.of_rescored[rescored]


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
    rescored_max = min(max(RESCORED_STEPS[3], int(RESCORED_SHARE_MAX * rows)), rows)
    return [step for step in RESCORED_STEPS if step <= rescored_max] or [rescored_max]


def _ranks(
    vectors: StoredVectors,
    index: SearchedLists,
    probes: ProbeSet,
    exact: ExactAnswers,
    lists: int,
    rescored_max: int,
    threads: int,
) -> tuple[Int64Array, Int64Array]:
    """At which place, from 0, the codes put each exact answer; beyond the last where they do not.

    Returns:
        Of the mated answers int64 [n, RECALL_DEPTH], of the strangers' int64 [n, STRANGER_DEPTH].
    """
    candidates = index.candidates(probes.vectors, rescored_max + 1, lists, None, threads)
    wanted = np.concatenate([probes.left_out[:, None], exact.mated.ordinals, exact.strangers.ordinals], axis=1)
    places = _places(candidates, wanted, len(vectors))
    # A probe's own row takes no place. A stranger's other rows do: the few places err on the safe side.
    places -= places > places[:, :1]
    return places[:, 1 : 1 + RECALL_DEPTH], places[:, 1 + RECALL_DEPTH :]


def _places(candidates: Int64Array, wanted: Int64Array, row_count: int) -> Int64Array:
    """At which place each probe's candidates [n, c] hold each wanted ordinal [n, w]; beyond all where they do not."""
    beyond = candidates.shape[1] + 1
    order = np.arange(candidates.shape[1])
    # Padding, -1, writes and reads the last entry, which stands for no row.
    place_of = np.full(row_count + 1, beyond)
    places = np.empty_like(wanted)
    for probe, found in enumerate(candidates):
        place_of[found] = order
        place_of[NO_ORDINAL] = beyond
        places[probe] = place_of[wanted[probe]]
        place_of[found] = beyond
    return places


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
