"""Durable enrolment over one stream, every row answered after its fsync, beside bare durable writes of the same rows.

A real server and the Python client share the machine's cores, as they would on one machine. The gallery is not indexed
meanwhile (`enroll.sustained` does that). Both write to the same disk, in turn, with batches of the same size; the bare
writer waits for each batch, while the stream keeps several under way and the server groups them into one commit.
"""

from __future__ import annotations

import shutil

import numpy as np

from benchmarks.figures import Figure, Target
from benchmarks.machine import core_count
from benchmarks.raw_faiss import Float32Array
from benchmarks.raw_store import write_durably
from benchmarks.server_process import ServerProcess
from benchmarks.timing import seconds_in_turn
from benchmarks.workbench import FACES_PER_IDENTITY, Workbench, create_gallery, identity_ids
from mien_client import Client, row_batches

__all__ = ["run"]

BATCH_SIZES = (500, 2000)
ROUNDS = 3
ROWS_MAX = 100_000
ROWS_PER_S_MIN = 40_000
STORE = "store-enroll"


def run(bench: Workbench) -> list[Figure]:
    """One figure for each size of batch."""
    rows = min(ROWS_MAX, bench.rows // 2)
    faces = bench.population.gallery(rows // FACES_PER_IDENTITY, FACES_PER_IDENTITY)
    ids = identity_ids(faces.identity_numbers)
    bench.forget(STORE)
    with ServerProcess(bench.folder / STORE) as server, server.client() as client:
        figures = [_measure(bench, client, faces.vectors, ids, size) for size in BATCH_SIZES]
    bench.forget(STORE)
    return figures


def _measure(bench: Workbench, client: Client, vectors: Float32Array, ids: list[str], rows_per_batch: int) -> Figure:
    galleries = [f"batches-of-{rows_per_batch}-{number}" for number in range(ROUNDS + 1)]
    for gallery in galleries:
        create_gallery(client, gallery, manual_rebuild=True)
    # The warm-up must not meet its own rows again.
    unused = iter(galleries)

    def enroll(_number: int) -> None:
        batches = row_batches(vectors, ids, rows_per_batch=rows_per_batch)
        enrolled = 0
        for ack in client.stream_enroll(next(unused), batches):
            if ack.error is not None:
                raise ack.error
            enrolled += ack.enrolled_count
        assert enrolled == len(vectors)

    def write(_number: int) -> None:
        folder = bench.folder / "raw-writes"
        write_durably(folder, vectors, rows_per_batch)
        shutil.rmtree(folder)

    ours, theirs = seconds_in_turn([enroll, write], rounds=ROUNDS)
    rate, raw_rate = (len(vectors) / float(np.median(one)) for one in (ours, theirs))
    return Figure(
        name=f"enroll.durable.batch{rows_per_batch}.ratio_to_raw_writes",
        value=rate,
        unit="rows/s",
        baseline=raw_rate,
        detail=(
            f"{len(vectors)} rows x {vectors.shape[1]} in batches of {rows_per_batch} over one stream, client and "
            f"server on {core_count()} cores; bare: write + fdatasync + LMDB commit of each batch on one core; "
            f"medians of {ROUNDS}"
        ),
        target=Target.at_least(rate, ROWS_PER_S_MIN, "rows/s"),
    )
