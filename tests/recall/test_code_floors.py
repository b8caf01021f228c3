"""How often each kind of code finds the best row, by lists scanned and candidates kept: floors that must not sink."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from benchmarks.generators import FacePopulation, face128, face512
from mien_server.index.faiss_adapter import (
    CodeSpecification,
    Projection,
    train_centroids,
    train_quantizer,
)
from mien_server.index.faiss_rows import nearest_rows
from mien_server.index.request import Float32Array, Int64Array
from mien_server.index.segments import SegmentedIndex

SEED = 7
PERSONS = 12_000
PROBES = 1000
LISTS = 16
TRAINED_ROWS = 8192
POPULATIONS = {population.name: population for population in (face512(SEED), face128(SEED))}


class Gallery(NamedTuple):
    """Faces of one population, probes of people among them, and the exact best row of each."""

    rows: Float32Array
    probes: Float32Array
    best: Int64Array
    centroids: Float32Array


class Case(NamedTuple):
    """A code and the least agreement with exact rank 1 that it must reach, by lists scanned and candidates kept."""

    population: str
    subquantizers: int
    residual: bool
    floors: dict[tuple[int, int], float]
    directions: int = 0


CASES = [
    Case("face512", 64, False, {(2, 50): 0.73, (8, 50): 0.979, (16, 10): 0.99, (16, 50): 0.998}),
    Case("face512", 64, False, {(2, 50): 0.71, (8, 50): 0.977, (16, 10): 0.99, (16, 50): 0.998}, directions=256),
    Case("face512", 64, True, {(2, 50): 0.727, (8, 50): 0.964, (16, 10): 0.948, (16, 50): 0.97}),
    Case("face512", 128, False, {(2, 50): 0.73, (8, 50): 0.979, (16, 10): 0.998, (16, 50): 0.998}),
    Case("face512", 128, True, {(2, 50): 0.73, (8, 50): 0.979, (16, 10): 0.993, (16, 50): 0.996}),
    Case("face512", 0, False, {(2, 50): 0.73, (8, 50): 0.979, (16, 10): 0.998, (16, 50): 0.998}),
    Case("face128", 64, False, {(2, 50): 0.715, (8, 50): 0.952, (16, 10): 0.876, (16, 50): 0.962}),
    Case("face128", 64, False, {(2, 50): 0.71, (8, 50): 0.97, (16, 10): 0.98, (16, 50): 0.998}, directions=64),
    Case("face128", 96, False, {(2, 50): 0.7, (8, 50): 0.97, (16, 10): 0.996, (16, 50): 0.998}, directions=96),
    Case("face128", 64, True, {(2, 50): 0.714, (8, 50): 0.952, (16, 10): 0.905, (16, 50): 0.965}),
    Case("face128", 128, False, {(2, 50): 0.721, (8, 50): 0.974, (16, 10): 0.996, (16, 50): 0.996}),
    Case("face128", 128, True, {(2, 50): 0.721, (8, 50): 0.974, (16, 10): 0.991, (16, 50): 0.996}),
    Case("face128", 0, False, {(2, 50): 0.721, (8, 50): 0.976, (16, 10): 0.998, (16, 50): 0.998}),
]


@pytest.fixture(scope="module")
def galleries() -> dict[str, Gallery]:
    return {name: gallery_of(population) for name, population in POPULATIONS.items()}


def gallery_of(population: FacePopulation) -> Gallery:
    rows = population.gallery(PERSONS).vectors
    probes = population.probes(np.arange(PROBES)).vectors
    best, _ = nearest_rows(probes, rows, 1, None, 2)
    return Gallery(rows, probes, best, train_centroids(rows[:TRAINED_ROWS], LISTS, SEED, 2))


def agreement(index: SegmentedIndex, gallery: Gallery, lists: int, count: int) -> float:
    candidates = index.candidates(gallery.probes, count, lists, None, 2)
    return float(np.mean((candidates == gallery.best).any(axis=1)))


def name_of(case: Case) -> str:
    return f"{case.population}-{case.subquantizers}-{case.residual}" + (
        f"-{case.directions}" if case.directions else ""
    )


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_every_code_keeps_its_floors(galleries: dict[str, Gallery], case: Case) -> None:
    """With so many lists and candidates each code holds the best row at least as often as it has always done."""
    gallery = galleries[case.population]
    specification = CodeSpecification(LISTS, case.subquantizers, case.residual, case.directions)
    sample, centroids, projection = gallery.rows[:TRAINED_ROWS], gallery.centroids, None
    if case.directions:
        projection = Projection.leading(sample, case.directions, SEED)
        sample = projection.of_rows(sample, 2)
        centroids = train_centroids(sample, LISTS, SEED, 2)
    quantizer = train_quantizer(specification, sample, centroids, projection)
    lists_of_all = quantizer.writer()
    lists_of_all.add(gallery.rows, np.arange(PERSONS), 2)
    index = SegmentedIndex(quantizer, [lists_of_all.finish()])
    for (lists, count), floor in case.floors.items():
        assert agreement(index, gallery, lists, count) >= floor, (lists, count)
