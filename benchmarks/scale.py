"""`python -m benchmarks.scale --rows 10000000 --population face512 --faces 1`: one gallery of a size, everything of it.

Faces are made and enrolled block by block, so that a gallery larger than memory can be measured. Phases: load, build,
exact answers, a server process (restart, memory, concurrent clients), an engine in this process beside raw FAISS. Each
phase's figures are written to build/bench/scale-<population>-<faces>-<rows>.json as soon as it ends; what took long
lies in `--work` and is used again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import engine_calls
from benchmarks.concurrent_clients import clients_of, measured
from benchmarks.generators import POPULATIONS
from benchmarks.machine import REPOSITORY, commit, core_count, machine
from benchmarks.raw_faiss import RawFaiss, RawSearch
from benchmarks.scale_search import Answers, exact_answers, measure_engine, raw_search
from benchmarks.scale_store import Gallery, ScaleStore, disk_bytes
from benchmarks.server_process import ServerProcess, memory_bytes
from benchmarks.workbench import GALLERY
from mien.v1 import recognition_service_pb2 as pb
from mien.v1 import types_pb2
from mien_server.engine import Engine, EngineOptions

__all__ = ["main"]

OUTPUT: Final = REPOSITORY / "build" / "bench"
ROWS_DEFAULT: Final = 1_000_000
ROWS_MIN: Final = 50_000
PROBES_DEFAULT: Final = 1000
CLIENTS: Final = (1, 8, 32)
RESTARTS: Final = 3
SINGLES: Final = 300


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when everything was measured."""
    chosen = _parser().parse_args(arguments)
    if chosen.rows < ROWS_MIN:
        sys.stderr.write(f"benchmarks.scale: --rows {chosen.rows} is searched exactly; give at least {ROWS_MIN}\n")
        return 2
    gallery = Gallery(chosen.population, chosen.faces, chosen.rows, chosen.float16)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    folder = chosen.work or Path(tempfile.mkdtemp(prefix="scale-", dir=OUTPUT))
    report = _Report(chosen.json or OUTPUT / f"scale-{gallery.name}.json", gallery)
    try:
        _measure(ScaleStore(gallery, folder), chosen.probes, report)
    finally:
        if chosen.work is None:
            shutil.rmtree(folder)
    return 0


class _Report:
    """The figures of the phases, on the terminal and in the file."""

    def __init__(self, path: Path, gallery: Gallery) -> None:
        self._path = path
        self._facts: dict[str, Any] = {
            "commit": commit(),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "population": gallery.population_name,
            "faces_per_identity": gallery.faces_per_identity,
            "rows": gallery.rows,
            "stored_as": "float16" if gallery.is_float16 else "float32",
            "machine": machine(),
        }

    def add(self, name: str, phase: Callable[[], dict[str, Any]]) -> None:
        """Run a phase and keep what it measured."""
        print(f"{name} ...", flush=True)
        started_s = time.monotonic()
        self._facts[name] = phase()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._facts, indent=1) + "\n", encoding="utf-8")
        print(f"{name}, {time.monotonic() - started_s:.0f} s:", flush=True)
        print("\n".join(f"  {line}" for line in json.dumps(self._facts[name], indent=1).splitlines()[1:-1]), flush=True)


def _measure(store: ScaleStore, probe_count: int, report: _Report) -> None:
    report.add("load", store.loaded)
    report.add("build", store.indexed)
    report.add("disk_bytes", lambda: dict(disk_bytes(store.path)))
    raw = RawFaiss(store.path)
    print("exact answers ...", flush=True)
    answers = exact_answers(store.gallery, raw, probe_count, store.folder / f"exact-{probe_count}.npz")
    report.add("restart", lambda: _restarts(store.path, answers))
    with Engine.open(store.path, EngineOptions(rebuilds_automatically=False)) as engine:
        theirs, _ = raw_search(engine, raw, answers)
    report.add("server", lambda: _server(store.path, answers, theirs))
    people = store.gallery.people()
    report.add("identify", lambda: measure_engine(store.path, raw, answers, people))


def _restarts(store: Path, answers: Answers) -> dict[str, Any]:
    """Seconds from starting a server process to its first answer, the page cache as it is."""
    seconds, request = [], _requests(answers, 1)
    for _ in range(RESTARTS):
        started_s = time.perf_counter()
        with ServerProcess(store, *SETTINGS) as server, clients_of(server.address, 1, request) as (client,):
            client(0)
            seconds.append(time.perf_counter() - started_s)
    return {"first_answer_s": float(np.median(seconds)), "of": seconds}


def _server(store: Path, answers: Answers, theirs: RawSearch) -> dict[str, Any]:
    """Memory of a server at each phase of its life, and clients at once, beside as many threads of raw FAISS."""
    singles = [np.ascontiguousarray(answers.mated[number : number + 1]) for number in range(len(answers.mated))]
    requests = _requests(answers, len(singles))
    memory, rates = {}, {}
    with ServerProcess(store, *SETTINGS) as server:
        memory["open"] = memory_bytes(server.pid)
        with clients_of(server.address, 1, requests) as (client,):
            for number in range(SINGLES):
                client(number)
        memory["after_single_probes"] = memory_bytes(server.pid)
        for count in CLIENTS:
            with clients_of(server.address, count, requests) as clients:
                ours = measured(clients)
            plain = measured([lambda number: theirs(singles[number % len(singles)], 1)] * count)
            rates[str(count)] = {"server": ours, "faiss": plain}
        memory["after_many_clients"] = memory_bytes(server.pid)
        with clients_of(server.address, 1, [_request(answers.mated, answers.threshold)]) as (client,):
            client(0)
        memory["after_a_batch"] = memory_bytes(server.pid)
    return {"cores": core_count(), "clients": rates, "memory_bytes": memory}


SETTINGS: Final = ("index.rebuilds_automatically=false",)


def _requests(answers: Answers, count: int) -> list[bytes]:
    """Packed calls of one mated probe each."""
    return [_request(answers.mated[number : number + 1], answers.threshold) for number in range(count)]


def _request(vectors: np.ndarray[tuple[int, ...], np.dtype[np.float32]], threshold: float) -> bytes:
    embeddings = types_pb2.Embeddings(data=vectors.tobytes(), dimension=vectors.shape[1], count=len(vectors))
    return pb.IdentifyRequest(
        gallery=GALLERY,
        probes=pb.Probes(embeddings=embeddings),
        candidate_count=engine_calls.CANDIDATES,
        policy=types_pb2.DecisionPolicy(similarity=threshold),
    ).SerializeToString()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, default=ROWS_DEFAULT, help=f"faces in the gallery (default: {ROWS_DEFAULT})"
    )
    parser.add_argument("--population", choices=list(POPULATIONS), default="face512")
    parser.add_argument("--faces", type=int, choices=(1, 5, 0), default=1, help="faces a person, 0 for a long tail")
    parser.add_argument("--float16", action="store_true", help="store the vectors as float16")
    parser.add_argument(
        "--probes",
        type=int,
        default=PROBES_DEFAULT,
        help=f"mated, and as many strangers (default: {PROBES_DEFAULT})",
    )
    parser.add_argument("--json", type=Path, help="where the figures are written")
    parser.add_argument("--work", type=Path, metavar="DIR", help="make the store here, keep it, use it the next time")
    return parser


if __name__ == "__main__":
    sys.exit(main())
