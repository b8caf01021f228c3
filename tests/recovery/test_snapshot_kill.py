"""A kill at any step of a snapshot or a restore leaves whole snapshots, whole stores, and nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mien_server.errors import PreconditionFailed
from mien_server.storage import DeleteFaces, PutIdentity
from mien_server.storage.backup import RestoreRequest, list_snapshots, open_place, restore, verify_snapshot
from mien_server.storage.offline import open_read_only
from mien_server.storage.steps import RENAME_STEPS, RESTORE_STEPS, SNAPSHOT_STEPS
from tests.recovery.test_corruption_store import child_number_flipped
from tests.snapshot_support import restored_state, state_of, take, unwatched
from tests.storage_support import OPTIONS, create, enroll, open_store, rows

REPOSITORY = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("snapshot_crash_worker.py")
KILLED = -9


def run_worker(crash_at: str, *arguments: str) -> int:
    path = os.pathsep.join([str(REPOSITORY), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "MIEN_CRASH_AT": crash_at}
    return subprocess.run([sys.executable, str(WORKER), *arguments], env=environment, check=False).returncode


@pytest.fixture
def store_folder(tmp_path: Path) -> Path:
    """A store with a few revisions."""
    with open_store(tmp_path / "store") as store:
        enroll(store, rows(create(store), [(f"person-{i}", f"face-{i}", i) for i in range(20)]))
    return tmp_path / "store"


@pytest.mark.parametrize("step", SNAPSHOT_STEPS)
def test_a_kill_in_a_snapshot_leaves_the_whole_ones(step: str, store_folder: Path, tmp_path: Path) -> None:
    """After the kill only whole snapshots are listed; the one killed is whole exactly when it was published; the next
    one removes what was left.
    """
    place = open_place(str(tmp_path / "snapshots"))
    with open_store(store_folder) as store:
        first = take(store, place).manifest.name
        store.write(PutIdentity("people", "person-1", display_name="One"))
        before = state_of(store)
    assert run_worker(step, "take", str(store_folder), place.uri) == KILLED
    names = [info.name for info in list_snapshots(place)]
    assert names[0] == first
    assert len(names) == (2 if step == "snapshot.published" else 1)
    for name in names:
        verify_snapshot(place, name, unwatched)
    assert run_worker("", "take", str(store_folder), place.uri) == 0
    whole = [info.name for info in list_snapshots(place)]
    assert len(whole) == len(names) + 1
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == whole
    assert restored_state(tmp_path / "snapshots", whole[-1], tmp_path / "restored") == before


@pytest.mark.parametrize("step", RESTORE_STEPS)
@pytest.mark.parametrize("is_replacing", [True, False])
def test_a_kill_in_a_restore_loses_no_store(step: str, is_replacing: bool, store_folder: Path, tmp_path: Path) -> None:
    """After the kill the target is the old store or the restored one, wholly; the old one is there under one name or
    another; and the restore can be run again.
    """
    place = open_place(str(tmp_path / "snapshots"))
    with open_store(store_folder) as store:
        name = take(store, place).manifest.name
        taken = state_of(store)
        store.write(DeleteFaces("people", ["face-3"]))
        wanted, revision = state_of(store), store.revision
        store.write(PutIdentity("people", "person-1", display_name="One"))
        newest = state_of(store)
    target = store_folder if is_replacing else tmp_path / "other"
    to_revision = revision if is_replacing else revision - 1
    expected = wanted if is_replacing else taken
    assert run_worker(step, "restore", f"{place.uri}/{name}", str(target), str(to_revision)) == KILLED
    is_done = step in {"restore.exchanged", "restore.kept"}
    if is_done or is_replacing:
        with open_store(target) as store:
            assert state_of(store) == (expected if is_done else newest)
    else:
        assert not target.exists()
    restore(RestoreRequest(place, name, target, options=OPTIONS), unwatched)
    with open_store(target) as store:
        assert state_of(store) == taken
    assert not list(tmp_path.glob(".*"))
    kept = [path for path in tmp_path.iterdir() if path.name not in {"snapshots", target.name}]
    states = []
    for folder in kept:
        with open_store(folder) as store:
            states.append(state_of(store))
    assert newest in states


@pytest.mark.parametrize("step", RENAME_STEPS)
@pytest.mark.parametrize("who", ["server", "verify", "restore"])
def test_a_kill_between_two_renames_is_gone_on_with(step: str, who: str, store_folder: Path, tmp_path: Path) -> None:
    """Where names cannot be exchanged at once no store may be in its place: whoever comes next goes on, or says how;
    nobody takes the empty place for a new store.
    """
    place = open_place(str(tmp_path / "snapshots"))
    with open_store(store_folder) as store:
        name = take(store, place).manifest.name
        taken, revision = state_of(store), store.revision
        store.write(PutIdentity("people", "person-1", display_name="One"))
        newest = state_of(store)
    arguments = ("rename", f"{place.uri}/{name}", str(store_folder), str(revision))
    assert run_worker(step, *arguments) == KILLED
    assert store_folder.exists() == (step == "restore.in_place")
    if who == "verify":
        if step == "restore.aside":
            with pytest.raises(PreconditionFailed, match="mv ") as refused, open_read_only(store_folder):
                pass
            assert refused.value.reason == "RESTORE_UNFINISHED"
            move = refused.value.message.rpartition("mv ")[2].split()
            Path(move[0]).rename(move[1])
        else:
            with open_read_only(store_folder):
                pass
    elif who == "restore":
        assert run_worker("", *arguments) == 0
    with open_store(store_folder) as store:
        assert state_of(store) == taken
    [*kept] = (path for path in tmp_path.iterdir() if path.name not in {"snapshots", "store"})
    assert all(path.name.startswith("store.before-restore-") for path in kept)
    assert not any(path.name.endswith(".old") for path in kept)
    states = []
    for folder in kept:
        with open_store(folder) as store:
            states.append(state_of(store))
    assert newest in states


def test_a_damaged_store_is_not_replayed_from(store_folder: Path, tmp_path: Path) -> None:
    """A page of the store in place that leads LMDB astray is refused as at an opening, with the other ways; it does
    not end the process, and nothing is replaced.
    """
    place = open_place(str(tmp_path / "snapshots"))
    with open_store(store_folder) as store:
        name = take(store, place).manifest.name
        for number in range(150):
            store.write(PutIdentity("people", "person-1", display_name=f"{number}"))
        revision = store.revision
    child_number_flipped(store_folder, "journal")
    before = (store_folder / "meta" / "data.mdb").read_bytes()
    command = [sys.executable, "-m", "mien_index_tools.cli.main", "restore", f"{place.uri}/{name}", str(store_folder)]
    ended = subprocess.run(
        [*command, "--to-revision", str(revision)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1, ended.stderr
    assert "data.mdb: page" in ended.stderr
    assert "--journal" in ended.stderr
    assert (store_folder / "meta" / "data.mdb").read_bytes() == before
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
