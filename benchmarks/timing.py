"""Measuring in turn: a machine's speed drifts, so what is compared is taken in alternating rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Seconds", "percentile_ms", "seconds_in_turn", "seconds_of", "typical_ratio"]

Seconds = npt.NDArray[np.float64]


def seconds_of(call: Callable[[], object]) -> float:
    """How long one call takes."""
    started_s = time.perf_counter()
    call()
    return time.perf_counter() - started_s


def seconds_in_turn(
    calls: Sequence[Callable[[int], object]],
    rounds: int,
    calls_per_round: int = 1,
    warm_up_calls: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Seconds]:
    """Seconds of every call, [rounds, calls_per_round] for each of `calls`.

    Each is called with 0, 1, 2, ... counted over its rounds, so that all of them meet the same inputs; in every other
    round they come in the reverse order, so that none is always the one that finds the caches warm. `clock` may be
    `time.process_time`, which others' work on the machine hardly moves.
    """
    for call in calls:
        for number in range(warm_up_calls):
            call(number)
    taken = [np.empty((rounds, calls_per_round)) for _ in calls]
    for round_number in range(rounds):
        order = range(len(calls)) if round_number % 2 == 0 else reversed(range(len(calls)))
        for which in order:
            for number in range(calls_per_round):
                started_s = clock()
                calls[which](round_number * calls_per_round + number)
                taken[which][round_number, number] = clock() - started_s
    return taken


def typical_ratio(ours: Seconds, theirs: Seconds) -> float:
    """The median over the rounds of the ratio of their medians, [rounds, calls] both."""
    return float(np.median(np.median(ours, axis=1) / np.median(theirs, axis=1)))


def percentile_ms(seconds: Seconds | Sequence[float], percentile: float) -> float:
    """A percentile in milliseconds."""
    return float(np.percentile(np.asarray(seconds), percentile)) * 1000.0
