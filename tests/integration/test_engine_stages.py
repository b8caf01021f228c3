"""Identify in two stages, through the engine: the person of exact search, and the same decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.generators import face512
from mien_server.engine import Engine, EngineOptions
from mien_server.engine.types import (
    EnrollRows,
    Filter,
    GallerySpec,
    IdentificationAnswer,
    OperationState,
    PackedEmbeddings,
    Probes,
    SearchChoices,
)
from mien_server.index import RebuildPolicy
from mien_server.index.manifest import Stage, Staging
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy, IdentityScoring

DIMENSION = 256
PERSONS = 6000
FACES = 2
STOP = 0.62
POPULATION = face512(3, dimension=DIMENSION)
NEVER = Deadline()
BUILD_TIME_MAX_S = 120.0

Rows = npt.NDArray[np.float32]


def packed(rows: Rows) -> PackedEmbeddings:
    return PackedEmbeddings(np.ascontiguousarray(rows).tobytes(), DIMENSION, len(rows))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A gallery of two faces each of 6,000 people whose generation has stages."""
    policy = RebuildPolicy(flat_rows_min=1000, flat_bytes_max=1)
    options = EngineOptions(rebuild=policy, rebuilds_automatically=False)
    with Engine.open(tmp_path_factory.mktemp("engine") / "store", options) as opened:
        decision = DecisionPolicy(similarity=STOP - 0.1)
        spec = GallerySpec("g", precomputed_name="m", precomputed_dimension=DIMENSION, decision_policy=decision)
        opened.galleries.create(spec, None)
        faces = POPULATION.gallery(PERSONS, FACES)
        for first in range(0, len(faces.vectors), 4000):
            here = slice(first, first + 4000)
            ids = [f"p{number}" for number in faces.identity_numbers[here]]
            assert not opened.enrollment.enroll_rows(EnrollRows("g", packed(faces.vectors[here]), ids), NEVER).errors
        operation = opened.operations.rebuild_index("g")
        assert opened.operations.wait(operation.name, BUILD_TIME_MAX_S, NEVER).state is OperationState.SUCCEEDED
        [generation] = opened._context.indexes.generations.values()
        # Fixed ones: at this size one stage may cost less.
        staging = Staging(Stage(1, 100), Stage(generation.manifest.lists, 200), STOP, 1.0, 1.0, 1.0, 0.1, 0.0)
        generation.manifest = replace(generation.manifest, staging=staging)
        yield opened


def identify(
    engine: Engine, rows: Rows, threshold: float | None = None, scoring: int = 1, **choices: object
) -> IdentificationAnswer:
    policy = None if threshold is None else DecisionPolicy(similarity=threshold, scoring=IdentityScoring(scoring))
    return engine.recognition.identify(
        "g",
        Probes(packed(rows)),
        candidate_count=5,
        choices=SearchChoices(explain=True, **choices),  # type: ignore[arg-type]
        policy=policy,
        deadline=NEVER,
    )


def plan_of(answer: IdentificationAnswer) -> str:
    assert answer.explanation is not None
    return answer.explanation.plan


@pytest.mark.parametrize("threshold", [STOP - 0.1, STOP, STOP + 0.1])
def test_stages_name_whom_exact_search_names(engine: Engine, threshold: float) -> None:
    """The same decision for mated probes and strangers, and for MATCH the same person, first among distinct people."""
    probes = np.concatenate([POPULATION.probes(np.arange(400)).vectors, POPULATION.strangers(200).vectors])
    found, exact = identify(engine, probes, threshold), identify(engine, probes, threshold, exact=True)
    assert (plan_of(found), plan_of(exact)) == ("ivf-staged", "exact")
    differing = 0
    for one, other in zip(found.embeddings, exact.embeddings, strict=True):
        people = [candidate.identity_id for candidate in one.candidates]
        assert len(set(people)) == len(people) == 5
        is_same_person = people[0] == other.candidates[0].identity_id
        differing += one.is_match != other.is_match or (one.is_match and not is_same_person)
        if one.is_match:
            assert one.candidates[0].similarity >= threshold
    assert differing <= 1


def test_explain_says_where_it_stopped(engine: Engine) -> None:
    """A sure probe scans the first stage's lists, a stranger all, a batch what they do on average."""
    sure = POPULATION.gallery(1, FACES, shuffled=False).vectors[:1]
    stranger = POPULATION.strangers(1).vectors
    told = [identify(engine, probes).explanation for probes in (sure, stranger, np.concatenate([sure, stranger]))]
    first, full, both = (one.lists_scanned for one in told if one is not None)
    assert first == 1
    assert full == engine.galleries.get("g")[0].index_state.lists
    assert both == round((first + full) / 2)


def test_no_threshold_makes_unknown_of_a_first_stage(engine: Engine) -> None:
    """Whoever is not named got the full stage: with a threshold nobody reaches every probe does."""
    answer = identify(engine, POPULATION.probes(np.arange(20)).vectors, 0.9999)
    assert answer.explanation is not None
    assert answer.explanation.lists_scanned == answer.explanation.lists_total
    hidden = identify(engine, POPULATION.probes(np.arange(20)).vectors, min_similarity=0.9999)
    assert hidden.explanation is not None
    assert hidden.explanation.lists_scanned == hidden.explanation.lists_total


def test_what_needs_complete_candidates_has_no_stages(engine: Engine) -> None:
    """Templates, filters, steps and exact search are answered in one stage."""
    probes = POPULATION.probes(np.arange(3)).vectors
    assert "staged" not in plan_of(identify(engine, probes, filter=Filter(excluded_identity_ids=("p7",))))
    assert "staged" not in plan_of(identify(engine, probes, STOP, IdentityScoring.TEMPLATE_MEAN))
    assert "staged" not in plan_of(identify(engine, probes, step=1))
    assert "staged" not in plan_of(identify(engine, probes, exact=True))
