"""`python -m benchmarks.peers`: every peer on every case, as tables and in build/bench/peers.json.

`make bench-peers ROWS=200000 ARGS="--population face512 --faces 5 --only scann"` narrows it down. What is built lies in
`--work` and is used again; `--phase build` and `--phase search` are for those who want to measure searching alone on a
quiet machine. The JSON keeps what earlier runs measured of other cases and peers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.generators import POPULATIONS
from benchmarks.machine import REPOSITORY, commit, machine
from benchmarks.peers.catalogue import PEERS, peer_class
from benchmarks.peers.tables import markdown, print_tables
from benchmarks.peers.task import Case, Task

__all__ = ["main"]

OUTPUT = REPOSITORY / "build" / "bench"
ROWS_DEFAULT = 200_000
ROWS_MIN = 20_000
FACES_CHOICES = (1, 5, 0)
BUILT_FILE = "built.json"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS",
    "LANCE_CPU_THREADS",
    "LANCE_IO_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""Each library takes its own; all are set to one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every peer chosen was measured or is left out for a stated reason."""
    chosen = _parser().parse_args(arguments)
    if chosen.rows < ROWS_MIN:
        sys.stderr.write(f"benchmarks.peers: give at least {ROWS_MIN} rows; fewer are compared with one by one\n")
        return 2
    populations, faces = chosen.population or list(POPULATIONS), chosen.faces or [1]
    names = chosen.only or list(PEERS)
    for case in (Case(population, count, chosen.rows) for population in populations for count in faces):
        folder = chosen.work / case.name
        print(f"{case.name}: faces, probes and exact answers ...", flush=True)
        Task.make(case, folder / "task")
        for name in names:
            result = _measured(name, folder, chosen.phase)
            if result is not None:
                _keep(chosen.json, case, name, result, Task.read(folder / "task"))
    if chosen.json.exists():
        report = json.loads(chosen.json.read_text(encoding="utf-8"))
        print_tables(report)
        chosen.json.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
        print(f"written to {chosen.json} and {chosen.json.with_suffix('.md').name}")
    if not chosen.keep and chosen.phase == "all":
        shutil.rmtree(chosen.work)
    return 0


def _measured(name: str, folder: Path, phase: str) -> dict[str, Any] | None:
    """What one peer did on a case, or why it did not; None when there is nothing to report yet."""
    built = folder / name / BUILT_FILE
    started_s = time.monotonic()
    try:
        if phase in {"all", "build"} and not built.exists():
            print(f"  {name}: building ...", end=" ", flush=True)
            facts = _worker("build", name, folder)
            built.write_text(json.dumps(facts), encoding="utf-8")
            print(f"{time.monotonic() - started_s:.0f} s", flush=True)
        if phase == "build":
            return None
        print(f"  {name}: searching ...", end=" ", flush=True)
        facts = json.loads(built.read_text(encoding="utf-8"))
        result: dict[str, Any] = {**facts, **_worker("search", name, folder)}
        print(f"{time.monotonic() - started_s:.0f} s", flush=True)
    except _LeftOut as reason:
        print(f"left out: {reason}", flush=True)
        return {"left_out": str(reason)}
    return result


class _LeftOut(Exception):
    """Why a peer was not measured."""


def _worker(phase: str, name: str, folder: Path) -> dict[str, Any]:
    """One phase of a peer in a process of its own.

    Raises:
        _LeftOut: it failed; the message is the last line of what it said.
    """
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1") | dict(peer_class(name).environment)
    command = [sys.executable, "-m", "benchmarks.peers.worker", phase, name, str(folder / "task"), str(folder / name)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    (folder / f"{name}.{phase}.log").write_text(done.stderr, encoding="utf-8")
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        raise _LeftOut(last[0])
    facts: dict[str, Any] = json.loads(lines[-1])
    return facts


def _keep(path: Path, case: Case, name: str, result: dict[str, Any], task: Task) -> None:
    """Put a peer's result into the report, beside what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"cases": {}}
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
    facts = {
        "population": case.population,
        "faces_per_identity": case.faces_per_identity,
        "rows": case.rows,
        "dimension": task.vectors.shape[1],
        "threshold": task.threshold,
    }
    kept = report["cases"].setdefault(case.name, {**facts, "peers": {}})
    when = {"commit": commit(), "time": datetime.now(UTC).isoformat(timespec="seconds")}
    kept["peers"][name] = {**result, **when}
    report["machine"] = machine()
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, default=ROWS_DEFAULT, help=f"faces in the gallery (default: {ROWS_DEFAULT})"
    )
    parser.add_argument("--population", action="append", choices=list(POPULATIONS), help="default: every one")
    parser.add_argument(
        "--faces",
        action="append",
        type=int,
        choices=FACES_CHOICES,
        help="faces a person, 0 for a long tail (default: 1)",
    )
    parser.add_argument("--only", action="append", choices=list(PEERS), metavar="PEER", help=", ".join(PEERS))
    parser.add_argument("--phase", choices=["all", "build", "search"], default="all")
    parser.add_argument("--json", type=Path, default=OUTPUT / "peers.json", help="where the figures are kept")
    parser.add_argument(
        "--work", type=Path, default=OUTPUT / "peers", metavar="DIR", help="faces and stores, made once"
    )
    parser.add_argument("--keep", action="store_true", help="leave the faces and stores for the next run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
