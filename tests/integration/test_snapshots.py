"""Snapshots of a serving process: taken while it is written to, restored to a server that answers alike."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mien_client import Client, NotFound, OperationState, PreconditionFailed, row_batches
from mien_client.cli.main import main as mien
from mien_index_tools.cli.main import main as mien_index
from tests.indexed_gallery import BY_HAND, DIMENSION, GALLERY, ROWS, fill, rebuild
from tests.server_processes import ServerProcess

pytestmark = pytest.mark.slow

WAIT_TIME_MAX_S = 60.0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[ServerProcess, Client, Path]]:
    """A server with an index, and the folder that it may keep snapshots in."""
    place = tmp_path / "snapshots"
    settings = (*BY_HAND, f"snapshots.destinations={place}")
    with ServerProcess(tmp_path / "store", *settings) as server, server.client() as client:
        fill(client)
        rebuild(client)
        yield server, client, place


def taken(client: Client, destination: str = "", **options: bool):
    """A snapshot that succeeded: its result."""
    done = client.wait_operation(client.create_snapshot(destination, **options).name, timeout_s=WAIT_TIME_MAX_S)
    assert done.state is OperationState.SUCCEEDED, done.error
    assert done.progress == 1.0
    assert done.create_snapshot is not None
    return done.create_snapshot


def answers(client: Client) -> list[list[tuple[str, str, float]]]:
    """Who is nearest to some rows by the default effort."""
    found = client.search_faces(GALLERY, embeddings=ROWS[::97], k=5).embeddings
    return [[(one.face_id, one.identity_id, one.similarity) for one in probe.neighbors] for probe in found]


def enroll_one(client: Client, gallery: str, row: int, identity_id: str) -> None:
    """Enrol one of ROWS."""
    for ack in client.stream_enroll(gallery, row_batches(ROWS[row : row + 1], [identity_id])):
        assert ack.error is None


def test_a_restored_store_answers_as_the_one_that_was_taken(
    served: tuple[ServerProcess, Client, Path], tmp_path: Path
) -> None:
    """Taken while faces are enrolled and deleted, restored with its index: counts and answers of that revision."""
    server, client, place = served
    stop = threading.Event()
    before = answers(client)

    def write() -> None:
        with server.client() as other:
            other.create_gallery("busy", precomputed="made-2", dimension=DIMENSION)
            for number in range(10_000):
                if stop.is_set():
                    return
                enroll_one(other, "busy", number % 100, f"person-{number}")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        result = taken(client, verify=True)
        assert answers(client) == before
    finally:
        stop.set()
        thread.join()
    assert result.destination_uri == str(place)
    server.end()
    assert mien_index(["restore", f"{place}/{result.name}", str(tmp_path / "restored")]) == 0
    with ServerProcess(tmp_path / "restored", *BY_HAND) as restored, restored.client() as other:
        assert other.get_server_info().revision == result.revision
        assert other.get_gallery(GALLERY).index_state.generation
        assert answers(other) == before


def test_a_revision_between_snapshots_answers_as_it_did(
    served: tuple[ServerProcess, Client, Path], tmp_path: Path
) -> None:
    """Restored to a revision after the snapshot by the journal of the store in place, searches are those of then."""
    server, client, place = served
    result = taken(client)
    client.delete_faces(GALLERY, ["face-0", "face-97"])
    client.move_faces(GALLERY, ["face-194"], "somebody")
    enroll_one(client, GALLERY, 0, "new-person")
    then, revision = answers(client), client.get_server_info().revision
    assert then[0][0][1] == "new-person"
    client.delete_gallery(GALLERY, force=True)
    server.end()
    store = tmp_path / "store"
    assert mien_index(["restore", f"{place}/{result.name}", str(store), "--to-revision", str(revision)]) == 4
    assert mien_index(["restore", f"{place}/{result.name}", f"{place}/{result.name}"]) == 4, "a snapshot is no target"
    assert mien_index(["snapshots", f"{place}-none"]) == 2
    assert mien_index(["restore", f"{place}/{result.name}", str(store), "--to-revision", str(revision - 1)]) == 0
    with ServerProcess(store, *BY_HAND) as restored, restored.client() as other:
        assert other.get_server_info().revision == revision - 1
        assert answers(other)[1:] == then[1:]
        assert "new-person" not in {one[1] for probe in answers(other) for one in probe}


def test_snapshots_are_listed_shared_and_deleted(
    served: tuple[ServerProcess, Client, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The list has the newest first with size, revision and when it was verified; the second shares with the first."""
    server, client, place = served
    first = taken(client, verify=True)
    second = taken(client)
    full = taken(client, f"{place}/below", full=True)
    assert second.new_bytes < first.new_bytes <= full.new_bytes + (1 << 16)
    listed = list(client.list_snapshots(page_size=2))
    assert [one.name for one in listed] == [full.name, second.name, first.name]
    assert [one.verify_time is not None for one in listed] == [False, False, True]
    assert {one.revision for one in listed} == {first.revision}
    assert {one.face_count for one in listed} == {len(ROWS)}
    assert [one.name for one in client.list_snapshots(f"{place}/below")] == [full.name]
    assert mien(["snapshot", "list", "--server", server.address]) == 0
    assert first.name in capsys.readouterr().out
    client.delete_snapshot(first.name, request_id="delete-1")
    client.delete_snapshot(first.name, request_id="delete-1")
    client.delete_snapshot(first.name, allow_missing=True)
    with pytest.raises(NotFound):
        client.delete_snapshot(first.name)
    assert [one.name for one in client.list_snapshots()] == [full.name, second.name]
    assert mien_index(["verify-snapshot", f"{place}/{second.name}"]) == 0
    assert next(one for one in client.list_snapshots() if one.name == second.name).verify_time is not None


def test_a_deletion_that_ended_before_it_could_answer_is_answered_when_it_is_asked_for_again(
    served: tuple[ServerProcess, Client, Path],
) -> None:
    """A snapshot that the store knows and the place has no more was deleted: once, and at that place alone."""
    _, client, place = served
    name = taken(client).name
    client.delete_snapshot(name, f"{place}/below", allow_missing=True)
    # As a kill leaves it: gone from the place, and the store does not know.
    shutil.rmtree(place / name)
    client.delete_snapshot(name, request_id="delete-1")
    client.delete_snapshot(name, request_id="delete-1")
    with pytest.raises(NotFound):
        client.delete_snapshot(name, request_id="delete-2")


def test_snapshots_of_other_stores_are_not_deleted(served: tuple[ServerProcess, Client, Path]) -> None:
    """Several stores may share a place; each deletes its own."""
    _, client, place = served
    name = taken(client).name
    other = f"{name[:-8]}01234567"
    shutil.copytree(place / name, place / other)
    for options in ({}, {"allow_missing": True}):
        with pytest.raises(PreconditionFailed) as refused:
            client.delete_snapshot(other, **options)
        assert refused.value.reason == "SNAPSHOT_OF_ANOTHER_STORE"
    assert (place / other / "manifest.json").exists()


def test_one_request_id_takes_one_snapshot(served: tuple[ServerProcess, Client, Path]) -> None:
    """A retried CreateSnapshot answers with the operation that it started."""
    _, client, _ = served
    names = {client.create_snapshot(request_id="snapshot-1").name for _ in range(3)}
    assert len(names) == 1
    client.wait_operation(names.pop(), timeout_s=WAIT_TIME_MAX_S)
    assert len(list(client.list_snapshots())) == 1


@pytest.mark.parametrize("destination", ["{}/../elsewhere", "{}x", "file://{}/../elsewhere", "memory://x", "/"])
def test_a_client_cannot_write_where_the_server_does_not_allow(
    destination: str, served: tuple[ServerProcess, Client, Path]
) -> None:
    """Whatever way a destination is spelled, only what the configuration names and what is below it is written to."""
    _, client, place = served
    for call in (client.create_snapshot, lambda uri: list(client.list_snapshots(uri))):
        with pytest.raises(PreconditionFailed) as refused:
            call(destination.format(place))
        assert refused.value.reason == "SNAPSHOT_DESTINATION_NOT_ALLOWED"
    with pytest.raises(PreconditionFailed):
        client.delete_snapshot("20260101T000000000000Z-r1-01234567", destination.format(place))


def test_a_cancelled_snapshot_ends_cancelled_and_leaves_nothing(served: tuple[ServerProcess, Client, Path]) -> None:
    """Of several that wait each is cancelled at once, and what was begun leaves no trace."""
    _, client, place = served
    names = [client.create_snapshot(full=True).name for _ in range(5)]
    for name in reversed(names):
        client.cancel_operation(name)
    ended = [client.wait_operation(name, timeout_s=WAIT_TIME_MAX_S) for name in names]
    assert [one.state for one in ended[1:]] == [OperationState.CANCELLED] * 4
    succeeded = sum(one.state is OperationState.SUCCEEDED for one in ended)
    assert len(list(place.iterdir()) if place.exists() else []) == succeeded


def test_a_server_killed_in_a_snapshot_says_so_when_it_is_back(
    served: tuple[ServerProcess, Client, Path], tmp_path: Path
) -> None:
    """The operation is FAILED with SERVER_RESTARTED, no snapshot is listed, and the next one cleans up and is whole."""
    server, client, place = served
    client.close()
    server.end()
    settings = (*BY_HAND, f"snapshots.destinations={place}")
    step = "snapshot.vectors_copied"
    with ServerProcess(tmp_path / "store", *settings, crash_at=step) as dying, dying.client() as other:
        name = other.create_snapshot().name
        dying.wait_until_dead()
    assert [path.name[:8] for path in place.iterdir()] == [".taking-"]
    with ServerProcess(tmp_path / "store", *settings) as back, back.client() as other:
        operation = other.get_operation(name)
        assert operation.state is OperationState.FAILED
        assert operation.error is not None
        assert operation.error.reason == "SERVER_RESTARTED"
        assert list(other.list_snapshots()) == []
        result = taken(other, verify=True)
        assert [path.name for path in place.iterdir()] == [result.name]


def test_a_server_without_destinations_takes_none(tmp_path: Path) -> None:
    """Where the configuration names no place, a client is told which setting does."""
    with ServerProcess(tmp_path / "store") as server, server.client() as client:
        with pytest.raises(PreconditionFailed) as refused:
            client.create_snapshot("/tmp")
        assert refused.value.reason == "SNAPSHOT_DESTINATION_NOT_ALLOWED"
        assert "snapshots.destinations" in str(refused.value)
        assert list(client.list_snapshots()) == []


@pytest.mark.parametrize("inside", ["store/snapshots", "store", "link/vectors/x", "elsewhere/../store/x"])
def test_a_server_does_not_start_with_a_destination_within_its_store(inside: str, tmp_path: Path) -> None:
    """Snapshots would be in what is saved, searched after an erasure and cleaned up; the start says so in one line."""
    (tmp_path / "link").symlink_to(tmp_path / "store")
    command = [sys.executable, "-m", "mien_server.cli.main", "--data", str(tmp_path / "store")]
    command += ["--listen", "127.0.0.1:0", "--set", f"snapshots.destinations={tmp_path / inside}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "snapshots.destinations" in ended.stderr
    assert "give a folder outside of it" in ended.stderr
