"""Who is each face: candidate identities, each once, and a decision on the best."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, pairwise, repeat

import numpy as np

from mien_server.engine.candidates import CandidateSearch, Ranking, rank
from mien_server.engine.context import EngineContext, GallerySnapshot
from mien_server.engine.decisions import distances
from mien_server.engine.probes import AnalysedImages, analyse_probes, probe_vectors
from mien_server.engine.searching import (
    Stopwatch,
    check_choices,
    distinct,
    effort_of,
    explanation,
    filter_rows,
    heads_of,
)
from mien_server.engine.types import Candidate, Identification, IdentificationAnswer, Probes, SearchChoices, Threshold
from mien_server.engine.validation import check_count, check_decision_policy
from mien_server.errors import LimitExceeded
from mien_server.records.deadline import Deadline
from mien_server.records.faces import ImageAnalysis
from mien_server.records.policies import DecisionPolicy, DistanceMetric

__all__ = ["identify"]

CANDIDATES_DEFAULT = 5


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
    count = candidate_count or min(CANDIDATES_DEFAULT, context.limits.candidate_count_max)
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
        facts = context.facts.of(snapshot.gallery)
        chosen = policy or facts.decision_policy
        threshold = facts.threshold(context.calibration(snapshot.gallery), policy)
        found: tuple[Identification, ...] = ()
        report = None
        if len(resolved.vectors):
            search = CandidateSearch(
                context,
                snapshot,
                count,
                chosen.scoring,
                effort_of(choices, facts.person_effort),
                # Who is not shown is not named either.
                max(threshold.similarity, -1.0 if choices.min_similarity is None else choices.min_similarity),
                filter_rows(snapshot, choices.filter, deadline),
                deadline,
            )
            ranking, report = rank(search, resolved.vectors)
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


def _hydrate(
    snapshot: GallerySnapshot,
    ranking: Ranking,
    threshold: Threshold,
    metric: DistanceMetric,
    min_similarity: float | None,
    answer_bytes_max: int,
) -> tuple[Identification, ...]:
    """Names for the candidates and a decision for each probe."""
    is_shown = ranking.ordinals >= 0
    if min_similarity is not None:
        is_shown &= ranking.scores >= np.float32(min_similarity)
    counts = is_shown.sum(axis=1).tolist()
    if sum(counts) == is_shown.size:
        ordinals, scores = ranking.ordinals.ravel(), ranking.scores.ravel()
    else:
        ordinals, scores = ranking.ordinals[is_shown], ranking.scores[is_shown]
    heads = heads_of(snapshot, ordinals)
    numbers, indexes = distinct(heads.identity_numbers)
    people = snapshot.gallery.people(numbers)
    places = indexes.tolist()
    _check_answer_size(people.record_bytes, places, answer_bytes_max)
    ids = people.identity_ids
    names = [record.display_name for record in people.records]
    labels = [record.labels for record in people.records]
    in_metric = distances(scores, metric)
    shown_distances: Iterable[float | None] = repeat(None) if in_metric is None else in_metric.tolist()
    candidates = [
        Candidate(ids[place], names[place], labels[place], score, distance, face_id)
        for place, score, distance, face_id in zip(
            places, scores.tolist(), shown_distances, heads.face_ids, strict=False
        )
    ]
    bar = np.float32(threshold.similarity)
    decided = ((ranking.scores[:, 0] >= bar) & is_shown[:, 0]).tolist()
    bounds = accumulate(counts, initial=0)
    return tuple(
        Identification(is_match, tuple(candidates[start:end]))
        for is_match, (start, end) in zip(decided, pairwise(bounds), strict=True)
    )


def _check_answer_size(record_bytes: list[int], places: list[int], bytes_max: int) -> None:
    """Refuse an answer whose names and labels, given with each candidate, would outgrow a message.

    Args:
        record_bytes: what the record of each person takes.
        places: who each candidate is among them.

    Raises:
        LimitExceeded: LIMIT_EXCEEDED.
    """
    if len(places) * max(record_bytes, default=0) <= bytes_max:
        return
    total = sum(map(record_bytes.__getitem__, places))
    if total > bytes_max:
        raise LimitExceeded(
            f"the names and labels of all candidates are {total} bytes, more than message_bytes_max = {bytes_max}; "
            "send fewer probes in one call, or ask for fewer candidates",
            field="candidate_count",
            metadata={"limit": "message_bytes_max", "maximum": str(bytes_max), "given": str(total)},
        )
