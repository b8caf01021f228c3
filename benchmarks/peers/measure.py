"""What is measured of an opened peer: agreement, decisions, times, at each of its efforts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.peers.peer import Effort, Named, Peer
from benchmarks.peers.task import NEIGHBORS, Float32Array, Task
from benchmarks.timing import percentile_ms

__all__ = ["identification", "neighbors"]

Answer = TypeVar("Answer")

ROUNDING = 2e-6
"""Two ways of summing the product of unit vectors differ by less."""

BATCH_PROBES = 500
SINGLE_PROBES = 400
STRANGER_SINGLES = 200
WARM_UP = 50
SINGLE_S_MAX = 6.0
"""A slow system is asked fewer single probes: what these seconds hold."""


@dataclass(frozen=True, slots=True)
class _Times:
    """Of single probes: wall clock, and processor time of the whole process, which others' work hardly moves."""

    p50_ms: float
    p99_ms: float
    mean_ms: float
    cpu_p50_ms: float
    cpu_p99_ms: float
    cpu_mean_ms: float
    probes: int


def identification(peer: Peer, task: Task, effort: Effort) -> dict[str, Any]:
    """Who, or unknown: against exact search's answers and decisions."""

    def ask(probes: Any) -> Named:
        return peer.identify(probes, effort, task.threshold)

    answers, rates = _in_batches(peer, task.mated, ask)
    named = _joined(answers)
    stranger_named = _joined(_in_batches(peer, task.strangers, ask)[0])
    singles = [peer.prepare(probe) for probe in _singles(task.mated, SINGLE_PROBES)]
    stranger_singles = [peer.prepare(probe) for probe in _singles(task.strangers, STRANGER_SINGLES)]
    for probe in singles[:WARM_UP]:
        ask(probe)
    return {
        "effort": effort.label,
        "agreement": _agreement(task, named),
        "mated_decisions": _decisions(task, named, task.mated_rows, task.mated_similarities),
        "stranger_decisions": _decisions(task, stranger_named, task.stranger_rows, task.stranger_similarities),
        "mated": asdict(_single_times(singles, ask)),
        "stranger": asdict(_single_times(stranger_singles, ask)),
        **rates,
    }


def neighbors(peer: Peer, task: Task, effort: Effort) -> dict[str, Any]:
    """The ten nearest faces, for mated probes."""

    def ask(probes: Any) -> npt.NDArray[np.int64]:
        return peer.nearest(probes, NEIGHBORS, effort).rows

    answers, rates = _in_batches(peer, task.mated, ask)
    found = np.concatenate(answers)
    hits = [np.isin(wanted, rows).mean() for wanted, rows in zip(task.mated_rows, found, strict=True)]
    singles = [peer.prepare(probe) for probe in _singles(task.mated, SINGLE_PROBES)]
    for probe in singles[:WARM_UP]:
        ask(probe)
    return {
        "effort": effort.label,
        "recall_at_10": float(np.mean(hits)),
        "mated": asdict(_single_times(singles, ask)),
        **rates,
    }


def _in_batches(
    peer: Peer, probes: Float32Array, ask: Callable[[Any], Answer]
) -> tuple[list[Answer], dict[str, float]]:
    """Answers batch by batch, and probes a second: the median batch by the clock, and by processor time."""
    answers: list[Answer] = []
    wall: list[float] = []
    processor: list[float] = []
    for first in range(0, len(probes), BATCH_PROBES):
        batch = peer.prepare(probes[first : first + BATCH_PROBES])
        processor_s, started_s = time.process_time(), time.perf_counter()
        answers.append(ask(batch))
        wall.append(time.perf_counter() - started_s)
        processor.append(time.process_time() - processor_s)
    size = min(BATCH_PROBES, len(probes))
    rates = {"probes_per_s": size / float(np.median(wall)), "probes_per_cpu_s": size / float(np.median(processor))}
    return answers, rates


def _joined(answers: list[Named]) -> Named:
    return Named(
        np.concatenate([one.people for one in answers]),
        np.concatenate([one.similarities for one in answers]),
        np.concatenate([one.is_match for one in answers]),
    )


def _singles(probes: Float32Array, count: int) -> list[Float32Array]:
    return [probes[number : number + 1] for number in range(min(count, len(probes)))]


def _agreement(task: Task, named: Named) -> float:
    """Share of mated probes for which exact search's person, or somebody as similar, came first."""
    wanted = task.people[task.mated_rows[:, 0]]
    is_same = named.people == wanted
    is_as_similar = named.similarities >= task.mated_similarities[:, 0] - ROUNDING
    return float(np.mean(is_same | is_as_similar))


def _decisions(task: Task, named: Named, exact_rows: npt.NDArray[np.int64], exact_similarities: Float32Array) -> float:
    """Share of probes decided (this person, or unknown) as exact search decides."""
    is_match = exact_similarities[:, 0] >= task.threshold
    is_same_person = named.people == task.people[exact_rows[:, 0]]
    # Two sums of one product may fall on different sides of the threshold; that is nobody's error.
    is_at_threshold = np.abs(exact_similarities[:, 0] - task.threshold) <= ROUNDING
    same = (named.is_match == is_match) & (is_same_person | ~is_match)
    return float(np.mean(same | is_at_threshold))


def _single_times(probes: list[Any], ask: Callable[[Any], object]) -> _Times:
    wall, processor = [], []
    until_s = time.perf_counter() + SINGLE_S_MAX
    for probe in probes:
        processor_s, started_s = time.process_time(), time.perf_counter()
        ask(probe)
        wall.append(time.perf_counter() - started_s)
        processor.append(time.process_time() - processor_s)
        if time.perf_counter() > until_s:
            break
    return _Times(
        p50_ms=percentile_ms(wall, 50),
        p99_ms=percentile_ms(wall, 99),
        mean_ms=float(np.mean(wall)) * 1000.0,
        cpu_p50_ms=percentile_ms(processor, 50),
        cpu_p99_ms=percentile_ms(processor, 99),
        cpu_mean_ms=float(np.mean(processor)) * 1000.0,
        probes=len(wall),
    )
