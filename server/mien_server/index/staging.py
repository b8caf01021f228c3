"""Whether identification gains by stages: a short first one that decides where it may, a full one for the rest.

Identification asks who is the best, not for neighbours. A best row more similar than strangers get to be in this
gallery is the right person's, wherever else one might look; so the first stage stops there. It goes wrong where it
missed the right person and a stranger reached the stop value all the same: the share of people it misses times the
share of strangers beyond the stop value. The stop value is chosen so that this product is negligible, and the whole
is then measured by decisions, since the two need not be independent.

What strangers reach is measured as mates are, by the gallery's own faces, with all rows of the probe's person left
out. So a gallery that holds people twice, under two identities, measures high strangers and stops late or never.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien_server.index.ladder import Answers, Effort, ExactAnswers, standard_error, weighted_share
from mien_server.index.manifest import LadderStep, Stage, Staging
from mien_server.index.plan import SURE_DEVIATIONS
from mien_server.index.request import Float32Array, Int64Array

__all__ = ["staging_of", "stop_similarity"]

FIRST_SHARE_MAX = 1 / 4
"""Of the lists: what a first stage may scan."""

WRONG_SHARE = 0.0002
"""Share of mated probes that may be given a stranger's name by the first stage."""

STRANGERS_BEYOND_MIN, STRANGERS_BEYOND_MAX = 0.001, 0.01
"""Share of strangers beyond the stop value: the least that some thousand probes tell of, and the most."""

TAIL_SHARE = 0.05
"""Of the strangers, the most similar ones: beyond them the share falls exponentially, as it does for maxima."""

STRANGERS_MIN = 200
DECISION_AGREEMENT_MIN = 0.9995
THRESHOLDS_AROUND_STOP = (-0.05, -0.02, 0.0, 0.02, 0.05)
STRANGER_SHARE = 0.25
"""Of the probes, for the expected cost."""


def staging_of(
    efforts: list[Effort],
    exact: ExactAnswers,
    identity_numbers: npt.NDArray[np.uint32],
    lists: int,
    recall_target: float,
    single: LadderStep | None,
) -> Staging | None:
    """The cheapest two stages that decide as exact search does; None where none are, or one stage is cheaper.

    Args:
        efforts: as measured; the last is the most thorough.
        identity_numbers: uint32 [row_count], the identity of each row.
        lists: inverted lists of the generation.
        recall_target: share of mated probes that must be given the right person.
        single: the one stage that would be taken otherwise; None when that is exact search.
    """
    if np.count_nonzero(exact.strangers.weights) < STRANGERS_MIN:
        return None
    measuring = _Measuring(exact, identity_numbers)
    pairs = [
        (first.cost_with(full), first, full)
        for first in (measuring.first_stage(effort) for effort in efforts if effort.lists <= lists * FIRST_SHARE_MAX)
        for full in efforts
        if full.lists > first.effort.lists and full.rescored >= first.effort.rescored
    ]
    for milliseconds, first, full in sorted(pairs, key=lambda pair: pair[0]):
        if single is not None and milliseconds >= single.milliseconds:
            break
        staging = measuring.staging(first, full, recall_target)
        if staging is not None:
            return staging
    return None


def stop_similarity(similarities: Float32Array, weights: npt.NDArray[np.float64], beyond: float) -> float:
    """The similarity that this share of strangers reaches: the higher of what was seen and of the tail continued.

    Args:
        similarities: float32 [n], of each stranger's best row.
        weights: float64 [n], of sum 1.
        beyond: share, at most TAIL_SHARE.
    """
    order = np.argsort(-similarities)
    reached = np.cumsum(weights[order])
    best = similarities[order].astype(np.float64)
    tail_start = best[np.searchsorted(reached, TAIL_SHARE)]
    excess = np.where(similarities > tail_start, similarities - tail_start, 0.0)
    mean_excess = float(np.sum(weights * excess)) / TAIL_SHARE
    continued = float(tail_start) + mean_excess * math.log(TAIL_SHARE / beyond)
    return min(1.0, max(float(best[np.searchsorted(reached, beyond)]), continued))


@dataclass(frozen=True, slots=True, eq=False)
class _FirstStage:
    """An effort as a first stage.

    Attributes:
        stop: the similarity at which it decides.
        undecided: share of mated probes that it does not decide.
    """

    effort: Effort
    stop: float
    undecided: float

    def cost_with(self, full: Effort) -> float:
        """Processor time in milliseconds expected of a probe, one in so many being of a stranger."""
        full_share = STRANGER_SHARE + (1 - STRANGER_SHARE) * self.undecided
        return self.effort.milliseconds + full_share * full.milliseconds


@dataclass(frozen=True, slots=True, eq=False)
class _Measuring:
    exact: ExactAnswers
    identity_numbers: npt.NDArray[np.uint32]

    def first_stage(self, effort: Effort) -> _FirstStage:
        """This effort as a first stage."""
        found = _best_found(effort.finds_mated)
        stop = self._stop_after(found)
        is_decided = _similarity_of(found, self.exact.mated) >= stop
        return _FirstStage(effort, stop, 1 - weighted_share(is_decided, self.exact.mated.weights))

    def _stop_after(self, found: Int64Array) -> float:
        """The stop value for what a first stage found: the more mates it misses, the fewer strangers may reach it."""
        missed = 1 - weighted_share(self._is_right(found, self.exact.mated), self.exact.mated.weights)
        beyond = min(max(WRONG_SHARE / max(missed, 1e-9), STRANGERS_BEYOND_MIN), STRANGERS_BEYOND_MAX)
        return stop_similarity(self.exact.strangers.similarities[:, 0], self.exact.strangers.weights, beyond)

    def staging(self, first: _FirstStage, full: Effort, recall_target: float) -> Staging | None:
        """These stages as measured; None where they do not surely meet the target and decide as exact search does."""
        mated, strangers = self.exact.mated, self.exact.strangers
        early, late = _best_found(first.effort.finds_mated), _best_found(full.finds_mated)
        is_right = self._is_right(np.where(_similarity_of(early, mated) >= first.stop, early, late), mated)
        agreement, error = weighted_share(is_right, mated.weights), standard_error(is_right, mated.weights)
        if agreement - SURE_DEVIATIONS * error < recall_target:
            return None
        mated_decisions = self._decisions(early, late, mated, first.stop)
        early, late = _best_found(first.effort.finds_strangers), _best_found(full.finds_strangers)
        stranger_decisions = self._decisions(early, late, strangers, first.stop)
        if min(mated_decisions, stranger_decisions) < DECISION_AGREEMENT_MIN:
            return None
        return Staging(
            first=Stage(first.effort.lists, first.effort.rescored),
            full=Stage(full.lists, full.rescored),
            stop_similarity=first.stop,
            rank1_agreement=agreement,
            mated_decisions=mated_decisions,
            stranger_decisions=stranger_decisions,
            undecided=first.undecided,
            milliseconds=first.cost_with(full),
            standard_error=error,
        )

    def _decisions(self, early: Int64Array, late: Int64Array, answers: Answers, stop: float) -> float:
        """Least share, over thresholds around the stop value, that is decided as exact search decides."""
        shares = []
        for threshold in (stop + offset for offset in THRESHOLDS_AROUND_STOP):
            # The first stage stops only with an answer that will be named.
            is_decided = _similarity_of(early, answers) >= max(stop, threshold)
            answered = np.where(is_decided, early, late)
            is_named = _similarity_of(answered, answers) >= threshold
            is_unknown = answers.similarities[:, 0] < threshold
            # No search is more similar than exact search, so what is unknown to it is unknown to all.
            is_equal = is_unknown | (is_named & self._is_right(answered, answers))
            shares.append(weighted_share(is_equal, answers.weights))
        return min(shares)

    def _is_right(self, columns: Int64Array, answers: Answers) -> npt.NDArray[np.bool_]:
        """Whether the answer in each probe's column [n] is of the best one's person, or as similar."""
        persons = self.identity_numbers[answers.ordinals]
        is_right = ((persons == persons[:, :1]) & (answers.ordinals >= 0)) | answers.is_best
        padded = np.pad(is_right, ((0, 0), (0, 1)), constant_values=False)
        right: npt.NDArray[np.bool_] = np.take_along_axis(padded, columns[:, None], 1)[:, 0]
        return right


def _best_found(finds: npt.NDArray[np.bool_]) -> Int64Array:
    """The first column found of each probe [n, w]; w where none is."""
    columns: Int64Array = np.where(finds.any(axis=1), finds.argmax(axis=1), finds.shape[1])
    return columns


def _similarity_of(columns: Int64Array, answers: Answers) -> Float32Array:
    """Of the answer in each probe's column [n]; -inf where there is none."""
    padded = np.pad(answers.similarities, ((0, 0), (0, 1)), constant_values=-np.inf)
    similarities: Float32Array = np.take_along_axis(padded, columns[:, None], 1)[:, 0]
    return similarities
