"""Builds one generation: `python -m mien_server.index.builder JOBFILE`, in a process of its own.

Reads the vectors by memory map, never more than the job's rows. Writes the generation beside the others under a
temporary name, syncs it, and renames it into place; the server publishes it. Prints one JSON object a line: progress
{"fraction", "stage"}, at the end {"generation"} or {"reason", "message"}. Ends when its standard input does, for then
the server that wanted it is gone.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mien_server.errors import InternalError, MienError
from mien_server.index.bitmaps import set_ordinals
from mien_server.index.build_job import BuildJob
from mien_server.index.crash_points import crash_point
from mien_server.index.faiss_adapter import FAISS_VERSION, InvertedIndex
from mien_server.index.manifest import (
    INDEX_FILE_NAME,
    MANIFEST_FILE_NAME,
    Manifest,
    digest_of,
)
from mien_server.index.measuring import measured_index
from mien_server.index.publish import sync_file, sync_folder
from mien_server.index.request import Int64Array
from mien_server.index.rescore import StoredVectors, float32_rows
from mien_server.index.training import trained_index
from mien_server.records.policies import IndexCode

__all__ = ["build_generation", "main"]

LOWEST_PRIORITY = 19
LIVE_ROWS_MIN = 256
ADDED_COMPONENTS_MAX = 16 * 1024 * 1024
# Where the stages end.
TRAINED_SHARE, ADDED_SHARE, MEASURED_SHARE = 0.2, 0.7, 0.95

Report = Callable[[float, str], None]


def build_generation(job: BuildJob, work_folder: Path, report: Report) -> str:
    """Build the job's generation in `work_folder`, move it beside that folder, and give its name.

    Raises:
        InternalError: the job cannot be done; reason BUILD_FAILED.
        OSError: the disk refuses.
    """
    started_s = time.monotonic()
    vectors = job.map_vectors()
    live_ordinals = set_ordinals(job.live, 0, job.row_count)
    if live_ordinals.size < LIVE_ROWS_MIN:
        raise InternalError(
            f"{live_ordinals.size} live rows are too few to train on; below {LIVE_ROWS_MIN} every search is exact",
            reason="GALLERY_TOO_SMALL",
        )
    report(0.0, "training")
    index, specification = trained_index(job, vectors, live_ordinals)
    _add(index, job, vectors, live_ordinals, report)
    measured = measured_index(
        index,
        job,
        vectors,
        live_ordinals,
        lambda share: report(ADDED_SHARE + (MEASURED_SHARE - ADDED_SHARE) * share, "measuring"),
    )
    report(MEASURED_SHARE, "writing")
    name = f"{job.revision:012d}-{secrets.token_hex(4)}"
    manifest = Manifest(
        name=name,
        store_id=job.store_id,
        gallery_number=job.gallery_number,
        model_fingerprint=job.model_fingerprint,
        dimension=job.location.dimension,
        rows=job.row_count,
        live_rows=int(live_ordinals.size),
        revision=job.revision,
        code=IndexCode.PQ_FASTSCAN if specification.subquantizers else IndexCode.SCALAR_8BIT,
        code_name=specification.name,
        residual=specification.residual,
        lists=index.lists,
        list_imbalance=index.list_imbalance,
        default_recall_target=job.default_recall_target,
        ladder=measured.ladder,
        probe_count=measured.probe_count,
        faiss_version=FAISS_VERSION,
        build_time_us=time.time_ns() // 1000,
        build_seconds=time.monotonic() - started_s,
        files=(),
        staging=measured.staging,
    )
    _write(index, manifest, work_folder)
    return name


def _add(
    index: InvertedIndex, job: BuildJob, vectors: StoredVectors, live_ordinals: Int64Array, report: Report
) -> None:
    block_rows = max(1, ADDED_COMPONENTS_MAX // job.location.dimension)
    for first in range(0, live_ordinals.size, block_rows):
        share = first / live_ordinals.size
        report(TRAINED_SHARE + (ADDED_SHARE - TRAINED_SHARE) * share, "adding")
        ordinals = live_ordinals[first : first + block_rows]
        low, high = int(ordinals[0]), int(ordinals[-1]) + 1
        # Without a gap the mapped rows themselves are encoded.
        chosen = slice(low, high) if high - low == ordinals.size else ordinals
        index.add(float32_rows(vectors, chosen, job.threads), ordinals, job.threads)


def _write(index: InvertedIndex, manifest: Manifest, work_folder: Path) -> None:
    """Write, sync and rename the generation's folder."""
    folder = work_folder / "generation"
    folder.mkdir()
    index.write(folder / INDEX_FILE_NAME)
    crash_point("index.build.index_written")
    sync_file(folder / INDEX_FILE_NAME)
    manifest = replace(manifest, files=(digest_of(folder / INDEX_FILE_NAME),))
    manifest_path = folder / MANIFEST_FILE_NAME
    manifest_path.write_text(manifest.to_json(), encoding="utf-8")
    crash_point("index.build.manifest_written")
    sync_file(manifest_path)
    sync_folder(folder)
    crash_point("index.build.synced")
    folder.rename(work_folder.parent / manifest.name)
    crash_point("index.build.renamed")
    sync_folder(work_folder.parent)
    crash_point("index.build.done")


def main(arguments: list[str]) -> int:
    """Entry of the builder process; 0 when the generation is in place."""
    os.nice(LOWEST_PRIORITY)
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    try:
        job_path = Path(arguments[0])
        name = build_generation(BuildJob.read(job_path), job_path.parent, _print_progress)
    except MienError as error:
        _print({"reason": error.reason, "message": error.message})
        return 1
    except (OSError, MemoryError) as error:
        _print({"reason": "BUILD_FAILED", "message": f"the builder failed: {error!r}"})
        return 1
    _print({"generation": name})
    return 0


def _end_with_standard_input() -> None:
    """Wait for the server to go away, then end at once: nobody would publish what is built."""
    while sys.stdin.buffer.read(1):
        pass
    os._exit(1)


def _print_progress(fraction: float, stage: str) -> None:
    _print({"fraction": round(fraction, 4), "stage": stage})


def _print(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
