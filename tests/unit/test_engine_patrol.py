"""The patrol: what it counts, and when it forgets."""

from __future__ import annotations

import os
from pathlib import Path

from mien_server.engine.patrol import LISTED_MAX, Patrol, PatrolOptions
from mien_server.storage import DeleteFaces, DeleteGallery, DeleteIdentity, StoreOptions
from mien_server.storage.vector_file import VECTORS_OFFSET
from tests.recovery.corruption_support import DAMAGED_OPTIONS
from tests.storage_support import DIMENSION, create, enroll, open_store, rows

FACE_COUNT = 1300
OPTIONS = PatrolOptions(bytes_per_s=10**12)


def damaged_store(path: Path) -> Path:
    """A store of 1,300 faces of 260 people, every vector of which is damaged."""
    with open_store(path) as store:
        faces = [(f"person-{row // 5}", f"face-{row:04d}", row) for row in range(FACE_COUNT)]
        enroll(store, rows(create(store), faces))
    [file] = path.glob("vectors/*/rows.vec")
    content = bytearray(file.read_bytes())
    for row in range(FACE_COUNT):
        content[VECTORS_OFFSET + row * DIMENSION * 4] ^= 1
    file.write_bytes(content)
    return path


def test_what_walk_after_walk_finds_is_counted_once(store_path: Path) -> None:
    """More than are listed too: the count is what is damaged, however often the patrol came by."""
    with open_store(damaged_store(store_path)) as store:
        patrol = Patrol(store, OPTIONS)
        assert patrol.damage_count == 0
        for _ in range(3):
            patrol.walk()
            assert patrol.damage_count == FACE_COUNT
            assert len(patrol.damages()) == LISTED_MAX


def test_what_the_opening_found_is_not_counted_again(store_path: Path) -> None:
    """A store that is served without its damage knows of it before the first walk, and of as much after it."""
    with open_store(damaged_store(store_path), DAMAGED_OPTIONS) as store:
        patrol = Patrol(store, OPTIONS)
        assert patrol.damage_count == FACE_COUNT
        patrol.walk()
        assert patrol.damage_count == FACE_COUNT


def test_what_was_deleted_is_known_no_more(store_path: Path) -> None:
    """After deletions what is left counts: at a look between two walks what is listed, after a walk all of it."""
    options = StoreOptions(map_size_bytes=1 << 30, serve_damaged=True)
    with open_store(damaged_store(store_path), options) as store:
        patrol = Patrol(store, OPTIONS)
        patrol.walk()
        store.write(DeleteFaces("people", ["face-0000", "face-1299"]))
        patrol.look_again()
        # Of the two the first was listed.
        assert patrol.damage_count == FACE_COUNT - 1
        patrol.walk()
        assert patrol.damage_count == FACE_COUNT - 2
        for person in range(260):
            store.write(DeleteIdentity("people", f"person-{person}"))
        patrol.walk()
        assert patrol.damage_count == 0
        assert patrol.damages() == ()


def test_a_file_that_was_removed_is_found_and_forgotten(store_path: Path, tmp_path: Path) -> None:
    """While it is away every look says what will be lost; a gallery that is deleted takes its file with it quietly."""
    with open_store(store_path) as store:
        enroll(store, rows(create(store), [("person", "face", 1)]))
        enroll(store, rows(create(store, "others"), [("person", "face", 1)]))
        patrol = Patrol(store, OPTIONS)
        for name in ("FORMAT", "meta/data.mdb", "vectors/00000001/rows.vec"):
            (store_path / name).rename(tmp_path / "away")
            patrol.look_again()
            patrol.walk()
            [damage] = patrol.damages()
            assert (damage.reason, damage.place["file"]) == ("FILE_MISSING", str(store_path / name))
            (tmp_path / "away").rename(store_path / name)
            patrol.walk()
            assert patrol.damages() == ()
        store.write(DeleteGallery("others", force=True))
        patrol.look_again()
        patrol.walk()
        assert patrol.damages() == ()


def test_a_file_of_vectors_that_ends_early_is_found(store_path: Path) -> None:
    """A walk over rows that are not there any more names them, and does not look at the mapping, which ends the
    process.
    """
    with open_store(store_path) as store:
        enroll(store, rows(create(store), [(f"person-{row}", f"face-{row}", row) for row in range(600)]))
        os.truncate(store_path / "vectors" / "00000001" / "rows.vec", VECTORS_OFFSET + 2 * DIMENSION * 4)
        patrol = Patrol(store, OPTIONS)
        patrol.walk()
        assert patrol.damage_count == 598
        assert {damage.reason for damage in patrol.damages()} == {"VECTOR_UNREADABLE"}
