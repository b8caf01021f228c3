"""Trains the quantiser of a generation: of the layouts that may suit the gallery, the one that suits its faces best.

What a layout costs is the scan of its codes and the rescoring of as many candidates as have the best row among them.
How many that takes in the gallery is told by where codes put the best row of a sample: as the rows grow, so do those
whose codes come before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mien_server.errors import InternalError
from mien_server.index.build_job import BuildJob
from mien_server.index.faiss_adapter import (
    CodeSpecification,
    Projection,
    Quantizer,
    train_centroids,
    train_quantizer,
)
from mien_server.index.faiss_rows import nearest_rows
from mien_server.index.ladder import code_ranks, rescored_steps
from mien_server.index.layout import build_bytes, candidate_specifications, sample_row_count, scan_ns
from mien_server.index.probing import changed_faces
from mien_server.index.request import Float32Array, Int64Array
from mien_server.index.rescore import StoredVectors, float32_rows
from mien_server.index.segments import SegmentedIndex

__all__ = ["Cost", "is_better", "trained_quantizer"]

CODE_PROBE_COUNT = 1024
CODE_TRAINED_ROWS_MAX = 16_384
CODE_TRIED_ROWS_MAX = 131_072
"""Rows that codes are trained on, and tried on."""

SCANNED_SHARE = 0.25
"""Of the rows, whose codes are scanned for a probe: on average of mated probes and strangers, all stages together."""

RESCORED_NS = 250.0
RESCORED_SHARE = 0.5
"""Of the probes, that have the long short list rescored: those that the first stage does not decide."""

MISSED_SHARE = 0.5
"""Of what may be missed for a target, what codes may miss; lists miss the rest."""

COST_SHARE_MAX = 0.9
"""A layout of longer codes must cost less than so much of what one of shorter codes does."""

PACKED_GAIN_MIN, SCALAR_GAIN_MIN = 0.002, 0.05
"""Where none finds enough, it must miss so much less; eight bits a component take many times as long, and must in any
case."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a layout costs.

    Attributes:
        nanoseconds: of a probe, about; infinite where too much is missed.
        missed: share of probes whose best row is among no candidates, as many as may be rescored.
    """

    nanoseconds: float
    missed: float


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
    rows = sample_row_count(specifications[0].lists, live_ordinals.size, dimension, job.memory_bytes_max)
    sample = float32_rows(vectors, np.sort(generator.choice(live_ordinals, rows, replace=False)), job.threads)
    trying = _Trying.on(sample, job, live_ordinals.size, generator)
    best: tuple[Cost, Quantizer, CodeSpecification] | None = None
    bases: dict[int, _Basis] = {}
    for specification in specifications:
        # Longer codes that cost too much with the shortest of short lists are not trained.
        is_scalar = not specification.subquantizers
        if best is not None and not is_better(Cost(trying.scan_ns(specification), 0.0), best[0], is_scalar=is_scalar):
            continue
        if specification.directions not in bases:
            bases[specification.directions] = _Basis.of(sample, specification, job)
        basis = bases[specification.directions]
        trained = replace(specification, lists=len(basis.centroids))
        quantizer = basis.quantizer(trained)
        cost = trying.cost(quantizer, trained)
        if best is None or is_better(cost, best[0], is_scalar=is_scalar):
            best = (cost, quantizer, trained)
    assert best is not None
    return best[1], best[2]


def is_better(longer: Cost, shorter: Cost, *, is_scalar: bool = False) -> bool:
    """Whether longer codes of this cost, perhaps of eight bits a component, are to be preferred to shorter ones."""
    if is_scalar:
        return longer.missed < shorter.missed - SCALAR_GAIN_MIN
    if math.isinf(shorter.nanoseconds):
        return math.isfinite(longer.nanoseconds) or longer.missed < shorter.missed - PACKED_GAIN_MIN
    return longer.nanoseconds < COST_SHARE_MAX * shorter.nanoseconds


@dataclass(frozen=True, slots=True, eq=False)
class _Basis:
    """What layouts of as many directions share.

    Attributes:
        sample: float32 [m, d], projected.
        centroids: float32 [lists, d], projected.
    """

    projection: Projection | None
    sample: Float32Array
    centroids: Float32Array

    @classmethod
    def of(cls, sample: Float32Array, specification: CodeSpecification, job: BuildJob) -> _Basis:
        directions = specification.directions
        projection = Projection.leading(sample, directions, job.seed) if directions else None
        projected = sample if projection is None else projection.of_rows(sample, job.threads)
        lists = min(specification.lists, len(sample))
        return cls(projection, projected, train_centroids(projected, lists, job.seed, job.threads))

    def quantizer(self, specification: CodeSpecification) -> Quantizer:
        # Rows of the sample are in no order that matters to codes but the one in which they were enrolled.
        step = -(-len(self.sample) // CODE_TRAINED_ROWS_MAX)
        return train_quantizer(
            specification, np.ascontiguousarray(self.sample[::step]), self.centroids, self.projection
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Trying:
    """Changed faces of a part of the gallery, by which codes are tried.

    Attributes:
        some: float32 [m, dimension], rows of the gallery.
        probes: float32 [n, dimension], weights: float64 [n], of sum 1.
        nearest: int64 [n]: which of the rows is nearest to each probe.
        rows: of the whole gallery.
    """

    some: Float32Array
    probes: Float32Array
    weights: npt.NDArray[np.float64]
    nearest: Int64Array
    rows: int
    missed_max: float
    threads: int

    @classmethod
    def on(cls, sample: Float32Array, job: BuildJob, rows: int, generator: np.random.Generator) -> _Trying:
        step = -(-len(sample) // CODE_TRIED_ROWS_MAX)
        some = np.ascontiguousarray(sample[::step])
        probes, weights = changed_faces(some, CODE_PROBE_COUNT, generator)
        nearest, _ = nearest_rows(probes, some, 1, None, job.threads)
        missed_max = MISSED_SHARE * (1 - job.default_recall_target)
        return cls(some, probes, weights, nearest[:, 0], rows, missed_max, job.threads)

    def scan_ns(self, specification: CodeSpecification) -> float:
        """What scanning codes takes of a probe."""
        return SCANNED_SHARE * self.rows * scan_ns(specification, self.some.shape[1])

    def cost(self, quantizer: Quantizer, specification: CodeSpecification) -> Cost:
        writer = quantizer.writer()
        writer.add(self.some, np.arange(len(self.some)), self.threads)
        index = SegmentedIndex(quantizer, [writer.finish()])
        growth = self.rows / len(self.some)
        depth = max(1, min(round(rescored_steps(self.rows)[-1] / growth), len(self.some)))
        ranks = code_ranks(index, self.probes, self.nearest, depth, self.threads)
        order = np.argsort(-ranks)
        # So many places before the first are missed as soon as one place less is rescored.
        is_left_out = np.cumsum(self.weights[order]) <= self.missed_max
        last = int(ranks[order[np.count_nonzero(is_left_out)]]) if not is_left_out.all() else 0
        missed = float(np.sum(self.weights[ranks >= depth]))
        if last >= depth:
            return Cost(math.inf, missed)
        rescored_ns = RESCORED_SHARE * RESCORED_NS * (last + 1) * growth
        return Cost(self.scan_ns(specification) + rescored_ns, missed)


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
