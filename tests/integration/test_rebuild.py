"""Index generations of a serving process: built beside the one that serves, swapped, cancelled, lost, outgrown."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mien_client import Client, IndexPolicy, IndexStateName, NotFound, Operation, OperationState
from tests.indexed_gallery import (
    BY_HAND,
    DIMENSION,
    FOUND_SHARE_MIN,
    GALLERY,
    PERSON_COUNT,
    ROW_COUNT,
    ROWS,
    SMALL_FLAT,
    WAIT_TIME_MAX_S,
    check_default,
    check_exact,
    check_hits,
    enroll,
    face_id,
    fill,
    is_ready,
    only_one_generation,
    rebuild,
    wait_until,
)
from tests.server_processes import ServerProcess
from tests.unit_rows import unit_rows

pytestmark = pytest.mark.slow


@pytest.fixture
def by_hand(store_path: Path) -> Iterator[tuple[ServerProcess, Client]]:
    """A server that builds when it is asked, and its gallery of ROW_COUNT faces."""
    with ServerProcess(store_path, *BY_HAND) as server, server.client() as client:
        fill(client)
        yield server, client


def test_a_rebuild_reports_its_progress_and_its_result(by_hand: tuple[ServerProcess, Client]) -> None:
    """RebuildIndex answers at once with an operation whose progress only grows and whose result is what serves then;
    the same request id names the same operation.
    """
    _, client = by_hand
    before = client.get_gallery(GALLERY)
    assert before.index_state.state is IndexStateName.FLAT
    started = client.rebuild_index(GALLERY, request_id="rebuild-1")
    assert started.gallery == GALLERY
    assert not started.is_done
    assert client.rebuild_index(GALLERY, request_id="rebuild-1").name == started.name
    seen: list[Operation] = [started]
    while not seen[-1].is_done:
        seen.append(client.get_operation(started.name))
        time.sleep(0.01)
    progress = [one.progress for one in seen]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert any(0 < share < 1 for share in progress)
    assert any(one.stage for one in seen)
    result = seen[-1].rebuild_index
    assert seen[-1].state is OperationState.SUCCEEDED
    assert result is not None
    after = wait_until(client, is_ready)
    assert after.index_state.generation == result.generation != ""
    assert (result.rows, after.index_state.indexed_rows, after.index_state.tail_rows) == (ROW_COUNT, ROW_COUNT, 0)
    assert after.index_state.ladder
    assert after.revision == before.revision, "a build writes nothing that anybody could have to read"
    assert [one.name for one in client.list_operations(gallery=GALLERY)] == [started.name]
    check_exact(client)
    check_default(client)


def test_an_operation_that_succeeded_says_ready(by_hand: tuple[ServerProcess, Client]) -> None:
    """Whoever waited for a rebuild finds READY in its result and in the gallery, not the end of building."""
    _, client = by_hand
    for _ in range(2):
        result = rebuild(client).rebuild_index
        assert result is not None
        assert result.index_state.state is IndexStateName.READY
        assert client.get_gallery(GALLERY).index_state.state is IndexStateName.READY


def test_searches_go_on_during_a_rebuild(by_hand: tuple[ServerProcess, Client]) -> None:
    """Threads that search before, during and after two rebuilds get no error, no wrong person and no missing answer,
    while faces are enrolled.
    """
    _, client = by_hand
    is_over = threading.Event()

    def search(seed: int) -> list[bool]:
        numbers, found = np.random.default_rng(seed), []
        while not is_over.is_set():
            found.append(check_hits(client, ROWS[numbers.integers(ROW_COUNT)]))
        return found

    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(search, seed) for seed in range(3)]
        try:
            first, second = rebuild(client).rebuild_index, rebuild(client).rebuild_index
        finally:
            is_over.set()
        found = [was_found for one in running for was_found in one.result()]
    assert first is not None
    assert second is not None
    assert first.generation != second.generation
    assert len(found) > 50
    assert sum(found) >= FOUND_SHARE_MIN * len(found)


def test_a_cancelled_rebuild_changes_nothing(by_hand: tuple[ServerProcess, Client]) -> None:
    """A cancelled operation ends with CANCELLED and its reason, the gallery is served as before, its folder keeps no
    rest, and the next rebuild succeeds.
    """
    server, client = by_hand
    generation = rebuild(client).rebuild_index
    assert generation is not None
    operation = client.rebuild_index(GALLERY)
    while client.get_operation(operation.name).state is OperationState.PENDING:
        time.sleep(0.005)
    client.cancel_operation(operation.name)
    ended = client.wait_operation(operation.name, timeout_s=WAIT_TIME_MAX_S)
    assert ended.state is OperationState.CANCELLED
    assert ended.error is not None
    assert ended.rebuild_index is None
    gallery = wait_until(client, is_ready)
    assert gallery.index_state.generation == generation.generation
    assert gallery.index_state.detail == ""
    assert only_one_generation(server.data)
    check_default(client)
    rebuild(client)
    check_default(client)


def test_a_rebuild_that_waits_is_cancelled_at_once(by_hand: tuple[ServerProcess, Client]) -> None:
    """A build that waits for another gallery's to end need not begin to be cancelled."""
    _, client = by_hand
    client.create_gallery("second", precomputed="made-1", dimension=DIMENSION)
    running = client.rebuild_index(GALLERY)
    waiting = client.rebuild_index("second")
    assert client.cancel_operation(waiting.name).state is OperationState.CANCELLED
    assert client.wait_operation(running.name, timeout_s=WAIT_TIME_MAX_S).state is OperationState.SUCCEEDED
    assert client.get_operation(waiting.name).state is OperationState.CANCELLED


@pytest.mark.parametrize("ends_well", [False, True], ids=["killed", "ended"])
def test_a_restart_ends_the_operations_of_the_server_before(store_path: Path, *, ends_well: bool) -> None:
    """A rebuild under way when the server ends is no longer under way after the restart: FAILED with
    SERVER_RESTARTED after a kill, CANCELLED when the server ended well; another one succeeds.
    """
    with ServerProcess(store_path, *BY_HAND) as server, server.client() as client:
        fill(client)
        operation = client.rebuild_index(GALLERY)
        while client.get_operation(operation.name).state is OperationState.PENDING:
            time.sleep(0.005)
        if ends_well:
            assert server.end() == 0
        else:
            server.kill()
    with ServerProcess(store_path, *BY_HAND) as server, server.client() as client:
        after = client.get_operation(operation.name)
        assert after.state is (OperationState.CANCELLED if ends_well else OperationState.FAILED)
        assert after.end_time is not None
        assert after.error is not None
        assert ends_well or after.error.reason == "SERVER_RESTARTED"
        assert client.get_gallery(GALLERY).index_state.state is IndexStateName.FLAT
        check_exact(client)
        rebuild(client)
        check_default(client)
    assert only_one_generation(store_path), "the folder of the build that died is still there"


def test_an_index_is_built_and_rebuilt_without_being_asked(store_path: Path) -> None:
    """A gallery that outgrows exact search gets a generation, and newer rows are sealed into it."""
    with ServerProcess(store_path, *SMALL_FLAT) as server, server.client() as client:
        fill(client, 900)
        assert client.get_gallery(GALLERY).index_state.state is IndexStateName.FLAT
        enroll(client, 900, 2000)
        first = wait_until(client, lambda one: is_ready(one) and one.index_state.tail_rows <= 100).index_state
        assert first.indexed_rows + first.tail_rows == 2000
        check_exact(client, 2000)
        enroll(client, 2000, ROW_COUNT)
        second = wait_until(client, lambda one: is_ready(one) and one.index_state.indexed_rows >= ROW_COUNT - 100)
        assert second.index_state.trained_rows < second.index_state.indexed_rows
        check_exact(client)
        check_default(client)
        assert {one.state for one in client.list_operations()} == {OperationState.SUCCEEDED}


def test_the_dead_are_dropped_when_too_many_of_an_indexs_faces_are_gone(store_path: Path) -> None:
    """When more than their share of the faces were deleted, a generation without them follows, of the same training."""
    with ServerProcess(store_path, *SMALL_FLAT, "index.tombstone_share_max=0.1") as server, server.client() as client:
        fill(client)
        first = wait_until(client, lambda one: is_ready(one) and one.index_state.tail_rows <= 100).index_state
        gone = frozenset(range(0, ROW_COUNT, 7))
        client.delete_faces(GALLERY, [face_id(number) for number in sorted(gone)])
        second = wait_until(client, lambda one: is_ready(one) and one.index_state.generation != first.generation)
        assert second.index_state.tombstones == 0
        assert second.index_state.segment_count == 1
        assert second.index_state.build_time == first.build_time
        check_exact(client, gone=gone)


def test_manual_rebuild_leaves_a_gallery_alone(store_path: Path) -> None:
    """A gallery whose policy says manual_rebuild is searched exactly until somebody asks for an index."""
    with ServerProcess(store_path, *SMALL_FLAT) as server, server.client() as client:
        fill(client, policy=IndexPolicy(manual_rebuild=True))
        time.sleep(1.0)
        assert client.get_gallery(GALLERY).index_state.state is IndexStateName.FLAT
        assert list(client.list_operations()) == []
        rebuild(client)
        assert is_ready(wait_until(client, is_ready))


def test_a_small_gallery_stays_flat(store_path: Path) -> None:
    """A rebuild of a gallery that is small enough for exact search succeeds and builds nothing; one of a gallery that
    is not there is refused.
    """
    with ServerProcess(store_path) as server, server.client() as client:
        fill(client, 500)
        result = rebuild(client).rebuild_index
        assert result is None or result.generation == ""
        assert client.get_gallery(GALLERY).index_state.state is IndexStateName.FLAT
        check_exact(client, 500)
        with pytest.raises(NotFound) as caught:
            client.rebuild_index("nobody")
        assert caught.value.reason == "GALLERY_NOT_FOUND"


def test_deleted_faces_are_tombstones_that_nobody_sees(by_hand: tuple[ServerProcess, Client]) -> None:
    """Faces deleted after a generation was built are counted as tombstones, never appear, and cost no answer a hit:
    not for their own vectors, not when they were all the nearest ones. The next generation holds none.
    """
    _, client = by_hand
    rebuild(client)
    probe = unit_rows(1, DIMENSION, 21)[0]
    nearest_numbers = np.argsort(-(ROWS @ probe))[:300].tolist()
    gone = frozenset(nearest_numbers) | frozenset(number for number in range(ROW_COUNT) if number % PERSON_COUNT == 7)
    client.delete_faces(GALLERY, [face_id(number) for number in nearest_numbers])
    deleted = client.delete_identity(GALLERY, "person-7")
    assert deleted.deleted_faces == len(gone) - 300
    state = client.get_gallery(GALLERY, min_revision=deleted.revision).index_state
    assert state.tombstones == len(gone)
    check_hits(client, probe, k=100, gone=gone)
    for number in sorted(gone)[::10]:
        check_hits(client, ROWS[number], k=20, gone=gone)
    check_exact(client, gone=gone)
    result = rebuild(client).rebuild_index
    assert result is not None
    assert result.rows == ROW_COUNT - len(gone)
    assert wait_until(client, is_ready).index_state.tombstones == 0
    check_hits(client, probe, k=100, gone=gone)
    check_exact(client, gone=gone)


def test_moved_faces_are_found_under_their_new_owner(by_hand: tuple[ServerProcess, Client]) -> None:
    """A face that was given to somebody else after the generation was built is answered with its new owner at once."""
    _, client = by_hand
    rebuild(client)
    numbers = list(range(0, 400, 4))
    moved = client.move_faces(GALLERY, [face_id(number) for number in numbers], "somebody-else")
    assert moved.moved_count == len(numbers)
    for number in numbers[::5]:
        [found] = client.search_faces(GALLERY, embeddings=ROWS[number], k=1).embeddings
        assert (found.neighbors[0].face_id, found.neighbors[0].identity_id) == (face_id(number), "somebody-else")
    state = client.get_gallery(GALLERY).index_state
    assert (state.tombstones, state.tail_rows) == (0, 0)
