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
from mien_server.index.plan import Scan, choose_scan, choose_step
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
    step = choose_step(generation.manifest, request.effort)
    if isinstance(step, str):
        return _search_exactly(rows, generation, request, selection, step)
    scan = choose_scan(generation.manifest, step, request.k, selection.matching, selection.live, len(request.probes))
    if scan is None:
        is_filtered = selection.matching < selection.live
        name = planning.FILTERED_EXACT_PLAN_NAME if is_filtered else planning.EXACT_PLAN_NAME
        return _search_exactly(rows, generation, request, selection, name)
    return _search_lists(rows, generation, request, selection, scan)


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
    )
    return SearchResult(ordinals, similarities, report)


def _search_lists(
    rows: GalleryRows, generation: Generation, request: SearchRequest, selection: _Selection, scan: Scan
) -> SearchResult:
    manifest = generation.manifest
    ordinals, similarities, is_refilled = _scan_in_blocks(rows, generation, request, selection, scan)
    tail_rows = rows.row_count - manifest.rows
    if tail_rows:
        tail = search_flat(
            rows.vectors,
            manifest.rows,
            rows.row_count,
            selection.bitmap,
            request.probes,
            min(request.k, tail_rows),
            request.threads,
        )
        ordinals, similarities = best_of([(ordinals, similarities), tail], request.k)
    name = "filtered-ivf" if selection.matching < selection.live else "ivf"
    report = SearchReport(
        plan=name + ("+refill" if is_refilled else ""),
        lists_scanned=scan.lists,
        lists_total=manifest.lists,
        rows_scanned=manifest.live_rows * scan.lists // manifest.lists + tail_rows,
        rows_rescored=min(scan.rescored, selection.matching),
        recall_estimate=scan.step.rank1_agreement,
        generation=manifest.name,
        tail_rows=tail_rows,
        step=scan.step.step,
    )
    return SearchResult(ordinals, similarities, report)


def _scan_in_blocks(
    rows: GalleryRows, generation: Generation, request: SearchRequest, selection: _Selection, scan: Scan
) -> tuple[Int64Array, Float32Array, bool]:
    """The generation's part of the answer, and whether some probe had to be searched again."""
    block = max(1, CANDIDATES_MAX // scan.rescored)
    if len(request.probes) <= block:
        return _scan(rows, generation, request.probes, request, selection, scan)
    parts = [
        _scan(rows, generation, request.probes[first : first + block], request, selection, scan)
        for first in range(0, len(request.probes), block)
    ]
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        any(part[2] for part in parts),
    )


def _scan(
    rows: GalleryRows,
    generation: Generation,
    probes: Float32Array,
    request: SearchRequest,
    selection: _Selection,
    scan: Scan,
) -> tuple[Int64Array, Float32Array, bool]:
    selector = selection.bitmap if selection.needs_selector else None
    candidates = generation.index.candidates(probes, scan.rescored, scan.lists, selector, request.threads)
    ordinals, similarities = best_candidates(rows.vectors, probes, candidates, request.k, request.threads)
    if selection.matching <= 0 or not len(probes):
        return ordinals, similarities, False
    # The lists scanned may hold fewer than k matching rows: those probes are compared with every row.
    last_wanted = min(request.k, selection.matching) - 1
    short = np.flatnonzero(ordinals[:, last_wanted] == NO_ORDINAL)
    if not short.size:
        return ordinals, similarities, False
    ordinals[short], similarities[short] = search_flat(
        rows.vectors,
        0,
        generation.manifest.rows,
        selection.bitmap,
        np.ascontiguousarray(probes[short]),
        request.k,
        request.threads,
    )
    return ordinals, similarities, True
