"""A filtered search finds the right person among those that the filter allows, at every width: floors on fixed data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.generators import FacePopulation, face128, face512
from mien_server.index import EffortChoice, Generation, search
from mien_server.records.rows import GalleryRows
from tests.index_support import assert_is_exact, assert_is_truthful, bitmap_of, built, request, rows_in_file

SEED = 7
PERSONS = 24_000
PROBES = 1000
AGREEMENT_MIN = 0.999
SHARES = [0.9, 0.5, 0.1, 0.01, 0.001]


class Measured(NamedTuple):
    rows: GalleryRows
    generation: Generation
    population: FacePopulation


@pytest.fixture(scope="module", params=[face512, face128], ids=["face512", "face128"])
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A gallery of one face a person: the case that has no second chance."""
    population: FacePopulation = request.param(SEED)
    folder = tmp_path_factory.mktemp("filtered")
    faces = population.gallery(PERSONS)
    rows = rows_in_file(folder / "vectors", faces.vectors, identity_numbers=faces.identity_numbers)
    return Measured(rows, built(folder / "index", rows), population)


def allowed_people(share: float) -> npt.NDArray[np.bool_]:
    return np.random.default_rng([1, int(1 / share)]).random(PERSONS) < share


@pytest.mark.parametrize("probe_count", [1, PROBES], ids=["one by one", "batch"])
@pytest.mark.parametrize("share", SHARES)
def test_the_right_person_comes_first_of_those_allowed(measured: Measured, share: float, probe_count: int) -> None:
    """Of new photographs of people that a filter allows at least .999 get exact filtered search's first row."""
    is_allowed = allowed_people(share)[measured.rows.identity_numbers]
    allowed = bitmap_of(is_allowed)
    people = np.resize(measured.rows.identity_numbers[is_allowed], PROBES if probe_count > 1 else 200)
    probes = measured.population.probes(people).vectors
    exact = search(measured.rows, None, request(probes, k=1, allowed=allowed)).ordinals[:, 0]
    found = np.concatenate(
        [
            search(measured.rows, measured.generation, request(probes[start : start + probe_count], allowed=allowed))
            .ordinals[:, 0]
            for start in range(0, len(probes), probe_count)
        ]
    )  # fmt: skip
    assert np.mean(found == exact) >= AGREEMENT_MIN


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_neighbours_are_found_as_without_a_filter(measured: Measured, share: float) -> None:
    """At the ladder's last step a filtered scan finds as many of the ten nearest, within .005, as an unfiltered one."""
    is_allowed = allowed_people(share)[measured.rows.identity_numbers]
    probes = measured.population.probes(measured.rows.identity_numbers[is_allowed][:500]).vectors
    effort = EffortChoice(step=len(measured.generation.manifest.ladder))
    recalls = []
    for allowed in (None, bitmap_of(is_allowed)):
        exact = search(measured.rows, None, request(probes, allowed=allowed)).ordinals
        found = [
            search(measured.rows, measured.generation, request(probe[None], effort=effort, allowed=allowed))
            for probe in probes
        ]
        assert {one.report.plan for one in found} <= {"ivf", "filtered-ivf"}
        same = [len(set(one.ordinals[0]) & set(other)) for one, other in zip(found, exact, strict=True)]
        recalls.append(np.mean(same) / 10)
    assert recalls[1] >= recalls[0] - 0.005


@pytest.mark.parametrize("probe_count", [1, 50])
@pytest.mark.parametrize("matching", [1, 9, 10, 11, 300, 3000, 20_000])
def test_never_fewer_than_k_where_k_match(measured: Measured, matching: int, probe_count: int) -> None:
    """At the cheapest effort, for strangers as for mates, k rows come back where k match, and they are allowed ones."""
    is_allowed = np.zeros(PERSONS, np.bool_)
    is_allowed[np.random.default_rng(matching).permutation(PERSONS)[:matching]] = True
    probes = measured.population.strangers(probe_count, seed=3).vectors
    for k in (10, 100):
        asked = request(probes, k=k, effort=EffortChoice(step=1), allowed=bitmap_of(is_allowed))
        found = search(measured.rows, measured.generation, asked)
        assert ((found.ordinals >= 0).sum(axis=1) == min(k, matching)).all()
        assert_is_truthful(found.ordinals, found.similarities, measured.rows, probes, is_allowed)
        if found.report.plan == "filtered-exact":
            assert_is_exact(found.ordinals, found.similarities, measured.rows, probes, is_allowed)
        assert found.report.matching_rows == matching


def test_every_width_has_its_plan(measured: Measured) -> None:
    """One probe is compared with the rows of a narrow filter, and finds those of a wide one by a scan."""
    plans = [
        search(
            measured.rows, measured.generation,
            request(measured.rows.vectors[:1], effort=EffortChoice(step=2), allowed=bitmap_of(allowed_people(share))),
        ).report.plan
        for share in (0.9, 0.5, 0.01, 0.001)
    ]  # fmt: skip
    assert plans == ["filtered-ivf", "filtered-ivf", "filtered-exact", "filtered-exact"]
