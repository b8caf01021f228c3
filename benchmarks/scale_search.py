"""What `scale` asks a loaded store: who is this, for people of the gallery and strangers, beside raw FAISS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks import engine_calls
from benchmarks.exact import blocks_of, exact_nearest
from benchmarks.machine import core_count
from benchmarks.raw_faiss import Float32Array, RawFaiss, RawSearch
from benchmarks.scale_store import Gallery
from benchmarks.timing import Seconds, percentile_ms, seconds_in_turn
from mien_server.engine import Engine, EngineOptions
from mien_server.engine.types import IdentificationAnswer, Probes
from mien_server.records.policies import DecisionPolicy

__all__ = ["Answers", "exact_answers", "measure_engine", "raw_search"]

PROBE_SEED: Final = 11
CALIBRATION_SEED: Final = 12
FALSE_POSITIVE_SHARE: Final = 0.01
ROUNDING: Final = 2e-6
"""Two ways of summing the product of unit vectors differ by less."""

RELAXED_TARGET: Final = 0.995
"""Asked for besides the default."""

ROUNDS: Final = 5
SINGLES_PER_ROUND: Final = 100
BATCH_PROBES: Final = 1000
BATCH_ROUNDS: Final = 5
REPORTS: Final = 10

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Probes and exact search's answers.

    Attributes:
        mated: float32 [n, dimension], new faces of people of the gallery; strangers: [n, dimension], of nobody in it.
        rows: int64 [2 n, 10], exact search's nearest of both; similarities: float32 likewise.
        threshold: what the best of one stranger in a hundred, of others than these, reaches.
    """

    mated: Float32Array
    strangers: Float32Array
    rows: Int64Array
    similarities: Float32Array
    threshold: float

    @property
    def probes(self) -> Float32Array:
        """Mated ones, then strangers."""
        return np.concatenate([self.mated, self.strangers])


def exact_answers(gallery: Gallery, raw: RawFaiss, probe_count: int, kept: Path) -> Answers:
    """By comparison with every row of the store, on all cores; kept in a file for the next run."""
    population = gallery.population
    identity_count = int(gallery.people().max()) + 1
    chosen = np.random.default_rng(PROBE_SEED).integers(0, identity_count, probe_count)
    mated = population.probes(chosen, PROBE_SEED).vectors
    strangers = population.strangers(probe_count, PROBE_SEED).vectors
    if not kept.exists():
        calibration = population.strangers(probe_count, CALIBRATION_SEED).vectors
        probes = np.concatenate([mated, strangers, calibration])
        exact = exact_nearest(_told(blocks_of(raw.rows), len(raw.rows)), probes, engine_calls.NEIGHBORS, core_count())
        np.savez(kept, rows=exact.rows, similarities=exact.similarities)
    with np.load(kept) as exact_file:
        rows, similarities = exact_file["rows"], exact_file["similarities"]
    threshold = float(np.quantile(similarities[2 * probe_count :, 0], 1 - FALSE_POSITIVE_SHARE))
    return Answers(mated, strangers, rows[: 2 * probe_count], similarities[: 2 * probe_count], threshold)


def _told(blocks: Iterator[Float32Array], row_count: int) -> Iterator[Float32Array]:
    """The blocks, while saying how far they are."""
    rows = told = 0
    for block in blocks:
        yield block
        rows += len(block)
        if rows - told >= row_count // REPORTS or rows == row_count:
            told = rows
            print(f"  compared with {rows:,} rows", flush=True)


def raw_search(
    engine: Engine, raw: RawFaiss, answers: Answers, recall_target: float | None = None
) -> tuple[RawSearch, str]:
    """Raw FAISS at the effort that the engine takes for a target, or by default, and that effort in words."""
    found = engine_calls.effort_of(_identify(engine, answers.mated, answers.threshold, recall_target))
    effort = f"{found.plan}: {found.lists_scanned} of {found.lists_total} lists, {found.rows_rescored} rows rescored"
    return raw.at_effort(found, engine_calls.FACES_FOR_CANDIDATES, answers.threshold), f"{effort} on average"


def measure_engine(store: Path, raw: RawFaiss, answers: Answers, people: npt.NDArray[np.uint32]) -> dict[str, Any]:
    """Agreement, decisions, recall and times of an engine in this process, each time beside raw FAISS."""
    facts: dict[str, Any] = {}
    for threads in sorted({1, core_count()}):
        options = EngineOptions(rebuilds_automatically=False, search_thread_count=threads)
        with Engine.open(store, options) as engine:
            theirs, effort = raw_search(engine, raw, answers)
            if threads == 1:
                facts |= {"threshold": answers.threshold, "effort": effort}
                facts |= _quality(engine, answers, people) | _recall(engine, answers)
                facts["one_probe"] = {
                    "mated": _singles(engine, theirs, answers.mated, answers.threshold),
                    "stranger": _singles(engine, theirs, answers.strangers, answers.threshold),
                }
                facts["relaxed"] = _relaxed(engine, raw, answers, people)
            facts.setdefault("batch", {})[str(threads)] = _batches(engine, theirs, answers, threads)
    return facts


def _relaxed(engine: Engine, raw: RawFaiss, answers: Answers, people: npt.NDArray[np.uint32]) -> dict[str, Any]:
    """The same for calls that ask for RELAXED_TARGET."""
    theirs, effort = raw_search(engine, raw, answers, RELAXED_TARGET)
    return {
        "recall_target": RELAXED_TARGET,
        "effort": effort,
        **_quality(engine, answers, people, RELAXED_TARGET),
        "one_probe": {
            "mated": _singles(engine, theirs, answers.mated, answers.threshold, RELAXED_TARGET),
            "stranger": _singles(engine, theirs, answers.strangers, answers.threshold, RELAXED_TARGET),
        },
    }


def _identify(
    engine: Engine, probes: Float32Array, threshold: float, recall_target: float | None = None
) -> IdentificationAnswer:
    policy = DecisionPolicy(similarity=threshold)
    packed = engine_calls.packed(probes)
    return engine_calls.identify(engine, packed, explain=True, policy=policy, recall_target=recall_target)


def _quality(
    engine: Engine, answers: Answers, people: npt.NDArray[np.uint32], recall_target: float | None = None
) -> dict[str, Any]:
    count = len(answers.mated)
    wanted, similarities = people[answers.rows[:, 0]], answers.similarities[:, 0]
    found = [*_identify(engine, answers.mated, answers.threshold, recall_target).embeddings]
    found += _identify(engine, answers.strangers, answers.threshold, recall_target).embeddings
    named = np.array([int(one.candidates[0].identity_id[1:]) for one in found])
    scores = np.array([one.candidates[0].similarity for one in found], dtype=np.float32)
    is_match = np.array([one.is_match for one in found])
    is_same = named == wanted
    agreed = is_same | (scores >= similarities - ROUNDING)
    wanted_match = similarities >= answers.threshold
    decided = (is_match == wanted_match) & (is_same | ~wanted_match)
    decided |= np.abs(similarities - answers.threshold) <= ROUNDING
    return {
        "probes": count,
        "rank1_agreement": float(agreed[:count].mean()),
        "mated_decisions": float(decided[:count].mean()),
        "stranger_decisions": float(decided[count:].mean()),
    }


def _recall(engine: Engine, answers: Answers) -> dict[str, Any]:
    """Of SearchFaces at its default effort."""
    found = engine_calls.search(engine, engine_calls.packed(answers.mated), explain=True)
    rows = np.array([int(face) for face in found.face_ids], dtype=np.int64).reshape(len(answers.mated), -1)
    hits = [np.isin(wanted, got).mean() for wanted, got in zip(answers.rows[: len(rows)], rows, strict=True)]
    plan = found.explanation.plan if found.explanation is not None else ""
    return {"recall_at_10": float(np.mean(hits)), "search_plan": plan}


def _singles(
    engine: Engine, theirs: RawSearch, vectors: Float32Array, threshold: float, recall_target: float | None = None
) -> dict[str, Any]:
    singles = [np.ascontiguousarray(vectors[number : number + 1]) for number in range(len(vectors))]
    packed = [engine_calls.packed(probe) for probe in singles]
    policy = DecisionPolicy(similarity=threshold)

    def ours(number: int) -> object:
        return engine_calls.identify(engine, packed[number % len(packed)], policy=policy, recall_target=recall_target)

    calls: list[Callable[[int], object]] = [ours, lambda number: theirs(singles[number % len(singles)], 1)]
    found: dict[str, Any] = {}
    for name, clock in {"clock": time.perf_counter, "processor": time.process_time}.items():
        taken = seconds_in_turn(calls, ROUNDS, SINGLES_PER_ROUND, SINGLES_PER_ROUND // 2, clock)
        found[name] = {"engine": _milliseconds(taken[0]), "faiss": _milliseconds(taken[1])}
    return found


def _batches(engine: Engine, theirs: RawSearch, answers: Answers, threads: int) -> dict[str, float]:
    """Mated probes a second; the engine was opened for that many threads."""
    batch = np.ascontiguousarray(answers.mated[:BATCH_PROBES])
    packed: Probes = engine_calls.packed(batch)
    policy = DecisionPolicy(similarity=answers.threshold)
    calls: list[Callable[[int], object]] = [
        lambda _number: engine_calls.identify(engine, packed, policy=policy),
        lambda _number: theirs(batch, threads),
    ]
    ours, raw = seconds_in_turn(calls, BATCH_ROUNDS)
    return {
        "engine_probes_per_s": len(batch) / float(np.median(ours)),
        "faiss_probes_per_s": len(batch) / float(np.median(raw)),
    }


def _milliseconds(seconds: Seconds) -> dict[str, float]:
    return {
        "p50_ms": percentile_ms(seconds, 50),
        "p99_ms": percentile_ms(seconds, 99),
        "mean_ms": float(np.mean(seconds)) * 1000.0,
    }
