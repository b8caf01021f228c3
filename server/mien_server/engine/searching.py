"""The nearest faces of probes, each resolved in the snapshot that was searched."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from mien_server.engine.context import EngineContext, GallerySnapshot
from mien_server.engine.filters import allowed_rows
from mien_server.engine.probes import analyse_probes, probe_vectors
from mien_server.engine.types import Explanation, Filter, NeighborsAnswer, Probes, SearchChoices, StageTiming
from mien_server.engine.validation import check_count, check_filter
from mien_server.errors import CorruptStore, InvalidArgument
from mien_server.index import EffortChoice, SearchReport, SearchRequest, SearchResult, search, searches_exactly
from mien_server.records.deadline import Deadline
from mien_server.records.faces import Float32Array
from mien_server.storage import FaceHeads

__all__ = [
    "FoundRows",
    "Stopwatch",
    "check_choices",
    "distinct",
    "explanation",
    "heads_of",
    "search_faces",
    "search_rows",
]

K_DEFAULT = 10
PROBES_PER_BLOCK = 1024
"""Probes searched between two looks at the deadline."""
EXACT_COMPARISONS_PER_BLOCK = 1 << 35
"""Components compared by an exact search between two looks at the deadline: some tenths of a second."""
PROBES_ALONE_MAX = 4
"""Up to this many probes are searched on one core: more cores cost more to wake than they save."""

DISTINCT_BY_HASH_MAX = 256
"""Up to this many numbers a dictionary is faster than a sort."""

Ordinals = npt.NDArray[np.int64]


@dataclass(slots=True)
class Stopwatch:
    """Time by stage, for `explain`."""

    started_s: float = field(default_factory=time.perf_counter)
    _laps: list[tuple[str, float]] = field(default_factory=list)

    def lap(self, stage: str) -> None:
        """What passed since the last lap belongs to this stage."""
        self._laps.append((stage, time.perf_counter()))

    def timings(self) -> tuple[StageTiming, ...]:
        """Every stage so far."""
        starts_s = [self.started_s, *(ended_s for _, ended_s in self._laps)]
        return tuple(
            StageTiming(stage, (ended_s - start_s) * 1000.0)
            for start_s, (stage, ended_s) in zip(starts_s, self._laps, strict=False)
        )


@dataclass(frozen=True, slots=True)
class FoundRows:
    """Rows found for n probes.

    Attributes:
        ordinals: int64 [n, k], best first, -1 where there is none.
        similarities: float32 [n, k], true cosines, -inf where there is none.
    """

    ordinals: Ordinals
    similarities: Float32Array
    report: SearchReport


def check_choices(context: EngineContext, choices: SearchChoices) -> None:
    """Refuse options that cannot be.

    Raises:
        InvalidArgument: EFFORT_INVALID, FILTER_INVALID, MIN_SIMILARITY_INVALID.
        LimitExceeded: LIMIT_EXCEEDED.
    """
    if not choices.filter.is_empty:
        check_filter(choices.filter, context.limits, "options.filter")
    target = choices.recall_target
    if target is not None and not 0.0 < target <= 1.0:
        raise InvalidArgument(
            f"options.effort.recall_target: {target} is not in (0, 1]",
            field="options.effort.recall_target",
            reason="EFFORT_INVALID",
        )
    if choices.step is not None and choices.step < 1:
        raise InvalidArgument(
            "options.effort.step: the ladder's steps start at 1", field="options.effort.step", reason="EFFORT_INVALID"
        )
    if choices.min_similarity is not None and not -1.0 <= choices.min_similarity <= 1.0:
        raise InvalidArgument(
            f"options.min_similarity: {choices.min_similarity} is no cosine similarity; give one of [-1, 1]",
            field="options.min_similarity",
            reason="MIN_SIMILARITY_INVALID",
        )


def effort_of(choices: SearchChoices, default: EffortChoice) -> EffortChoice:
    """The effort asked for, or the default."""
    if choices.exact or choices.step is not None or choices.recall_target is not None:
        return EffortChoice(recall_target=choices.recall_target, step=choices.step, exact=choices.exact)
    return default


def search_rows(
    context: EngineContext,
    snapshot: GallerySnapshot,
    vectors: Float32Array,
    k: int,
    effort: EffortChoice,
    deadline: Deadline,
    allowed: npt.NDArray[np.uint8] | None = None,
    decision_similarity: float | None = None,
) -> FoundRows:
    """The k nearest rows of each probe, in blocks so that a deadline is honoured.

    Args:
        allowed: rows that may be answered; the caller made it from the filter.
        decision_similarity: the caller asks who it is, from this similarity on, as in SearchRequest.
    """
    threads = 1 if len(vectors) <= PROBES_ALONE_MAX else context.options.search_thread_count
    results = []
    block = PROBES_PER_BLOCK
    is_decision = decision_similarity is not None and allowed is None
    # One probe is one block, whatever it takes.
    if len(vectors) > 1 and searches_exactly(snapshot.generation, effort, is_decision=is_decision):
        rows = snapshot.gallery.rows
        fitting = EXACT_COMPARISONS_PER_BLOCK // max(1, rows.row_count * vectors.shape[1])
        block = min(PROBES_PER_BLOCK, max(1, fitting))
    for start in range(0, len(vectors), block):
        deadline.check()
        request = SearchRequest(
            probes=vectors[start : start + block],
            k=k,
            effort=effort,
            allowed=allowed,
            threads=threads,
            decision_similarity=decision_similarity,
        )
        results.append(search(snapshot.gallery.rows, snapshot.generation, request))
    if len(results) == 1:
        return FoundRows(results[0].ordinals, results[0].similarities, results[0].report)
    return FoundRows(
        np.concatenate([one.ordinals for one in results]),
        np.concatenate([one.similarities for one in results]),
        _report_of_all(results),
    )


def _report_of_all(results: list[SearchResult]) -> SearchReport:
    """The first block's report, with what varies from block to block averaged over all probes."""
    weights = [len(one.ordinals) for one in results]

    def mean(counts: list[int]) -> int:
        return round(float(np.average(counts, weights=weights)))

    return replace(
        results[0].report,
        lists_scanned=mean([one.report.lists_scanned for one in results]),
        rows_scanned=mean([one.report.rows_scanned for one in results]),
        rows_rescored=mean([one.report.rows_rescored for one in results]),
    )


def heads_of(snapshot: GallerySnapshot, ordinals: Ordinals) -> FaceHeads:
    """Who the rows belong to, read from LMDB in the snapshot that was searched.

    Raises:
        CorruptStore: ROW_NOT_RESOLVED: a row that the search found is not there or belongs to someone else.
    """
    heads = snapshot.gallery.heads(ordinals)
    # Of a few numbers bytes are compared in a fraction of the time that numpy takes.
    if heads.identity_numbers.tobytes() != snapshot.gallery.rows.identity_numbers[ordinals].tobytes():
        raise CorruptStore(
            f"gallery {snapshot.gallery.name!r}: rows in memory and in the store name different identities; "
            "restart the server; if it happens again, go back to a copy of the store and report it",
            reason="ROW_NOT_RESOLVED",
        )
    return heads


def distinct(numbers: npt.NDArray[np.uint32]) -> tuple[list[int], Ordinals]:
    """The different numbers, and for each number given, int64 [n], where it stands among them."""
    if len(numbers) > DISTINCT_BY_HASH_MAX:
        values, places = np.unique(numbers, return_inverse=True)
        return values.tolist(), places
    seen: dict[int, int] = {}
    indexes = [seen.setdefault(number, len(seen)) for number in numbers.tolist()]
    return list(seen), np.array(indexes, dtype=np.int64)


def explanation(report: SearchReport, watch: Stopwatch) -> Explanation:
    """What a search cost, for the answer."""
    return Explanation(
        plan=report.plan,
        lists_scanned=report.lists_scanned,
        lists_total=report.lists_total,
        rows_scanned=report.rows_scanned,
        rows_rescored=report.rows_rescored,
        recall_estimate=report.recall_estimate,
        generation=report.generation,
        tail_rows=report.tail_rows,
        step=report.step,
        timings=watch.timings(),
        matching_faces=report.matching_rows,
    )


def filter_rows(snapshot: GallerySnapshot, row_filter: Filter, deadline: Deadline) -> npt.NDArray[np.uint8] | None:
    """Rows that a filter allows; None for all."""
    return None if row_filter.is_empty else allowed_rows(snapshot.gallery, row_filter, deadline, snapshot.filters)


def search_faces(
    context: EngineContext, gallery: str, probes: Probes, k: int, choices: SearchChoices, deadline: Deadline
) -> NeighborsAnswer:
    """The nearest faces of every probe, without a decision.

    Raises:
        NotFound: GALLERY_NOT_FOUND.
        LimitExceeded: LIMIT_EXCEEDED.
        PreconditionFailed: REVISION_NOT_REACHED.
    """
    watch = Stopwatch()
    k = k or min(K_DEFAULT, context.limits.k_max)
    check_count(k, context.limits.k_max, "k_max", "k", 1)
    check_choices(context, choices)
    analysed = analyse_probes(context, gallery, probes, deadline)
    watch.lap("photographs")
    with context.snapshot(gallery, choices.min_revision) as snapshot:
        resolved = probe_vectors(context, snapshot.gallery, probes.embeddings, analysed)
        total = len(resolved.vectors) * k
        check_count(total, context.limits.neighbors_per_request_max, "neighbors_per_request_max", "k x probes")
        watch.lap("probes")
        report: SearchReport | None = None
        ordinals = np.zeros((0, k), dtype=np.int64)
        similarities = np.zeros((0, k), dtype=np.float32)
        if len(resolved.vectors):
            allowed = filter_rows(snapshot, choices.filter, deadline)
            watch.lap("filter")
            effort = effort_of(choices, context.facts.of(snapshot.gallery).neighbor_effort)
            found = search_rows(context, snapshot, resolved.vectors, k, effort, deadline, allowed)
            ordinals, similarities, report = found.ordinals, found.similarities, found.report
            watch.lap("search")
        is_found = ordinals >= 0
        if choices.min_similarity is not None:
            is_found &= similarities >= np.float32(choices.min_similarity)
        flat = ordinals[is_found]
        heads = heads_of(snapshot, flat)
        numbers, indexes = distinct(heads.identity_numbers)
        identity_ids = snapshot.gallery.identity_ids(numbers)
        watch.lap("resolve")
        return NeighborsAnswer(
            counts=is_found.sum(axis=1),
            similarities=similarities[is_found],
            face_ids=heads.face_ids,
            identity_indexes=indexes,
            identity_ids=identity_ids,
            images=analysed.images,
            embedding_count=resolved.embedding_count,
            revision=snapshot.revision,
            model_fingerprint=snapshot.gallery.record.model_fingerprint,
            explanation=explanation(report, watch) if choices.explain and report is not None else None,
        )
