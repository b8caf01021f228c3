"""What each effort finds and costs, measured on the gallery's own faces against exact search."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien_server.index.faiss_adapter import InvertedIndex
from mien_server.index.flat import search_flat
from mien_server.index.manifest import LadderStep
from mien_server.index.probing import ProbeSet
from mien_server.index.request import Float32Array, Int64Array, UInt8Array
from mien_server.index.rescore import StoredVectors, best_candidates

__all__ = ["ExactAnswers", "code_agreement", "exact_answers", "measure_ladder"]

RECALL_DEPTH = 10
LIST_SHARE_MIN = 16
"""The cheapest step scans one list in so many."""

RESCORED_STEPS = (100, 200, 400, 800, 1600, 3200)
RESCORED_SHARE_MAX = 1 / 16
"""Of the rows, but 400 at least: whoever rescores more may as well compare with all."""

TIMED_PROBES = 24


@dataclass(frozen=True, slots=True)
class ExactAnswers:
    """Exact search's answers to the probes, without what each must not find.

    Attributes:
        ordinals: int64 [n, RECALL_DEPTH], padded with -1.
        is_best: bool [n, RECALL_DEPTH]: as similar as the first.
    """

    ordinals: Int64Array
    is_best: npt.NDArray[np.bool_]


def exact_answers(vectors: StoredVectors, live: UInt8Array, probes: ProbeSet, threads: int) -> ExactAnswers:
    """Compare the probes with every live row."""
    ordinals, similarities = search_flat(vectors, 0, len(vectors), live, probes.vectors, RECALL_DEPTH + 1, threads)
    is_left_out = ordinals == probes.left_out[:, None]
    # Where nothing is left out, the last one is.
    is_left_out[~is_left_out.any(axis=1), -1] = True
    shape = (len(ordinals), RECALL_DEPTH)
    ordinals, similarities = ordinals[~is_left_out].reshape(shape), similarities[~is_left_out].reshape(shape)
    return ExactAnswers(ordinals, (similarities == similarities[:, :1]) & (ordinals >= 0))


def measure_ladder(
    vectors: StoredVectors,
    index: InvertedIndex,
    probes: ProbeSet,
    exact: ExactAnswers,
    threads: int,
    report: Callable[[float], None],
) -> tuple[LadderStep, ...]:
    """The efforts worth having, cheapest first; each finds more than the one before.

    Args:
        report: told the share that is done.
    """
    measured = []
    list_steps = list(_doubling(max(1, index.lists // LIST_SHARE_MIN), index.lists))
    rescored_max = min(max(RESCORED_STEPS[2], int(RESCORED_SHARE_MAX * index.size)), index.size)
    rescored_steps = [step for step in RESCORED_STEPS if step <= rescored_max] or [rescored_max]
    for number, lists in enumerate(list_steps):
        ranks = _ranks(index, probes, exact, lists, rescored_steps[-1], threads)
        for rescored in rescored_steps:
            is_found = (ranks < rescored) & (exact.ordinals >= 0)
            agreement = _share((is_found & exact.is_best).any(axis=1), probes)
            recall = _share(is_found.sum(axis=1) / np.maximum((exact.ordinals >= 0).sum(axis=1), 1), probes)
            cost = _milliseconds(vectors, index, probes.vectors, lists, rescored)
            measured.append(LadderStep(0, lists, rescored, agreement, recall, cost))
        report((number + 1) / len(list_steps))
    return _worth_having(measured)


def _share(found: npt.ArrayLike, probes: ProbeSet) -> float:
    """Weighted mean of what was found for each probe; exactly 1 where all was."""
    return 1.0 - float(np.sum(probes.weights * (1.0 - np.asarray(found, np.float64))))


def code_agreement(index: InvertedIndex, probes: Float32Array, origins: Int64Array, threads: int) -> float:
    """Share of probes [n, dimension] whose origin [n] is the first by its code alone, all lists scanned."""
    return float(np.mean(index.candidates(probes, 1, index.lists, None, threads)[:, 0] == origins))


def _doubling(first: int, last: int) -> Iterator[int]:
    while first < last:
        yield first
        first *= 2
    yield last


def _ranks(
    index: InvertedIndex, probes: ProbeSet, exact: ExactAnswers, lists: int, rescored_max: int, threads: int
) -> Int64Array:
    """At which place, from 0, the codes put each exact answer [n, RECALL_DEPTH]; beyond the last where they do not."""
    candidates = index.candidates(probes.vectors, rescored_max + 1, lists, None, threads)
    left_out = _places(candidates, probes.left_out)
    ranks = np.stack([_places(candidates, wanted) for wanted in exact.ordinals.T], axis=1)
    # A probe's own row takes no place.
    return ranks - (ranks > left_out[:, None])


def _places(candidates: Int64Array, wanted: Int64Array) -> Int64Array:
    """At which place [n] each probe's candidates [n, c] hold the wanted ordinal [n]; beyond all where they do not."""
    is_wanted = candidates == wanted[:, None]
    places: Int64Array = np.where(is_wanted.any(axis=1), is_wanted.argmax(axis=1), candidates.shape[1] + 1)
    return places


def _milliseconds(
    vectors: StoredVectors, index: InvertedIndex, probes: Float32Array, lists: int, rescored: int
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
            ladder.append(
                LadderStep(len(ladder) + 1, step.lists, step.rescored, *found, milliseconds=step.milliseconds)
            )
    return tuple(ladder)
