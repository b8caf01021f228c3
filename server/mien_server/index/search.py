"""Search: a generation's lists approximately, then exactly; what is newer exactly; one answer.

Whatever the plan, every similarity is computed from the stored row, deleted and filtered rows take no place, and a
probe gets k rows wherever k match.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien_server.errors import InvalidArgument
from mien_server.index import plan as planning
from mien_server.index.bitmaps import intersection, set_count
from mien_server.index.flat import search_flat
from mien_server.index.generation import Generation
from mien_server.index.manifest import LadderStep, Staging
from mien_server.index.plan import RESCORED_FOR_EACH_WANTED, Scan, choose_scan
from mien_server.index.ranking import NO_ORDINAL, best_of
from mien_server.index.request import (
    Float32Array,
    Int64Array,
    SearchReport,
    SearchRequest,
    SearchResult,
    UInt8Array,
)
from mien_server.index.rescore import best_candidates
from mien_server.records.rows import GalleryRows

__all__ = ["search"]

CANDIDATES_MAX = 4 * 1024 * 1024
"""Candidates held at once, over all probes of a block: 32 MiB of ordinals."""

_NO_PROBES = np.empty(0, np.int64)

_Answers = tuple[Int64Array, Float32Array]
"""Ordinals int64 [n, k] and similarities float32 [n, k]."""


@dataclass(frozen=True, slots=True)
class _Selection:
    """Which rows count.

    Attributes:
        bitmap: over all ordinals; None when every row counts.
        matching: rows of the generation that count.
        matching_all: rows that count.
        live: rows of the generation that are live.
        needs_selector: the generation's lists hold rows that do not count.
    """

    bitmap: UInt8Array | None
    matching: int
    matching_all: int
    live: int
    needs_selector: bool


def search(rows: GalleryRows, generation: Generation | None, request: SearchRequest) -> SearchResult:
    """The k nearest rows of each probe.

    Args:
        rows: the gallery at the revision to be searched.
        generation: the gallery's published generation, or None. One of a later revision than `rows` is not used, for
            it may lack rows that `rows` still has.
        request: what to look for. See SearchRequest.

    Raises:
        InvalidArgument: k below 1, probes of another shape or dimension, an effort that does not exist.
        InternalError: FAISS failed.
    """
    _check(rows, request)
    if generation is None or _is_newer(generation, rows):
        name = planning.FLAT_PLAN_NAME if generation is None else "exact: the generation is newer than this revision"
        return _search_exactly(rows, generation, request, _select_flat(rows, request), name)
    selection = _select(rows, generation, request)
    manifest = generation.manifest
    step, staging = generation.chosen(request.effort)
    is_decision = request.decision_similarity is not None and request.allowed is None
    effort: LadderStep | Staging | str = staging if is_decision and staging is not None else step
    if isinstance(effort, str):
        return _search_exactly(rows, generation, request, selection, effort)
    stage = effort.full if isinstance(effort, Staging) else effort
    scan = choose_scan(manifest, stage, request.k, selection.matching, selection.live, len(request.probes))
    if scan is None:
        is_filtered = selection.matching < selection.live
        name = planning.FILTERED_EXACT_PLAN_NAME if is_filtered else planning.EXACT_PLAN_NAME
        return _search_exactly(rows, generation, request, selection, name)
    listed = _Listed(rows, generation, request, selection)
    if isinstance(effort, Staging):
        return _search_by_stages(listed, effort, scan)
    return _search_by_step(listed, effort, scan)


def _is_newer(generation: Generation, rows: GalleryRows) -> bool:
    return generation.manifest.revision > rows.revision or generation.manifest.rows > rows.row_count


def _check(rows: GalleryRows, request: SearchRequest) -> None:
    shape = request.probes.shape
    if len(shape) != 2 or (rows.row_count and shape[1] != rows.dimension):
        raise InvalidArgument(
            f"probes of shape {shape} cannot be compared with rows of dimension {rows.dimension}",
            field="probes",
            reason="DIMENSION_MISMATCH",
        )
    if request.k < 1:
        raise InvalidArgument(f"k is {request.k}; ask for at least 1", field="k", reason="K_INVALID")


def _select_flat(rows: GalleryRows, request: SearchRequest) -> _Selection:
    if request.allowed is None:
        bitmap = None if rows.live_count == rows.row_count else rows.live
        return _Selection(bitmap, 0, rows.live_count, 0, needs_selector=False)
    both = intersection(rows.live, request.allowed, rows.row_count)
    return _Selection(both, 0, set_count(both, 0, rows.row_count), 0, needs_selector=False)


def _select(rows: GalleryRows, generation: Generation, request: SearchRequest) -> _Selection:
    flat = _select_flat(rows, request)
    live = generation.live_rows(rows)
    if request.allowed is None or flat.bitmap is None:
        matching = live
    else:
        matching = set_count(flat.bitmap, 0, generation.manifest.rows)
    # Where everything that the lists hold counts, no row needs to be tested.
    needs_selector = matching < generation.manifest.live_rows
    return _Selection(flat.bitmap, matching, flat.matching_all, live, needs_selector)


def _search_exactly(
    rows: GalleryRows, generation: Generation | None, request: SearchRequest, selection: _Selection, plan_name: str
) -> SearchResult:
    ordinals, similarities = search_flat(
        rows.vectors, 0, rows.row_count, selection.bitmap, request.probes, request.k, request.threads
    )
    manifest = generation.manifest if generation is not None else None
    report = SearchReport(
        plan=plan_name,
        lists_scanned=0,
        lists_total=manifest.lists if manifest is not None else 0,
        rows_scanned=selection.matching_all,
        rows_rescored=0,
        recall_estimate=1.0,
        generation=manifest.name if manifest is not None else "",
        tail_rows=max(0, rows.row_count - manifest.rows) if manifest is not None else 0,
        step=0,
        matching_rows=selection.matching_all,
    )
    return SearchResult(ordinals, similarities, report)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A search of a generation's lists."""

    rows: GalleryRows
    generation: Generation
    request: SearchRequest
    selection: _Selection


def _search_by_step(listed: _Listed, step: LadderStep, scan: Scan) -> SearchResult:
    request = listed.request
    found = _scan_in_blocks(listed, request.probes, scan)
    refilled = _refill(listed, request.probes, found, _short_probes(listed, found[0]))
    ordinals, similarities = _merged(found, _tail(listed), request.k)
    name = "filtered-ivf" if listed.selection.matching < listed.selection.live else "ivf"
    report = _report(
        listed,
        name + ("+refill" if refilled else ""),
        lists=scan.lists,
        rescored=scan.rescored,
        recall_estimate=step.rank1_agreement,
        step=step.step,
    )
    return SearchResult(ordinals, similarities, report)


def _search_by_stages(listed: _Listed, staging: Staging, full: Scan) -> SearchResult:
    """Scan a few lists for every probe, and more for those that this does not decide.

    A first stage decides when its best row is at least as similar as the stop value, which hardly any stranger
    reaches, and as the caller's own threshold. The stop value alone would not do: below a threshold that is higher,
    the answer would be UNKNOWN while a row beyond it may lie in another list. Nor would the threshold alone: one that
    is lower says nothing of who is best, for strangers reach it. At or above both, whatever the other lists hold, the
    answer is a person, and another one only where a stranger came before the right one, as often as was measured. So
    what is UNKNOWN always rests on the full stage.
    """
    request = listed.request
    rescored = listed.generation.manifest.grown(staging.first.rescored)
    first = Scan(staging.first.lists, max(rescored, RESCORED_FOR_EACH_WANTED * request.k))
    tail = _tail(listed)
    found = _scan_in_blocks(listed, request.probes, first)
    ordinals, similarities = _merged(found, tail, request.k)
    is_undecided = similarities[:, 0] < np.float32(staging.stop_similarity)
    if request.decision_similarity is not None:
        is_undecided |= similarities[:, 0] < np.float32(request.decision_similarity)
    is_undecided[_short_probes(listed, found[0])] = True
    undecided = np.flatnonzero(is_undecided)
    refilled = False
    if undecided.size:
        probes = request.probes if undecided.size == len(request.probes) else request.probes[undecided]
        found = _scan_in_blocks(listed, probes, full)
        refilled = _refill(listed, probes, found, _short_probes(listed, found[0]))
        tail = None if tail is None else (tail[0][undecided], tail[1][undecided])
        ordinals[undecided], similarities[undecided] = _merged(found, tail, request.k)
    share = undecided.size / max(len(request.probes), 1)
    # The lists of the first stage are among those of the full one.
    report = _report(
        listed,
        "ivf-staged" + ("+refill" if refilled else ""),
        lists=first.lists + share * (full.lists - first.lists),
        rescored=first.rescored + share * (full.rescored - first.rescored),
        recall_estimate=staging.rank1_agreement,
    )
    return SearchResult(ordinals, similarities, report)


def _report(
    listed: _Listed, plan: str, *, lists: float, rescored: float, recall_estimate: float, step: int = 0
) -> SearchReport:
    """Of a search that scanned and rescored so many for each probe."""
    manifest = listed.generation.manifest
    tail_rows = listed.rows.row_count - manifest.rows
    return SearchReport(
        plan=plan,
        lists_scanned=round(lists),
        lists_total=manifest.lists,
        rows_scanned=int(manifest.live_rows * lists / manifest.lists) + tail_rows,
        rows_rescored=min(round(rescored), listed.selection.matching),
        recall_estimate=recall_estimate,
        generation=manifest.name,
        tail_rows=tail_rows,
        step=step,
        matching_rows=listed.selection.matching_all,
    )


def _tail(listed: _Listed) -> _Answers | None:
    """The best rows that are newer than the generation; None where there are none."""
    rows, request, first = listed.rows, listed.request, listed.generation.manifest.rows
    if rows.row_count == first:
        return None
    k = min(request.k, rows.row_count - first)
    bitmap = listed.selection.bitmap
    return search_flat(rows.vectors, first, rows.row_count, bitmap, request.probes, k, request.threads)


def _merged(found: _Answers, tail: _Answers | None, k: int) -> _Answers:
    return found if tail is None else best_of([found, tail], k)


def _scan_in_blocks(listed: _Listed, probes: Float32Array, scan: Scan) -> _Answers:
    """The generation's part of the answer."""
    block = max(1, CANDIDATES_MAX // scan.rescored)
    if len(probes) <= block:
        return _scan(listed, probes, scan)
    parts = [_scan(listed, probes[first : first + block], scan) for first in range(0, len(probes), block)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _scan(listed: _Listed, probes: Float32Array, scan: Scan) -> _Answers:
    request, selection = listed.request, listed.selection
    selector = selection.bitmap if selection.needs_selector else None
    candidates = listed.generation.index.candidates(probes, scan.rescored, scan.lists, selector, request.threads)
    return best_candidates(listed.rows.vectors, probes, candidates, request.k, request.threads)


def _short_probes(listed: _Listed, ordinals: Int64Array) -> Int64Array:
    """Probes whose lists held fewer matching rows than are wanted and there are."""
    if listed.selection.matching <= 0:
        return _NO_PROBES
    last_wanted = min(listed.request.k, listed.selection.matching) - 1
    return np.flatnonzero(ordinals[:, last_wanted] == NO_ORDINAL)


def _refill(listed: _Listed, probes: Float32Array, found: _Answers, short: Int64Array) -> bool:
    """Compare these probes with every row of the generation, in place; whether there were any."""
    if not short.size:
        return False
    found[0][short], found[1][short] = search_flat(
        listed.rows.vectors,
        0,
        listed.generation.manifest.rows,
        listed.selection.bitmap,
        np.ascontiguousarray(probes[short]),
        listed.request.k,
        listed.request.threads,
    )
    return True
