"""The state machine of tests/property/test_engine_history.py over very many steps."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tests.engine_history import EngineHistory

SEED_VARIABLE = "MIEN_HISTORY_SEED"
STEP_COUNT_MIN = 50_000
EXAMPLES_A_TURN = 100
STEPS_AN_EXAMPLE = 60
TIME_MAX_S = 3600


class CountedHistory(EngineHistory):
    """Counts the steps of all histories."""

    step_count = 0

    @invariant()
    def count(self) -> None:
        """Runs after each step."""
        CountedHistory.step_count += 1


@pytest.mark.slow
@pytest.mark.timeout(TIME_MAX_S)
def test_fifty_thousand_steps_differ_nowhere_from_the_model() -> None:
    """Over 50,000 steps, in histories that differ each turn, no answer differs from the model's."""
    first = int(os.environ.get(SEED_VARIABLE, random.randrange(2**32)))
    print(f"again with {SEED_VARIABLE}={first}")
    turn = 0
    while CountedHistory.step_count < STEP_COUNT_MIN:
        chosen = settings(
            max_examples=EXAMPLES_A_TURN,
            stateful_step_count=STEPS_AN_EXAMPLE,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(seed(first + turn)(CountedHistory), settings=chosen)
        turn += 1
        print(f"turn {turn}: {CountedHistory.step_count} steps", flush=True)
