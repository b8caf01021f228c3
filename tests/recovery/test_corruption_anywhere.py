"""Bytes flipped anywhere in a store: what is read is what was written, or is refused; nothing ends the process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.recovery.corruption_support import make_store

pytestmark = pytest.mark.slow

SEED_COUNT = 120


def test_flipped_bytes_are_never_served(tmp_path: Path) -> None:
    """For each seed: refused with a reason, found by the check, or nothing that is read was hit."""
    store = make_store(tmp_path / "store")
    command = [
        sys.executable,
        "-m",
        "tests.recovery.corruption_worker",
        str(store),
        str(tmp_path),
        "1",
        str(SEED_COUNT),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, (lines[-1:], ended.stderr[-2000:])
    outcomes = {line["seed"]: line["outcome"] for line in lines if "outcome" in line}
    assert len(outcomes) == SEED_COUNT
    assert [seed for seed, outcome in outcomes.items() if outcome == "SERVED"] == []
    kinds = Counter(outcome.split()[0] for outcome in outcomes.values())
    assert kinds["refused"] > SEED_COUNT / 4, kinds
