"""Measures a generation that serves again: with the rows that are live now, and against what it promised before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien_server.index.bitmaps import set_ordinals, slice_bits
from mien_server.index.build_job import BuildJob
from mien_server.index.generation import ExpectedGeneration, load_generation
from mien_server.index.manifest import LadderStep, Manifest
from mien_server.index.measurement import Measurement
from mien_server.index.measuring import measured_index
from mien_server.index.request import Float32Array, Int64Array, UInt8Array
from mien_server.index.segments import SegmentedIndex

__all__ = ["measure_generation"]


def measure_generation(job: BuildJob, index_directory: Path, report: Callable[[float], None]) -> Measurement:
    """Measure the generation that the job names again, with the rows that are live now.

    Args:
        report: told the share that is done.

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
    live = slice_bits(job.live, 0, manifest.rows)
    live_ordinals = set_ordinals(live, 0, manifest.rows)
    job = replace(job, live=live, identity_numbers=job.identity_numbers[: manifest.rows], row_count=manifest.rows)
    searched = _LiveLists(generation.index, live) if live_ordinals.size < generation.index.size else generation.index
    measurement = measured_index(searched, job, vectors, live_ordinals, report)
    return replace(measurement, drift=_drift(manifest, measurement.ladder))


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

    def list_numbers(self, row_count: int) -> npt.NDArray[np.int32]:
        """As `SegmentedIndex.list_numbers`."""
        return self.index.list_numbers(row_count)

    def list_ranks(self, probes: Float32Array, threads: int) -> npt.NDArray[np.int32]:
        """As `SegmentedIndex.list_ranks`."""
        return self.index.list_ranks(probes, threads)

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
