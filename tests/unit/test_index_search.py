"""Search through a generation: tail, tombstones, filters, older views, many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.generators import face512
from mien_server.index import EffortChoice, Generation, search
from mien_server.records.policies import IndexCode
from mien_server.records.rows import GalleryRows
from tests.index_support import (
    assert_is_exact,
    assert_is_truthful,
    at_revision,
    bitmap_of,
    brute_force,
    built,
    request,
    rows_in_file,
)

ROWS = 9000
GENERATION_ROWS = 8501
POPULATION = face512(seed=1, dimension=256)


@pytest.fixture(scope="module", params=[np.float32, np.float16], ids=["float32", "float16"])
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> GalleryRows:
    """Three faces each of 3,000 people, at revision 2; a tenth of them deleted before the generation was built."""
    faces = POPULATION.gallery(ROWS // 3, 3)
    is_live = np.arange(ROWS) % 10 != 0
    return rows_in_file(
        tmp_path_factory.mktemp("rows") / "vectors",
        faces.vectors.astype(request.param),
        is_live=is_live,
        identity_numbers=faces.identity_numbers,
        revision=2,
    )


@pytest.fixture(scope="module")
def generation(rows: GalleryRows, tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Of the first GENERATION_ROWS rows at revision 1, so that the rest is tail."""
    return built(tmp_path_factory.mktemp("index"), at_revision(rows, 1, row_count=GENERATION_ROWS))


@pytest.fixture(scope="module")
def probes() -> npt.NDArray[np.float32]:
    return POPULATION.probes(np.arange(60)).vectors


def widest(generation: Generation) -> EffortChoice:
    """The cheapest step that scans every list."""
    steps = generation.manifest.ladder
    return EffortChoice(step=next(step.step for step in steps if step.lists == generation.manifest.lists))


def agreement(ordinals: npt.NDArray[np.int64], rows: GalleryRows, probes: npt.NDArray[np.float32]) -> float:
    return float(np.mean(ordinals[:, 0] == brute_force(rows, probes, 1)[0][:, 0]))


@pytest.mark.parametrize("probe_count", [1, 60])
def test_lists_and_tail_make_one_answer(
    rows: GalleryRows, generation: Generation, probes: npt.NDArray[np.float32], probe_count: int
) -> None:
    """What is newer than the generation is found as surely as what its lists hold."""
    result = search(rows, generation, request(probes[:probe_count], effort=widest(generation)))
    assert_is_truthful(result.ordinals, result.similarities, rows, probes[:probe_count])
    assert agreement(result.ordinals, rows, probes[:probe_count]) >= 0.95
    newest = rows.vectors[-3:-2].astype(np.float32)
    assert search(rows, generation, request(newest)).ordinals[0, 0] == ROWS - 3
    assert result.report.plan == "ivf"
    assert result.report.tail_rows == ROWS - GENERATION_ROWS
    assert result.report.generation == generation.name
    assert result.report.lists_scanned == result.report.lists_total == generation.manifest.lists


def test_the_report_says_which_step_and_what_it_is_worth(
    rows: GalleryRows, generation: Generation, probes: npt.NDArray[np.float32]
) -> None:
    """The recall estimate is the measured agreement of the step that was taken."""
    report = search(rows, generation, request(probes, effort=EffortChoice(recall_target=0.9))).report
    step = generation.manifest.ladder[report.step - 1]
    assert (report.recall_estimate, report.lists_scanned) == (step.rank1_agreement, step.lists)
    assert report.recall_estimate >= 0.9


def test_exact_effort_is_brute_force(
    rows: GalleryRows, generation: Generation, probes: npt.NDArray[np.float32]
) -> None:
    """The effort `exact` compares with every row, generation or not."""
    result = search(rows, generation, request(probes, effort=EffortChoice(exact=True)))
    assert_is_exact(result.ordinals, result.similarities, rows, probes)
    assert (result.report.plan, result.report.recall_estimate, result.report.lists_scanned) == ("exact", 1, 0)


@pytest.mark.parametrize("deleted_share", [0.001, 0.3, 0.95])
def test_tombstones_take_no_place(
    rows: GalleryRows, generation: Generation, probes: npt.NDArray[np.float32], deleted_share: float
) -> None:
    """Rows deleted after the build are gone from the next search, and k others are there in their place."""
    is_live = np.random.default_rng(4).random(ROWS) > deleted_share
    # The best answers above all; each person has two more faces.
    is_live[brute_force(rows, probes, 1)[0].ravel()] = False
    is_live &= np.unpackbits(rows.live, count=ROWS, bitorder="little").astype(np.bool_)
    later = at_revision(rows, 3 + int(1000 * deleted_share), is_live=is_live)
    result = search(later, generation, request(probes, k=20, effort=widest(generation)))
    assert_is_truthful(result.ordinals, result.similarities, later, probes)
    assert (result.ordinals >= 0).all()
    assert agreement(result.ordinals, later, probes) >= 0.95
    assert result.report.plan == ("ivf" if deleted_share < 0.5 else "exact")
    assert generation.tombstones(later) == generation.manifest.live_rows - is_live[:GENERATION_ROWS].sum()


@pytest.mark.parametrize("probe_count", [1, 60])
@pytest.mark.parametrize("allowed_rows", [0, 3, 40, 900, 6000])
def test_a_filter_never_answers_fewer_than_match(
    rows: GalleryRows, generation: Generation, probes: npt.NDArray[np.float32], allowed_rows: int, probe_count: int
) -> None:
    """From filters that allow nothing to such that allow most: allowed rows only, and k of them where k match."""
    is_allowed = np.zeros(ROWS, np.bool_)
    is_allowed[np.random.default_rng(6).permutation(ROWS)[:allowed_rows]] = True
    some = probes[:probe_count]
    result = search(
        rows, generation, request(some, k=30, effort=EffortChoice(recall_target=0.5), allowed=bitmap_of(is_allowed))
    )
    assert_is_truthful(result.ordinals, result.similarities, rows, some, is_allowed)
    matching = brute_force(rows, some, 30, is_allowed)[0] >= 0
    np.testing.assert_array_equal(result.ordinals >= 0, matching)
    if allowed_rows == 6000:
        assert result.report.plan == "filtered-ivf"
    if allowed_rows <= 40:
        assert result.report.plan == "filtered-exact"
        assert_is_exact(result.ordinals, result.similarities, rows, some, is_allowed)


def test_a_probe_whose_lists_hold_too_few_is_searched_again(tmp_path: Path) -> None:
    """Where the lists scanned hold fewer than k matching rows the rest is fetched, and the plan says so."""
    rows = rows_in_file(tmp_path / "vectors", face512(seed=2, dimension=64).gallery(24_000).vectors)
    generation = built(tmp_path / "index", rows)
    # One list is scanned, or two when a filter leaves fewer rows; it allows all rows but those of the probe's own two.
    probe = rows.vectors[:1]
    step = replace(generation.manifest.ladder[0], lists=1, rescored=100)
    generation = Generation(replace(generation.manifest, ladder=(step,)), generation.index)
    effort = EffortChoice(step=1)
    near = generation.index.candidates(probe, len(rows.vectors), 2, None, 1)
    is_allowed = ~np.isin(np.arange(len(rows.vectors)), near)
    result = search(rows, generation, request(probe, k=20, effort=effort, allowed=bitmap_of(is_allowed)))
    assert result.report.plan == "filtered-ivf+refill"
    assert_is_exact(result.ordinals, result.similarities, rows, probe, is_allowed)


def test_a_view_older_than_the_generation_is_searched_exactly(
    rows: GalleryRows, generation: Generation, probes: npt.NDArray[np.float32]
) -> None:
    """A reader that still holds an older revision sees that revision's rows, which the lists may lack."""
    older = at_revision(rows, 0, is_live=np.ones(5000, np.bool_), row_count=5000)
    result = search(older, generation, request(probes))
    assert_is_exact(result.ordinals, result.similarities, older, probes)
    assert result.report.plan.startswith("exact: the generation is newer")


def test_equal_rows_of_a_list_are_answered_by_smaller_ordinal(tmp_path: Path) -> None:
    """Two hundred copies of one face in the lists: the first ten of them, in order."""
    vectors = POPULATION.gallery(4000).vectors.copy()
    twins = np.sort(np.random.default_rng(8).permutation(4000)[:200])
    vectors[twins] = vectors[twins[0]]
    rows = rows_in_file(tmp_path / "vectors", vectors)
    generation = built(tmp_path / "index", rows)
    result = search(rows, generation, request(vectors[twins[:1]], effort=widest(generation)))
    assert set(result.ordinals[0].tolist()) <= set(twins.tolist())
    assert result.ordinals[0].tolist() == sorted(result.ordinals[0].tolist())


def test_k_beyond_the_gallery_is_answered_whole(rows: GalleryRows, generation: Generation) -> None:
    """Asking for more than there is gives everything live, then padding."""
    probe = rows.vectors[1:2].astype(np.float32)
    result = search(rows, generation, request(probe, k=ROWS + 5))
    assert_is_exact(result.ordinals, result.similarities, rows, probe)


def test_many_threads_search_one_generation(
    rows: GalleryRows, generation: Generation, probes: npt.NDArray[np.float32]
) -> None:
    """Eight threads at once, with different efforts, filters and threads of their own, get what one alone gets."""
    is_allowed = bitmap_of(np.arange(ROWS) % 2 == 0)
    requests = [
        request(
            probes[number % 50 : number % 50 + 1 + number % 3],
            k=5 + number % 7,
            effort=EffortChoice(step=1 + number % len(generation.manifest.ladder)),
            allowed=is_allowed if number % 4 == 0 else None,
            threads=1 + number % 2,
        )
        for number in range(200)
    ]
    alone = [search(rows, generation, each) for each in requests]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: search(rows, generation, each), requests))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.ordinals, other.ordinals)
        np.testing.assert_array_equal(one.similarities, other.similarities)


def test_eight_bit_codes_are_searched_alike(tmp_path: Path, probes: npt.NDArray[np.float32]) -> None:
    """A generation of 8-bit codes gives true similarities of the right rows too."""
    rows = rows_in_file(tmp_path / "vectors", POPULATION.gallery(6000).vectors)
    generation = built(tmp_path / "index", rows, IndexCode.SCALAR_8BIT)
    result = search(rows, generation, request(probes, effort=widest(generation)))
    assert generation.manifest.code is IndexCode.SCALAR_8BIT
    assert_is_truthful(result.ordinals, result.similarities, rows, probes)
    assert agreement(result.ordinals, rows, probes) >= 0.95
