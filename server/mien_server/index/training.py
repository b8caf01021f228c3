"""Trains the quantiser of a generation: of the layouts that may suit the gallery, the one that suits its faces best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mien_server.errors import InternalError
from mien_server.index.build_job import BuildJob
from mien_server.index.faiss_adapter import CodeSpecification, InvertedIndex, train_inverted_index
from mien_server.index.ladder import code_agreement
from mien_server.index.layout import candidate_specifications, index_bytes, sample_row_count
from mien_server.index.probing import SecondPhotographs
from mien_server.index.request import Int64Array
from mien_server.index.rescore import StoredVectors, float32_rows

__all__ = ["trained_index"]

CODE_PROBE_COUNT = 512
CODE_SAMPLE_ROWS_MAX = 32_768
CODE_GAIN_MIN = 0.005
"""A later candidate must agree this much more often than the preferred one."""


def trained_index(
    job: BuildJob, vectors: StoredVectors, live_ordinals: Int64Array
) -> tuple[InvertedIndex, CodeSpecification]:
    """An empty trained index of the layout that serves the gallery's faces best.

    Raises:
        InternalError: the lists would not fit into the job's memory; reason BUILD_FAILED.
    """
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
    trained = [(train_inverted_index(each, sample, job.seed, job.threads), each) for each in specifications]
    if len(trained) == 1:
        return trained[0]
    some = np.ascontiguousarray(generator.permutation(sample)[:CODE_SAMPLE_ROWS_MAX])
    origins = np.arange(min(CODE_PROBE_COUNT, len(some)))
    probes = SecondPhotographs.like(some).of(some[origins], generator)
    best = (-1.0, trained[0])
    for index, specification in trained:
        index.add(some, np.arange(len(some)), job.threads)
        agreement = code_agreement(index, probes, origins, job.threads)
        index.clear()
        if agreement > best[0] + (CODE_GAIN_MIN if best[0] >= 0 else 0):
            best = (agreement, (index, specification))
    return best[1]
