"""Opening a store: what is made, what is put right, and what is refused with a name for what is wrong."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mien_server.errors import CorruptStore, MienError, PreconditionFailed, Unavailable
from mien_server.records.store_pb2 import VECTOR_TYPE_FLOAT16, GalleryRecord
from mien_server.storage import Store, StoreOptions
from mien_server.storage.vector_file import VECTORS_OFFSET
from tests.storage_support import DIMENSION, create, enroll, open_store, rows, vector

ROW_BYTES = DIMENSION * 4


def make_store(path: Path, row_count: int = 3) -> GalleryRecord:
    """A closed store of one gallery."""
    with open_store(path) as store:
        gallery = create(store)
        enroll(store, rows(gallery, [("ann", f"face-{row}", row) for row in range(row_count)]))
    return gallery


def rows_file(path: Path) -> Path:
    return path / "vectors" / "00000001" / "rows.vec"


def refusal(error: type[MienError], path: Path) -> str:
    """The message with which opening is refused."""
    with pytest.raises(error) as refused:
        open_store(path)
    return refused.value.message


def test_a_new_store_is_empty_and_keeps_its_id(store_path: Path) -> None:
    """An absent folder becomes a store at revision 0, which is the same store when opened again."""
    with open_store(store_path) as store:
        store_id = store.store_id
        assert (store.revision, store.format_version) == (0, 2)
        with store.view() as view:
            assert view.galleries() == []
    with open_store(store_path) as store:
        assert store.store_id == store_id


@pytest.mark.parametrize("vector_type", [1, VECTOR_TYPE_FLOAT16])
def test_everything_is_there_after_reopening(store_path: Path, vector_type: int) -> None:
    """Vectors, identities and revision are those of before, whatever the vectors are kept as."""
    with open_store(store_path) as store:
        gallery = create(store, vector_type=vector_type)  # type: ignore[arg-type]
        enroll(store, rows(gallery, [("ann", "a", 1), ("bob", "b", 2)]))
        revision = store.revision
    with open_store(store_path) as store, store.view() as view:
        assert view.revision == revision
        people = view.gallery("people")
        tolerance = 1e-3 if vector_type == VECTOR_TYPE_FLOAT16 else 0
        assert np.allclose(people.vectors([0, 1]), np.array([vector(1), vector(2)]), atol=tolerance)
        assert people.identity_ids(people.heads([0, 1]).identity_numbers) == ["ann", "bob"]
        assert view.check() == []


def test_a_second_opening_is_refused_with_the_holder(store_path: Path) -> None:
    """While a store is open, opening it again names the process that has it."""
    with open_store(store_path):
        with pytest.raises(Unavailable) as refused:
            open_store(store_path)
        assert refused.value.reason == "STORE_LOCKED"
        assert refused.value.metadata["pid"] == str(os.getpid())
    open_store(store_path).close()


def test_a_folder_with_other_things_is_refused(store_path: Path) -> None:
    """A folder that is no store is left alone, and named with what it holds."""
    store_path.mkdir()
    (store_path / "holiday.jpg").write_bytes(b"jpeg")
    assert "holiday.jpg" in refusal(PreconditionFailed, store_path)
    assert "not a folder" in refusal(PreconditionFailed, store_path / "holiday.jpg")


def test_a_store_without_its_format_is_refused(store_path: Path) -> None:
    """Records and vectors without FORMAT are not taken for an empty folder."""
    make_store(store_path)
    (store_path / "FORMAT").unlink()
    assert "no FORMAT" in refusal(PreconditionFailed, store_path)


def test_a_newer_format_is_refused_with_the_version_needed(store_path: Path) -> None:
    """A store of a later release names the format that is needed."""
    make_store(store_path)
    content = json.loads((store_path / "FORMAT").read_text())
    (store_path / "FORMAT").write_text(json.dumps({**content, "version": 7}))
    assert "reads format 7" in refusal(PreconditionFailed, store_path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"format": "other", "version": 1, "store_id": "x"}'])
def test_a_damaged_format_is_refused(store_path: Path, content: bytes) -> None:
    """A FORMAT that cannot be read is called damaged, whatever it holds."""
    make_store(store_path)
    (store_path / "FORMAT").write_bytes(content)
    assert "FORMAT" in refusal(CorruptStore, store_path)


def test_records_of_another_store_are_refused(store_path: Path, tmp_path: Path) -> None:
    """LMDB and FORMAT must be of one store."""
    make_store(store_path)
    make_store(tmp_path / "other")
    shutil.rmtree(store_path / "meta")
    shutil.copytree(tmp_path / "other" / "meta", store_path / "meta")
    assert "belongs to store" in refusal(CorruptStore, store_path)


def test_vectors_of_another_store_are_refused(store_path: Path, tmp_path: Path) -> None:
    """A vector file names its store, and another one's is not read."""
    make_store(store_path)
    make_store(tmp_path / "other")
    shutil.copy(rows_file(tmp_path / "other"), rows_file(store_path))
    assert "store id is" in refusal(CorruptStore, store_path)


def test_vectors_without_records_are_refused(store_path: Path) -> None:
    """A store whose records are gone is not taken for a new one; its vectors stay."""
    make_store(store_path)
    shutil.rmtree(store_path / "meta")
    assert "no records" in refusal(CorruptStore, store_path)
    assert rows_file(store_path).exists()


def test_a_damaged_lmdb_file_is_refused(store_path: Path) -> None:
    """A file that is no LMDB environment is called damaged."""
    make_store(store_path)
    (store_path / "meta" / "data.mdb").write_bytes(b"\x55" * 16384)
    assert "meta" in refusal(CorruptStore, store_path)


def test_a_short_vector_file_is_refused_with_both_sizes(store_path: Path) -> None:
    """Committed rows that are not there are never passed over."""
    make_store(store_path, row_count=3)
    os.truncate(rows_file(store_path), VECTORS_OFFSET + 2 * ROW_BYTES)
    message = refusal(CorruptStore, store_path)
    assert str(rows_file(store_path)) in message
    assert str(VECTORS_OFFSET + 2 * ROW_BYTES) in message
    assert str(VECTORS_OFFSET + 3 * ROW_BYTES) in message


def test_a_missing_vector_file_is_refused(store_path: Path) -> None:
    """A gallery without its vectors does not open."""
    make_store(store_path)
    rows_file(store_path).unlink()
    assert "missing" in refusal(CorruptStore, store_path)


@pytest.mark.parametrize(("offset", "what"), [(0, "does not begin"), (12, "checksum"), (100, "followed by bytes")])
def test_a_damaged_vector_header_is_refused(store_path: Path, offset: int, what: str) -> None:
    """A header with one wrong byte is named for what is wrong with it."""
    make_store(store_path)
    with rows_file(store_path).open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5")
    assert what in refusal(CorruptStore, store_path)


def test_bytes_beyond_the_committed_rows_are_cut_off(store_path: Path) -> None:
    """What was written and never committed is gone after opening, and the next row goes there."""
    gallery = make_store(store_path, row_count=3)
    with rows_file(store_path).open("ab") as file:
        file.write(b"\x7f" * 100)
    with open_store(store_path) as store:
        assert rows_file(store_path).stat().st_size == VECTORS_OFFSET + 3 * ROW_BYTES
        result = enroll(store, rows(gallery, [("bob", "new", 9)]))
        with store.view() as view:
            assert result.ordinals.tolist() == [3]
            assert np.array_equal(view.gallery("people").vectors([3])[0], vector(9))


def test_a_closed_store_leaves_no_room_in_its_files(store_path: Path) -> None:
    """After closing, a vector file is as long as its rows."""
    make_store(store_path, row_count=3)
    assert rows_file(store_path).stat().st_size == VECTORS_OFFSET + 3 * ROW_BYTES


def test_folders_that_no_gallery_has_are_removed(store_path: Path) -> None:
    """What a gallery that was never committed, or is gone, left behind is removed when the store opens."""
    make_store(store_path)
    for stray in (store_path / "vectors" / "0000beef", store_path / "index" / "0000beef"):
        stray.mkdir(parents=True)
        (stray / "file").write_bytes(b"x")
    open_store(store_path).close()
    assert [folder.name for folder in (store_path / "vectors").iterdir()] == ["00000001"]
    assert list((store_path / "index").iterdir()) == []


def test_making_a_store_can_be_cut_off_anywhere(store_path: Path) -> None:
    """A store whose making ended before FORMAT, or between FORMAT and the first record, is made anew."""
    store_path.mkdir()
    (store_path / "LOCK").touch()
    (store_path / "FORMAT.new").write_text("{")
    open_store(store_path).close()
    shutil.rmtree(store_path / "meta")
    with open_store(store_path) as store:
        create(store)
        with store.view() as view:
            assert len(view.galleries()) == 1


def test_an_impossible_map_size_is_refused_with_what_to_do(store_path: Path) -> None:
    """More address space than there is, is an error that names the setting."""
    with pytest.raises(Unavailable) as refused:
        Store.open(store_path, StoreOptions(map_size_bytes=1 << 62))
    assert refused.value.reason == "STORAGE_MAP_REFUSED"
    assert "map_size_bytes" in refused.value.message


def test_a_refused_opening_lets_go_of_the_lock(store_path: Path) -> None:
    """After a refusal the store can be put right and opened by the same process."""
    make_store(store_path, row_count=1)
    saved = rows_file(store_path).read_bytes()
    rows_file(store_path).unlink()
    refusal(CorruptStore, store_path)
    rows_file(store_path).write_bytes(saved)
    open_store(store_path).close()


def test_two_stores_open_side_by_side(tmp_path: Path) -> None:
    """Nothing is shared between stores of one process."""
    with open_store(tmp_path / "one") as one, open_store(tmp_path / "two") as two:
        create(one)
        assert (one.revision, two.revision) == (1, 0)
        assert one.store_id != two.store_id
