"""The kill test of tests/recovery over many more rounds."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.recovery.kill_rounds import SEED_VARIABLE, KillRounds, RoundKind

ROUND_COUNT = 200
KINDS = (RoundKind.BUILD, RoundKind.STEP, RoundKind.STEP, RoundKind.TIME)
REPORT_EVERY = 10
TIME_MAX_S = 3600


@pytest.mark.slow
@pytest.mark.timeout(TIME_MAX_S)
def test_two_hundred_kills_lose_no_answered_write(store_path: Path) -> None:
    """Over 200 kills of one store every acknowledged write is there and no other one is half there."""
    seed = int(os.environ.get(SEED_VARIABLE, random.randrange(2**32)))
    print(f"again with {SEED_VARIABLE}={seed}")
    rounds = KillRounds(store_path, seed)
    for number in range(1, ROUND_COUNT + 1):
        rounds.run_round(KINDS[number % len(KINDS)])
        if number % REPORT_EVERY == 0:
            print(f"round {number}: {rounds.report()}", flush=True)
    rounds.finish()
    print(f"killed at: {dict(rounds.steps_reached)}; not reached: {dict(rounds.steps_missed)}")
    assert rounds.pending_count
    assert rounds.builds_killed
