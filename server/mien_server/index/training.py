"""Trains the quantiser of a generation: of the layouts that may suit the gallery, the one that suits its faces best."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from mien_server.errors import InternalError
from mien_server.index.build_job import BuildJob
from mien_server.index.faiss_adapter import (
    CodeSpecification,
    Quantizer,
    nearest_rows,
    train_centroids,
    train_quantizer,
)
from mien_server.index.ladder import code_agreement
from mien_server.index.layout import build_bytes, candidate_specifications, sample_row_count
from mien_server.index.probing import SecondPhotographs
from mien_server.index.request import Int64Array
from mien_server.index.rescore import StoredVectors, float32_rows

__all__ = ["trained_quantizer"]

CODE_PROBE_COUNT = 1024
CODE_SAMPLE_ROWS_MAX = 16_384
CODE_DEPTH = 25
"""Candidates, of the whole gallery, among which codes should put the best row: half of what is rescored at least. Among
fewer rows there are fewer, by the square root: the nearest rows of a part are not as near, and easier to tell apart."""

CODE_AGREEMENT_ENOUGH = 0.9985
FINE_GAIN_MIN, RESIDUAL_GAIN_MIN, SCALAR_GAIN_MIN = 0.002, 0.005, 0.05
"""A slower candidate must agree this much more often than a faster one, where none agrees enough. Codes twice as long
soon pay, for what codes miss costs a longer short list; eight bits a component take three times as long as those."""


def trained_quantizer(
    job: BuildJob, vectors: StoredVectors, live_ordinals: Int64Array
) -> tuple[Quantizer, CodeSpecification]:
    """What was trained for the layout that serves the gallery's faces best.

    Raises:
        InternalError: the lists would not fit into the job's memory; reason BUILD_FAILED.
    """
    generator = np.random.default_rng(job.seed)
    dimension = job.location.dimension
    specifications = _affordable_specifications(job, live_ordinals.size)
    lists = specifications[0].lists
    rows = sample_row_count(lists, live_ordinals.size, dimension, job.memory_bytes_max)
    sample = float32_rows(vectors, np.sort(generator.choice(live_ordinals, rows, replace=False)), job.threads)
    centroids = train_centroids(sample, min(lists, rows), job.seed, job.threads)
    some = np.ascontiguousarray(generator.permutation(sample)[:CODE_SAMPLE_ROWS_MAX])
    probes = SecondPhotographs.like(some).of(some[:CODE_PROBE_COUNT], generator)
    nearest, _ = nearest_rows(probes, some, 1, None, job.threads)
    depth = max(1, round(CODE_DEPTH * math.sqrt(len(some) / live_ordinals.size)))
    best: tuple[float, Quantizer, CodeSpecification] | None = None
    for specification in [replace(each, lists=len(centroids)) for each in specifications]:
        quantizer = train_quantizer(specification, some, centroids)
        writer = quantizer.writer()
        writer.add(some, np.arange(len(some)), job.threads)
        agreement = code_agreement(writer.finish(), probes, nearest[:, 0], depth, job.threads)
        if best is None or agreement > best[0] + _gain_min(specification):
            best = (agreement, quantizer, specification)
        if agreement >= CODE_AGREEMENT_ENOUGH:
            break
    assert best is not None
    return best[1], best[2]


def _gain_min(specification: CodeSpecification) -> float:
    if not specification.subquantizers:
        return SCALAR_GAIN_MIN
    return RESIDUAL_GAIN_MIN if specification.residual else FINE_GAIN_MIN


def _affordable_specifications(job: BuildJob, live_rows: int) -> list[CodeSpecification]:
    """The candidates that the job's memory allows, the one that is scanned fastest first."""
    dimension = job.location.dimension
    candidates = candidate_specifications(job.code, dimension, live_rows)
    affordable = [one for one in candidates if build_bytes(one, live_rows, dimension) <= job.memory_bytes_max]
    if not affordable:
        needed_bytes = build_bytes(candidates[0], live_rows, dimension)
        raise InternalError(
            f"{live_rows} rows need {needed_bytes} bytes to build, too much for a budget of "
            f"{job.memory_bytes_max} bytes; raise the builder's memory limit",
            reason="BUILD_FAILED",
        )
    return affordable
