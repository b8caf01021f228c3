"""Every place in which a disk can fail under an index, in a row on one store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.index_faults import BUILD_FAULTS, SEAL_FAULTS, refuse_builds, refuse_seals
from tests.faults.library import Faults

ROUND_COUNT = 3


@pytest.mark.slow
def test_builds_that_the_disk_refuses_everywhere(store_path: Path, faults: Faults) -> None:
    """At each step of writing and publishing what served serves on, and in the end a build works."""
    refuse_builds(store_path, faults, [*BUILD_FAULTS.values()] * ROUND_COUNT)


@pytest.mark.slow
def test_seals_that_the_disk_refuses_everywhere(store_path: Path, faults: Faults) -> None:
    """At each step of sealing and publishing the tail is searched exactly, and soon it is sealed."""
    refuse_seals(store_path, faults, [*SEAL_FAULTS.values()] * ROUND_COUNT)
