"""What every test may use: the shared photographs, a place for a store, and marks that skip with a reason."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.faults.library import Faults

REPOSITORY = Path(__file__).resolve().parent.parent

# A machine that is busy is no failure: neither the time of one example nor that of making one is judged.
settings.register_profile(
    "mien", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("mien")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("facenet") is None:
        return
    missing = [name for name in ("torch", "facenet_pytorch") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed; install the [facenet] extra")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of photographs that lies beside the checkout (`people`, `lfw`), or MIEN_SHARED_DATA.

    Skips where there is none: the data is not part of the tree.
    """
    named = os.environ.get("MIEN_SHARED_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no photographs at {folder}; set MIEN_SHARED_DATA to a folder that holds people and lfw")
    return folder


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Where a test may make its store; nothing is there yet."""
    return tmp_path / "store"


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[Faults]:
    """Faults of the disk for a server that is started with their environment. Skips where there is no compiler."""
    made = Faults(tmp_path)
    yield made
    made.close()
