"""`python -m benchmarks.run`: every figure, as a table and in build/bench/latest.json; `make bench` calls it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    enrollment,
    filtered,
    loading,
    memory,
    photographs,
    restart,
    search_engine,
    search_grpc,
    search_while_enrolling,
)
from benchmarks.figures import Figure
from benchmarks.machine import REPOSITORY, commit, machine
from benchmarks.report import print_table, write_json, write_markdown
from benchmarks.workbench import Workbench

__all__ = ["main"]

ROWS_DEFAULT = 1_000_000
ROWS_MIN = 50_000
OUTPUT = REPOSITORY / "build" / "bench"

# In this order: the first makes the store, and the one that writes into its copy is the last of those that read it.
FIGURES: dict[str, Callable[[Workbench], list[Figure]]] = {
    "sustained": loading.run,
    "engine": search_engine.run,
    "grpc": search_grpc.run,
    "filtered": filtered.run,
    "restart": restart.run,
    "memory": memory.run,
    "enrolling": search_while_enrolling.run,
    "enrollment": enrollment.run,
    "photographs": photographs.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 0 when every figure chosen was measured or skipped for a stated reason."""
    chosen = _parser().parse_args(arguments)
    if chosen.rows < ROWS_MIN:
        sys.stderr.write(f"benchmarks: --rows {chosen.rows} is searched exactly; give at least {ROWS_MIN}\n")
        return 2
    facts: dict[str, object] = {
        "commit": commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": chosen.rows,
        "machine": machine(),
    }
    OUTPUT.mkdir(parents=True, exist_ok=True)
    folder = chosen.work or Path(tempfile.mkdtemp(prefix="work-", dir=OUTPUT))
    try:
        figures, skipped = _measure(Workbench(chosen.rows, folder), chosen.only or list(FIGURES))
    finally:
        if chosen.work is None:
            shutil.rmtree(folder)
    print_table(figures)
    for name, reason in skipped.items():
        print(f"{name}: left out: {reason}")
    write_json(chosen.json, facts, figures, skipped)
    write_markdown(chosen.json.with_suffix(".md"), facts, figures)
    print(f"written to {chosen.json} and {chosen.json.with_suffix('.md').name}")
    return 0


def _measure(bench: Workbench, names: Sequence[str]) -> tuple[list[Figure], dict[str, str]]:
    figures: list[Figure] = []
    skipped: dict[str, str] = {}
    for name in names:
        started_s = time.monotonic()
        print(f"{name} ...", end=" ", flush=True)
        try:
            figures += FIGURES[name](bench)
        except photographs.NoPhotographs as reason:
            skipped[name] = str(reason)
        print(f"{time.monotonic() - started_s:.0f} s", flush=True)
    return figures, skipped


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS_DEFAULT, help="faces in the large gallery (default: 1000000)")
    parser.add_argument("--only", action="append", choices=list(FIGURES), metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--json", type=Path, default=OUTPUT / "latest.json", help="where the figures are written")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="make the stores here, keep them, and use them again the next time"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
