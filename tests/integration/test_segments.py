"""A gallery that grows, shrinks and is damaged keeps an index close to its newest rows, and says how good it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien_server.engine import Engine, EngineOptions, building, indexing, sealing
from mien_server.engine.types import (
    EnrollRows,
    GallerySpec,
    IndexState,
    IndexStateKind,
    OperationState,
    PackedEmbeddings,
    Probes,
    SearchChoices,
)
from mien_server.index import Generation, RebuildPolicy
from mien_server.records.deadline import Deadline
from tests.unit_rows import nearest, unit_rows

NEVER = Deadline()
DIMENSION = 16
WAIT_TIME_MAX_S = 90.0
TAIL_ROWS_MAX = 50
ROWS = unit_rows(3000, DIMENSION, 3)
NO_TRAINING = 1e9


def options(**changes: float) -> EngineOptions:
    policy = {"tail_rows_max": TAIL_ROWS_MAX, "growth_max": NO_TRAINING, "measured_growth_max": NO_TRAINING} | changes
    return EngineOptions(
        rebuild=RebuildPolicy(flat_bytes_max=1, flat_rows_min=300, **policy),  # type: ignore[arg-type]
        build_thread_count=1,
    )


def enroll(engine: Engine, first: int, last: int) -> None:
    rows = PackedEmbeddings(ROWS[first:last].tobytes(), DIMENSION, last - first)
    ids = [f"f{number}" for number in range(first, last)]
    engine.enrollment.enroll_rows(EnrollRows("g", rows, ids, face_ids=ids), NEVER)


def create(engine: Engine) -> None:
    engine.galleries.create(GallerySpec("g", precomputed_name="m", precomputed_dimension=DIMENSION), None)


def state_of(engine: Engine) -> IndexState:
    return engine.galleries.get("g")[0].index_state


def wait_until(engine: Engine, holds: Callable[[IndexState], bool]) -> IndexState:
    end_s = time.monotonic() + WAIT_TIME_MAX_S
    while not holds(state := state_of(engine)):
        assert time.monotonic() < end_s, state
        time.sleep(0.02)
    return state


def is_sealed(state: IndexState) -> bool:
    return state.kind is IndexStateKind.READY and state.tail_rows <= TAIL_ROWS_MAX


def check(engine: Engine, row_count: int, gone: frozenset[int] = frozenset()) -> None:
    """The last step finds what numpy does among the rows that are there."""
    live = np.array([number for number in range(row_count) if number not in gone])
    probes = np.concatenate([ROWS[live[:: max(1, len(live) // 40)]], unit_rows(5, DIMENSION, 8)])
    numbers, _ = nearest(ROWS[live], probes, 3)
    packed = Probes(embeddings=PackedEmbeddings(probes.tobytes(), DIMENSION, len(probes)))
    choices = SearchChoices(step=len(state_of(engine).ladder) or None)
    answer = engine.recognition.search("g", packed, k=3, choices=choices, deadline=NEVER)
    found = [answer.face_ids[end - 3] for end in np.cumsum(answer.counts)]
    agreement = np.mean([one == f"f{live[number]}" for one, number in zip(found, numbers[:, 0], strict=True)])
    assert agreement >= 0.95


def folders(store: Path) -> list[str]:
    return sorted(path.name for path in (store / "index" / "00000001").iterdir())


def test_new_rows_are_sealed_and_stay_so_over_a_restart(store_path: Path) -> None:
    """Whatever is enrolled is soon in a segment, without training; a restart serves the same segments."""
    with Engine.open(store_path, options()) as engine:
        create(engine)
        enroll(engine, 0, 1000)
        first = wait_until(engine, is_sealed)
        for start in range(1000, 2000, 100):
            enroll(engine, start, start + 100)
            check(engine, start + 100)
        wait_until(engine, lambda state: is_sealed(state) and state.indexed_rows == 2000)
        enroll(engine, 2000, 2100)
        sealed = wait_until(engine, lambda state: is_sealed(state) and state.indexed_rows == 2100)
        assert (sealed.build_time_us, sealed.trained_rows) == (first.build_time_us, first.trained_rows)
        assert 2 <= sealed.segment_count <= 5
        check(engine, 2100)
    assert folders(store_path) == ["CURRENT", sealed.generation][::-1]
    with Engine.open(store_path, options()) as engine:
        assert state_of(engine).generation == sealed.generation
        check(engine, 2100)


def test_a_build_under_way_is_sealed_before_it_serves(store_path: Path) -> None:
    """Rows enrolled while a generation is trained are in it when it serves; seals of the old one go on meanwhile."""
    with Engine.open(store_path, options()) as engine, ThreadPoolExecutor(1) as threads:
        create(engine)
        enroll(engine, 0, 1000)
        before = wait_until(engine, is_sealed)
        name = engine.operations.rebuild_index("g").name
        ended = threads.submit(engine.operations.wait, name, WAIT_TIME_MAX_S, NEVER)
        written = 1000
        while not ended.done() and written < len(ROWS):
            enroll(engine, written, written + 100)
            written += 100
            check(engine, written)
        assert ended.result().state is OperationState.SUCCEEDED
        after = wait_until(engine, lambda state: is_sealed(state) and state.indexed_rows >= written - TAIL_ROWS_MAX)
        assert after.build_time_us > before.build_time_us
        check(engine, written)
    assert folders(store_path) == ["CURRENT", after.generation][::-1]


def test_the_dead_are_dropped(store_path: Path) -> None:
    """Once too many are deleted their codes go, from memory and from disk, without training."""
    with Engine.open(store_path, options()) as engine:
        create(engine)
        enroll(engine, 0, 2000)
        before = wait_until(engine, is_sealed)
        gone = frozenset(range(0, 2000, 2))
        size_before = sum(path.stat().st_size for path in (store_path / "index").rglob("lists-*"))
        engine.faces.delete("g", [f"f{number}" for number in sorted(gone)])
        after = wait_until(engine, lambda state: state.generation != before.generation and not state.tombstones)
        assert (after.segment_count, after.build_time_us) == (1, before.build_time_us)
        check(engine, 2000, gone)
    assert sum(path.stat().st_size for path in (store_path / "index").rglob("lists-*")) < 0.7 * size_before


def test_growth_is_measured(store_path: Path) -> None:
    """When a gallery has grown its ladder is measured anew on the same training, and what was missed is shown."""
    with Engine.open(store_path, options(measured_growth_max=1.5)) as engine:
        create(engine)
        enroll(engine, 0, 1000)
        first = wait_until(engine, is_sealed)
        assert (first.measured_rows, first.drift) == (1000, None)
        enroll(engine, 1000, 2000)
        measured = wait_until(engine, lambda state: state.measured_rows > 1500)
        assert measured.build_time_us == first.build_time_us
        assert measured.measure_time_us > first.measure_time_us
        assert measured.drift is None or -1 <= measured.drift <= 1
        assert 0 < measured.default_agreement <= 1
        info = engine.server_info().galleries[0].index_state
        assert (info.measured_rows, info.segment_count) == (measured.measured_rows, measured.segment_count)
        check(engine, 2000)


def test_training_follows_growth(store_path: Path) -> None:
    """A gallery of four times the rows it was trained on is trained anew by itself."""
    with Engine.open(store_path, options(growth_max=2.0)) as engine:
        create(engine)
        enroll(engine, 0, 500)
        first = wait_until(engine, is_sealed)
        enroll(engine, 500, 2500)
        after = wait_until(engine, lambda state: is_sealed(state) and state.build_time_us > first.build_time_us)
        assert after.trained_rows >= 1000
        check(engine, 2500)


def test_a_segment_damaged_on_disk_is_built_anew(store_path: Path) -> None:
    """A seal that meets a damaged file changes nothing, says so, and the index is built anew from the rows."""
    with Engine.open(store_path, options()) as engine:
        create(engine)
        enroll(engine, 0, 1000)
        before = wait_until(engine, is_sealed)
        [path] = (store_path / "index").rglob("lists-*")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        enroll(engine, 1000, 1900)
        check(engine, 1900)
        after = wait_until(engine, lambda state: is_sealed(state) and state.build_time_us > before.build_time_us)
        assert after.detail == ""
        assert engine.degraded_reasons() == []
        check(engine, 1900)


@pytest.mark.parametrize("is_automatic", [True, False])
def test_a_gallery_left_alone_is_not_sealed(store_path: Path, *, is_automatic: bool) -> None:
    """Where nothing is to be done without being asked, the tail grows and is searched exactly."""
    chosen = EngineOptions(rebuild=options().rebuild, build_thread_count=1, rebuilds_automatically=is_automatic)
    with Engine.open(store_path, chosen) as engine:
        create(engine)
        enroll(engine, 0, 1000)
        if not is_automatic:
            engine.operations.wait(engine.operations.rebuild_index("g").name, WAIT_TIME_MAX_S, NEVER)
        wait_until(engine, is_sealed)
        enroll(engine, 1000, 1900)
        if is_automatic:
            wait_until(engine, is_sealed)
        else:
            time.sleep(1.0)
            assert state_of(engine).tail_rows == 900
        check(engine, 1900)


def test_a_gallery_deleted_while_it_is_sealed(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sealed for a gallery that has gone is not published, and no trouble stays."""
    is_sealed_now = threading.Event()
    with Engine.open(store_path, options()) as engine:
        create(engine)
        enroll(engine, 0, 1000)
        wait_until(engine, is_sealed)
        real = sealing.seal

        def seal(*arguments: Any, **named: Any) -> Generation:
            made = real(*arguments, **named)
            engine.galleries.delete("g", force=True)
            is_sealed_now.set()
            return made

        monkeypatch.setattr(sealing, "seal", seal)
        enroll(engine, 1000, 1900)
        assert is_sealed_now.wait(WAIT_TIME_MAX_S)
        end_s = time.monotonic() + WAIT_TIME_MAX_S
        while engine._context.indexes.generations or engine.degraded_reasons():
            assert time.monotonic() < end_s
            time.sleep(0.02)
    with Engine.open(store_path, options()) as engine:
        assert engine.server_info().galleries == ()


def test_a_seal_that_the_disk_refuses_is_tried_again(store_path: Path) -> None:
    """While nothing can be written the tail is searched exactly and the gallery says so; later it is sealed."""
    with Engine.open(store_path, options()) as engine:
        create(engine)
        enroll(engine, 0, 1000)
        wait_until(engine, is_sealed)
        folder = store_path / "index" / "00000001"
        # Where CURRENT is to be written there is a folder in the way.
        (folder / "CURRENT.new").mkdir()
        enroll(engine, 1000, 1900)
        state = wait_until(engine, lambda state: state.kind is IndexStateKind.DEGRADED)
        assert "not sealed" in state.detail
        assert str(store_path) not in state.detail
        assert engine.degraded_reasons()
        check(engine, 1900)
        (folder / "CURRENT.new").rmdir()
        wait_until(engine, is_sealed)
        assert engine.degraded_reasons() == []
        check(engine, 1900)
    assert len(folders(store_path)) == 2


def test_a_tail_is_sealed_after_a_restart(store_path: Path) -> None:
    """Rows that were not sealed when the server ended are sealed by the next one, without another write."""
    never = EngineOptions(rebuild=options().rebuild, build_thread_count=1, rebuilds_automatically=False)
    with Engine.open(store_path, never) as engine:
        create(engine)
        enroll(engine, 0, 1000)
        engine.operations.wait(engine.operations.rebuild_index("g").name, WAIT_TIME_MAX_S, NEVER)
        enroll(engine, 1000, 1900)
        assert state_of(engine).tail_rows == 900
    with Engine.open(store_path, options()) as engine:
        wait_until(engine, is_sealed)
        check(engine, 1900)


def test_a_measuring_that_failed_is_shown_until_one_succeeds(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be measured is said in the gallery's state, is tried again, and then said no more."""
    with Engine.open(store_path, options(measured_growth_max=1.5)) as engine:
        create(engine)
        enroll(engine, 0, 1000)
        wait_until(engine, is_sealed)
        real = building.BuildProcess.start
        fails = threading.Event()
        fails.set()

        def start(directory: Path, job: Any) -> Any:
            if fails.is_set() and job.measured:
                raise indexing.BuildFailed("no process can be started")
            return real(directory, job)

        monkeypatch.setattr(building.BuildProcess, "start", start)
        enroll(engine, 1000, 2000)
        state = wait_until(engine, lambda state: state.kind is IndexStateKind.DEGRADED)
        assert "could not be measured: no process" in state.detail
        check(engine, 2000)
        fails.clear()
        wait_until(engine, lambda state: state.measured_rows > 1500 and is_sealed(state))
        assert engine.degraded_reasons() == []


def test_a_build_that_cannot_be_sealed_serves_all_the_same(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training is not lost because the segment that should follow it cannot be written."""
    with Engine.open(store_path, options()) as engine:
        create(engine)
        enroll(engine, 0, 1000)
        before = wait_until(engine, is_sealed)
        real = building.load_generation

        def load(directory: Path, expected: Any) -> Generation:
            enroll(engine, 1000, 1900)
            return real(directory, expected)

        def refuse(*_arguments: Any, **_named: Any) -> Generation:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(building, "load_generation", load)
        monkeypatch.setattr(sealing, "seal", refuse)
        operation = engine.operations.rebuild_index("g").name
        assert engine.operations.wait(operation, WAIT_TIME_MAX_S, NEVER).state is OperationState.SUCCEEDED
        after = state_of(engine)
        assert after.build_time_us > before.build_time_us
        assert after.tail_rows == 900
        check(engine, 1900)
