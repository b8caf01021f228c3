"""Search through the engine beside raw FAISS: the same index file, rows, lists and short list, in turn.

The engine's share: unpacking and checking probes, a snapshot, ordering, who each row belongs to (LMDB, in the same
snapshot), the decision, typed answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks import engine_calls
from benchmarks.figures import Figure, Target
from benchmarks.machine import core_count
from benchmarks.raw_faiss import Float32Array, RawFaiss
from benchmarks.timing import percentile_ms, seconds_in_turn, typical_ratio
from benchmarks.workbench import THRESHOLD_SIMILARITY, Workbench, identity_ids
from mien_server.engine import Engine
from mien_server.engine.types import Probes

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
        rows, similarities = raw.exact_best(probes, core_count())
        agreements = {
            "search": _search_agreement(engine, probes, similarities),
            "identify": _identify_agreement(engine, probes, identity_ids(bench.people()[rows])),
        }
        figures = []
        for verb, (agreement, estimate) in agreements.items():
            pair = _pair(engine, raw, probes, verb)
            figures += [_batches(bench, pair, probes), _single(bench, pair, probes)]
            figures += _agreement_figures(bench, pair, agreement, estimate)
        return figures


@dataclass(frozen=True, slots=True)
class _Pair:
    """A verb of the engine and the same search with raw FAISS: both take probes, FAISS also a number of cores."""

    verb: str
    ours: Callable[[Probes], object]
    theirs: Callable[[Float32Array, int], object]
    effort: str


def _pair(engine: Engine, raw: RawFaiss, probes: Float32Array, verb: str) -> _Pair:
    """FAISS gets the effort that the engine chose, stages included."""
    one_call = engine_calls.search if verb == "search" else engine_calls.identify
    found = engine_calls.effort_of(one_call(engine, engine_calls.packed(probes), explain=True))
    k = engine_calls.NEIGHBORS if verb == "search" else engine_calls.FACES_FOR_CANDIDATES
    staging = raw.staging(found)
    effort = f"{found.lists_scanned} of {found.lists_total} lists, {found.rows_rescored} rows rescored"
    if staging is not None:
        stages = f"{staging.first.lists} lists, then {staging.full.lists} for those in doubt"
        effort = f"{effort} on average (stages in both: {stages})"
    theirs = raw.at_effort(found, k, THRESHOLD_SIMILARITY)
    return _Pair(verb, lambda some: one_call(engine, some), theirs, f"k = {k}, {effort}")


def _batches(bench: Workbench, pair: _Pair, probes: Float32Array) -> Figure:
    batch = np.ascontiguousarray(probes[:BATCH_PROBES])
    packed = engine_calls.packed(batch)
    threads = core_count()
    ours, theirs = seconds_in_turn(
        [lambda _number: pair.ours(packed), lambda _number: pair.theirs(batch, threads)],
        rounds=7 if bench.is_quick else 9,
        warm_up_calls=2,
    )
    ratio = typical_ratio(ours, theirs)
    baseline_ms = percentile_ms(theirs, 50)
    return Figure(
        name=f"{pair.verb}.engine.{bench.size}.ratio_to_faiss",
        value=baseline_ms * ratio,
        unit="ms",
        baseline=baseline_ms,
        detail=(
            f"{len(batch)} probes a call, {pair.effort}; engine {len(batch) / np.median(ours):.0f}, FAISS "
            f"{len(batch) / np.median(theirs):.0f} probes/s on {threads} cores; the median of each round's ratio"
        ),
        target=Target.at_most(ratio, BATCH_RATIO_MAX),
    )


def _single(bench: Workbench, pair: _Pair, probes: Float32Array) -> Figure:
    singles = [np.ascontiguousarray(probes[number : number + 1]) for number in range(len(probes))]
    packed = [engine_calls.packed(probe) for probe in singles]
    ours, theirs = seconds_in_turn(
        [
            lambda number: pair.ours(packed[number % len(packed)]),
            lambda number: pair.theirs(singles[number % len(singles)], 1),
        ],
        rounds=10 if bench.is_quick else 20,
        calls_per_round=ROUND_PROBES,
        warm_up_calls=ROUND_PROBES,
    )
    above_ms = float(np.median(np.median(ours, axis=1) - np.median(theirs, axis=1))) * 1000.0
    baseline_ms = percentile_ms(theirs, 50)
    return Figure(
        name=f"{pair.verb}.engine.{bench.size}.one_probe.ratio_to_faiss",
        value=baseline_ms + above_ms,
        unit="ms",
        baseline=baseline_ms,
        detail=(
            f"one probe a call, {pair.effort}, one core; p50 {above_ms:.3f} ms above FAISS; p99 "
            f"{percentile_ms(ours, 99):.2f} and {percentile_ms(theirs, 99):.2f} ms"
        ),
        target=Target.at_most(above_ms, ONE_PROBE_ABOVE_MS_MAX, "ms above"),
    )


def _search_agreement(engine: Engine, probes: Float32Array, exact: Float32Array) -> tuple[float, float]:
    """How often the best face is as similar as the best of all rows, and how often the generation says it is."""
    found = engine_calls.search(engine, engine_calls.packed(probes), explain=True)
    firsts = np.concatenate([[0], np.cumsum(found.counts)[:-1]])
    agreement = float(np.mean(found.similarities[firsts] >= exact - ROUNDING))
    return agreement, engine_calls.effort_of(found).recall_estimate


def _identify_agreement(engine: Engine, probes: Float32Array, exact: list[str]) -> tuple[float, float]:
    """How often the best person is the one of the best of all rows, and how often the generation says so."""
    found = engine_calls.identify(engine, engine_calls.packed(probes), explain=True)
    people = [one.candidates[0].identity_id for one in found.embeddings]
    agreement = float(np.mean([person == wanted for person, wanted in zip(people, exact, strict=True)]))
    return agreement, engine_calls.effort_of(found).recall_estimate


def _agreement_figures(bench: Workbench, pair: _Pair, agreement: float, estimate: float) -> list[Figure]:
    what = f"{AGREEMENT_PROBES} new faces of people of the gallery at the default effort ({pair.effort})"
    same = "the same similarity" if pair.verb == "search" else "the same person"
    return [
        Figure(
            name=f"{pair.verb}.engine.{bench.size}.rank1_agreement",
            value=agreement,
            unit="share",
            baseline=1.0,
            detail=f"{what}: {same} first as in comparison with every row",
            target=Target.at_least(agreement, AGREEMENT_MIN, ""),
        ),
        Figure(
            name=f"{pair.verb}.engine.{bench.size}.agreement_estimate",
            value=estimate,
            unit="share",
            baseline=agreement,
            detail=f"what the generation says of its effort, measured at build, against {what}",
            target=Target.at_most(abs(estimate - agreement), ESTIMATE_ERROR_MAX, "apart"),
        ),
    ]
