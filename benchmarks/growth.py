"""`python -m benchmarks.growth --rows 300000`: a gallery that grows from nothing over one stream, and is searched.

A server with its defaults, one stream that enrols at a steady pace, one caller that asks Identify, one probe after the
other, and one that looks at the index's state. The probes are of people who are enrolled first, so that all are mated
at every size. Agreement: the answer is at least as similar as the best of all rows answered before the call.
Written to build/bench/growth.json: what every second saw, and the p99 of calls while nothing else happened, while rows
were enrolled, while the index was being built, and around each change of the index that serves (a seal, a merge, a
publish). `python -m benchmarks.growth_plot` draws it.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import math
import shutil
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.generators import POPULATIONS, FacePopulation, enrolment_order
from benchmarks.machine import REPOSITORY, commit, machine
from benchmarks.server_process import ServerProcess
from benchmarks.timing import percentile_ms
from benchmarks.workbench import GALLERY, identity_ids, is_settled
from mien_client import Client, DecisionPolicy, EnrollRows

__all__ = ["main"]

OUTPUT: Final = REPOSITORY / "build" / "bench"
POPULATION_SEED: Final = 7
ROWS_DEFAULT: Final = 300_000
RATE_DEFAULT: Final = 3_000.0
ROWS_PER_BATCH: Final = 250
PROBES: Final = 300
FIRST_ROWS: Final = 1_000
THRESHOLD: Final = {"face512": 0.5, "face128": 0.96}
LOOK_S: Final = 0.05
QUIET_S: Final = 10.0
AROUND_CHANGE_S: Final = 0.5
SETTLE_S_DEFAULT: Final = 900.0
ROUNDING: Final = 2e-6

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Call:
    """One Identify: when it began, how long it took, whether it agreed with exact search."""

    at_s: float
    seconds: float
    agreed: bool


@dataclass(frozen=True, slots=True)
class _Look:
    """The gallery at one moment."""

    at_s: float
    rows: int
    indexed_rows: int
    tail_rows: int
    state: str
    generation: str


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the gallery has grown to its size and settled."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=ROWS_DEFAULT, help=f"faces at the end (default: {ROWS_DEFAULT})")
    parser.add_argument("--population", choices=list(POPULATIONS), default="face512")
    parser.add_argument("--faces", type=int, choices=(1, 5, 0), default=1, help="faces a person, 0 for a long tail")
    parser.add_argument("--rate", type=float, default=RATE_DEFAULT, help=f"rows a second (default: {RATE_DEFAULT:g})")
    parser.add_argument(
        "--settle",
        type=float,
        default=SETTLE_S_DEFAULT,
        help=f"seconds to settle in (default: {SETTLE_S_DEFAULT:g})",
    )
    parser.add_argument("--json", type=Path, default=OUTPUT / "growth.json")
    chosen = parser.parse_args(arguments)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="growth-", dir=OUTPUT))
    population = POPULATIONS[chosen.population](POPULATION_SEED)
    people = enrolment_order(chosen.rows, chosen.faces, POPULATION_SEED)
    try:
        with ServerProcess(folder / "store") as server:
            run = _Growth(server, population, people, chosen.rate, chosen.settle)
            run.grow()
    finally:
        shutil.rmtree(folder)
    facts = {
        "commit": commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "population": chosen.population,
        "faces_per_identity": chosen.faces,
        "rows": chosen.rows,
        "rows_per_s": chosen.rate,
        "machine": machine(),
        **run.figures(),
    }
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: facts[name] for name in ("readers", "enrolled_in_s", "settled_in_s")}, indent=1))
    return 0


class _Growth:
    """The stream, the caller and the one who looks, and what they saw."""

    def __init__(
        self,
        server: ServerProcess,
        population: FacePopulation,
        people: npt.NDArray[np.uint32],
        rate: float,
        settle_s_max: float,
    ) -> None:
        self._server = server
        self._population = population
        self._people = people
        self._rate = rate
        self._probes = population.probes(np.arange(PROBES), POPULATION_SEED).vectors
        self._best = np.full(PROBES, -1.0, np.float32)
        self._stop = threading.Event()
        self._calls: list[_Call] = []
        self._looks: list[_Look] = []
        self._settle_s_max = settle_s_max
        self._enrolled_s = 0.0
        self._settled_s: float | None = None

    def grow(self) -> None:
        """From nothing to the last row, until the index has settled, and a quiet while after that."""
        with self._server.client() as client:
            client.create_gallery(
                GALLERY,
                precomputed="made",
                dimension=self._population.dimension,
                decision_policy=DecisionPolicy(similarity=THRESHOLD[self._population.name]),
            )
            batches = self._batches()
            started_s = time.monotonic()
            self._enroll(client, batches, FIRST_ROWS)
            with ThreadPoolExecutor(2) as pool:
                others = [pool.submit(self._look), pool.submit(self._ask)]
                try:
                    self._enroll(client, batches, None)
                    self._enrolled_s = time.monotonic() - started_s
                    if self._settle(client):
                        self._settled_s = time.monotonic() - started_s
                        time.sleep(QUIET_S)
                finally:
                    self._stop.set()
                for one in others:
                    one.result()

    def _batches(self) -> Iterator[EnrollRows]:
        for block in self._population.face_blocks(self._people):
            ids = identity_ids(block.identity_numbers)
            for first in range(0, len(ids), ROWS_PER_BATCH):
                part = slice(first, first + ROWS_PER_BATCH)
                yield EnrollRows(block.vectors[part], ids[part])

    def _enroll(self, client: Client, batches: Iterator[EnrollRows], rows_max: int | None) -> None:
        """Send batches at the pace wanted until there are none left or so many rows were sent."""
        sent: deque[Float32Array] = deque()

        def paced() -> Iterator[EnrollRows]:
            due_s, count = time.monotonic(), 0
            while rows_max is None or count < rows_max:
                batch = next(batches, None)
                if batch is None:
                    return
                time.sleep(max(0.0, due_s - time.monotonic()))
                vectors = np.asarray(batch.vectors, dtype=np.float32)
                sent.append(vectors)
                count += len(vectors)
                yield batch
                due_s += len(vectors) / self._rate

        for ack in client.stream_enroll(GALLERY, paced()):
            if ack.error is not None:
                raise ack.error
            similarities = self._probes @ sent.popleft().T
            self._best = np.maximum(self._best, similarities.max(axis=1))

    def _settle(self, client: Client) -> bool:
        """Whether the index has caught up within the time given for it."""
        until_s = time.monotonic() + self._settle_s_max
        while not is_settled(client.get_gallery(GALLERY)):
            if time.monotonic() > until_s:
                print(f"the index has not settled: {client.get_gallery(GALLERY).index_state}", flush=True)
                return False
            time.sleep(LOOK_S)
        return True

    def _look(self) -> None:
        said_s = 0.0
        with self._server.client() as client:
            while not self._stop.wait(LOOK_S):
                gallery = client.get_gallery(GALLERY)
                state, now_s = gallery.index_state, time.monotonic()
                look = _Look(
                    now_s,
                    gallery.face_count,
                    state.indexed_rows,
                    state.tail_rows,
                    state.state.name,
                    state.generation,
                )
                self._looks.append(look)
                if now_s - said_s > 5.0:
                    said_s = now_s
                    print(f"  {look.rows:,} rows, {look.tail_rows:,} in the tail, {look.state}", flush=True)

    def _ask(self) -> None:
        number = 0
        with self._server.client() as client:
            while not self._stop.is_set():
                best = float(self._best[number])
                at_s, started_s = time.monotonic(), time.perf_counter()
                answer = client.identify(GALLERY, embeddings=self._probes[number : number + 1])
                seconds = time.perf_counter() - started_s
                found = answer.embeddings[0].candidates[0].similarity
                self._calls.append(_Call(at_s, seconds, found >= best - ROUNDING))
                number = (number + 1) % PROBES

    def figures(self) -> dict[str, Any]:
        """What every second saw, and what readers felt of each kind of work."""
        quiet_from_s = math.inf if self._settled_s is None else self._looks[-1].at_s - QUIET_S
        changes = [
            after.at_s
            for before, after in itertools.pairwise(self._looks)
            if (before.generation, before.indexed_rows) != (after.generation, after.indexed_rows)
        ]
        times = [look.at_s for look in self._looks]
        kinds: dict[str, list[float]] = {"quiet": [], "enrolling": [], "building": [], "around_a_change": []}
        for call in self._calls:
            look = self._looks[max(0, bisect.bisect_right(times, call.at_s) - 1)]
            if any(abs(call.at_s - change_s) <= AROUND_CHANGE_S for change_s in changes):
                kinds["around_a_change"].append(call.seconds)
            elif look.state == "BUILDING":
                kinds["building"].append(call.seconds)
            else:
                kinds["quiet" if call.at_s >= quiet_from_s else "enrolling"].append(call.seconds)
        return {
            "enrolled_in_s": self._enrolled_s,
            "settled_in_s": self._settled_s,
            "index_changes": len(changes),
            "readers": {kind: _times(seconds) for kind, seconds in kinds.items() if seconds},
            "agreement": float(np.mean([call.agreed for call in self._calls])),
            "seconds": self._by_second(),
        }

    def _by_second(self) -> list[dict[str, Any]]:
        started_s = self._looks[0].at_s
        looks: dict[int, _Look] = {int(look.at_s - started_s): look for look in self._looks}
        calls: dict[int, list[_Call]] = {}
        for call in self._calls:
            calls.setdefault(int(call.at_s - started_s), []).append(call)
        return [
            {
                "second": second,
                "rows": looks[second].rows,
                "tail_rows": looks[second].tail_rows,
                "state": looks[second].state,
                **_times([one.seconds for one in calls[second]]),
                "agreement": float(np.mean([one.agreed for one in calls[second]])),
            }
            for second in sorted(looks.keys() & calls.keys())
        ]


def _times(seconds: Sequence[float]) -> dict[str, float]:
    return {"calls": len(seconds), "p50_ms": percentile_ms(seconds, 50), "p99_ms": percentile_ms(seconds, 99)}


if __name__ == "__main__":
    sys.exit(main())
