"""What is left of the search rate while 500 rows/s are enrolled.

As many callers as cores search with single probes over gRPC, each one after the other; quiet phases and phases with
enrolment take turns. Two ratios: to the quiet phases before and after each, which shows what the writer costs; and to
the rate before the first row was enrolled, which also holds what the growing tail costs.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from benchmarks.figures import Figure, Target
from benchmarks.machine import core_count
from benchmarks.raw_faiss import Float32Array
from benchmarks.timing import percentile_ms
from benchmarks.workbench import GALLERY, Workbench, identity_ids
from mien_client import Client, EnrollRows

__all__ = ["run"]

ENROLLED_ROWS_PER_S = 500
ROWS_PER_BATCH = 50
PHASES = 3
PHASE_S = 4.0
QUICK_PHASE_S = 2.5
PROBES = 500
RATE_KEPT_MIN = 0.8
P99_RATIO_MAX = 3.0
NEW_PEOPLE_SEED = 5


@dataclass(frozen=True, slots=True)
class _Phase:
    """Seconds of every search of one phase."""

    seconds: list[float]
    duration_s: float

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.duration_s


def run(bench: Workbench) -> list[Figure]:
    """Rate and p99 under enrolment, each beside the quiet ones."""
    probes = bench.mated_probes(PROBES).vectors
    phase_s = QUICK_PHASE_S if bench.is_quick else PHASE_S
    rows = int(ENROLLED_ROWS_PER_S * phase_s * PHASES * 1.5)
    newcomers = bench.population.strangers(rows, NEW_PEOPLE_SEED)
    batches = _batches(newcomers.vectors, identity_ids(newcomers.identity_numbers))
    quiet, busy, enrolled = [], [], 0
    with bench.disposable_server() as server, server.client() as client:
        _search(client, probes, phase_s / 4)
        quiet.append(_search(client, probes, phase_s))
        for _ in range(PHASES):
            with _Enrolling(client, batches) as enrolling:
                busy.append(_search(client, probes, phase_s))
            enrolled += enrolling.rows
            quiet.append(_search(client, probes, phase_s))
        tail_rows = client.get_gallery(GALLERY).index_state.tail_rows
    return _figures(bench, quiet, busy, enrolled / (PHASES * phase_s), tail_rows)


def _figures(
    bench: Workbench, quiet: list[_Phase], busy: list[_Phase], enrolled_per_s: float, tail_rows: int
) -> list[Figure]:
    around = [(before.rate + after.rate) / 2 for before, after in itertools.pairwise(quiet)]
    kept = float(np.median([one.rate / rate for one, rate in zip(busy, around, strict=True)]))
    kept_of_first = busy[-1].rate / quiet[0].rate
    quiet_rate = float(np.median(around))
    quiet_p99, busy_p99 = (
        percentile_ms(np.concatenate([one.seconds for one in phases]), 99) for phases in (quiet, busy)
    )
    what = (
        f"single probes over gRPC from {core_count()} callers, {PHASES} phases; {enrolled_per_s:.0f} rows/s "
        f"enrolled in batches of {ROWS_PER_BATCH}"
    )
    return [
        Figure(
            name=f"search.enrolling.{bench.size}.rate_kept",
            value=quiet_rate * kept,
            unit="probes/s",
            baseline=quiet_rate,
            detail=f"{what}; beside the quiet phases before and after each",
            target=Target.at_least(kept, RATE_KEPT_MIN),
        ),
        Figure(
            name=f"search.enrolling.{bench.size}.rate_kept_of_first",
            value=busy[-1].rate,
            unit="probes/s",
            baseline=quiet[0].rate,
            detail=f"{what}; the last phase with {tail_rows} rows in the tail beside the first quiet one with none",
            target=Target.at_least(kept_of_first, RATE_KEPT_MIN),
        ),
        Figure(
            name=f"search.enrolling.{bench.size}.p99",
            value=busy_p99,
            unit="ms",
            baseline=quiet_p99,
            detail=what,
            target=Target.at_most(busy_p99 / quiet_p99, P99_RATIO_MAX),
        ),
    ]


def _search(client: Client, probes: Float32Array, duration_s: float) -> _Phase:
    """Search from several threads for so long."""
    until_s = time.perf_counter() + duration_s

    def caller(first: int) -> list[float]:
        seconds = []
        number = first
        while (started_s := time.perf_counter()) < until_s:
            client.search_faces(GALLERY, embeddings=probes[number % len(probes)])
            seconds.append(time.perf_counter() - started_s)
            number += 1
        return seconds

    callers = core_count()
    with ThreadPoolExecutor(callers) as pool:
        parts = list(pool.map(caller, range(0, len(probes), len(probes) // callers)))
    return _Phase([one for part in parts for one in part], duration_s)


def _batches(vectors: Float32Array, ids: list[str]) -> Iterator[EnrollRows]:
    for first in range(0, len(vectors), ROWS_PER_BATCH):
        part = slice(first, first + ROWS_PER_BATCH)
        yield EnrollRows(vectors[part], ids[part])


class _Enrolling:
    """Enrols at a steady pace from a thread, inside a `with` block. `rows`: how many were answered."""

    def __init__(self, client: Client, batches: Iterator[EnrollRows]) -> None:
        self._client = client
        self._batches = batches
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rows = 0

    def _paced(self) -> Iterator[EnrollRows]:
        due_s = time.monotonic()
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            yield next(self._batches)
            due_s += ROWS_PER_BATCH / ENROLLED_ROWS_PER_S

    def _run(self) -> None:
        for ack in self._client.stream_enroll(GALLERY, self._paced()):
            if ack.error is not None:
                raise ack.error
            self.rows += ack.enrolled_count

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
