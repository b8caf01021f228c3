"""`python -m benchmarks.erasing --rows 1000000`: how long an erasure takes, step by step, and what it costs who writes.

A gallery of made faces, five of each person, with its index. One person is erased, then many at once (`--together`),
while somebody writes one small change after the other. Written to build/bench/erasing.json: seconds from the request to
the end and in each step, the longest wait of the writer beside its median before, what the receipt counted, and what
many cost beside one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.engine_calls import packed_rows
from benchmarks.engine_store import GALLERY, create_gallery, rebuild
from benchmarks.generators import face512
from benchmarks.machine import REPOSITORY, commit, machine
from benchmarks.server_process import memory_bytes
from mien_server.engine import Engine
from mien_server.engine.types import EnrollRows
from mien_server.records.deadline import Deadline

__all__ = ["main"]

OUTPUT: Final = REPOSITORY / "build" / "bench"
ROWS_DEFAULT: Final = 100_000
FACES_EACH: Final = 5
TOGETHER_DEFAULT: Final = 10
POLL_S: Final = 0.005
QUIET_S: Final = 3.0
FIRST_TOGETHER: Final = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the store, erase, write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.erasing", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS_DEFAULT)
    parser.add_argument("--together", type=int, default=TOGETHER_DEFAULT, help="people who are erased at once")
    parser.add_argument("--folder", type=Path, default=None, help="where the store is made; default: a temporary one")
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.together <= chosen.rows // FACES_EACH - FIRST_TOGETHER:
        parser.error(f"{chosen.rows} rows have fewer people than {chosen.together} and those erased before")
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="mien-erasing-"))
    try:
        facts = measured(folder / "store", chosen.rows, chosen.together)
    finally:
        shutil.rmtree(folder / "store", ignore_errors=True)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "erasing.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(facts["erasures"], indent=1) + "\n")
    many = facts["many"]
    sys.stdout.write(
        f"one person {many['one_s']} s, {many['people']} at once {many['many_s']} s: {many['ratio']} times as long, "
        f"{many['share_of_one']} of one for each\n"
    )
    return 0


def measured(store: Path, rows: int, together: int) -> dict[str, Any]:
    """Everything that the run found."""
    with Engine.open(store) as engine:
        create_gallery(engine, 512)
        _load(engine, rows)
        rebuild(engine)
        facts: dict[str, Any] = {"machine": machine(), "commit": commit(), "rows": rows, "faces_each": FACES_EACH}
        facts["records_bytes"] = (store / "meta" / "data.mdb").stat().st_size
        facts["memory_bytes_before"] = memory_bytes(os.getpid())
        facts["erasures"] = [
            _erased(engine, [3]),
            _erased(engine, [4]),
            _erased(engine, list(range(FIRST_TOGETHER, FIRST_TOGETHER + together))),
        ]
        one_s = statistics.mean(one["done_s"] for one in facts["erasures"][:2])
        many_s = facts["erasures"][2]["done_s"]
        facts["many"] = {
            "people": together,
            "one_s": round(one_s, 2),
            "many_s": many_s,
            "ratio": round(many_s / one_s, 1),
            "share_of_one": round(many_s / one_s / together, 4),
        }
        facts["memory_bytes_after"] = memory_bytes(os.getpid())
        return facts


def _load(engine: Engine, rows: int) -> None:
    start = 0
    for block in face512(7).face_blocks(np.arange(rows, dtype=np.uint32) // FACES_EACH):
        vectors, people = block.vectors, block.identity_numbers
        ids = [_identity_id(int(person)) for person in people]
        face_ids = [f"face-of-somebody-{row:09d}" for row in range(start, start + len(ids))]
        sources = [f"/photographs/{face_id}.jpg" for face_id in face_ids]
        engine.enrollment.enroll_rows(EnrollRows(GALLERY, packed_rows(vectors), ids, face_ids, sources), Deadline())
        start += len(ids)


def _identity_id(person: int) -> str:
    return f"somebody-{person:09d}"


def _erased(engine: Engine, people: list[int]) -> dict[str, Any]:
    """Erase people at once while somebody writes."""
    waits_ms: list[float] = []
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            started_s = time.perf_counter()
            engine.identities.update(GALLERY, _identity_id(1), display_name=f"name {number}")
            waits_ms.append((time.perf_counter() - started_s) * 1e3)
            number += 1
            time.sleep(POLL_S)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(QUIET_S)
    quiet_ms = list(waits_ms)
    waits_ms.clear()
    started_s = time.perf_counter()
    names = [engine.erasures.erase(GALLERY, _identity_id(person))[0].name for person in people]
    answered_s = time.perf_counter() - started_s
    stages: dict[str, float] = {}
    operation = engine.operations.get(names[-1])
    while not operation.state.is_done or engine.erasures.list("", "", 1, pending_only=True).erasures:
        before_s, stage = time.perf_counter(), operation.stage
        time.sleep(POLL_S)
        operation = engine.operations.get(names[-1])
        stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - before_s
    taken_s = time.perf_counter() - started_s
    stop.set()
    writer.join()
    receipt = None if operation.erasure is None else operation.erasure.receipt
    assert receipt is not None, operation
    return {
        "people": len(people),
        "answered_s": round(answered_s, 3),
        "done_s": round(taken_s, 2),
        "stages_s": {stage: round(seconds, 2) for stage, seconds in stages.items()},
        "write_median_ms_before": round(statistics.median(quiet_ms), 2),
        "write_longest_ms_before": round(max(quiet_ms), 1),
        "write_median_ms": round(statistics.median(waits_ms), 2),
        "write_longest_ms": round(max(waits_ms), 1),
        "live_pages": receipt.live_page_count,
        "free_pages": receipt.free_page_count,
        "journal_entries": receipt.journal_entry_count,
        "searched_bytes": receipt.scan.byte_count,
        "patterns": receipt.scan.pattern_count,
    }


if __name__ == "__main__":
    sys.exit(main())
