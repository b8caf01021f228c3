"""What a search is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["EffortChoice", "Float32Array", "Int64Array", "SearchReport", "SearchRequest", "SearchResult", "UInt8Array"]

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class EffortChoice:
    """How hard to look; the first of `exact`, `step`, `recall_target` that is set counts.

    Attributes:
        recall_target: take the cheapest step of the generation's ladder that surely met this rank-1 agreement with
            exact search, (0, 1]; exact search when none met it. None means the target the generation was built with.
        step: take this step of the ladder; 1 is the cheapest.
        exact: compare with every row.
        recall_at_10_min: beside a target, also take only steps that found this share of exact search's ten best,
            (0, 1]. Where no step did, a gallery small enough is searched exactly, a larger one by the ladder's last
            step. None asks for the best row alone.
    """

    recall_target: float | None = None
    step: int | None = None
    exact: bool = False
    recall_at_10_min: float | None = None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """Probes and how to answer them.

    Attributes:
        probes: float32 [n, dimension], C-contiguous, unit norm.
        k: faces wanted for each probe, at least 1.
        allowed: uint8 bitmap like `GalleryRows.live` (little-endian bits, at least ceil(row_count / 8) bytes); only
            rows whose bit is set are answered. None allows every row.
        threads: threads this call may use; 1 suits one online probe, all cores a batch.
        decision_similarity: the caller wants to know who the best row is of, if it is at least so similar: a target
            may be met by stages where the generation has them and nothing is filtered. A probe whose first stage
            finds a row at or above this and the gallery's stop value gets that row, and the others of the k from the
            lists scanned so far; every other probe gets the full stage. None: the k nearest are wanted.
    """

    probes: Float32Array
    k: int
    effort: EffortChoice = EffortChoice()
    allowed: UInt8Array | None = None
    threads: int = 1
    decision_similarity: float | None = None


@dataclass(frozen=True, slots=True)
class SearchReport:
    """What a search cost and what it is worth.

    Attributes:
        plan: "flat" (no generation), "exact", "exact: ..." (with why), "filtered-exact", "ivf", "ivf-staged",
            "filtered-ivf"; a "+refill" says that the first pass found fewer than k for some probe and more was searched
            for it.
        lists_scanned: inverted lists scanned for each probe, on average over the probes; 0 for exact plans.
        lists_total: inverted lists of the generation, 0 without one.
        rows_scanned: rows whose codes or vectors were compared, on average over the probes.
        rows_rescored: candidates of the generation compared again exactly, for each probe, on average over the probes.
        recall_estimate: rank-1 agreement with exact search measured for this effort at build; 1 for exact plans.
        generation: its name, empty without one.
        tail_rows: rows newer than the generation, compared exactly.
        step: ladder step used, 0 for exact and staged plans.
        matching_rows: live rows that the request allows, whether they were compared or not.
    """

    plan: str
    lists_scanned: int
    lists_total: int
    rows_scanned: int
    rows_rescored: int
    recall_estimate: float
    generation: str
    tail_rows: int
    step: int
    matching_rows: int = 0


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Nearest rows of each probe, most similar first, equal similarities by smaller ordinal.

    Attributes:
        ordinals: int64 [n, k], padded with -1.
        similarities: float32 [n, k], cosine of the probe and the stored row, padded with -inf. The same probe and
            row give the same bits whatever the plan.
    """

    ordinals: Int64Array
    similarities: Float32Array
    report: SearchReport
