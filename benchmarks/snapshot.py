"""`python -m benchmarks.snapshot --rows 200000`: what a snapshot costs, beside `cp` of the same bytes in the same run.

One gallery with its index, through the engine. Compared: `cp -r` of the store's folder and fsync of each file; a full
snapshot; a second one after a thousand further faces, which shares what did not change; verifying; restoring; and
searches of one probe while full snapshots are taken, beside quiet ones, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.engine_calls import packed, search
from benchmarks.engine_store import create_gallery, enroll, rebuild, wait_for
from benchmarks.generators import face512
from benchmarks.machine import REPOSITORY, commit, machine
from benchmarks.timing import percentile_ms
from mien_server.engine import Engine, EngineOptions
from mien_server.engine.types import OperationState
from mien_server.storage.backup import RestoreRequest, open_place, restore, verify_snapshot

__all__ = ["main"]

OUTPUT: Final = REPOSITORY / "build" / "bench"
BATCH_ROWS: Final = 4000
FURTHER_ROWS: Final = 1000
ROUNDS: Final = 3
SEARCH_S: Final = 5.0
TIMEOUT_S: Final = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when everything was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.snapshot", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--work", type=Path, help="a folder for store and snapshots; default: one in build/bench")
    chosen = parser.parse_args(arguments)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="snapshot-", dir=chosen.work or OUTPUT))
    try:
        figures = _measured(folder, chosen.rows)
    finally:
        shutil.rmtree(folder)
    document = {"commit": commit(), "machine": machine(), "rows": chosen.rows, "figures": figures}
    (OUTPUT / f"snapshot-{chosen.rows}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for name, value in figures.items():
        sys.stdout.write(f"{name:40} {value:>14,.3f}\n")
    return 0


def _measured(folder: Path, row_count: int) -> dict[str, float]:
    store, place = folder / "store", folder / "snapshots"
    population = face512()
    gallery = population.gallery(row_count + FURTHER_ROWS)
    options = EngineOptions(snapshot_destinations=(str(place),), rebuilds_automatically=False)
    figures: dict[str, float] = {}
    with Engine.open(store, options) as engine:
        create_gallery(engine, 512, manual_rebuild=True)
        for first in range(0, row_count, BATCH_ROWS):
            rows = slice(first, min(first + BATCH_ROWS, row_count))
            enroll(engine, gallery.vectors[rows], gallery.identity_numbers[rows], first)
        rebuild(engine)
        copies = [_copied(store, folder / "copy") for _ in range(ROUNDS)]
        full = [_taken(engine, is_full=True) for _ in range(ROUNDS)]
        full_bytes = full[-1].size_bytes
        figures["bytes"] = full_bytes
        figures["cp.bytes_per_s"] = full_bytes / float(np.median(copies))
        figures["full.seconds"] = float(np.median([one.duration_us / 1e6 for one in full]))
        figures["full.bytes_per_s"] = full_bytes / figures["full.seconds"]
        figures["full.ratio_to_cp"] = figures["full.seconds"] / float(np.median(copies))
        further = slice(row_count, row_count + FURTHER_ROWS)
        enroll(engine, gallery.vectors[further], gallery.identity_numbers[further], row_count)
        second = _taken(engine, is_full=False)
        figures["second.seconds"] = second.duration_us / 1e6
        figures["second.new_bytes"] = second.new_bytes
        figures["second.new_share"] = second.new_bytes / second.size_bytes
        probes = population.probes(gallery.identity_numbers[:500], 3).vectors
        figures |= _searched(engine, probes)
    verified = verify_snapshot(open_place(str(place)), second.name, _unwatched)
    figures["verify.seconds"] = verified.duration_s
    restored = restore(RestoreRequest(open_place(str(place)), second.name, folder / "restored"), _unwatched)
    figures["restore.seconds"] = restored.duration_s
    return figures


def _copied(store: Path, target: Path) -> float:
    """Seconds of a plain copy, durable."""
    started_s = time.perf_counter()
    subprocess.run(["cp", "-r", "--sparse=always", str(store), str(target)], check=True)
    for path in target.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    taken_s = time.perf_counter() - started_s
    shutil.rmtree(target)
    return taken_s


def _taken(engine: Engine, *, is_full: bool) -> Any:
    started = engine.operations.create_snapshot("", is_full=is_full)
    done = wait_for(engine, started.name, TIMEOUT_S)
    if done.state is not OperationState.SUCCEEDED or done.result_snapshot is None:
        raise RuntimeError(f"the snapshot was not taken: {done.state.name} {done.error}")
    return done.result_snapshot


def _searched(engine: Engine, probes: np.ndarray) -> dict[str, float]:
    """Searches of one probe, quiet and while snapshots are taken, in turn."""
    quiet: list[float] = []
    busy: list[float] = []
    for _ in range(ROUNDS):
        quiet += _search(engine, probes, lambda: False, SEARCH_S)
        thread = threading.Thread(target=_taken, args=(engine,), kwargs={"is_full": True})
        thread.start()
        busy += _search(engine, probes, lambda thread=thread: not thread.is_alive(), TIMEOUT_S)
        thread.join()
    figures = {}
    for name, seconds in (("quiet", quiet), ("snapshot", busy)):
        for percentile in (50, 99):
            figures[f"search.{name}.p{percentile}_ms"] = percentile_ms(seconds, percentile)
    figures["search.p50_ratio"] = figures["search.snapshot.p50_ms"] / figures["search.quiet.p50_ms"]
    return figures


def _search(engine: Engine, probes: np.ndarray, is_over: Callable[[], bool], seconds: float) -> list[float]:
    taken = []
    ends_s = time.perf_counter() + seconds
    number = 0
    while not is_over() and (started_s := time.perf_counter()) < ends_s:
        place = number % len(probes)
        search(engine, packed(probes[place : place + 1]))
        taken.append(time.perf_counter() - started_s)
        number += 1
    return taken


def _unwatched(_fraction: float, _stage: str) -> None:
    """Nobody looks at the progress."""


if __name__ == "__main__":
    sys.exit(main())
