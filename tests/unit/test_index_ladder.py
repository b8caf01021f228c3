"""What one scan of all lists tells of every effort is what a search with that effort finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.generators import face512
from mien_server.index.ladder import exact_answers, measure_efforts, rescored_steps
from mien_server.index.probing import choose_probes
from tests.index_support import built, rows_in_file

POPULATION = face512(9, 64)
PROBES = 300


@pytest.mark.parametrize("faces", [1, 3])
def test_every_effort_finds_what_it_was_measured_to_find(tmp_path: Path, faces: int) -> None:
    """Whichever lists and candidates: the rows among the candidates of a search are those that measuring found."""
    people = POPULATION.gallery(6000 // faces, faces)
    rows = rows_in_file(tmp_path / "vectors", people.vectors, identity_numbers=people.identity_numbers)
    index = built(tmp_path / "index", rows).index
    ordinals = np.arange(rows.row_count)
    probes = choose_probes(rows.vectors, ordinals, rows.identity_numbers, PROBES, np.random.default_rng(1))
    exact = exact_answers(rows.vectors, rows.live, rows.identity_numbers, probes, 1)
    efforts = measure_efforts(rows.vectors, index, probes, exact, 1, lambda _share: None)
    assert len({effort.lists for effort in efforts}) >= 4
    for effort in efforts:
        # The probe's own row, where it must not be found, takes a place.
        own = int(faces > 1)
        found = index.candidates(probes.vectors, effort.rescored + own, effort.lists, None, 1)
        for wanted, finds in ((exact.mated, effort.finds_mated), (exact.strangers, effort.finds_strangers)):
            is_found = (found[:, None, :] == wanted.ordinals[:, :, None]).any(axis=2) & (wanted.ordinals >= 0)
            # Of rows with equal codes at the end of a list either may be kept.
            assert np.mean(is_found == finds) >= 0.995, effort


def test_costs_rise_with_lists_and_candidates(tmp_path: Path) -> None:
    """However a busy machine disturbs the clock, more is never measured to cost less."""
    rows = rows_in_file(tmp_path / "vectors", POPULATION.gallery(6000).vectors)
    index = built(tmp_path / "index", rows).index
    generator = np.random.default_rng(1)
    probes = choose_probes(rows.vectors, np.arange(rows.row_count), rows.identity_numbers, PROBES, generator)
    exact = exact_answers(rows.vectors, rows.live, rows.identity_numbers, probes, 1)
    efforts = measure_efforts(rows.vectors, index, probes, exact, 1, lambda _share: None)
    for one in efforts:
        for other in efforts:
            if one.lists <= other.lists and one.rescored <= other.rescored:
                assert 0 < one.milliseconds <= other.milliseconds


@pytest.mark.parametrize(
    ("rows", "deepest"),
    [(100, 100), (5_000, 400), (20_000, 800), (200_000, 3200), (4_000_000, 6400), (10_000_000, 12_800)],
)
def test_short_lists_are_a_small_part_of_the_rows(rows: int, deepest: int) -> None:
    """Whoever rescores more may as well compare with every row."""
    assert rescored_steps(rows)[-1] == deepest
