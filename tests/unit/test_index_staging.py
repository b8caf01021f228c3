"""Stages are measured by decisions, and given up where they would change one or gain nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from mien_server.index import LadderStep
from mien_server.index.ladder import Answers, Effort, ExactAnswers
from mien_server.index.manifest import Stage, Staging
from mien_server.index.staging import staging_of, stop_similarity

PROBES = 4000
LISTS = 16
WEIGHTS = np.full(PROBES, 1 / PROBES)
IDENTITY_NUMBERS = np.arange(4 * PROBES, dtype=np.uint32)
SINGLE = LadderStep(1, LISTS, 100, 1.0, 1.0, milliseconds=1.0)


def answers(best: npt.NDArray[np.float64], first_ordinal: int = 0) -> Answers:
    """Two rows of two people for each probe, the second less similar by .3."""
    ordinals = first_ordinal + np.arange(2 * PROBES).reshape(PROBES, 2)
    return Answers(ordinals, np.stack([best, best - 0.3], axis=1).astype(np.float32), WEIGHTS)


def strangers(level: float = 0.4) -> npt.NDArray[np.float64]:
    """Best similarities with an exponential tail: maxima of many."""
    return level + 0.02 * np.random.default_rng(1).gumbel(size=PROBES)


EXACT = ExactAnswers(answers(np.full(PROBES, 0.8)), answers(strangers(), 2 * PROBES))


def effort(lists: int, milliseconds: float, missed: int = 0) -> Effort:
    """It finds every row but the best one of the first `missed` probes, mated and stranger alike."""
    finds = np.ones((PROBES, 2), np.bool_)
    finds[:missed, 0] = False
    return Effort(lists, 100, finds, finds, milliseconds)


def chosen(efforts: list[Effort], exact: ExactAnswers = EXACT, single: LadderStep | None = SINGLE) -> Staging | None:
    return staging_of(efforts, exact, IDENTITY_NUMBERS, LISTS, 0.999, single)


def test_the_cheapest_stages_that_decide_as_exact_search_are_taken() -> None:
    """A first stage that misses one in ten is worth it, for those fall below the stop value and get the full one."""
    staging = chosen([effort(2, 0.1, missed=PROBES // 10), effort(4, 0.3, missed=20), effort(16, 1.0)])
    assert staging is not None
    assert (staging.first, staging.full) == (Stage(2, 100), Stage(16, 100))
    assert (staging.rank1_agreement, staging.mated_decisions, staging.stranger_decisions) == (1, 1, 1)
    assert staging.undecided == pytest.approx(0.1)
    assert 0.4 < staging.stop_similarity < 0.8


@pytest.mark.parametrize("full_missed", [4, 80])
def test_a_full_stage_that_misses_people_is_not_taken(full_missed: int) -> None:
    """Whoever the full stage misses is decided wrongly: with no other the stages are given up."""
    assert chosen([effort(2, 0.1, missed=PROBES // 10), effort(16, 1.0, missed=full_missed)]) is None


def test_stages_that_cost_more_than_one_stage_are_not_taken() -> None:
    """The expected cost, strangers included, must be below that of the step that would be taken."""
    efforts = [effort(2, 0.1, missed=PROBES // 10), effort(16, 1.0)]
    assert chosen(efforts, single=replace(SINGLE, milliseconds=0.3)) is None
    assert chosen(efforts, single=None) is not None


def test_strangers_as_near_as_mates_leave_nothing_undecided_to_gain() -> None:
    """Where strangers reach what mates reach, every probe would get both stages: none are kept."""
    assert (
        chosen([effort(2, 0.1), effort(16, 1.0)], replace(EXACT, strangers=answers(strangers(0.75), 2 * PROBES)))
        is None
    )


def test_too_few_strangers_tell_nothing() -> None:
    """A gallery whose people cannot be left out has no stop value."""
    unknown = replace(EXACT.strangers, weights=np.where(np.arange(PROBES) < 100, 0.01, 0.0))
    assert chosen([effort(2, 0.1), effort(16, 1.0)], replace(EXACT, strangers=unknown)) is None


def test_another_face_of_the_right_person_is_right() -> None:
    """Identification wants the person: the first stage may stop with a less similar face of theirs."""
    numbers = IDENTITY_NUMBERS // 2
    near = replace(EXACT.mated, similarities=np.tile(np.float32([0.8, 0.75]), (PROBES, 1)))
    efforts = [effort(2, 0.1, missed=PROBES), effort(16, 1.0)]
    staging = staging_of(efforts, replace(EXACT, mated=near), numbers, LISTS, 0.999, SINGLE)
    assert staging is not None
    assert (staging.rank1_agreement, staging.undecided) == (1, 0)


@pytest.mark.parametrize("beyond", [0.01, 0.003, 0.001])
def test_the_tail_of_strangers_is_continued(beyond: float) -> None:
    """From a thousand strangers the stop value is near the one that a million would give, and hardly below it."""
    scale = 0.02
    wanted = 0.4 - scale * np.log(-np.log1p(-beyond))
    found = stop_similarity(strangers().astype(np.float32), WEIGHTS, beyond)
    assert wanted - scale <= found <= wanted + 3 * scale


def test_people_enrolled_twice_raise_the_stop_value() -> None:
    """Similarities far beyond the tail are not smoothed away: where one in fifty is there, it counts."""
    doubled = np.where(np.arange(PROBES) % 50 == 0, 0.9, strangers()).astype(np.float32)
    assert stop_similarity(doubled, WEIGHTS, 0.01) >= np.float32(0.9)
