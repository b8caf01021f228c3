"""Builds one generation: `python -m mien_server.index.builder JOBFILE`, in a process of its own.

Reads the vectors by memory map, never more than the job's rows. Writes the generation beside the others under a
temporary name, syncs it, and renames it into place; the server publishes it. A job that names a generation has it
measured again instead. Prints one JSON object a line: progress {"fraction", "stage"}, at the end {"generation"},
{"measurement"} or {"reason", "message"}. Ends when its standard input does, for then the server that wanted it is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mien_server.errors import InternalError, MienError
from mien_server.index.bitmaps import set_ordinals
from mien_server.index.build_job import BuildJob
from mien_server.index.faiss_adapter import ListWriter
from mien_server.index.faiss_library import FAISS_VERSION
from mien_server.index.manifest import QUANTIZER_FILE_NAME, Manifest, Segment
from mien_server.index.measuring import measured_index
from mien_server.index.remeasuring import measure_generation
from mien_server.index.request import Int64Array
from mien_server.index.rescore import StoredVectors
from mien_server.index.sealing import add_rows, lists_file_name
from mien_server.index.segments import SegmentedIndex
from mien_server.index.training import trained_quantizer
from mien_server.index.writing import GenerationFolder, generation_name
from mien_server.records.policies import IndexCode

__all__ = ["build_generation", "main"]

LIVE_ROWS_MIN = 256
REPORTED_COMPONENTS = 64 * 1024 * 1024
"""Components added between two reports of progress."""

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
    quantizer, specification = trained_quantizer(job, vectors, live_ordinals)
    lists = quantizer.writer()
    _add(lists, job, vectors, live_ordinals, report)
    folder = GenerationFolder(work_folder)
    folder.write(QUANTIZER_FILE_NAME, quantizer.write)
    segment = Segment(lists_file_name(0, job.row_count, job.revision), 0, job.row_count, lists.size)
    folder.write(segment.file, lists.write)
    index = SegmentedIndex(quantizer, [lists.finish()])
    measured = measured_index(
        index,
        job,
        vectors,
        live_ordinals,
        lambda share: report(ADDED_SHARE + (MEASURED_SHARE - ADDED_SHARE) * share, "measuring"),
    )
    report(MEASURED_SHARE, "writing")
    manifest = Manifest(
        name=generation_name(job.revision),
        store_id=job.store_id,
        gallery_number=job.gallery_number,
        model_fingerprint=job.model_fingerprint,
        dimension=job.location.dimension,
        rows=job.row_count,
        live_rows=segment.held,
        revision=job.revision,
        code=IndexCode.PQ_FASTSCAN if specification.subquantizers else IndexCode.SCALAR_8BIT,
        code_name=specification.name,
        residual=specification.residual,
        lists=index.lists,
        list_imbalance=index.list_imbalance,
        default_recall_target=job.default_recall_target,
        ladder=measured.ladder,
        staging=measured.staging,
        relaxed_stagings=measured.relaxed_stagings,
        probe_count=measured.probe_count,
        faiss_version=FAISS_VERSION,
        build_time_us=measured.time_us,
        build_seconds=time.monotonic() - started_s,
        files=(),
        segments=(segment,),
        trained_rows=segment.held,
        trained_imbalance=index.list_imbalance,
        measured_rows=measured.rows,
        measure_time_us=measured.time_us,
    )
    return folder.finish(manifest).name


def _add(lists: ListWriter, job: BuildJob, vectors: StoredVectors, live_ordinals: Int64Array, report: Report) -> None:
    reported_rows = max(1, REPORTED_COMPONENTS // job.location.dimension)
    for first in range(0, live_ordinals.size, reported_rows):
        share = first / live_ordinals.size
        report(TRAINED_SHARE + (ADDED_SHARE - TRAINED_SHARE) * share, "adding")
        add_rows(lists, vectors, live_ordinals[first : first + reported_rows], job.threads)


def main(arguments: list[str]) -> int:
    """Entry of the builder process; 0 when the generation is in place."""
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    try:
        job_path = Path(arguments[0])
        job = BuildJob.read(job_path)
        os.nice(job.niceness)
        _print(_done(job, job_path.parent))
    except MienError as error:
        _print({"reason": error.reason, "message": error.message})
        return 1
    except OSError as error:
        _print({"reason": "BUILD_FAILED", "message": f"the builder failed: {error}"})
        return 1
    except MemoryError:
        _print({"reason": "BUILD_FAILED", "message": "the builder got no memory; give it more, or build later"})
        return 1
    return 0


def _done(job: BuildJob, work_folder: Path) -> dict[str, object]:
    """Do the job and give the last line to be printed."""
    if job.measured:
        measurement = measure_generation(job, work_folder.parent, lambda share: _print_progress(share, "measuring"))
        return {"measurement": measurement.to_fields()}
    return {"generation": build_generation(job, work_folder, _print_progress)}


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
