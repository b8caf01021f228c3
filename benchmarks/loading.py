"""Sustained enrolment: every row over one stream into a server that indexes as it grows, beside FAISS's bare `add`.

The clock runs from the first row sent to the last row answered *and* the index settled: no build under way, and no
more rows outside it than its policy allows.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, Target
from benchmarks.generators import FaceSet
from benchmarks.machine import core_count
from benchmarks.raw_faiss import ADDED_ROWS, Float32Array, faiss, raw_index
from benchmarks.server_process import ServerProcess
from benchmarks.timing import seconds_of
from benchmarks.workbench import GALLERY, Workbench, create_gallery, identity_ids, is_settled
from mien_client import Client, IndexStateName, row_batches
from mien_server.index.layout import candidate_specifications
from mien_server.records.policies import IndexCode

__all__ = ["load_store", "run"]

ROWS_PER_BATCH = 500
RAW_ROWS_MAX = 200_000
POLL_S = 0.05
SETTLE_S_MAX = 600.0
SUSTAINED_SHARE_MIN = 0.7


def run(bench: Workbench) -> list[Figure]:
    """The figures of loading the store; none where a kept store is used again."""
    bench.store()
    return bench.load_figures


def load_store(bench: Workbench, path: Path, faces: FaceSet) -> list[Figure]:
    """Enrol the faces in a new store, measuring; it ends with an index that covers every row."""
    vectors, ids = faces.vectors, identity_ids(faces.identity_numbers)
    before = _raw_rows_per_s(vectors)
    with ServerProcess(path) as server, server.client() as client:
        create_gallery(client, GALLERY)
        started_s = time.perf_counter()
        for ack in client.stream_enroll(GALLERY, row_batches(vectors, ids, rows_per_batch=ROWS_PER_BATCH)):
            if ack.error is not None:
                raise ack.error
        answered_s = time.perf_counter() - started_s
        _wait_until_settled(client, GALLERY)
        settled_s = time.perf_counter() - started_s
        _cover_all(client, GALLERY)
    after = _raw_rows_per_s(vectors)
    raw = float(np.mean([before, after]))
    rate = bench.rows / settled_s
    return [
        Figure(
            name=f"enroll.sustained.{bench.size}.ratio_to_faiss_add",
            value=rate,
            unit="rows/s",
            baseline=raw,
            detail=(
                f"{bench.rows} rows in batches of {ROWS_PER_BATCH} over one stream into an empty gallery: the last "
                f"answer after {answered_s:.1f} s ({bench.rows / answered_s:.0f} rows/s), the index settled after "
                f"{settled_s:.1f} s; FAISS: add of {min(bench.rows, RAW_ROWS_MAX)} rows to a trained index, mean of "
                f"before ({before:.0f}) and after ({after:.0f} rows/s), both on {core_count()} cores"
            ),
            target=Target.at_least(rate / raw, SUSTAINED_SHARE_MIN),
        )
    ]


def _wait_until_settled(client: Client, name: str) -> None:
    until_s = time.monotonic() + SETTLE_S_MAX
    while not is_settled(gallery := client.get_gallery(name)):
        if gallery.index_state.state is IndexStateName.DEGRADED or time.monotonic() > until_s:
            raise RuntimeError(f"the index does not settle: {gallery.index_state}")
        time.sleep(POLL_S)


def _cover_all(client: Client, gallery: str) -> None:
    """Build once more, so that the tail is empty."""
    operation = client.wait_operation(client.rebuild_index(gallery).name)
    if operation.error is not None:
        raise operation.error


def _raw_rows_per_s(vectors: Float32Array) -> float:
    """FAISS's own rate of adding rows to a trained index of the layout that a gallery of so many tries first."""
    threads = core_count()
    name = candidate_specifications(IndexCode.AUTOMATIC, vectors.shape[1], len(vectors))[0].name
    index = raw_index(vectors, name, threads)
    rows = vectors[:RAW_ROWS_MAX]

    def add() -> None:
        faiss.omp_set_num_threads(threads)
        for first in range(0, len(rows), ADDED_ROWS):
            index.add(rows[first : first + ADDED_ROWS])

    return len(rows) / seconds_of(add)
