"""Identification in stages decides as exact search does, for people of the gallery and for strangers."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.generators import FacePopulation, face128, face512
from mien_server.index import EffortChoice, Generation, SearchResult, search
from mien_server.index.manifest import Staging
from mien_server.records.rows import GalleryRows
from tests.index_support import (
    assert_is_truthful,
    at_revision,
    bitmap_of,
    brute_force,
    built,
    is_live_of,
    request,
    rows_in_file,
    staged,
)

PERSONS = 24_000
TAIL_ROWS = 500
PROBES = 2000
POPULATION = face512(7)

Float32Array = npt.NDArray[np.float32]


class Measured(NamedTuple):
    """A gallery of one face a person, its stages, probes that its build never saw, and exact search's answers."""

    rows: GalleryRows
    generation: Generation
    staging: Staging
    mated: Float32Array
    strangers: Float32Array
    exact: tuple[SearchResult, SearchResult]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("staged")
    rows = rows_in_file(folder / "vectors", POPULATION.gallery(PERSONS).vectors, revision=2)
    indexed = at_revision(rows, 1, row_count=PERSONS - TAIL_ROWS)
    generation = staged(built(folder / "index", indexed), indexed)
    assert generation.manifest.staging is not None
    mated, strangers = POPULATION.probes(np.arange(PROBES)).vectors, POPULATION.strangers(PROBES).vectors
    exact = search(rows, None, request(mated, k=1)), search(rows, None, request(strangers, k=1))
    return Measured(rows, generation, generation.manifest.staging, mated, strangers, exact)


def identified(measured: Measured, probes: Float32Array, threshold: float = 0.0, k: int = 5) -> SearchResult:
    asked = replace(request(probes, k=k), decision_similarity=threshold)
    return search(measured.rows, measured.generation, asked)


def test_the_right_person_comes_first(measured: Measured) -> None:
    """Of new photographs of the gallery's people at least .999 get exact search's first row, most by stage one."""
    found = identified(measured, measured.mated)
    assert np.mean(found.ordinals[:, 0] == measured.exact[0].ordinals[:, 0]) >= 0.999
    assert found.report.plan == "ivf-staged"
    assert found.report.lists_scanned <= measured.generation.manifest.lists / 2
    assert found.report.recall_estimate >= 0.999


@pytest.mark.parametrize("above_stop", [-0.05, 0.0, 0.05, 0.15])
def test_decisions_are_those_of_exact_search(measured: Measured, above_stop: float) -> None:
    """The same person, or unknown, for mated probes and strangers, at thresholds below, at and above the stop value."""
    threshold = measured.staging.stop_similarity + above_stop
    for probes, exact in zip((measured.mated, measured.strangers), measured.exact, strict=True):
        found = identified(measured, probes, threshold)
        is_named = found.similarities[:, 0] >= threshold
        is_equal = is_named == (exact.similarities[:, 0] >= threshold)
        is_equal &= ~is_named | (found.ordinals[:, 0] == exact.ordinals[:, 0])
        assert np.mean(is_equal) >= 0.9995


def test_unknown_rests_on_the_full_stage(measured: Measured) -> None:
    """Whoever stays below the stop value, or below a higher threshold, got what the full stage finds."""
    unreachable = identified(measured, measured.strangers[:50], threshold=1.01)
    assert unreachable.report.lists_scanned == measured.staging.full.lists
    only_full = replace(measured.staging, first=measured.staging.full)
    all_full = measured._replace(
        generation=Generation(replace(measured.generation.manifest, staging=only_full), measured.generation.index)
    )
    complete = identified(all_full, measured.strangers[:50], threshold=1.01)
    np.testing.assert_array_equal(unreachable.ordinals, complete.ordinals)


def test_one_probe_is_answered_as_in_a_batch(measured: Measured) -> None:
    """Stages are per probe: what others there are in a call changes nothing."""
    probes = np.concatenate([measured.mated[:30], measured.strangers[:10]])
    together = identified(measured, probes)
    for number in range(len(probes)):
        alone = identified(measured, probes[number : number + 1])
        np.testing.assert_array_equal(alone.ordinals[0], together.ordinals[number])
        np.testing.assert_array_equal(alone.similarities[0], together.similarities[number])


def test_tail_and_tombstones_are_as_without_stages(measured: Measured) -> None:
    """Newer rows are found, deleted ones are not, and every similarity is true."""
    probes = measured.mated[:200]
    is_live = is_live_of(measured.rows).copy()
    is_live[brute_force(measured.rows, probes[::2], 1)[0][:, 0]] = False
    later = measured._replace(rows=at_revision(measured.rows, 3, is_live=is_live))
    found = identified(later, probes)
    assert_is_truthful(found.ordinals, found.similarities, later.rows, probes)
    assert (found.ordinals >= 0).all()
    # The others are strangers now, to whom many are about as near.
    remain = found.ordinals[1::2, 0]
    assert np.mean(remain == brute_force(later.rows, probes[1::2], 1)[0][:, 0]) >= 0.99
    newest = measured.rows.vectors[-TAIL_ROWS:]
    assert identified(measured, newest).ordinals[:, 0].tolist() == list(range(PERSONS - TAIL_ROWS, PERSONS))


def test_what_asks_for_more_gets_no_stages(measured: Measured) -> None:
    """A filter, a step, exact search and a search without a decision are answered as ever."""
    some = measured.mated[:5]
    asked = [
        replace(request(some, allowed=bitmap_of(np.arange(PERSONS) % 8 != 0)), decision_similarity=0.0),
        replace(request(some, effort=EffortChoice(step=1)), decision_similarity=0.0),
        replace(request(some, effort=EffortChoice(exact=True)), decision_similarity=0.0),
        request(some),
    ]
    for one in asked:
        assert "staged" not in search(measured.rows, measured.generation, one).report.plan


def test_more_rows_than_the_first_lists_hold_are_fetched(measured: Measured) -> None:
    """A probe whose first lists hold fewer than k rows gets the full stage, and k rows."""
    found = identified(measured, measured.mated[:2], k=8000)
    assert (found.ordinals >= 0).all()


def test_strangers_close_to_mates_leave_one_stage(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In a narrow cone, where strangers reach what mates reach, the build keeps no stages."""
    population: FacePopulation = face128(7)
    folder = tmp_path_factory.mktemp("cone")
    rows = rows_in_file(folder / "vectors", population.gallery(12_000).vectors)
    assert built(folder / "index", rows).manifest.staging is None
