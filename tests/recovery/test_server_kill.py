"""`kill -9` of a serving process: no answered write is lost, no unanswered one is half there."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.recovery.kill_rounds import SEED_VARIABLE, KillRounds

ROUND_COUNT = 20
INDEX_ROUND_EVERY = 3


@pytest.mark.slow
def test_a_killed_server_loses_no_answered_write(store_path: Path) -> None:
    """Over 20 kills at random points of concurrent writes and index builds, every acknowledged write is there, every
    other one is wholly there or wholly absent, counts are exact, and each search answers with the right person.
    """
    seed = int(os.environ.get(SEED_VARIABLE, random.randrange(2**32)))
    print(f"again with {SEED_VARIABLE}={seed}")
    rounds = KillRounds(store_path, seed)
    for number in range(1, ROUND_COUNT + 1):
        rounds.run_round(builds_index=number % INDEX_ROUND_EVERY == 0)
    rounds.finish()
    print(rounds.report())
    assert rounds.pending_count
    assert rounds.builds_killed
