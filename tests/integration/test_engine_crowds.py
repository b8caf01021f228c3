"""Identities of very many faces leave every other identity its place among the candidates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from mien_server.engine import Engine
from mien_server.engine.types import (
    EnrollRows,
    Filter,
    GallerySpec,
    Identification,
    PackedEmbeddings,
    Probes,
    SearchChoices,
)
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy, IdentityScoring

DIMENSION = 32
NEVER = Deadline()
CROWD_FACES = 10_000
SMALLER_CROWD_FACES = 700
ROWS = 50_000
FACES_PER_PERSON = 4
TEMPLATE_PEOPLE = 50
"""People whose best faces are nearest, of whom the best template is looked for."""

Rows = npt.NDArray[np.float32]
Names = npt.NDArray[np.str_]


def unit(rows: npt.NDArray[np.floating]) -> Rows:
    """Rows of unit norm, float32."""
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def packed(rows: Rows) -> PackedEmbeddings:
    return PackedEmbeddings(rows.tobytes(), rows.shape[1], len(rows))


def faces_of_everybody() -> tuple[Rows, Names, Rows]:
    """Faces in random order, whose each is, and the centre of the two crowds: one is nearer to it than the other."""
    random = np.random.default_rng(17)
    centre = unit(random.normal(size=(1, DIMENSION)))
    crowd = centre + 0.02 * random.normal(size=(CROWD_FACES, DIMENSION))
    smaller = centre + 0.05 * random.normal(size=(SMALLER_CROWD_FACES, DIMENSION))
    others = random.normal(size=(ROWS - CROWD_FACES - SMALLER_CROWD_FACES, DIMENSION))
    names = ["crowd"] * CROWD_FACES + ["smaller"] * SMALLER_CROWD_FACES
    names += [f"p{number // FACES_PER_PERSON}" for number in range(len(others))]
    order = random.permutation(ROWS)
    return unit(np.concatenate([crowd, smaller, others]))[order], np.array(names)[order], centre


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Rows, Names, Rows]]:
    """An engine with everybody's faces in gallery `g`, those faces, whose they are, and the crowds' centre."""
    rows, names, centre = faces_of_everybody()
    with Engine.open(tmp_path_factory.mktemp("crowds") / "store") as engine:
        create(engine)
        for start in range(0, ROWS, 10_000):
            here = slice(start, start + 10_000)
            enroll(engine, rows[here], names[here].tolist())
        yield engine, rows, names, centre


def create(engine: Engine) -> None:
    """Make gallery `g`, with a threshold of 0.5."""
    policy = DecisionPolicy(similarity=0.5)
    spec = GallerySpec("g", precomputed_name="m", precomputed_dimension=DIMENSION, decision_policy=policy)
    engine.galleries.create(spec, None)


def enroll(engine: Engine, rows: Rows, names: list[str]) -> list[str]:
    """Enrol rows and give their face ids."""
    outcome = engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), names), NEVER)
    assert not outcome.errors
    return list(outcome.face_ids)


def identify(
    engine: Engine, probes: Rows, count: int, scoring: IdentityScoring, row_filter: Filter | None = None
) -> tuple[Identification, ...]:
    return engine.recognition.identify(
        "g",
        Probes(packed(probes)),
        candidate_count=count,
        choices=SearchChoices(filter=row_filter or Filter()),
        policy=DecisionPolicy(similarity=0.5, scoring=scoring),
        deadline=NEVER,
    ).embeddings


def expected_by_face(rows: Rows, names: Names, probe: Rows, count: int) -> list[str]:
    """Names by their best faces, from one product with every row."""
    order = np.argsort(-(rows @ probe), kind="stable")
    return list(dict.fromkeys(names[order].tolist()))[:count]


def expected_by_template(rows: Rows, names: Names, probe: Rows, count: int) -> list[str]:
    """Names of the people nearest by face, by the mean of their faces."""
    near = expected_by_face(rows, names, probe, TEMPLATE_PEOPLE)
    means = unit(np.stack([rows[names == name].mean(axis=0) for name in near]))
    return [near[place] for place in np.argsort(-(means @ probe), kind="stable")][:count]


def probes_around(centre: Rows) -> Rows:
    """Two faces within the crowds, and one far from them."""
    random = np.random.default_rng(23)
    near = centre + 0.02 * random.normal(size=(2, DIMENSION))
    return unit(np.concatenate([near, random.normal(size=(1, DIMENSION))]))


@pytest.mark.parametrize("scoring", list(IdentityScoring))
def test_crowds_take_one_place_each(everybody: tuple[Engine, Rows, Names, Rows], scoring: IdentityScoring) -> None:
    """Whoever is behind 10,000 faces of one person and 700 of another is found, alone and in a batch."""
    engine, rows, names, centre = everybody
    probes = probes_around(centre)
    expected_of = expected_by_face if scoring is IdentityScoring.BEST_FACE else expected_by_template
    expected = [expected_of(rows, names, probe, 20) for probe in probes]
    together = identify(engine, probes, 20, scoring)
    assert [[one.identity_id for one in found.candidates] for found in together] == expected
    assert set(expected[0][:2]) == {"crowd", "smaller"}
    assert [found.is_match for found in together[:2]] == [True, True]
    alone = [identify(engine, probes[number : number + 1], 20, scoring)[0] for number in range(len(probes))]
    assert alone == list(together)


def test_a_filter_holds_behind_a_crowd(everybody: tuple[Engine, Rows, Names, Rows]) -> None:
    """Among a few people that a filter allows, the crowd among them, all are found and nobody else."""
    engine, rows, names, centre = everybody
    allowed = ("crowd", "p7", "p70", "p700")
    found = identify(engine, centre, 10, IdentityScoring.BEST_FACE, Filter(identity_ids=allowed))[0]
    is_allowed = np.isin(names, allowed)
    expected = expected_by_face(rows[is_allowed], names[is_allowed], centre[0], 10)
    assert [one.identity_id for one in found.candidates] == expected
    assert sorted(expected) == sorted(allowed)


@pytest.mark.parametrize("scoring", list(IdentityScoring))
@pytest.mark.parametrize("crowd_faces", [0, 100])
def test_equal_identities_come_in_the_order_they_were_enrolled(
    engine: Engine, scoring: IdentityScoring, crowd_faces: int
) -> None:
    """People with the very same face tie, with a crowd before them or without: the first enrolled come first."""
    random = np.random.default_rng(3)
    probe = unit(random.normal(size=(1, DIMENSION)))
    same = unit(probe + 0.1 * random.normal(size=(1, DIMENSION)))
    crowd = unit(probe + 0.01 * random.normal(size=(max(crowd_faces, 1), DIMENSION)))[:crowd_faces]
    people = [f"p{number}" for number in random.permutation(30).tolist()]
    enroll(engine, np.concatenate([np.repeat(same, 30, axis=0), crowd]), people + ["crowd"] * crowd_faces)
    expected = (["crowd"] if crowd_faces else []) + people
    for count in (4, 12, 40):
        found = identify(engine, np.repeat(probe, 2, axis=0), count, scoring)
        assert [[one.identity_id for one in each.candidates] for each in found] == [expected[:count]] * 2


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with an empty gallery `g`."""
    with Engine.open(tmp_path_factory.mktemp("ties") / "store") as opened:
        create(opened)
        yield opened
