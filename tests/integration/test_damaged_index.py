"""A generation that is damaged on disk between two runs of a server is never served, and is replaced."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mien_client import IndexStateName, OperationState
from tests.indexed_gallery import (
    BY_HAND,
    GALLERY,
    ROW_COUNT,
    ROWS,
    SMALL_FLAT,
    WAIT_TIME_MAX_S,
    check_default,
    check_exact,
    check_hits,
    fill,
    gallery_folder,
    is_ready,
    only_one_generation,
    rebuild,
    wait_until,
)
from tests.server_processes import ServerProcess

pytestmark = pytest.mark.slow


def lists_of(folder: Path, name: str) -> Path:
    return next((folder / name).glob("lists-*"))


def flip_a_byte(folder: Path, name: str) -> None:
    content = bytearray(lists_of(folder, name).read_bytes())
    content[len(content) // 2] ^= 0xFF
    lists_of(folder, name).write_bytes(content)


def cut_off(folder: Path, name: str) -> None:
    path = lists_of(folder, name)
    path.write_bytes(path.read_bytes()[:-100])


def remove_manifest(folder: Path, name: str) -> None:
    (folder / name / "manifest.json").unlink()


def change_manifest(folder: Path, name: str) -> None:
    path = folder / name / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace(f'"rows": {ROW_COUNT}', '"rows": 17'), encoding="utf-8")


def remove_generation(folder: Path, name: str) -> None:
    shutil.rmtree(folder / name)


def garble_current(folder: Path, _name: str) -> None:
    (folder / "CURRENT").write_bytes(b"\x00\xff nothing \n")


DAMAGES = [flip_a_byte, cut_off, remove_manifest, change_manifest, remove_generation, garble_current]


@pytest.fixture(scope="module")
def store_with_a_generation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was ended well; to be copied."""
    store = tmp_path_factory.mktemp("whole") / "store"
    with ServerProcess(store, *BY_HAND) as server, server.client() as client:
        fill(client)
        rebuild(client)
    return store


@pytest.fixture
def store_to_damage(store_with_a_generation: Path, store_path: Path) -> tuple[Path, Path, str]:
    """A copy of that store, the folder of its gallery's generations, and the name of the one there."""
    shutil.copytree(store_with_a_generation, store_path)
    folder = gallery_folder(store_path)
    return store_path, folder, (folder / "CURRENT").read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_generation_is_never_served(
    store_to_damage: tuple[Path, Path, str], damage: Callable[[Path, str], None]
) -> None:
    """A generation that is not what it should be is refused with a reason, in the state and in the log; answers are
    exact meanwhile, and a rebuild mends it.
    """
    store, folder, name = store_to_damage
    damage(folder, name)
    with ServerProcess(store, *BY_HAND) as server, server.client() as client:
        state = client.get_gallery(GALLERY).index_state
        assert state.state is IndexStateName.DEGRADED
        assert state.detail
        assert state.detail in server.log()
        assert state.generation == ""
        check_exact(client)
        found = [check_hits(client, ROWS[number]) for number in range(0, ROW_COUNT, 71)]
        assert all(found), "without a generation every search is exact"
        rebuild(client)
        assert is_ready(client.get_gallery(GALLERY))
        check_default(client)
    assert only_one_generation(store)


def test_a_damaged_generation_is_rebuilt_without_being_asked(store_to_damage: tuple[Path, Path, str]) -> None:
    """Where rebuilds are automatic, a refused generation is replaced soon after the start."""
    store, folder, name = store_to_damage
    flip_a_byte(folder, name)
    with ServerProcess(store, *SMALL_FLAT) as server, server.client() as client:
        check_exact(client)
        state = wait_until(client, is_ready).index_state
        assert state.generation not in {"", name}
        assert state.detail == ""
        assert name in server.log()
        check_default(client)


def test_a_build_that_cannot_be_published_fails(store_to_damage: tuple[Path, Path, str]) -> None:
    """When the disk refuses what a build made, the operation ends as FAILED with what the system said, the gallery
    is answered exactly and says so, and a rebuild succeeds once the obstacle is gone.
    """
    store, folder, _ = store_to_damage
    (folder / "CURRENT").unlink()
    (folder / "CURRENT").mkdir()
    with ServerProcess(store, *BY_HAND) as server, server.client() as client:
        operation = client.wait_operation(client.rebuild_index(GALLERY).name, timeout_s=WAIT_TIME_MAX_S)
        assert operation.state is OperationState.FAILED
        assert operation.error is not None
        assert "CURRENT" in operation.error.message
        state = client.get_gallery(GALLERY).index_state
        assert (state.state, state.generation) == (IndexStateName.DEGRADED, "")
        check_exact(client)
        (folder / "CURRENT").rmdir()
        rebuild(client)
        assert is_ready(client.get_gallery(GALLERY))
        check_default(client)
    assert only_one_generation(store)
