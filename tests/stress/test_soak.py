"""The soak of tests/soak.py for ten minutes, or MIEN_SOAK_S seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.soak import Soak

SECONDS = float(os.environ.get("MIEN_SOAK_S", "600"))
WARM_UP_SHARE = 0.3
GROWTH_MAX_MIB = 256.0


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_ten_minutes_of_abuse_leave_memory_bounded(store_path: Path) -> None:
    """Memory does not grow after the warm-up, and a well-behaved client is answered rightly all the time."""
    report = Soak(store_path, SECONDS).run()
    print(f"\n{report.table()}")
    print(f"growth after the warm-up: {report.growth_mib(WARM_UP_SHARE):.0f} MiB; failures: {dict(report.failures)}")
    assert report.wrong == []
    assert report.growth_mib(WARM_UP_SHARE) < GROWTH_MAX_MIB
    assert all(report.latencies_s[: len(report.outcomes)]), "an interval without an answer"
    assert sum(report.failures.values()) == 0
