"""The people nearest to each probe, each once: by best face or by template, however many faces anybody has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mien_server.engine.context import EngineContext, GallerySnapshot
from mien_server.engine.searching import FoundRows, search_rows
from mien_server.engine.templates import templates_of
from mien_server.index import EffortChoice, SearchReport
from mien_server.records.deadline import Deadline
from mien_server.records.faces import Float32Array
from mien_server.records.policies import IdentityScoring

__all__ = ["CandidateSearch", "Ranking", "first_faces", "rank"]

FACES_PER_CANDIDATE = 3
"""Nearest faces looked at for each candidate wanted, so that an identity's several faces leave room for others."""
TEMPLATE_IDENTITIES_MIN = 50
"""People nearest to a probe, by their best faces, who are scored by their templates, at least."""

TEMPLATE_PROBES_PER_BLOCK = 64
"""Probes scored by templates at a time: with 200 candidates of 512 components 26 MB, twice."""
REFILLED_CELLS_MAX = 4 * 1024 * 1024
"""Rows looked at at once, over all probes, where faces of few people stand in the way: 48 MiB."""

Ordinals = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.uint32]
Bitmap = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates of n probes, best first: the face nearest to the probe and the identity's score.

    Of identities with equal scores the one whose face is nearer comes first, then that of the smaller ordinal.

    Attributes:
        ordinals: int64 [n, c], -1 where there is none.
        scores: float32 [n, c], -inf where there is none.
    """

    ordinals: Ordinals
    scores: Float32Array


class CandidateSearch(NamedTuple):
    """What people are looked for by.

    Attributes:
        candidate_count: candidates wanted for each probe.
        decision_similarity: who is less similar is not named, which may spare a search by best face the rest.
        allowed: rows that may be answered; None for all.
    """

    context: EngineContext
    snapshot: GallerySnapshot
    candidate_count: int
    scoring: IdentityScoring
    effort: EffortChoice
    decision_similarity: float
    allowed: Bitmap | None
    deadline: Deadline

    @property
    def numbers(self) -> Numbers:
        """Whose each row is, uint32 [row_count]."""
        return self.snapshot.gallery.rows.identity_numbers

    def rows(
        self, vectors: Float32Array, face_count: int, allowed: Bitmap | None, decision_similarity: float | None
    ) -> FoundRows:
        """The nearest rows of some probes."""
        return search_rows(
            self.context, self.snapshot, vectors, face_count, self.effort, self.deadline, allowed, decision_similarity
        )


def rank(search: CandidateSearch, vectors: Float32Array) -> tuple[Ranking, SearchReport]:
    """The best identities of each probe; as many as were asked for, wherever there are as many.

    By best face the search may stop as soon as it knows who is named, whoever the next candidates are. Templates need
    the nearest faces complete.
    """
    is_by_face = search.scoring is IdentityScoring.BEST_FACE
    pool = search.candidate_count if is_by_face else max(search.candidate_count, TEMPLATE_IDENTITIES_MIN)
    face_count = min(pool * FACES_PER_CANDIDATE, max(1, search.snapshot.gallery.rows.live_count))
    decision_similarity = search.decision_similarity if is_by_face else None
    found = search.rows(vectors, face_count, search.allowed, decision_similarity)
    ordinals, similarities = first_faces(search.numbers, found, pool)
    if ordinals[:, -1].min() < 0:
        # A probe whose answer is padded has seen every row that counts: there is nobody more to be found.
        wants_more = np.flatnonzero((found.ordinals[:, -1] >= 0) & (ordinals[:, -1] < 0))
        _refill(search, vectors, found, wants_more, (ordinals, similarities))
    if is_by_face:
        return Ranking(ordinals, similarities), found.report
    return _rank_by_template(search, vectors, ordinals), found.report


def first_faces(numbers: Numbers, found: FoundRows, count: int) -> tuple[Ordinals, Float32Array]:
    """The best face of each identity, the first `count` of them for each probe.

    Args:
        numbers: whose each row is, uint32 [row_count].
        found: rows of n probes, best first.

    Returns:
        Ordinals int64 [n, count] padded with -1, similarities float32 [n, count] padded with -inf.
    """
    ordinals, similarities = found.ordinals, found.similarities
    if len(ordinals) == 1:
        first = _first_columns(numbers, ordinals[0], count)
        if len(first) == count:
            return ordinals.take(first, axis=1), similarities.take(first, axis=1)
        columns = np.array(first, np.int64)
        probes, places = np.zeros_like(columns), np.arange(len(columns))
    else:
        probes, columns, places = _first_places(numbers, ordinals, count)
    best = np.full((len(ordinals), count), -1, dtype=np.int64)
    scores = np.full((len(ordinals), count), -np.inf, dtype=np.float32)
    best[probes, places] = ordinals[probes, columns]
    scores[probes, places] = similarities[probes, columns]
    return best, scores


def _first_columns(numbers: Numbers, ordinals: Ordinals, count: int) -> list[int]:
    """Where in one probe's rows [k] the first faces stand: for so few a dictionary is faster than a sort."""
    if ordinals[-1] < 0:
        ordinals = ordinals[ordinals >= 0]
    first: dict[int, int] = {}
    for column, number in enumerate(numbers[ordinals].tolist()):
        if number not in first:
            first[number] = column
            if len(first) == count:
                break
    return list(first.values())


def _first_places(numbers: Numbers, ordinals: Ordinals, count: int) -> tuple[Ordinals, Ordinals, Ordinals]:
    """Probe and column of each first face in rows [n, k], and which of its probe's it is."""
    # A stable sort by identity keeps the order of its faces: the first of each run is the identity's first.
    # Padding (ordinal -1) follows every face, so an identity that it seems to name is only lost behind its own faces.
    owners = numbers[ordinals] if numbers.size else np.zeros(ordinals.shape, np.uint32)
    by_identity = np.argsort(owners, axis=1, kind="stable")
    runs = np.take_along_axis(owners, by_identity, axis=1)
    starts_run = np.ones(owners.shape, dtype=bool)
    np.not_equal(runs[:, 1:], runs[:, :-1], out=starts_run[:, 1:])
    is_first = np.empty_like(starts_run)
    np.put_along_axis(is_first, by_identity, starts_run, axis=1)
    is_first &= ordinals >= 0
    place = np.cumsum(is_first, axis=1) - 1
    is_first &= place < count
    probes, columns = np.nonzero(is_first)
    return probes, columns, place[probes, columns]


def _refill(
    search: CandidateSearch,
    vectors: Float32Array,
    found: FoundRows,
    short: Ordinals,
    candidates: tuple[Ordinals, Float32Array],
) -> None:
    """Fill the candidates [n, pool] of the probes that are short of them, in place.

    They are short because some identities have many faces that near. Probes that are so by the same identities are
    searched again together, without the rows of these, until each has its candidates or has seen everybody; every
    round leaves at least one identity more aside for each probe, and looks at twice as many faces.
    """
    ordinals, similarities = candidates
    pool = ordinals.shape[1]
    face_count = found.ordinals.shape[1]
    crowds = {probe: _crowd(search.numbers, found.ordinals[probe]) for probe in short.tolist()}
    live_count = search.snapshot.gallery.rows.live_count
    while crowds:
        face_count = min(2 * face_count, live_count)
        together: dict[frozenset[int], list[int]] = {}
        for probe, crowd in crowds.items():
            together.setdefault(crowd, []).append(probe)
        crowds = {}
        at_once = max(1, REFILLED_CELLS_MAX // face_count)
        for crowd, probes in _in_parts(together, at_once):
            more = search.rows(
                np.ascontiguousarray(vectors[probes]), face_count, _without(search, crowd), decision_similarity=None
            )
            merged = _merged((ordinals[probes], similarities[probes]), more)
            ordinals[probes], similarities[probes] = first_faces(search.numbers, merged, pool)
            is_short = (more.ordinals[:, -1] >= 0) & (ordinals[probes][:, -1] < 0)
            for line in np.flatnonzero(is_short).tolist():
                crowds[probes[line]] = crowd | _crowd(search.numbers, more.ordinals[line])


def _in_parts(together: dict[frozenset[int], list[int]], at_once: int) -> Iterator[tuple[frozenset[int], list[int]]]:
    """The same, with at most so many probes each."""
    for crowd, probes in together.items():
        for start in range(0, len(probes), at_once):
            yield crowd, probes[start : start + at_once]


def _crowd(numbers: Numbers, ordinals: Ordinals) -> frozenset[int]:
    """The identities that take more than their share of a probe's rows [k], none of them padding; at least one."""
    owners, counts = np.unique(numbers[ordinals], return_counts=True)
    return frozenset(owners[counts >= min(FACES_PER_CANDIDATE + 1, int(counts.max()))].tolist())


def _without(search: CandidateSearch, crowd: frozenset[int]) -> Bitmap:
    """The allowed rows that are of none of these identities."""
    is_crowd = np.isin(search.numbers, np.fromiter(crowd, np.uint32, len(crowd)))
    others = np.packbits(~is_crowd, bitorder="little")
    if search.allowed is None:
        return others
    # What a filter's bitmap lacks is not allowed.
    common = min(len(others), len(search.allowed))
    return others[:common] & search.allowed[:common]


def _merged(known: tuple[Ordinals, Float32Array], more: FoundRows) -> FoundRows:
    """Two answers to the same probes as one, in order: what a refill found may be nearer than what was known."""
    ordinals = np.concatenate([known[0], more.ordinals], axis=1)
    similarities = np.concatenate([known[1], more.similarities], axis=1)
    order = np.lexsort((ordinals, -similarities), axis=1)
    return FoundRows(
        np.take_along_axis(ordinals, order, axis=1), np.take_along_axis(similarities, order, axis=1), more.report
    )


def _rank_by_template(search: CandidateSearch, vectors: Float32Array, ordinals: Ordinals) -> Ranking:
    """The people nearest to each probe, scored by the normalised mean of all their faces."""
    scores = np.full(ordinals.shape, -np.inf, dtype=np.float32)
    gallery = search.snapshot.gallery
    is_empty = not gallery.rows.row_count
    for start in range(0, 0 if is_empty else len(vectors), TEMPLATE_PROBES_PER_BLOCK):
        search.deadline.check()
        block = ordinals[start : start + TEMPLATE_PROBES_PER_BLOCK]
        numbers = search.numbers[np.maximum(block, 0)]
        unique, places = np.unique(numbers, return_inverse=True)
        templates = templates_of(gallery, unique, search.deadline)[places.reshape(block.shape)]
        found = np.einsum("nd,nkd->nk", vectors[start : start + TEMPLATE_PROBES_PER_BLOCK], templates)
        scores[start : start + TEMPLATE_PROBES_PER_BLOCK] = np.where(block >= 0, found, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, : search.candidate_count]
    return Ranking(np.take_along_axis(ordinals, order, axis=1), np.take_along_axis(scores, order, axis=1))
