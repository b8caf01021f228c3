"""Generations that are damaged or not the gallery's: never served, named, and built anew from the rows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mien_client import Client, Effort, IndexStateName, row_batches
from mien_index_tools.cli.main import main
from tests.indexed_gallery import WAIT_TIME_MAX_S
from tests.server_processes import ServerProcess
from tests.unit_rows import Rows, unit_rows

pytestmark = pytest.mark.slow

COUNT, DIMENSION = 1300, 16
GALLERIES = ("first", "second")
SETTINGS = ("index.flat_rows_min=1000", "index.flat_bytes_max=1", "index.tail_rows_max=10000")
BY_HAND = (*SETTINGS, "index.rebuilds_automatically=false")


def vectors_of(gallery: str) -> Rows:
    return unit_rows(COUNT, DIMENSION, GALLERIES.index(gallery) + 1)


def make(path: Path) -> Path:
    with ServerProcess(path, *BY_HAND) as server, server.client() as client:
        for gallery in GALLERIES:
            client.create_gallery(gallery, precomputed="made-1", dimension=DIMENSION)
            ids = [f"{gallery}-{number}" for number in range(COUNT)]
            for ack in client.stream_enroll(gallery, row_batches(vectors_of(gallery), ids, face_ids=ids)):
                assert ack.error is None
            client.wait_operation(client.rebuild_index(gallery).name, timeout_s=WAIT_TIME_MAX_S)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two galleries with a generation each; to be copied."""
    return make(tmp_path_factory.mktemp("whole") / "store")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another store of the same rows."""
    return make(tmp_path_factory.mktemp("other") / "store")


def folder_of(store: Path, number: int) -> Path:
    return store / "index" / f"{number:08x}"


def generation_of(store: Path, number: int) -> Path:
    folder = folder_of(store, number)
    return folder / (folder / "CURRENT").read_text(encoding="utf-8").strip()


def swapped_between_galleries(store: Path, _other: Path) -> str:
    first, second = folder_of(store, 1), folder_of(store, 2)
    first.rename(store / "aside")
    second.rename(first)
    (store / "aside").rename(second)
    return "gallery number"


def swapped_between_stores(store: Path, other: Path) -> str:
    for number in (1, 2):
        shutil.rmtree(folder_of(store, number))
        shutil.copytree(folder_of(other, number), folder_of(store, number))
    return "store id"


def file_flipped(pattern: str) -> Callable[[Path, Path], str]:
    def do(store: Path, _other: Path) -> str:
        for number in (1, 2):
            [path] = generation_of(store, number).glob(pattern)
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0x10
            path.write_bytes(content)
        return pattern.removesuffix("*")

    do.__name__ = f"{pattern} flipped"
    return do


def file_removed(pattern: str) -> Callable[[Path, Path], str]:
    def do(store: Path, _other: Path) -> str:
        for number in (1, 2):
            [path] = generation_of(store, number).glob(pattern)
            path.unlink()
        return "manifest.json" if pattern == "manifest.json" else "its manifest lists"

    do.__name__ = f"{pattern} removed"
    return do


def file_truncated(pattern: str) -> Callable[[Path, Path], str]:
    def do(store: Path, _other: Path) -> str:
        for number in (1, 2):
            [path] = generation_of(store, number).glob(pattern)
            path.write_bytes(path.read_bytes()[:-3])
        return pattern.removesuffix("*")

    do.__name__ = f"{pattern} cut off"
    return do


def current_flipped(store: Path, _other: Path) -> str:
    for number in (1, 2):
        path = folder_of(store, number) / "CURRENT"
        path.write_bytes(b"\x01" + path.read_bytes()[1:])
    return "CURRENT"


DAMAGES = [
    swapped_between_galleries,
    swapped_between_stores,
    file_flipped("quantizer.faiss"),
    file_flipped("lists-*"),
    file_flipped("manifest.json"),
    file_truncated("quantizer.faiss"),
    file_truncated("lists-*"),
    file_truncated("manifest.json"),
    file_removed("quantizer.faiss"),
    file_removed("lists-*"),
    file_removed("manifest.json"),
    current_flipped,
]


def check_answers(client: Client) -> None:
    """Each row finds itself, in its own gallery."""
    for gallery in GALLERIES:
        rows = vectors_of(gallery)
        for effort in (None, Effort(exact=True)):
            found = client.search_faces(gallery, embeddings=rows[::97], k=1, effort=effort).embeddings
            assert [one.neighbors[0].face_id for one in found] == [f"{gallery}-{n}" for n in range(0, COUNT, 97)]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_generation_that_is_not_whole_or_not_its_own(
    whole: Path, other: Path, store_path: Path, damage: Callable[[Path, Path], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`verify --deep` names it; the server refuses it, answers exactly, and builds one that is not doubted."""
    shutil.copytree(whole, store_path)
    named = damage(store_path, other)
    assert main(["verify", str(store_path), "--deep"]) == 1
    assert named in capsys.readouterr().out
    with ServerProcess(store_path, *BY_HAND) as server, server.client() as client:
        for gallery in GALLERIES:
            state = client.get_gallery(gallery).index_state
            assert (state.state, state.generation) == (IndexStateName.DEGRADED, "")
            assert named in state.detail
        check_answers(client)
        for gallery in GALLERIES:
            client.wait_operation(client.rebuild_index(gallery).name, timeout_s=WAIT_TIME_MAX_S)
            assert client.get_gallery(gallery).index_state.state is IndexStateName.READY
        check_answers(client)
    assert main(["verify", str(store_path), "--deep"]) == 0


def test_a_generation_that_nothing_names_is_built_anew(
    whole: Path, store_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without CURRENT the gallery has no generation: `verify` says so, searches are exact, and one is built unasked."""
    shutil.copytree(whole, store_path)
    (folder_of(store_path, 1) / "CURRENT").unlink()
    assert main(["verify", str(store_path)]) == 1
    assert "CURRENT is missing" in capsys.readouterr().out
    with ServerProcess(store_path, *SETTINGS) as server, server.client() as client:
        check_answers(client)
        end_s = time.monotonic() + WAIT_TIME_MAX_S
        while client.get_gallery("first").index_state.state is not IndexStateName.READY:
            assert time.monotonic() < end_s
            time.sleep(0.1)
        check_answers(client)
    assert main(["verify", str(store_path), "--deep"]) == 0
