"""Probes for measuring: held out, or changed as real photographs change, the hard ones drawn more often."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.generators import FacePopulation, face128, face512
from mien_server.index.probing import SecondPhotographs, choose_probes

PERSONS = 6000


@pytest.mark.parametrize("population", [face512(3), face128(3)], ids=lambda population: population.name)
def test_a_changed_face_is_like_another_photograph(population: FacePopulation) -> None:
    """Made-up second photographs are as near to the first, and to strangers, as the population's own are."""
    faces = population.gallery(PERSONS, shuffled=False).vectors
    made = SecondPhotographs.like(faces).of(faces[:1000], np.random.default_rng(1))
    real = population.probes(np.arange(1000)).vectors
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    genuine = [np.sum(photographs * faces[:1000], axis=1) for photographs in (made, real)]
    strangers = [np.max(photographs @ faces[1000:].T, axis=1) for photographs in (made, real)]
    spread = float(np.std(genuine[1]))
    assert np.mean(genuine[0]) == pytest.approx(np.mean(genuine[1]), abs=spread / 2)
    assert np.mean(strangers[0]) == pytest.approx(np.mean(strangers[1]), abs=spread / 3)


def test_a_face_with_others_of_its_person_is_left_out_itself() -> None:
    """Such a face is a probe as it is stored and must not find itself; a lone face is changed and may."""
    population = face512(3, dimension=32)
    faces = population.gallery(1000, 2)
    numbers = faces.identity_numbers.copy()
    lone = np.arange(0, 2000, 5)
    numbers[lone] = 10_000 + lone
    live = np.arange(100, 2000)
    probes = choose_probes(faces.vectors, live, numbers, 5000, np.random.default_rng(2))
    assert len(probes.vectors) == live.size
    _, positions, counts = np.unique(numbers[live], return_inverse=True, return_counts=True)
    is_lone = counts[positions] == 1
    np.testing.assert_array_equal(probes.left_out, np.where(is_lone, -1, live))
    np.testing.assert_array_equal(probes.vectors[~is_lone], faces.vectors[live[~is_lone]])
    assert not np.any(np.all(probes.vectors[is_lone] == faces.vectors[live[is_lone]], axis=1))


def test_half_of_the_probes_are_hard_and_count_for_an_eighth() -> None:
    """The weights undo the choice: they sum to one, and the hard half to an eighth."""
    population = face512(3, dimension=32)
    faces = population.gallery(4000)
    probes = choose_probes(faces.vectors, np.arange(4000), faces.identity_numbers, 500, np.random.default_rng(2))
    assert len(probes.vectors) == 500
    assert probes.weights.sum() == pytest.approx(1)
    assert probes.weights[:250].sum() == pytest.approx(1 / 8)
    nearest = np.max(probes.vectors @ faces.vectors.T, axis=1)
    assert np.mean(nearest[:250]) < np.mean(nearest[250:])
