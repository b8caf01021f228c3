"""How a search will be answered: pure choices from a generation's measured ladder and what must be searched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mien_server.errors import InvalidArgument
from mien_server.index.manifest import LadderStep, Manifest, Stage, Staging
from mien_server.index.request import EffortChoice

if TYPE_CHECKING:
    from mien_server.index.generation import Generation

__all__ = [
    "EXACT_PLAN_NAME",
    "FILTERED_EXACT_PLAN_NAME",
    "FLAT_PLAN_NAME",
    "RESCORED_FOR_EACH_WANTED",
    "SURE_DEVIATIONS",
    "Scan",
    "cheapest_step",
    "choose_scan",
    "choose_staging",
    "choose_step",
    "default_agreement",
    "searches_exactly",
]

FLAT_PLAN_NAME = "flat"
EXACT_PLAN_NAME = "exact"
FILTERED_EXACT_PLAN_NAME = "filtered-exact"

RESCORED_FOR_EACH_WANTED = 2
"""Codes order rows roughly: so many candidates are rescored for each face asked for, at least."""

RESCORED_MIN = 100
"""A filter does not let fewer candidates be rescored, unless the step does."""

TARGET_ROUNDING = 1e-6
"""Targets arrive as float32: .999 must not miss a measured .999."""

SURE_DEVIATIONS = 2
"""Standard errors by which an effort must meet a target to be taken for sure."""

EXACT_COMPONENTS_MAX = 1 << 26
"""Components of a gallery whose ten best are found exactly where the ladder cannot: 131,072 rows of 512, some 20 ms."""

# Nanoseconds, measured on one AVX-512 core; only their proportions matter.
SCAN_NS_PER_ROW = 1.8
SELECT_NS_PER_ROW = 0.6
"""Testing whether a scanned row counts."""
CANDIDATE_NS = 90.0
"""Keeping one candidate among the best."""
RESCORE_NS_PER_COMPONENT = 0.6
"""Candidates lie anywhere in memory."""
VISIT_NS_PER_COMPONENT = 0.2
"""Of selected rows that the caches hold from call to call, for a filter is seldom used once."""
FAR_VISIT_NS_PER_COMPONENT = 0.5
"""Of those that they do not hold."""
CACHED_COMPONENTS_MAX = 2_500_000
BLOCKED_VISIT_NS_PER_COMPONENT = 0.04
GATHER_NS_PER_COMPONENT = 0.5
BLOCKED_PROBES_MIN = 8


@dataclass(frozen=True, slots=True)
class Scan:
    """An approximate search: scan that many lists, rescore that many candidates exactly."""

    lists: int
    rescored: int


def choose_step(manifest: Manifest, effort: EffortChoice) -> LadderStep | str:
    """The ladder's step for this effort, or the name of the exact plan and why it is taken.

    For a target it is the cheapest step that surely met it; failing that the cheapest that met it.

    Raises:
        InvalidArgument: a step the ladder does not have, or a target outside (0, 1].
    """
    if effort.exact:
        return EXACT_PLAN_NAME
    if effort.step is not None:
        if not 1 <= effort.step <= len(manifest.ladder):
            raise InvalidArgument(
                f"step {effort.step} is not on the ladder of generation {manifest.name}: take 1 to "
                f"{len(manifest.ladder)}, or a recall target",
                field="options.effort.step",
                reason="EFFORT_INVALID",
            )
        return manifest.ladder[effort.step - 1]
    target = _target_of(manifest, effort)
    if not 0 < target <= 1:
        raise InvalidArgument(
            f"a recall target of {target} cannot be met: take one above 0 and up to 1",
            field="options.effort.recall_target",
            reason="EFFORT_INVALID",
        )
    recall_min = effort.recall_at_10_min or 0.0
    step = cheapest_step(manifest.ladder, manifest.probe_count, target, recall_min)
    return _without_step(manifest, target, recall_min) if step is None else step


def _target_of(manifest: Manifest, effort: EffortChoice) -> float:
    return manifest.default_recall_target if effort.recall_target is None else effort.recall_target


def choose_staging(manifest: Manifest, effort: EffortChoice, step: LadderStep | str) -> Staging | None:
    """The cheapest stages that meet a target, and more cheaply than `choose_step`'s answer; None where there are none.

    An effort that names a step or exact search, or that wants neighbours, is taken at its word.
    """
    if effort.exact or effort.step is not None or effort.recall_at_10_min is not None:
        return None
    target = _target_of(manifest, effort)
    for staging in manifest.stagings:
        if staging.rank1_agreement - _margin(staging, manifest.probe_count, target) >= target - TARGET_ROUNDING:
            is_cheaper = isinstance(step, str) or staging.milliseconds < step.milliseconds
            return staging if is_cheaper else None
    return None


def searches_exactly(generation: Generation | None, effort: EffortChoice, *, is_decision: bool) -> bool:
    """Whether a search compares with every row whatever its probes and filter are.

    Raises:
        InvalidArgument: as `choose_step`.
    """
    if generation is None:
        return True
    step, staging = generation.chosen(effort)
    return isinstance(step, str) and not (is_decision and staging is not None)


def default_agreement(manifest: Manifest, target: float | None) -> float:
    """Rank-1 agreement with exact search that an identification which names no effort has, as last measured.

    Args:
        target: the gallery's; None for the one that the generation was measured for.
    """
    effort = EffortChoice(recall_target=target)
    step = choose_step(manifest, effort)
    staging = choose_staging(manifest, effort, step)
    if staging is not None:
        return staging.rank1_agreement
    return 1.0 if isinstance(step, str) else step.rank1_agreement


def cheapest_step(
    ladder: tuple[LadderStep, ...], probe_count: int, target: float, recall_min: float = 0.0
) -> LadderStep | None:
    """The cheapest step that surely met the targets; failing that the cheapest that met them; or None."""
    # The cheapest of several steps that seem to meet a target is likely to be one that was lucky.
    for is_sure in (True, False):
        for step in ladder:
            reached = step.rank1_agreement - (_margin(step, probe_count, target) if is_sure else 0.0)
            if reached >= target - TARGET_ROUNDING and step.recall_at_10 >= recall_min - TARGET_ROUNDING:
                return step
    return None


def _margin(found: LadderStep | Staging, probe_count: int, target: float) -> float:
    """By how much a step or stages must meet a target to have met it surely."""
    if found.standard_error is None:
        # Stages that kept none were chosen to meet their target surely.
        return 0.0 if isinstance(found, Staging) else math.sqrt(target * (1 - target) / max(probe_count, 1))
    # What found everything cannot find more.
    return min(SURE_DEVIATIONS * found.standard_error, 1 - target)


def _without_step(manifest: Manifest, target: float, recall_min: float) -> LadderStep | str:
    """What to do when no step of the ladder met the target."""
    last = manifest.ladder[-1] if manifest.ladder else None
    if last is None or last.rank1_agreement < target - TARGET_ROUNDING:
        return f"{EXACT_PLAN_NAME}: no step of the ladder met a recall target of {target:g}"
    if manifest.live_rows * manifest.dimension <= EXACT_COMPONENTS_MAX:
        return f"{EXACT_PLAN_NAME}: no step of the ladder met a recall at 10 of {recall_min:g}"
    return last


def choose_scan(
    manifest: Manifest, step: LadderStep | Stage, k: int, matching: int, live: int, probe_count: int
) -> Scan | None:
    """How to scan for this step, or None when visiting every matching row is cheaper, and exact besides.

    A filter takes the nearest rows away and leaves others in lists further off, so the lists scanned grow until they
    hold as many matching rows as they would without it. Fewer rows compete, so that fewer candidates need to be
    rescored: the square root of the share keeps the recall at 10, measured down to a tenth of the rows.

    Args:
        matching: rows of the generation that are live and allowed.
        live: rows of the generation that are live.
        probe_count: probes of the call.
    """
    lists = min(manifest.lists, -(-step.lists * live // max(matching, 1)))
    measured = manifest.grown(step.rescored)
    competing = math.ceil(measured * math.sqrt(matching / max(live, 1)))
    rescored = max(competing, min(measured, RESCORED_MIN), RESCORED_FOR_EACH_WANTED * k)
    row_ns = SCAN_NS_PER_ROW + (SELECT_NS_PER_ROW if matching < manifest.live_rows else 0.0)
    candidate_ns = CANDIDATE_NS + RESCORE_NS_PER_COMPONENT * manifest.dimension
    scan_ns = row_ns * manifest.live_rows * lists / manifest.lists + candidate_ns * min(rescored, matching)
    visit_ns = _visit_ns(matching * manifest.dimension, probe_count)
    return None if visit_ns <= scan_ns else Scan(lists, rescored)


def _visit_ns(components: int, probe_count: int) -> float:
    """What it takes to compare one of so many probes with rows of so many components."""
    if probe_count >= BLOCKED_PROBES_MIN:
        return components * (BLOCKED_VISIT_NS_PER_COMPONENT + GATHER_NS_PER_COMPONENT / probe_count)
    far = max(0, components - CACHED_COMPONENTS_MAX)
    return VISIT_NS_PER_COMPONENT * (components - far) + FAR_VISIT_NS_PER_COMPONENT * far
