"""Layouts, efforts and plans are pure functions of sizes and measurements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mien_server.errors import InvalidArgument, PreconditionFailed
from mien_server.index import EffortChoice, LadderStep, Manifest
from mien_server.index.layout import (
    CODES_COARSE,
    CODES_FINE,
    candidate_specifications,
    list_count,
    subquantizer_count,
)
from mien_server.index.manifest import Segment, Stage, Staging
from mien_server.index.plan import Scan, choose_scan, choose_staging, choose_step
from mien_server.records.policies import IndexCode

LADDER = (
    LadderStep(1, lists=8, rescored=200, rank1_agreement=0.9, recall_at_10=0.7, milliseconds=0.1),
    LadderStep(2, lists=32, rescored=200, rank1_agreement=0.999, recall_at_10=0.8, milliseconds=0.3),
    LadderStep(3, lists=64, rescored=800, rank1_agreement=1.0, recall_at_10=0.9, milliseconds=0.6),
)
MANIFEST = Manifest(
    name="g",
    store_id="s",
    gallery_number=1,
    model_fingerprint="m",
    dimension=512,
    rows=200_000,
    live_rows=200_000,
    revision=9,
    code=IndexCode.PQ_FASTSCAN,
    code_name="IVF64,PQ64x4fs",
    residual=False,
    lists=64,
    list_imbalance=1.1,
    default_recall_target=0.999,
    ladder=LADDER,
    probe_count=1000,
    faiss_version="1",
    build_time_us=1,
    build_seconds=1.0,
    files=(),
    segments=(Segment("lists", 0, 200_000, 200_000),),
    trained_rows=200_000,
    trained_imbalance=1.1,
    measured_rows=200_000,
    measure_time_us=1,
)


@pytest.mark.parametrize(
    ("effort", "step"),
    [
        (EffortChoice(), 3),
        (EffortChoice(recall_target=0.5), 1),
        (EffortChoice(recall_target=0.89), 1),
        (EffortChoice(recall_target=0.9), 2),
        (EffortChoice(recall_target=0.997), 2),
        (EffortChoice(recall_target=1.0), 3),
        (EffortChoice(step=1, recall_target=1.0), 1),
    ],
)
def test_the_cheapest_step_that_met_the_target_is_taken(effort: EffortChoice, step: int) -> None:
    """A target gets the first step whose measured agreement met it by a standard error; a step gets itself."""
    assert choose_step(MANIFEST, effort) == LADDER[step - 1]


def test_a_search_for_neighbours_also_wants_the_ten_best() -> None:
    """A wanted recall at 10 raises the step; where no step has it, a small gallery is searched exactly."""
    assert choose_step(MANIFEST, EffortChoice(recall_target=0.5, recall_at_10_min=0.8)) == LADDER[1]
    assert choose_step(MANIFEST, EffortChoice(recall_target=0.5, recall_at_10_min=0.99)) == LADDER[2]
    small = replace(MANIFEST, rows=100_000, live_rows=100_000)
    found = choose_step(small, EffortChoice(recall_target=0.5, recall_at_10_min=0.99))
    assert isinstance(found, str)
    assert "recall at 10" in found


def test_a_target_that_is_barely_met_is_met() -> None:
    """Where no step has room to spare the first that met it is taken, float32 rounding forgiven, not exact search."""
    manifest = replace(MANIFEST, ladder=LADDER[:2])
    assert choose_step(manifest, EffortChoice(recall_target=0.999)) == LADDER[1]
    assert choose_step(manifest, EffortChoice(recall_target=0.9990000128746033)) == LADDER[1]


def test_a_target_that_no_step_met_is_searched_exactly_and_says_so() -> None:
    """Where the ladder ends below the target the plan is exact and names the reason."""
    chosen = choose_step(replace(MANIFEST, ladder=LADDER[:1]), EffortChoice())
    assert isinstance(chosen, str)
    assert chosen.startswith("exact: no step")


def test_exact_wins_over_every_other_effort() -> None:
    """`exact` is exact whatever else is set."""
    assert choose_step(MANIFEST, EffortChoice(recall_target=0.5, step=1, exact=True)) == "exact"


@pytest.mark.parametrize(
    "effort", [EffortChoice(step=0), EffortChoice(step=4), EffortChoice(recall_target=0), EffortChoice(recall_target=2)]
)
def test_an_effort_that_does_not_exist_is_refused(effort: EffortChoice) -> None:
    """Steps off the ladder and targets outside (0, 1] are the caller's mistake."""
    with pytest.raises(InvalidArgument) as caught:
        choose_step(MANIFEST, effort)
    assert caught.value.reason == "EFFORT_INVALID"


STAGING = Staging(
    first=Stage(8, 100),
    full=Stage(64, 800),
    stop_similarity=0.58,
    rank1_agreement=0.9995,
    mated_decisions=1.0,
    stranger_decisions=1.0,
    undecided=0.1,
    milliseconds=0.25,
)
STAGED = replace(MANIFEST, staging=STAGING)


@pytest.mark.parametrize(
    ("effort", "is_staged"),
    [
        (EffortChoice(), True),
        (EffortChoice(recall_target=0.999), True),
        (EffortChoice(recall_target=0.9999), False),
        # The first step meets it for less.
        (EffortChoice(recall_target=0.8), False),
        (EffortChoice(step=3), False),
        (EffortChoice(exact=True), False),
        (EffortChoice(recall_at_10_min=0.5), False),
    ],
)
def test_stages_are_taken_where_they_meet_the_target_for_less(effort: EffortChoice, is_staged: bool) -> None:
    """A target is met by stages that reached it and cost less than the step; what else is asked for is done so."""
    chosen = choose_staging(STAGED, effort, choose_step(STAGED, effort))
    assert chosen == (STAGING if is_staged else None)
    assert choose_staging(MANIFEST, effort, choose_step(MANIFEST, effort)) is None


@pytest.mark.parametrize(
    ("target", "taken"), [(0.98, 0), (0.99, 0), (0.994, 1), (0.995, 1), (0.9979, 2), (0.999, 2), (0.9999, None)]
)
def test_a_lower_target_gets_the_cheapest_stages_that_surely_meet_it(target: float, taken: int | None) -> None:
    """Stages that seem to meet a target count only where two standard errors less would do as well."""
    stagings = [
        replace(STAGING, rank1_agreement=agreement, standard_error=0.001, milliseconds=milliseconds)
        for agreement, milliseconds in ((0.9925, 0.1), (0.998, 0.15))
    ]
    manifest = replace(STAGED, relaxed_stagings=tuple(stagings))
    chosen = choose_staging(manifest, effort := EffortChoice(recall_target=target), choose_step(manifest, effort))
    assert chosen == (None if taken is None else manifest.stagings[taken])


def test_stages_spare_exact_search() -> None:
    """Where no step met the target but the stages did, they are taken."""
    manifest = replace(STAGED, ladder=LADDER[:1])
    assert choose_staging(manifest, EffortChoice(), choose_step(manifest, EffortChoice())) == STAGING


def test_a_filter_widens_the_scan_until_it_turns_exact() -> None:
    """The fewer rows match, the more lists are scanned; few enough are visited one by one."""
    step = LADDER[0]
    half = choose_scan(MANIFEST, step, 10, 100_000, 200_000, 1)
    tenth = choose_scan(MANIFEST, step, 10, 20_000, 200_000, 1)
    assert half == Scan(16, 142)
    assert tenth == Scan(64, 100)
    assert choose_scan(MANIFEST, step, 10, 200, 200_000, 1) is None
    assert choose_scan(MANIFEST, step, 10, 0, 200_000, 1) is None


@pytest.mark.parametrize("probe_count", [1, 100])
@pytest.mark.parametrize("step", LADDER)
def test_narrow_filters_are_exact_and_wide_ones_scanned(step: LadderStep, probe_count: int) -> None:
    """From some width on every wider filter is scanned, and it lies between one row in a thousand and one in three."""
    widths = range(200, 200_001, 200)
    is_exact = [choose_scan(MANIFEST, step, 10, matching, 200_000, probe_count) is None for matching in widths]
    assert is_exact == sorted(is_exact, reverse=True)
    assert 200 < widths[sum(is_exact)] < 70_000


def test_more_is_rescored_for_a_larger_k() -> None:
    """Twice k candidates are rescored where that is more than the step's."""
    scan = choose_scan(MANIFEST, LADDER[0], 1000, 200_000, 200_000, 1)
    assert scan is not None
    assert scan.rescored == 2000


@pytest.mark.parametrize(
    ("rows", "lists"), [(1, 1), (1_000, 8), (20_000, 32), (200_000, 256), (1_000_000, 512), (10_000_000, 2048)]
)
def test_lists_are_few_and_large(rows: int, lists: int) -> None:
    """The number of lists is the documented function of the rows."""
    assert list_count(rows) == lists


def test_lists_grow_more_slowly_than_rows() -> None:
    """Lists grow longer with the gallery, from some hundred rows to some thousand."""
    assert [rows // list_count(rows) for rows in (20_000, 200_000, 1_000_000, 10_000_000)] == [625, 781, 1953, 4882]


@pytest.mark.parametrize(
    ("dimension", "coarse", "fine"),
    [(512, 64, 128), (128, 64, 128), (1024, 128, 128), (300, 60, 100), (100, 50, 100), (97, 97, 97)],
)
def test_codes_share_components_evenly(dimension: int, coarse: int, fine: int) -> None:
    """About as many codes as are wanted, of equally many components, at most eight; more where that does not divide."""
    assert subquantizer_count(dimension, CODES_COARSE) == coarse
    assert subquantizer_count(dimension, CODES_FINE) == fine
    assert dimension % coarse == 0 == dimension % fine


@pytest.mark.parametrize(
    ("dimension", "names"),
    [
        (1024, ["PCAR256,IVF256,PQ64x4fs", "IVF256,PQ128x4fs", "IVF256,PQ128x4fs residual"]),
        (
            128,
            ["IVF256,PQ64x4fs", "PCAR96,IVF256,PQ96x4fs", "IVF256,PQ128x4fs", "IVF256,PQ128x4fs residual"],
        ),
        (97, ["IVF256,PQ97x4fs", "IVF256,PQ97x4fs residual"]),
        (64, ["IVF256,PQ64x4fs", "IVF256,PQ64x4fs residual"]),
    ],
)
def test_coarse_codes_are_made_of_few_directions(dimension: int, names: list[str]) -> None:
    """Where a coarse code would be of more than four components, vectors are projected first; otherwise perhaps."""
    assert [one.name for one in candidate_specifications(IndexCode.PQ_FASTSCAN, dimension, 200_000)] == names


def test_the_layouts_tried_start_with_the_fastest() -> None:
    """Shorter codes come before longer ones, residuals after, 8 bits last and only where the code is automatic."""
    names = [each.name for each in candidate_specifications(IndexCode.AUTOMATIC, 512, 200_000)]
    assert names == ["PCAR256,IVF256,PQ64x4fs", "IVF256,PQ128x4fs", "IVF256,PQ128x4fs residual", "IVF256,SQ8"]
    assert len(candidate_specifications(IndexCode.PQ_FASTSCAN, 512, 200_000)) == 3
    assert [each.name for each in candidate_specifications(IndexCode.SCALAR_8BIT, 512, 200_000)] == ["IVF256,SQ8"]


def test_a_step_must_surely_meet_its_target() -> None:
    """A step with a known standard error is taken when it met the target by two of them, or found everything."""
    lucky = replace(LADDER[1], rank1_agreement=0.9994, standard_error=0.0003)
    sure = replace(LADDER[2], rank1_agreement=0.9994, standard_error=0.0001)
    assert choose_step(replace(MANIFEST, ladder=(lucky, sure)), EffortChoice()) == sure
    assert choose_step(replace(MANIFEST, ladder=(lucky,)), EffortChoice()) == lucky
    everything = replace(LADDER[2], standard_error=0.0)
    assert choose_step(replace(MANIFEST, ladder=(lucky, everything)), EffortChoice(recall_target=1.0)) == everything


def test_a_flat_gallery_has_no_layout() -> None:
    """The code FLAT is never built."""
    with pytest.raises(PreconditionFailed):
        candidate_specifications(IndexCode.FLAT, 512, 100_000)
