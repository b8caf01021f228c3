"""Is a published generation what it says, file by file and row by row? For whoever looks at a store from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mien_server.errors import MienError
from mien_server.index.build_job import BuildJob
from mien_server.index.faiss_adapter import Quantizer
from mien_server.index.generation import ExpectedGeneration, checked_lists, checked_manifest, outdated_by
from mien_server.index.manifest import QUANTIZER_FILE_NAME, Manifest, read_manifest
from mien_server.index.publish import CURRENT_FILE_NAME, WORK_PREFIX, current_generation
from mien_server.index.remeasuring import measure_generation
from mien_server.records.rows import GalleryRows

__all__ = ["GenerationInspection", "inspect_agreement", "inspect_generation"]

DRIFT_TOLD_MIN = 0.02
"""A promise that is missed by more is told. A gallery changes after it was measured, and is measured again in time."""

DRIFT_MAX = 0.5
"""Who misses this much has lists that are not of these rows."""


@dataclass(slots=True)
class GenerationInspection:
    """What was found of a gallery's generation.

    Attributes:
        name: of the published one; empty when there is none.
        files: how many were read.
        rows: how many rows its lists hold, as far as they were read.
        problems: what is wrong, for a person.
        outdated: what of Mien or FAISS has made it that is older than this; a server makes it anew. Empty: nothing is.
        advice: what is not wrong and could be better.
        agreements: for each step of the ladder, the agreement with exact search that is promised and that was found.
    """

    name: str = ""
    files: int = 0
    rows: int = 0
    problems: list[str] = field(default_factory=list)
    outdated: str = ""
    advice: str = ""
    agreements: list[tuple[float, float]] = field(default_factory=list)


def inspect_generation(
    index_directory: Path, expected: ExpectedGeneration, rows: GalleryRows, *, is_deep: bool
) -> GenerationInspection:
    """Look at the published generation of a gallery.

    Args:
        index_directory: of the gallery.
        expected: what the store knows of the gallery.
        rows: the gallery's rows.
        is_deep: read all files, compare their SHA-256, and each row number in the lists with the rows.
    """
    inspection = GenerationInspection()
    try:
        name = current_generation(index_directory)
        if name is None:
            _look_for_lost(index_directory, inspection)
            return inspection
        inspection.name = name
        inspection.outdated = outdated_by(index_directory / name, expected, reads_files=is_deep)
        if inspection.outdated:
            return inspection
        manifest = checked_manifest(index_directory / name, expected, reads_files=is_deep)
        inspection.files = len(manifest.files)
        if is_deep:
            _inspect_lists(index_directory / name, manifest, rows, inspection)
    except MienError as error:
        inspection.problems.append(error.message)
    return inspection


def _look_for_lost(index_directory: Path, inspection: GenerationInspection) -> None:
    """Generations that nothing names: harmless, they are removed at the next start, but CURRENT should name one."""
    if not index_directory.is_dir():
        return
    lost = [
        path.name
        for path in sorted(index_directory.iterdir())
        if path.is_dir() and not path.name.startswith(WORK_PREFIX)
    ]
    if lost:
        inspection.problems.append(
            f"{index_directory / CURRENT_FILE_NAME} is missing, and {lost[0]} is there; the generation is built anew"
        )


def _inspect_lists(folder: Path, manifest: Manifest, rows: GalleryRows, inspection: GenerationInspection) -> None:
    quantizer = Quantizer.read(folder / QUANTIZER_FILE_NAME)
    is_live = np.unpackbits(rows.live, count=rows.row_count, bitorder="little").astype(np.bool_)
    for segment in manifest.segments:
        ordinals = checked_lists(folder, quantizer, manifest, segment).ordinals()
        inspection.rows += ordinals.shape[0]
        path = folder / segment.file
        if ((ordinals < segment.first) | (ordinals >= segment.last)).any():
            inspection.problems.append(f"{path} holds rows outside {segment.first} to {segment.last}")
            continue
        is_held = np.zeros(segment.last - segment.first, dtype=np.bool_)
        is_held[ordinals - segment.first] = True
        if int(is_held.sum()) != ordinals.shape[0]:
            inspection.problems.append(f"{path} holds a row more than once")
        missing = np.flatnonzero(is_live[segment.first : segment.last] & ~is_held)
        if missing.size:
            inspection.problems.append(
                f"{path} lacks {missing.size} live rows, such as {int(missing[0]) + segment.first}"
            )


def inspect_agreement(job: BuildJob, index_directory: Path, report: Callable[[float], None]) -> GenerationInspection:
    """Measure the generation that the job names on the gallery's own faces, and hold it against what it promises.

    Args:
        report: told the share that is done.
    """
    inspection = GenerationInspection(name=job.measured)
    try:
        measurement = measure_generation(job, index_directory, report)
        manifest = read_manifest(index_directory / job.measured)
    except MienError as error:
        inspection.problems.append(error.message)
        return inspection
    promised = {(step.lists, step.rescored): step.rank1_agreement for step in manifest.ladder}
    measured = [step for step in measurement.ladder if (step.lists, step.rescored) in promised]
    inspection.agreements = [(promised[step.lists, step.rescored], step.rank1_agreement) for step in measured]
    drift = measurement.drift
    if drift is not None and drift > DRIFT_MAX:
        inspection.problems.append(
            f"{index_directory / job.measured}: searches find the row that exact search finds less often than they "
            f"should, by {drift:.3f}"
        )
    elif drift is not None and drift > DRIFT_TOLD_MIN:
        inspection.advice = f"{drift:.3f} less than when it was measured; rebuild the index to have it measured now"
    return inspection
