"""Who is each face: candidate identities, each once, and a decision on the best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien_server.engine.context import EngineContext, GallerySnapshot
from mien_server.engine.decisions import distances, identification_threshold
from mien_server.engine.probes import AnalysedImages, analyse_probes, probe_vectors
from mien_server.engine.searching import (
    FoundRows,
    Stopwatch,
    check_choices,
    distinct,
    effort_of,
    explanation,
    filter_rows,
    heads_of,
    search_rows,
)
from mien_server.engine.templates import templates_of
from mien_server.engine.translation import decision_policy_of
from mien_server.engine.types import Candidate, Identification, IdentificationAnswer, Probes, SearchChoices, Threshold
from mien_server.engine.validation import check_count, check_decision_policy
from mien_server.errors import CorruptStore, LimitExceeded
from mien_server.index import EffortChoice, SearchReport
from mien_server.records.deadline import Deadline
from mien_server.records.faces import Float32Array, ImageAnalysis
from mien_server.records.policies import DecisionPolicy, DistanceMetric, IdentityScoring
from mien_server.records.store_pb2 import IdentityRecord

__all__ = ["identify"]

CANDIDATES_DEFAULT = 5
FACES_PER_CANDIDATE = 3
"""Nearest faces looked at for each candidate wanted, so that an identity's several faces leave room for others."""
TEMPLATE_IDENTITIES_MIN = 50
"""People nearest to a probe, by their best faces, who are scored by their templates, at least."""

TEMPLATE_PROBES_PER_BLOCK = 64
"""Probes scored by templates at a time: with 200 candidates of 512 components 26 MB, twice."""

Ordinals = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Candidates of n probes, best first: the face nearest to the probe and the identity's score.

    Attributes:
        ordinals: int64 [n, c], -1 where there is none.
        scores: float32 [n, c], -inf where there is none.
    """

    ordinals: Ordinals
    scores: Float32Array


def identify(
    context: EngineContext,
    gallery: str,
    probes: Probes,
    candidate_count: int,
    choices: SearchChoices,
    policy: DecisionPolicy | None,
    deadline: Deadline,
) -> IdentificationAnswer:
    """Candidates and a decision for every probe.

    Raises:
        NotFound: GALLERY_NOT_FOUND.
        PreconditionFailed: NO_THRESHOLD, REVISION_NOT_REACHED.
        LimitExceeded: LIMIT_EXCEEDED.
    """
    watch = Stopwatch()
    count = candidate_count or CANDIDATES_DEFAULT
    check_count(count, context.limits.candidate_count_max, "candidate_count_max", "candidate_count", 1)
    check_choices(context, choices)
    if policy is not None:
        check_decision_policy(policy, "policy")
    analysed = analyse_probes(context, gallery, probes, deadline)
    watch.lap("photographs")
    with context.snapshot(gallery, choices.min_revision) as snapshot:
        resolved = probe_vectors(context, snapshot.gallery, probes.embeddings, analysed)
        total = len(resolved.vectors) * count
        check_count(total, context.limits.neighbors_per_request_max, "neighbors_per_request_max", "candidates x probes")
        watch.lap("probes")
        chosen = policy or decision_policy_of(snapshot.gallery.record.decision_policy)
        threshold = _threshold(context, snapshot, policy, chosen.scoring)
        found: tuple[Identification, ...] = ()
        report = None
        if len(resolved.vectors):
            ranking, report = _rank(
                context, snapshot, resolved.vectors, count, choices, chosen.scoring, threshold.similarity, deadline
            )
            watch.lap("search")
            bytes_max = context.limits.message_bytes_max
            found = _hydrate(snapshot, ranking, threshold, chosen.metric, choices.min_similarity, bytes_max)
            watch.lap("resolve")
        return IdentificationAnswer(
            embeddings=found[: resolved.embedding_count],
            images=_by_image(analysed, resolved.embedding_count, found),
            threshold=threshold,
            scoring=chosen.scoring,
            revision=snapshot.revision,
            model_fingerprint=snapshot.gallery.record.model_fingerprint,
            explanation=explanation(report, watch) if choices.explain and report is not None else None,
        )


def _threshold(
    context: EngineContext, snapshot: GallerySnapshot, policy: DecisionPolicy | None, scoring: IdentityScoring
) -> Threshold:
    counts = snapshot.gallery.counts
    counted = "identities" if scoring is IdentityScoring.TEMPLATE_MEAN else "faces"
    comparisons = counts.identity_count if counted == "identities" else counts.face_count
    # A request's policy replaces the gallery's as a whole: a threshold made for one scoring does not fit another.
    gallery_policy = decision_policy_of(snapshot.gallery.record.decision_policy) if policy is None else DecisionPolicy()
    calibration = context.calibration(snapshot.gallery)
    return identification_threshold(policy, gallery_policy, calibration, comparisons, counted)


def _by_image(
    analysed: AnalysedImages, embedding_count: int, found: tuple[Identification, ...]
) -> tuple[tuple[ImageAnalysis, str, tuple[Identification, ...]], ...]:
    images = []
    start = embedding_count
    for analysis, source in analysed.images:
        end = start + len(analysis.faces)
        images.append((analysis, source, found[start:end]))
        start = end
    return tuple(images)


def _rank(
    context: EngineContext,
    snapshot: GallerySnapshot,
    vectors: Float32Array,
    count: int,
    choices: SearchChoices,
    scoring: IdentityScoring,
    threshold: float,
    deadline: Deadline,
) -> tuple[_Ranking, SearchReport]:
    """The best identities of each probe. Rows are fetched again, more of them, while one probe lacks identities.

    By best face the search may stop as soon as it knows who is named, whoever the next candidates are. Templates need
    the nearest faces complete.
    """
    rows = snapshot.gallery.rows
    is_by_face = scoring is IdentityScoring.BEST_FACE
    pool = count if is_by_face else max(count, TEMPLATE_IDENTITIES_MIN)
    allowed = filter_rows(snapshot, choices.filter, deadline)
    effort = effort_of(snapshot, choices)
    face_count = min(pool * FACES_PER_CANDIDATE, max(1, rows.live_count))
    decision_similarity = None
    if is_by_face:
        # Who is not shown is not named either.
        decision_similarity = threshold if choices.min_similarity is None else max(threshold, choices.min_similarity)
    found = search_rows(context, snapshot, vectors, face_count, effort, deadline, allowed, decision_similarity)
    ordinals, similarities = _first_faces(snapshot, found, pool)
    # A probe whose answer is padded has seen every row that counts: there is nobody more to be found.
    wants_more = (found.ordinals[:, -1] >= 0) & (ordinals[:, -1] < 0)
    for probe in np.flatnonzero(wants_more).tolist():
        deadline.check()
        _refill(
            context,
            snapshot,
            vectors[probe : probe + 1],
            ordinals[probe],
            similarities[probe],
            effort,
            allowed,
            deadline,
        )
    if not is_by_face:
        return _rank_by_template(snapshot, vectors, ordinals, count, deadline), found.report
    if not wants_more.any():
        return _Ranking(ordinals, similarities), found.report
    # What a refill found may be nearer than what an approximate first pass did.
    order = np.argsort(-similarities, axis=1, kind="stable")
    ranking = _Ranking(np.take_along_axis(ordinals, order, axis=1), np.take_along_axis(similarities, order, axis=1))
    return ranking, found.report


def _first_faces(snapshot: GallerySnapshot, found: FoundRows, count: int) -> tuple[Ordinals, Float32Array]:
    """For each probe the best face of each identity, the first `count` of them: int64 and float32 [n, count]."""
    ordinals, similarities = found.ordinals, found.similarities
    numbers = snapshot.gallery.rows.identity_numbers
    if len(ordinals) == 1 and ordinals.shape[1] >= count and _are_distinct(numbers, ordinals[0, :count]):
        return ordinals[:, :count], similarities[:, :count]
    is_first = _is_first_of_identity(numbers[ordinals] if numbers.size else np.zeros(ordinals.shape, np.uint32))
    # Padding (ordinal -1) follows every face, so an identity that it seems to name is only lost behind its own faces.
    is_first &= ordinals >= 0
    place = np.cumsum(is_first, axis=1) - 1
    is_first &= place < count
    best = np.full((len(ordinals), count), -1, dtype=np.int64)
    scores = np.full((len(ordinals), count), -np.inf, dtype=np.float32)
    probes, columns = np.nonzero(is_first)
    places = place[probes, columns]
    best[probes, places] = ordinals[probes, columns]
    scores[probes, places] = similarities[probes, columns]
    return best, scores


def _are_distinct(numbers: npt.NDArray[np.uint32], ordinals: Ordinals) -> bool:
    """Whether these rows [c] are there and of as many identities."""
    return int(ordinals[-1]) >= 0 and len(set(numbers[ordinals].tolist())) == len(ordinals)


def _is_first_of_identity(numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """For identity numbers [n, k], whether each is the first of its number in its row."""
    if len(numbers) == 1:
        seen: dict[int, int] = {}
        found = [seen.setdefault(number, column) == column for column, number in enumerate(numbers[0].tolist())]
        return np.array([found], dtype=bool)
    # A stable sort by identity keeps the order of its faces: the first of each run is the identity's first.
    by_identity = np.argsort(numbers, axis=1, kind="stable")
    runs = np.take_along_axis(numbers, by_identity, axis=1)
    starts_run = np.ones(numbers.shape, dtype=bool)
    np.not_equal(runs[:, 1:], runs[:, :-1], out=starts_run[:, 1:])
    is_first = np.empty_like(starts_run)
    np.put_along_axis(is_first, by_identity, starts_run, axis=1)
    return is_first


def _refill(
    context: EngineContext,
    snapshot: GallerySnapshot,
    vector: Float32Array,
    ordinals: Ordinals,
    similarities: Float32Array,
    effort: EffortChoice,
    allowed: npt.NDArray[np.uint8] | None,
    deadline: Deadline,
) -> None:
    """Fill one probe's candidates in place, searching on without the rows of the identities it has."""
    rows = snapshot.gallery.rows
    remaining = rows.live.copy() if allowed is None else rows.live & allowed
    while True:
        have = int((ordinals >= 0).sum())
        if have == len(ordinals):
            return
        taken = np.unique(rows.identity_numbers[ordinals[:have]]) if have else np.zeros(0, np.uint32)
        for number in taken:
            owned = snapshot.gallery.faces_of(int(number))
            np.bitwise_and.at(remaining, owned >> 3, ~(np.uint8(1) << (owned & 7).astype(np.uint8)))
        missing = len(ordinals) - have
        deadline.check()
        found = search_rows(context, snapshot, vector, missing * FACES_PER_CANDIDATE, effort, deadline, remaining)
        best, scores = _first_faces(snapshot, found, missing)
        more = int((best[0] >= 0).sum())
        if more == 0:
            return
        ordinals[have : have + more] = best[0, :more]
        similarities[have : have + more] = scores[0, :more]


def _rank_by_template(
    snapshot: GallerySnapshot, vectors: Float32Array, ordinals: Ordinals, count: int, deadline: Deadline
) -> _Ranking:
    """The people nearest to each probe, scored by the normalised mean of all their faces."""
    scores = np.full(ordinals.shape, -np.inf, dtype=np.float32)
    is_empty = not snapshot.gallery.rows.row_count
    for start in range(0, 0 if is_empty else len(vectors), TEMPLATE_PROBES_PER_BLOCK):
        deadline.check()
        block = ordinals[start : start + TEMPLATE_PROBES_PER_BLOCK]
        numbers = snapshot.gallery.rows.identity_numbers[np.maximum(block, 0)]
        unique, places = np.unique(numbers, return_inverse=True)
        templates = templates_of(snapshot.gallery, unique, deadline)[places.reshape(block.shape)]
        found = np.einsum("nd,nkd->nk", vectors[start : start + TEMPLATE_PROBES_PER_BLOCK], templates)
        scores[start : start + TEMPLATE_PROBES_PER_BLOCK] = np.where(block >= 0, found, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return _Ranking(np.take_along_axis(ordinals, order, axis=1), np.take_along_axis(scores, order, axis=1))


def _hydrate(
    snapshot: GallerySnapshot,
    ranking: _Ranking,
    threshold: Threshold,
    metric: DistanceMetric,
    min_similarity: float | None,
    answer_bytes_max: int,
) -> tuple[Identification, ...]:
    """Names for the candidates and a decision for each probe."""
    is_shown = ranking.ordinals >= 0
    if min_similarity is not None:
        is_shown &= ranking.scores >= np.float32(min_similarity)
    flat = ranking.ordinals[is_shown]
    heads = heads_of(snapshot, flat)
    numbers, places = distinct(heads.identity_numbers)
    identity_ids = snapshot.gallery.identity_ids(numbers)
    people = _people(snapshot, identity_ids)
    _check_answer_size(people, places, answer_bytes_max)
    scores = ranking.scores[is_shown]
    in_metric = distances(scores, metric)
    shown_distances: list[float] | list[None] = [None] * len(flat) if in_metric is None else in_metric.tolist()
    candidates = [
        Candidate(identity_ids[place], person.display_name, person.labels, score, distance, face_id)
        for place, person, score, distance, face_id in zip(
            places.tolist(),
            (people[place] for place in places),
            scores.tolist(),
            shown_distances,
            heads.face_ids,
            strict=True,
        )
    ]
    ends = np.cumsum(is_shown.sum(axis=1)).tolist()
    bar = np.float32(threshold.similarity)
    decided = ((ranking.scores[:, 0] >= bar) & is_shown[:, 0]).tolist()
    starts = [0, *ends[:-1]]
    return tuple(
        Identification(is_match, tuple(candidates[start:end]))
        for is_match, start, end in zip(decided, starts, ends, strict=True)
    )


def _people(snapshot: GallerySnapshot, identity_ids: list[str]) -> list[IdentityRecord]:
    """The records of identities that have faces, in one pass."""
    records = snapshot.gallery.identities_by_id(identity_ids)
    if len(records) != len(identity_ids):
        missing = next(identity_id for identity_id in identity_ids if identity_id not in records)
        raise CorruptStore(
            f"gallery {snapshot.gallery.name!r}: identity {missing!r} has faces but no record; "
            "go back to a copy of the store and report it",
            reason="ROW_NOT_RESOLVED",
        )
    return [records[identity_id] for identity_id in identity_ids]


def _check_answer_size(people: list[IdentityRecord], places: Ordinals, bytes_max: int) -> None:
    """Refuse an answer whose names and labels, given with each candidate, would outgrow a message.

    Raises:
        LimitExceeded: LIMIT_EXCEEDED.
    """
    total = int(np.array([person.ByteSize() for person in people], dtype=np.int64)[places].sum()) if people else 0
    if total > bytes_max:
        raise LimitExceeded(
            f"the names and labels of all candidates are {total} bytes, more than message_bytes_max = {bytes_max}; "
            "send fewer probes in one call, or ask for fewer candidates",
            field="candidate_count",
            metadata={"limit": "message_bytes_max", "maximum": str(bytes_max), "given": str(total)},
        )
