"""Long-running work through the engine: started once, followed to its end, forgotten in time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien_server.engine import Engine, EngineOptions
from mien_server.engine.types import EnrollRows, GallerySpec, OperationState, PackedEmbeddings, RequestToken
from mien_server.errors import Conflict, NotFound
from mien_server.records.deadline import Deadline

NEVER = Deadline()


def filled(engine: Engine) -> None:
    """Give the engine a gallery `g` with three faces."""
    engine.galleries.create(GallerySpec("g", precomputed_name="m", precomputed_dimension=8), None)
    rows = np.eye(3, 8, dtype=np.float32)
    engine.enrollment.enroll_rows(EnrollRows("g", PackedEmbeddings(rows.tobytes(), 8, 3), list("abc")), NEVER)


def test_rebuild_of_a_small_gallery_succeeds_without_a_generation(store_path: Path) -> None:
    """A gallery that is searched exactly has nothing to build, and says so."""
    with Engine.open(store_path) as engine:
        filled(engine)
        started = engine.operations.rebuild_index("g")
        ended = engine.operations.wait(started.name, 20, NEVER)
        assert (ended.state, ended.progress, ended.result_generation) == (OperationState.SUCCEEDED, 1.0, "")


def test_same_request_id_starts_one_operation(store_path: Path) -> None:
    """A retried RebuildIndex answers with the operation that it started."""
    with Engine.open(store_path) as engine:
        filled(engine)
        names = {engine.operations.rebuild_index("g", RequestToken("r", b"x")).name for _ in range(3)}
        assert len(names) == 1
        with pytest.raises(Conflict):
            engine.operations.rebuild_index("g", RequestToken("r", b"y"))


def test_operations_are_listed_newest_first_in_pages(store_path: Path) -> None:
    """Pages follow each other without gaps, the newest first, and survive a restart."""
    with Engine.open(store_path) as engine:
        filled(engine)
        names = [engine.operations.rebuild_index("g").name for _ in range(5)]
        for name in names:
            engine.operations.wait(name, 20, NEVER)
    with Engine.open(store_path) as engine:
        first, after = engine.operations.list("g", "", 3)
        second, end = engine.operations.list("g", after, 3)
        assert [one.name for one in (*first, *second)] == names[::-1]
        assert end == ""
        assert {one.state for one in (*first, *second)} == {OperationState.SUCCEEDED}


def test_old_operations_are_forgotten(store_path: Path) -> None:
    """An operation that ended too long ago goes when a new one starts."""
    with Engine.open(store_path, EngineOptions(operation_age_max_s=0)) as engine:
        filled(engine)
        old = engine.operations.rebuild_index("g").name
        engine.operations.wait(old, 20, NEVER)
        new = engine.operations.rebuild_index("g").name
        assert [one.name for one in engine.operations.list("g", "", 10)[0]] == [new]
        with pytest.raises(NotFound) as refused:
            engine.operations.get(old)
        assert refused.value.reason == "OPERATION_NOT_FOUND"
