"""Repair: what is whole of a damaged store is saved into a new one, what is not is named, and the old one is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mien_index_tools.cli.main import main
from mien_server.storage.page_file import PageFile
from mien_server.storage.vector_file import VECTORS_OFFSET
from tests.recovery.corruption_support import FACE_COUNT, NAMES, contents, derived, make_store
from tests.recovery.test_corruption_store import (
    DATA,
    ROW_BYTES,
    VECTOR_FILE,
    child_number_flipped,
    flip,
    format_flipped,
    live_bytes,
    meta_page_flipped,
    page_flipped,
    page_of,
    record_flipped,
    vector_header_flipped,
)
from tests.storage_support import enroll, open_store, rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A store and what is in it."""
    path = make_store(tmp_path_factory.mktemp("whole") / "store")
    with open_store(path) as store:
        return path, contents(store)


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def losses(target: Path) -> list[dict[str, str]]:
    lines = target.with_name(f"{target.name}.lost.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def repaired(store: Path) -> Path:
    """The new store, which `verify` does not doubt; the old one as it was."""
    before = files_of(store)
    target = store.with_name("new")
    assert main(["verify", str(store), "--repair", str(target), "--yes"]) == 0
    assert files_of(store) == before
    return target


def read(path: Path) -> dict[str, Any]:
    with open_store(path) as store:
        derived(store)
        return contents(store)


LOSING_NOTHING: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "FORMAT": format_flipped,
    "vector file's header": vector_header_flipped,
    "leaf page's number": page_flipped("faces", "leaf", 0, 1),
    "leaf page's kind": page_flipped("identities", "leaf", 10, 1),
    "branch page's kind": page_flipped("faces", "root", 10, 3),
    "branch page's bounds": page_flipped("identity_ids", "root", 13, 0x40),
    "number that leads beyond the file": child_number_flipped,
    "index of labels": page_flipped("face_label_index", "root", 10, 3),
}


@pytest.mark.parametrize("name", LOSING_NOTHING)
def test_a_repair_loses_nothing_that_is_whole(whole: tuple[Path, dict[str, Any]], store_path: Path, name: str) -> None:
    """Damage to what leads to the records, and not to themselves, costs nothing."""
    shutil.copytree(whole[0], store_path)
    LOSING_NOTHING[name](store_path)
    target = repaired(store_path)
    assert losses(target) == []
    assert read(target) == whole[1]


def test_a_repair_names_what_it_drops(whole: tuple[Path, dict[str, Any]], store_path: Path) -> None:
    """A face whose vector or record is damaged is dropped and named, with its id and whose it was; all others stay."""
    shutil.copytree(whole[0], store_path)
    flip(store_path / VECTOR_FILE, VECTORS_OFFSET + 7 * ROW_BYTES + 1)
    flip(store_path / DATA, live_bytes(store_path, "faces", b"people-face-0077"))
    target = repaired(store_path)
    lost = {one.get("face_id"): one for one in losses(target) if one["what"] == "face"}
    assert lost.keys() == {"people-face-0007", "people-face-0077"}
    assert lost["people-face-0007"]["reason"] == "its vector is damaged"
    assert lost["people-face-0007"]["identity_id"] == "person-007"
    assert lost["people-face-0007"]["ordinal"] == "7"
    assert lost["people-face-0077"]["reason"] == "its record is damaged"
    found = read(target)
    assert found["visitors"] == whole[1]["visitors"]
    owners = whole[1]["people"]["owners"]
    assert found["people"]["owners"] == {face: owner for face, owner in owners.items() if face not in lost}


def test_an_identity_whose_record_is_damaged_keeps_its_faces(
    whole: tuple[Path, dict[str, Any]], store_path: Path
) -> None:
    """Its number says its id elsewhere: the faces keep their person, who loses name and labels, which is said."""
    shutil.copytree(whole[0], store_path)
    record_flipped("identities", b"Name 31")(store_path)
    target = repaired(store_path)
    [loss] = [one for one in losses(target) if one["what"] == "name and labels"]
    assert loss["identity_id"] == "person-031"
    assert read(target)["people"]["owners"] == whole[1]["people"]["owners"]


def test_faces_of_nobody_are_dropped(whole: tuple[Path, dict[str, Any]], store_path: Path) -> None:
    """Where nothing whole says whose a face is, it is dropped rather than given to somebody."""
    shutil.copytree(whole[0], store_path)
    flip(store_path / DATA, live_bytes(store_path, "identities", b"Name 31"))
    flip(store_path / DATA, live_bytes(store_path, "identity_ids", b"person-031"))
    found = read(repaired(store_path))
    assert not any(owner == "person-031" for owner in found["people"]["owners"].values())
    assert len(found["people"]["owners"]) >= len(whole[1]["people"]["owners"]) - 5


def test_what_was_deleted_does_not_come_back(whole: tuple[Path, dict[str, Any]], store_path: Path) -> None:
    """Pages that no tree reaches are searched for lost records; deleted faces, whose bytes are there, stay away."""
    shutil.copytree(whole[0], store_path)
    assert b"people-face-0000" in (store_path / DATA).read_bytes(), "the bytes of a deleted face are to be there"
    page_flipped("faces", "root", 10, 3)(store_path)
    found = read(repaired(store_path))
    for name in NAMES:
        assert not {f"{name}-face-{row:04d}" for row in range(0, 40, 4)} & found[name]["owners"].keys()


def test_the_older_of_two_states_is_saved_when_the_newer_is_lost(store_path: Path) -> None:
    """A damaged first page costs the last commit at most, and the repair says so."""
    with open_store(make_store(store_path)) as store, store.view() as view:
        gallery = view.gallery("people").record
    with open_store(store_path) as store:
        enroll(store, rows(gallery, [("late", "late-face", 5000)]))
    meta_page_flipped(16)(store_path)
    found = read(repaired(store_path))
    assert set(found["people"]["owners"]) >= {f"people-face-{row:04d}" for row in range(41, FACE_COUNT)}


def test_a_repaired_store_goes_on(whole: tuple[Path, dict[str, Any]], store_path: Path) -> None:
    """It takes writes, gives no number twice, and is whole after them."""
    shutil.copytree(whole[0], store_path)
    flip(store_path / VECTOR_FILE, VECTORS_OFFSET + (FACE_COUNT - 1) * ROW_BYTES)
    target = repaired(store_path)
    with open_store(target) as store:
        with store.view() as view:
            gallery = view.gallery("people").record
        result = enroll(store, rows(gallery, [("new person", "new face", 7000)]))
        assert result.ordinals.tolist() == [FACE_COUNT]
        with store.view() as view:
            assert view.check() == []
    assert main(["verify", str(target), "--deep"]) == 0


def test_nothing_is_written_without_yes(
    whole: tuple[Path, dict[str, Any]], store_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--repair` alone says what would be saved and lost, and that nothing was written."""
    shutil.copytree(whole[0], store_path)
    flip(store_path / VECTOR_FILE, VECTORS_OFFSET + 7 * ROW_BYTES + 1)
    target = store_path.with_name("new")
    assert main(["verify", str(store_path), "--repair", str(target)]) == 1
    shown = capsys.readouterr().out
    assert "Nothing was written" in shown
    assert "face: its vector is damaged" in shown
    assert not target.exists()
    target.mkdir()
    (target / "something").touch()
    assert main(["verify", str(store_path), "--repair", str(target), "--yes"]) == 4


def test_page_of_finds_leaves(whole: tuple[Path, dict[str, Any]]) -> None:
    """The damage of these tests hits live pages: the root is a branch page and the leaf a leaf page."""
    file = PageFile(whole[0] / DATA)
    assert file.children(page_of(whole[0], "faces", level="root") // file.page_bytes)
    assert file.nodes(page_of(whole[0], "faces", level="leaf") // file.page_bytes, file.metas[0].last_page)
