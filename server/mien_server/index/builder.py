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
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mien_server.errors import InternalError, MienError
from mien_server.index.bitmaps import set_ordinals
from mien_server.index.build_job import BuildJob
from mien_server.index.faiss_adapter import FAISS_VERSION, CodeSpecification, ListWriter, Quantizer, train_quantizer
from mien_server.index.generation import ExpectedGeneration, load_generation
from mien_server.index.ladder import SearchedLists, code_agreement, exact_answers, ladder_of, measure_efforts
from mien_server.index.layout import candidate_specifications, index_bytes, sample_row_count
from mien_server.index.manifest import QUANTIZER_FILE_NAME, LadderStep, Manifest, Segment
from mien_server.index.measurement import Measurement
from mien_server.index.plan import cheapest_step
from mien_server.index.probing import SecondPhotographs, choose_probes
from mien_server.index.request import Float32Array, Int64Array, UInt8Array
from mien_server.index.rescore import StoredVectors, float32_rows
from mien_server.index.sealing import add_rows, lists_file_name
from mien_server.index.segments import SegmentedIndex
from mien_server.index.staging import staging_of
from mien_server.index.writing import GenerationFolder, generation_name
from mien_server.records.policies import IndexCode

__all__ = ["build_generation", "main", "measure_generation"]

LIVE_ROWS_MIN = 256
REPORTED_COMPONENTS = 64 * 1024 * 1024
"""Components added between two reports of progress."""

PROBE_COUNT_MIN = 1000
PROBE_COUNT_MAX = 1500
COMPARISONS_MAX = 300_000_000
"""Probes times rows up to which more probes than the least are worth their time."""

CODE_PROBE_COUNT = 512
CODE_SAMPLE_ROWS_MAX = 32_768
CODE_GAIN_MIN = 0.005
"""A later candidate must agree this much more often than the preferred one."""

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
    quantizer, specification = _trained(job, vectors, live_ordinals)
    lists = quantizer.writer()
    _add(lists, job, vectors, live_ordinals, report)
    folder = GenerationFolder(work_folder)
    folder.write(QUANTIZER_FILE_NAME, quantizer.write)
    segment = Segment(lists_file_name(0, job.row_count, job.revision), 0, job.row_count, lists.size)
    folder.write(segment.file, lists.write)
    index = SegmentedIndex(quantizer, [lists.finish()])
    measured = _measured(index, job, vectors, live_ordinals, report)
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


def measure_generation(job: BuildJob, index_directory: Path, report: Report) -> Measurement:
    """Measure the generation that the job names again, with the rows that are live now.

    Raises:
        GenerationRefused: it is not what it was.
    """
    expected = ExpectedGeneration(
        store_id=job.store_id,
        gallery_number=job.gallery_number,
        model_fingerprint=job.model_fingerprint,
        dimension=job.location.dimension,
        row_count=job.row_count,
        revision=job.revision,
    )
    generation = load_generation(index_directory / job.measured, expected)
    manifest = generation.manifest
    vectors = job.map_vectors()[: manifest.rows]
    live = _first_bits(job.live, manifest.rows)
    live_ordinals = set_ordinals(live, 0, manifest.rows)
    job = replace(job, live=live, identity_numbers=job.identity_numbers[: manifest.rows], row_count=manifest.rows)
    searched = _LiveLists(generation.index, live) if live_ordinals.size < generation.index.size else generation.index
    measurement = _measured(searched, job, vectors, live_ordinals, report)
    return replace(measurement, drift=_drift(manifest, measurement.ladder))


def _first_bits(bitmap: UInt8Array, count: int) -> UInt8Array:
    """The bitmap with only its first `count` bits."""
    first: UInt8Array = np.packbits(np.unpackbits(bitmap, count=count, bitorder="little"), bitorder="little")
    return first


@dataclass(frozen=True, slots=True, eq=False)
class _LiveLists:
    """Lists of which only the live rows count."""

    index: SegmentedIndex
    live: UInt8Array

    @property
    def lists(self) -> int:
        return self.index.lists

    @property
    def size(self) -> int:
        return self.index.size

    def candidates(
        self, probes: Float32Array, count: int, lists: int, selected: UInt8Array | None, threads: int
    ) -> Int64Array:
        """As `SegmentedIndex.candidates`."""
        assert selected is None
        return self.index.candidates(probes, count, lists, self.live, threads)


def _drift(manifest: Manifest, ladder: tuple[LadderStep, ...]) -> float | None:
    """By how much steps of the ladder before, where they are on the new one too, promised more than was found."""
    found = {(step.lists, step.rescored): step.rank1_agreement for step in ladder}
    missed = [
        step.rank1_agreement - found[step.lists, step.rescored]
        for step in manifest.ladder
        if (step.lists, step.rescored) in found
    ]
    return max(missed, default=None)


def _trained(job: BuildJob, vectors: StoredVectors, live_ordinals: Int64Array) -> tuple[Quantizer, CodeSpecification]:
    """What was trained for the layout that serves the gallery's faces best."""
    generator = np.random.default_rng(job.seed)
    dimension = job.location.dimension
    specifications = candidate_specifications(job.code, dimension, live_ordinals.size)
    needed_bytes = index_bytes(specifications[0], live_ordinals.size, dimension)
    # Lists grow by doubling, hence half as much again; the samples take at most a quarter of the whole.
    if needed_bytes * 3 // 2 > job.memory_bytes_max * 3 // 4:
        raise InternalError(
            f"{live_ordinals.size} rows need {needed_bytes} bytes of lists, too much for a budget of "
            f"{job.memory_bytes_max} bytes; raise the builder's memory limit",
            reason="BUILD_FAILED",
        )
    rows = sample_row_count(specifications[0], live_ordinals.size, dimension, job.memory_bytes_max)
    sample = float32_rows(vectors, np.sort(generator.choice(live_ordinals, rows, replace=False)), job.threads)
    specifications = [replace(each, lists=min(each.lists, rows)) for each in specifications]
    trained = [(train_quantizer(each, sample, job.seed, job.threads), each) for each in specifications]
    if len(trained) == 1:
        return trained[0]
    some = np.ascontiguousarray(generator.permutation(sample)[:CODE_SAMPLE_ROWS_MAX])
    origins = np.arange(min(CODE_PROBE_COUNT, len(some)))
    probes = SecondPhotographs.like(some).of(some[origins], generator)
    best = (-1.0, trained[0])
    for quantizer, specification in trained:
        lists = quantizer.writer()
        lists.add(some, np.arange(len(some)), job.threads)
        agreement = code_agreement(lists.finish(), probes, origins, job.threads)
        if agreement > best[0] + (CODE_GAIN_MIN if best[0] >= 0 else 0):
            best = (agreement, (quantizer, specification))
    return best[1]


def _add(lists: ListWriter, job: BuildJob, vectors: StoredVectors, live_ordinals: Int64Array, report: Report) -> None:
    reported_rows = max(1, REPORTED_COMPONENTS // job.location.dimension)
    for first in range(0, live_ordinals.size, reported_rows):
        share = first / live_ordinals.size
        report(TRAINED_SHARE + (ADDED_SHARE - TRAINED_SHARE) * share, "adding")
        add_rows(lists, vectors, live_ordinals[first : first + reported_rows], job.threads)


def _measured(
    index: SearchedLists, job: BuildJob, vectors: StoredVectors, live_ordinals: Int64Array, report: Report
) -> Measurement:
    report(ADDED_SHARE, "measuring")
    generator = np.random.default_rng([job.seed, 2])
    probe_count = min(max(PROBE_COUNT_MIN, COMPARISONS_MAX // live_ordinals.size), PROBE_COUNT_MAX)
    probes = choose_probes(vectors, live_ordinals, job.identity_numbers, probe_count, generator)
    exact = exact_answers(vectors, job.live, job.identity_numbers, probes, job.threads)

    def report_share(share: float) -> None:
        report(ADDED_SHARE + (MEASURED_SHARE - ADDED_SHARE) * (1 + share) / 2, "measuring")

    report_share(0.0)
    efforts = measure_efforts(vectors, index, probes, exact, job.threads, report_share)
    ladder = ladder_of(efforts, exact.mated)
    probe_count = len(probes.vectors)
    target = job.default_recall_target
    single = cheapest_step(ladder, probe_count, target)
    staging = staging_of(efforts, exact, job.identity_numbers, index.lists, target, single)
    return Measurement(ladder, staging, probe_count, int(live_ordinals.size), time.time_ns() // 1000)


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
    except (OSError, MemoryError) as error:
        _print({"reason": "BUILD_FAILED", "message": f"the builder failed: {error!r}"})
        return 1
    return 0


def _done(job: BuildJob, work_folder: Path) -> dict[str, object]:
    """Do the job and give the last line to be printed."""
    if job.measured:
        return {"measurement": measure_generation(job, work_folder.parent, _print_progress).to_fields()}
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
