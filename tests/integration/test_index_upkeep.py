"""What the thread of the indexes keeps in order: galleries that want no index, leftovers, defects, a full queue."""

from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mien_server.engine import Engine, EngineOptions, building, indexing
from mien_server.engine import engine as engine_module
from mien_server.engine.types import (
    EnrollRows,
    GallerySpec,
    IndexStateKind,
    OperationInfo,
    OperationState,
    PackedEmbeddings,
)
from mien_server.errors import Overloaded
from mien_server.index import Generation, RebuildPolicy
from mien_server.records.deadline import Deadline
from mien_server.records.policies import IndexCode, IndexPolicy
from mien_server.storage import PutOperation, StoreOptions
from mien_server.storage.changes import Changes
from mien_server.storage.commands import Command, Plan, Planning
from tests.unit_rows import unit_rows

NEVER = Deadline()
ROW_COUNT, DIMENSION = 400, 16
NEVER_SETTLES_S = 3600.0
WAIT_TIME_MAX_S = 60.0
OPTIONS = EngineOptions(
    rebuild=RebuildPolicy(flat_bytes_max=1, flat_rows_min=300), build_thread_count=1, rebuilds_automatically=False
)


def fill(engine: Engine, row_count: int = ROW_COUNT) -> None:
    """Make gallery `g`."""
    engine.galleries.create(GallerySpec("g", precomputed_name="m", precomputed_dimension=DIMENSION), None)
    rows = PackedEmbeddings(unit_rows(row_count, DIMENSION, 3).tobytes(), DIMENSION, row_count)
    ids = [f"f{number}" for number in range(row_count)]
    engine.enrollment.enroll_rows(EnrollRows("g", rows, ids, face_ids=ids), NEVER)


def rebuilt(engine: Engine) -> OperationInfo:
    """Ask for an index and wait for the end."""
    return engine.operations.wait(engine.operations.rebuild_index("g").name, WAIT_TIME_MAX_S, NEVER)


def folder_of(store_path: Path) -> Path:
    return store_path / "index" / "00000001"


def be_flat(engine: Engine) -> None:
    engine.galleries.update("g", index_policy=IndexPolicy(code=IndexCode.FLAT))


def check_serves_nothing_built(engine: Engine) -> None:
    state = engine.galleries.get("g")[0].index_state
    assert (state.kind, state.generation, state.detail) == (IndexStateKind.FLAT, "", "")


@pytest.fixture(scope="module")
def store_with_a_generation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was ended well; to be copied."""
    store = tmp_path_factory.mktemp("whole") / "store"
    with Engine.open(store, OPTIONS) as engine:
        fill(engine)
        assert rebuilt(engine).state is OperationState.SUCCEEDED
    return store


@pytest.fixture
def indexed(store_with_a_generation: Path, store_path: Path) -> Path:
    """A copy of that store."""
    return Path(shutil.copytree(store_with_a_generation, store_path))


@pytest.fixture
def never_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Galleries are looked at only when somebody asks for an index."""
    monkeypatch.setattr(indexing, "SETTLE_S", NEVER_SETTLES_S)


def test_a_gallery_that_is_made_flat_loses_its_generation(indexed: Path) -> None:
    """Once its policy says FLAT a gallery is soon searched exactly, without being asked and for good."""
    with Engine.open(indexed, OPTIONS) as engine:
        assert engine.galleries.get("g")[0].index_state.kind is IndexStateKind.READY
        be_flat(engine)
        assert rebuilt(engine).state is OperationState.SUCCEEDED
        check_serves_nothing_built(engine)
    assert list(folder_of(indexed).iterdir()) == []
    with Engine.open(indexed, OPTIONS) as engine:
        check_serves_nothing_built(engine)


def test_a_gallery_that_is_made_flat_need_not_be_asked(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change of policy alone has the generation removed."""
    is_removed = threading.Event()
    real = indexing.Indexes._unpublish

    def unpublish(indexes: indexing.Indexes, number: int) -> None:
        real(indexes, number)
        is_removed.set()

    monkeypatch.setattr(indexing.Indexes, "_unpublish", unpublish)
    with Engine.open(indexed, OPTIONS) as engine:
        be_flat(engine)
        assert is_removed.wait(WAIT_TIME_MAX_S)
        check_serves_nothing_built(engine)
    assert list(folder_of(indexed).iterdir()) == []


@pytest.mark.usefixtures("never_settles")
def test_a_flat_gallery_loads_no_generation(indexed: Path) -> None:
    """A server that ended before it looked at the new policy serves no generation after the restart."""
    with Engine.open(indexed, OPTIONS) as engine:
        be_flat(engine)
    with Engine.open(indexed, OPTIONS) as engine:
        check_serves_nothing_built(engine)
        assert list(folder_of(indexed).iterdir()) == []


def test_a_gallery_that_shrank_stays_flat_after_a_restart(indexed: Path) -> None:
    """An index asked for below the flat size is none, and what was built before does not come back."""
    with Engine.open(indexed, OPTIONS) as engine:
        engine.faces.delete("g", [f"f{number}" for number in range(200)])
        assert rebuilt(engine).state is OperationState.SUCCEEDED
        check_serves_nothing_built(engine)
    with Engine.open(indexed, OPTIONS) as engine:
        check_serves_nothing_built(engine)


@pytest.mark.usefixtures("never_settles")
def test_leftovers_of_builds_go_when_a_store_is_opened(indexed: Path) -> None:
    """Folders of builds that died and generations that were never published are removed at the next start."""
    folder = folder_of(indexed)
    before = {path.name for path in folder.iterdir()}
    for name in (".building-dead", "0000000000000009-made"):
        (folder / name).mkdir()
        (folder / name / "index.faiss").write_bytes(b"half of it")
    with Engine.open(indexed, OPTIONS) as engine:
        assert engine.galleries.get("g")[0].index_state.kind is IndexStateKind.READY
        assert {path.name for path in folder.iterdir()} == before


@pytest.mark.usefixtures("never_settles")
def test_troubles_name_galleries_that_are_there(indexed: Path) -> None:
    """Why the store is degraded is told by the names of galleries, and no more once the gallery has gone."""
    (folder_of(indexed) / "CURRENT").write_text("0-nothing\n", encoding="utf-8")
    with Engine.open(indexed, OPTIONS) as engine:
        [reason] = engine.degraded_reasons()
        assert reason.startswith("gallery g: ")
        engine.galleries.delete("g", force=True)
        assert engine.degraded_reasons() == []


@pytest.mark.usefixtures("never_settles")
def test_a_stream_of_commits_is_one_look(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits wake nobody before their time, a request for an index and the end of the server do."""
    looks: list[list[str]] = []
    real = indexing.Indexes._handle

    def handle(indexes: indexing.Indexes, number: int, operations: list[str]) -> None:
        looks.append(operations)
        real(indexes, number, operations)

    monkeypatch.setattr(indexing.Indexes, "_handle", handle)
    with Engine.open(store_path, OPTIONS) as engine:
        fill(engine, 10)
        for number in range(50):
            engine.galleries.update("g", display_name=str(number))
        name = rebuilt(engine).name
    assert looks == [[name]]


def test_a_gallery_deleted_while_its_index_is_loaded(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No view is open while an index is loaded; of a gallery that has gone meanwhile nothing is published, and no
    trouble stays.
    """
    held: list[int] = []
    real = building.load_generation
    with Engine.open(store_path, OPTIONS) as engine:
        fill(engine)

        def load(directory: Path, expected: Any) -> Generation:
            generation = real(directory, expected)
            engine.galleries.delete("g", force=True)
            held.append(len(engine._context.store._opened.snapshots._older))
            return generation

        monkeypatch.setattr(building, "load_generation", load)
        operation = rebuilt(engine)
        assert held == [0]
        assert operation.state is OperationState.FAILED
        assert operation.error is not None
        assert operation.error.reason == "GALLERY_NOT_FOUND"
        assert engine._context.indexes.generations == {}
        assert engine._context.indexes._troubles == {}


def test_a_defect_ends_the_operation_and_is_looked_at_again(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When looking at a gallery breaks, whoever asked is told, and the gallery is not forgotten."""
    with Engine.open(store_path, OPTIONS) as engine:
        fill(engine, 10)
        monkeypatch.setattr(indexing, "wants_rebuild", lambda *_arguments: 1 // 0)
        operation = rebuilt(engine)
        assert operation.state is OperationState.FAILED
        assert operation.error is not None
        assert operation.error.reason == "BUILD_FAILED"
        assert 1 in engine._context.indexes._touched


@dataclass(frozen=True)
class Hold(Command[None]):
    """Keeps the writer busy until it is let go."""

    is_busy: threading.Event
    may_go: threading.Event

    def plan(self, planning: Planning) -> Plan[None]:  # noqa: ARG002
        self.is_busy.set()
        assert self.may_go.wait(WAIT_TIME_MAX_S)
        return Plan(None, Changes())


def test_operations_end_although_the_queue_is_full(store_path: Path) -> None:
    """A new operation is refused and leaves nothing; one that runs is ended, whatever became of those before it."""
    options = EngineOptions(store=StoreOptions(queue_rows_max=1))
    with Engine.open(store_path, options) as engine, ThreadPoolExecutor(1) as threads:
        store, indexes = engine._context.store, engine._context.indexes
        running, refused = (indexes.new_operation(1, "g") for _ in range(2))
        indexes.log.start(running)
        is_busy, may_go = threading.Event(), threading.Event()
        store.submit(Hold(is_busy, may_go))
        assert is_busy.wait(WAIT_TIME_MAX_S)
        try:
            store.submit(PutOperation(running))
            with pytest.raises(Overloaded):
                indexes.log.start(refused)
            assert indexes.log.find(refused.name) is None
            ended = threads.submit(indexes._finish, ["operations/none", running.name], OperationState.FAILED)
            while not ended.done() and len(store._writer._waiting) < 2:
                time.sleep(0.001)
        finally:
            may_go.set()
        ended.result(WAIT_TIME_MAX_S)
        with store.view() as view:
            assert [(one.name, one.state) for one in view.operations()] == [(running.name, OperationState.FAILED)]


@pytest.mark.usefixtures("never_settles")
def test_an_engine_that_cannot_be_opened_lets_go_of_everything(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the last part of an engine cannot be made, no thread of it goes on and the store can be opened again."""

    def refuse(_options: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(engine_module, "EmbeddingService", refuse)
        with pytest.raises(MemoryError):
            Engine.open(store_path, OPTIONS)
    assert [one.name for one in threading.enumerate() if one.name == "mien-indexes"] == []
    with Engine.open(store_path, OPTIONS) as engine:
        assert engine.degraded_reasons() == []
