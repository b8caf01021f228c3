"""The soak of tests/soak.py for twenty seconds; tests/stress has it for ten minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import Soak

SECONDS = 20.0
RESIDENT_MAX_MIB = 2048.0


@pytest.mark.slow
def test_a_well_behaved_client_is_served_beside_abuse(store_path: Path) -> None:
    """Under floods, huge messages, slow readers and half-open streams a client is answered rightly, and memory stays
    within its bound.
    """
    report = Soak(store_path, SECONDS).run()
    print(f"\n{report.table()}")
    assert report.wrong == []
    assert sum(report.failures.values()) == 0
    assert sum(len(part) for part in report.latencies_s) > 0
    assert max(one for part in report.resident_mib for one in part) < RESIDENT_MAX_MIB
