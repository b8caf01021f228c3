"""Search through the engine beside raw FAISS: the same index file, rows, lists and short list, in turn.

The engine's share: unpacking and checking probes, a snapshot, ordering, who each row belongs to (LMDB, in the same
snapshot), the decision, typed answers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks import engine_calls
from benchmarks.figures import Figure, Target
from benchmarks.machine import core_count
from benchmarks.raw_faiss import Float32Array, RawFaiss
from benchmarks.timing import percentile_ms, seconds_in_turn, typical_ratio
from benchmarks.workbench import Workbench
from mien_server.engine import Engine
from mien_server.engine.types import Explanation

__all__ = ["run"]

BATCH_PROBES = 1000
AGREEMENT_PROBES = 2000
ROUND_PROBES = 100
BATCH_RATIO_MAX = 1.15
ONE_PROBE_ABOVE_MS_MAX = 0.15
AGREEMENT_MIN = 0.999
ESTIMATE_ERROR_MAX = 0.01
ROUNDING = 2e-6
"""Two ways of summing the product of unit vectors differ by less."""


def run(bench: Workbench) -> list[Figure]:
    """Batches, single probes and agreement, for search and identify."""
    probes = bench.mated_probes(AGREEMENT_PROBES).vectors
    with bench.engine() as engine:
        raw = RawFaiss(bench.store())
        return [
            *_verb(bench, engine, raw, probes, "search"),
            *_verb(bench, engine, raw, probes, "identify"),
            *_agreement(bench, engine, raw, probes),
        ]


def _verb(bench: Workbench, engine: Engine, raw: RawFaiss, probes: Float32Array, verb: str) -> list[Figure]:
    one_call = engine_calls.search if verb == "search" else engine_calls.identify
    effort = engine_calls.effort_of(one_call(engine, engine_calls.packed(probes[:1]), explain=True))
    k = engine_calls.NEIGHBORS if verb == "search" else 3 * engine_calls.CANDIDATES
    return [
        _batches(bench, engine, raw, probes, verb, one_call, effort, k),
        _single(bench, engine, raw, probes, verb, one_call, effort, k),
    ]


def _batches(
    bench: Workbench,
    engine: Engine,
    raw: RawFaiss,
    probes: Float32Array,
    verb: str,
    one_call: Callable[..., object],
    effort: Explanation,
    k: int,
) -> Figure:
    batch = np.ascontiguousarray(probes[:BATCH_PROBES])
    packed = engine_calls.packed(batch)
    threads = core_count()
    ours, theirs = seconds_in_turn(
        [
            lambda _number: one_call(engine, packed),
            lambda _number: raw.search(
                batch, k, lists=effort.lists_scanned, rescored=effort.rows_rescored, threads=threads
            ),
        ],
        rounds=7 if bench.is_quick else 9,
        warm_up_calls=2,
    )
    ratio = typical_ratio(ours, theirs)
    baseline_ms = percentile_ms(theirs, 50)
    return Figure(
        name=f"{verb}.engine.{bench.size}.ratio_to_faiss",
        value=baseline_ms * ratio,
        unit="ms",
        baseline=baseline_ms,
        detail=(
            f"{len(batch)} probes a call, k = {k}, {_effort_text(effort)}; engine {len(batch) / np.median(ours):.0f}, "
            f"FAISS {len(batch) / np.median(theirs):.0f} probes/s on {threads} cores; the median of each round's ratio"
        ),
        target=Target.at_most(ratio, BATCH_RATIO_MAX),
    )


def _single(
    bench: Workbench,
    engine: Engine,
    raw: RawFaiss,
    probes: Float32Array,
    verb: str,
    one_call: Callable[..., object],
    effort: Explanation,
    k: int,
) -> Figure:
    singles = [np.ascontiguousarray(probes[number : number + 1]) for number in range(len(probes))]
    packed = [engine_calls.packed(probe) for probe in singles]
    ours, theirs = seconds_in_turn(
        [
            lambda number: one_call(engine, packed[number % len(packed)]),
            lambda number: raw.search(
                singles[number % len(singles)],
                k,
                lists=effort.lists_scanned,
                rescored=effort.rows_rescored,
                threads=1,
            ),
        ],
        rounds=10 if bench.is_quick else 20,
        calls_per_round=ROUND_PROBES,
        warm_up_calls=ROUND_PROBES,
    )
    above_ms = float(np.median(np.median(ours, axis=1) - np.median(theirs, axis=1))) * 1000.0
    baseline_ms = percentile_ms(theirs, 50)
    return Figure(
        name=f"{verb}.engine.{bench.size}.one_probe.ratio_to_faiss",
        value=baseline_ms + above_ms,
        unit="ms",
        baseline=baseline_ms,
        detail=(
            f"one probe a call, k = {k}, {_effort_text(effort)}, one core; p50 {above_ms:.3f} ms above FAISS; p99 "
            f"{percentile_ms(ours, 99):.2f} and {percentile_ms(theirs, 99):.2f} ms"
        ),
        target=Target.at_most(above_ms, ONE_PROBE_ABOVE_MS_MAX, "ms above"),
    )


def _agreement(bench: Workbench, engine: Engine, raw: RawFaiss, probes: Float32Array) -> list[Figure]:
    """How often the best answer is as similar as the best of all rows."""
    answer = engine_calls.search(engine, engine_calls.packed(probes), explain=True)
    effort = engine_calls.effort_of(answer)
    firsts = np.concatenate([[0], np.cumsum(answer.counts)[:-1]])
    best = answer.similarities[firsts]
    exact = raw.exact_best(probes, core_count())
    agreement = float(np.mean(best >= exact - ROUNDING))
    error = abs(effort.recall_estimate - agreement)
    what = f"{len(probes)} new faces of people of the gallery, default effort ({_effort_text(effort)})"
    return [
        Figure(
            name=f"search.engine.{bench.size}.rank1_agreement",
            value=agreement,
            unit="share",
            baseline=1.0,
            detail=f"{what}; against comparison with every row",
            target=Target.at_least(agreement, AGREEMENT_MIN, ""),
        ),
        Figure(
            name=f"search.engine.{bench.size}.agreement_estimate",
            value=effort.recall_estimate,
            unit="share",
            baseline=agreement,
            detail=f"what the generation says of its effort, measured at build, against {what}",
            target=Target.at_most(error, ESTIMATE_ERROR_MAX, "apart"),
        ),
    ]


def _effort_text(effort: Explanation) -> str:
    return f"{effort.lists_scanned} of {effort.lists_total} lists, {effort.rows_rescored} rows rescored"
