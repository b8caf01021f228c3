"""`python -m benchmarks.expiry`: what times of expiry cost a search, an enrolment, and a sweep.

Two galleries of the same faces, one of which gives a share of them a time. Searches are taken in turn: before that time
against the gallery without any, then after it, with nothing swept. The clock is set by hand.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import engine_calls
from benchmarks.generators import FaceSet, face512
from benchmarks.machine import REPOSITORY
from benchmarks.timing import percentile_ms, seconds_in_turn, seconds_of, typical_ratio
from benchmarks.workbench import DIMENSION, FACES_PER_IDENTITY, POPULATION_SEED, THRESHOLD_SIMILARITY, identity_ids
from mien_server.engine import Engine, EngineOptions
from mien_server.engine.types import EnrollRows, GallerySpec, Probes, SearchChoices
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy
from mien_server.storage import StoreOptions

__all__ = ["main"]

FOLDER = REPOSITORY / "build" / "bench"
PLAIN, DATED = "plain", "dated"
SECOND_US = 1_000_000
START_US = 1_800_000_000 * SECOND_US
DUE_US = START_US + 3600 * SECOND_US
BATCH_ROWS = 5000
BUILD_WAIT_S = 1800.0
ROUNDS = 8
PROBES_PER_ROUND = 50
FIRST_SEARCHES = 15
TRICKLE_ROWS = 300


@dataclass
class Clock:
    """A wall clock that is set by hand."""

    now_us: int = START_US

    def __call__(self) -> int:
        return self.now_us


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.expiry", description="What times of expiry cost.")
    parser.add_argument("--rows", type=int, default=200_000, help="faces of each gallery; default: 200000")
    parser.add_argument("--share", type=float, default=0.3, help="of the faces that expire; default: 0.3")
    chosen = parser.parse_args(arguments)
    clock = Clock()
    options = EngineOptions(store=StoreOptions(clock_us=clock), sweep_interval_s=1e6, rebuilds_automatically=False)
    faces = face512(POPULATION_SEED).gallery(chosen.rows // FACES_PER_IDENTITY, FACES_PER_IDENTITY)
    is_dated = np.random.default_rng(1).random(len(faces.vectors)) < chosen.share
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder, Engine.open(Path(folder) / "store", options) as engine:
        _load(engine, faces, is_dated)
        probes = [engine_calls.packed(one[None, :]) for one in _probes(chosen.rows)]
        _measure_searches(engine, probes, "a time set, not due")
        clock.now_us = DUE_US
        _measure_searches(engine, probes, "expired, not swept")
        _measure_first_search(engine, probes[0])
        _measure_trickle(engine, clock, probes)
        _measure_sweep(engine)
    return 0


def _say(what: str, value: float, unit: str = "x") -> None:
    sys.stdout.write(f"{what}: {value:.3f} {unit}\n")
    sys.stdout.flush()


def _load(engine: Engine, faces: FaceSet, is_dated: np.ndarray) -> None:
    """Enrol everybody in both galleries, batch by batch in turn; the indexes are built afterwards."""
    policy = DecisionPolicy(similarity=THRESHOLD_SIMILARITY)
    for name in (PLAIN, DATED):
        spec = GallerySpec(name, precomputed_name="face512", precomputed_dimension=DIMENSION, decision_policy=policy)
        engine.galleries.create(spec, None)

    def enrol(gallery: str, number: int) -> None:
        part = slice(number * BATCH_ROWS, (number + 1) * BATCH_ROWS)
        people = identity_ids(faces.identity_numbers[part])
        rows = EnrollRows(
            gallery,
            engine_calls.packed_rows(faces.vectors[part]),
            people,
            [f"f{row:09d}" for row in range(part.start, part.start + len(people))],
            expire_times_us=np.where(is_dated[part], DUE_US, 0).tolist() if gallery == DATED else (),
        )
        engine.enrollment.enroll_rows(rows, Deadline())

    dated, plain = seconds_in_turn(
        [lambda number, gallery=gallery: enrol(gallery, number) for gallery in (DATED, PLAIN)],
        rounds=len(faces.vectors) // BATCH_ROWS,
        warm_up_calls=0,
    )
    rate = BATCH_ROWS / np.median(plain)
    _say(f"enrolment in columns, some with a time / none ({rate:.0f} rows/s)", typical_ratio(dated, plain))
    for name in (PLAIN, DATED):
        operation = engine.operations.rebuild_index(name)
        engine.operations.wait(operation.name, BUILD_WAIT_S, Deadline())


def _probes(rows: int) -> np.ndarray:
    people = np.random.default_rng(2).integers(0, rows // FACES_PER_IDENTITY, ROUNDS * PROBES_PER_ROUND)
    vectors: np.ndarray = face512(POPULATION_SEED).probes(people, 3).vectors
    return vectors


def _identify(engine: Engine, gallery: str, probes: Probes) -> object:
    return engine.recognition.identify(gallery, probes, choices=SearchChoices(), deadline=Deadline())


def _search(engine: Engine, gallery: str, probes: Probes) -> object:
    return engine.recognition.search(gallery, probes, choices=SearchChoices(), deadline=Deadline())


VERBS: dict[str, Callable[[Engine, str, Probes], object]] = {"identify": _identify, "search": _search}


def _measure_searches(engine: Engine, probes: list[Probes], what: str) -> None:
    for name, verb in VERBS.items():
        dated, plain = seconds_in_turn(
            [
                lambda number, gallery=gallery, verb=verb: verb(engine, gallery, probes[number % len(probes)])
                for gallery in (DATED, PLAIN)
            ],
            rounds=ROUNDS,
            calls_per_round=PROBES_PER_ROUND,
            warm_up_calls=PROBES_PER_ROUND,
        )
        _say(
            f"{name}, one probe, {what} / no times (p50 {percentile_ms(plain, 50):.2f} ms)", typical_ratio(dated, plain)
        )


def _measure_first_search(engine: Engine, probe: Probes) -> None:
    """After each write the first view finds out what has passed anew."""
    taken = []
    for number in range(FIRST_SEARCHES):
        engine.galleries.update(DATED, display_name=f"written {number}")
        taken.append(seconds_of(lambda: _identify(engine, DATED, probe)))
    _say("identify, first after a write with the expired not swept", percentile_ms(taken, 50), "ms")


def _measure_trickle(engine: Engine, clock: Clock, probes: list[Probes]) -> None:
    """One face expires before every search."""
    times = [DUE_US + (row + 1) * SECOND_US for row in range(TRICKLE_ROWS)]
    vectors = face512(POPULATION_SEED + 1).gallery(TRICKLE_ROWS, 1).vectors
    rows = EnrollRows(DATED, engine_calls.packed_rows(vectors), ["trickle"] * TRICKLE_ROWS, expire_times_us=times)
    engine.enrollment.enroll_rows(rows, Deadline())
    _identify(engine, DATED, probes[0])
    taken = []
    for number in range(TRICKLE_ROWS):
        clock.now_us += SECOND_US
        taken.append(seconds_of(lambda number=number: _identify(engine, DATED, probes[number % len(probes)])))
    _say("identify, one more face expired before each", percentile_ms(taken, 50), "ms")


def _measure_sweep(engine: Engine) -> None:
    started_s = time.perf_counter()
    swept = engine.sweeper.sweep()
    _say("sweep", swept.face_count / (time.perf_counter() - started_s), "faces/s")


if __name__ == "__main__":
    sys.exit(main())
