"""A snapshot is the store at one revision, whole or not there; what is restored is what was taken."""

from __future__ import annotations

import hashlib
import json
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from mien_server.errors import Cancelled, CorruptStore, InvalidArgument, NotFound, PreconditionFailed, Unavailable
from mien_server.storage import DeleteFaces, DeleteGallery, MoveFaces, PutIdentity, Store
from mien_server.storage.backup import (
    GenerationFiles,
    RestoreRequest,
    list_snapshots,
    open_place,
    remove_snapshot,
    restore,
    snapshot_named,
    take_snapshot,
    verify_snapshot,
)
from mien_server.storage.backup import taking as taking_module
from mien_server.storage.backup import vectors as vectors_module
from tests.snapshot_support import restored_state, state_of, take, unwatched
from tests.storage_support import OPTIONS, create, enroll, open_store, rows


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of four rows, so that a few rows are several parts."""
    monkeypatch.setattr(vectors_module, "PART_BYTES", 4 * 32)


def filled(path: Path, count: int = 10) -> Store:
    """A store with a gallery `people` of some faces, one deleted, one given away."""
    store = open_store(path)
    people = create(store)
    enroll(store, rows(people, [(f"person-{i % 3}", f"face-{i}", i) for i in range(count)], labels={0: {"a": "b"}}))
    store.write(PutIdentity("people", "person-1", display_name="One", labels={"team": "x"}))
    store.write(DeleteFaces("people", ["face-3"]))
    store.write(MoveFaces("people", ["face-4"], "person-9"))
    return store


@pytest.mark.usefixtures("small_parts")
def test_a_restored_store_is_the_store_that_was_taken(tmp_path: Path) -> None:
    """Every record and vector of the restored store is that of the store when the snapshot was taken."""
    with filled(tmp_path / "store") as store:
        taken = take(store, tmp_path / "snapshots")
        before = state_of(store)
        store.write(DeleteGallery("people", force=True))
    assert taken.manifest.revision == 5
    assert restored_state(tmp_path / "snapshots", taken.manifest.name, tmp_path / "restored") == before


@pytest.mark.parametrize("uri", ["memory://bucket/snapshots", "file://{}"])
def test_a_url_holds_snapshots_as_a_folder_does(uri: str, tmp_path: Path) -> None:
    """Snapshots go to an object storage, share parts there, are listed, verified, restored and removed."""
    place = open_place(uri.format(tmp_path / "remote"))
    with filled(tmp_path / "store") as store:
        first = take(store, place)
        second = take(store, place)
        before = state_of(store)
    assert second.new_bytes < first.new_bytes
    assert [info.name for info in list_snapshots(place)] == [first.manifest.name, second.manifest.name]
    remove_snapshot(place, first.manifest.name)
    verify_snapshot(place, second.manifest.name, unwatched)
    (left,) = list_snapshots(place)
    assert (left.name, left.verified_time_us > 0) == (second.manifest.name, True)
    restore(RestoreRequest(place, second.manifest.name, tmp_path / "restored", options=OPTIONS), unwatched)
    with open_store(tmp_path / "restored") as restored:
        assert state_of(restored) == before
    remove_snapshot(place, second.manifest.name)
    assert list_snapshots(place) == []


@pytest.mark.usefixtures("small_parts")
def test_parts_that_did_not_change_are_shared(tmp_path: Path) -> None:
    """The second snapshot links the full parts of the first, writes the rest, and outlives the first."""
    with filled(tmp_path / "store") as store:
        first = take(store, tmp_path / "snapshots").manifest
        with store.view() as view:
            people = view.gallery("people").record
        enroll(store, rows(people, [("new", "face-new", 77)]))
        second = take(store, tmp_path / "snapshots")
        third = take(store, tmp_path / "snapshots", is_full=True)
        before = state_of(store)
    part = "vectors/00000001/rows-000000000000-000000000004"
    links = [(tmp_path / "snapshots" / name / part).stat().st_ino for name in (first.name, second.manifest.name)]
    assert links[0] == links[1]
    assert (tmp_path / "snapshots" / third.manifest.name / part).stat().st_ino != links[0]
    shared = {file.path for file in second.manifest.files} & {file.path for file in first.files}
    assert second.new_bytes < third.new_bytes
    assert part in shared
    remove_snapshot(open_place(str(tmp_path / "snapshots")), first.name)
    assert restored_state(tmp_path / "snapshots", second.manifest.name, tmp_path / "restored") == before


def test_writes_and_a_deletion_while_a_snapshot_is_taken_are_not_in_it(tmp_path: Path) -> None:
    """A gallery deleted and faces enrolled once the revision is pinned change nothing of the snapshot."""
    with filled(tmp_path / "store") as store:
        before = state_of(store)
        written = []

        def write(_fraction: float, stage: str) -> None:
            if stage == "copying vectors" and not written:
                written.append(store.write(DeleteGallery("people", force=True)).revision)
                enroll(store, rows(create(store, "people"), [("x", "y", 5)]))

        taken = take_snapshot(store, open_place(str(tmp_path / "snapshots")), {}, {}, write)
        assert written
        assert not (store.path / "vectors" / "00000001").exists() or store.revision > taken.manifest.revision
    assert restored_state(tmp_path / "snapshots", taken.manifest.name, tmp_path / "restored") == before


@pytest.mark.parametrize("stage", ["looking at what is there", "copying records", "copying vectors", "publishing"])
@pytest.mark.parametrize("uri", ["{}", "memory://cancelled/{}"])
def test_a_cancelled_snapshot_leaves_nothing(stage: str, uri: str, tmp_path: Path) -> None:
    """Whoever stops a snapshot finds no trace of it, and the next one is whole."""
    place = open_place(uri.format(tmp_path / "snapshots"))

    def stop(_fraction: float, now: str) -> None:
        if now == stage:
            raise Cancelled("enough")

    with filled(tmp_path / "store") as store:
        with pytest.raises(Cancelled):
            take_snapshot(store, place, {}, {}, stop)
        assert list_snapshots(place) == []
        assert place.names() == []
        assert not (tmp_path / "snapshots").exists() or not list((tmp_path / "snapshots").iterdir())
        verify_snapshot(place, take(store, place).manifest.name, unwatched)


def test_a_damaged_vector_is_not_put_into_a_snapshot(tmp_path: Path) -> None:
    """A snapshot of a store with a damaged live row fails and names the row, so that good ones are not replaced."""
    with filled(tmp_path / "store") as store:
        path = store.path / "vectors" / "00000001" / "rows.vec"
        with path.open("r+b") as file:
            file.seek(4096 + 5 * 32)
            file.write(b"\xff")
        with pytest.raises(CorruptStore) as refused:
            take(store, tmp_path / "snapshots")
        assert refused.value.reason == "VECTOR_DAMAGED"
        assert refused.value.metadata["ordinal"] == "5"
        assert list((tmp_path / "snapshots").iterdir()) == []


@pytest.mark.parametrize("victim", ["meta/data.mdb", "vectors/00000001/rows-000000000000-000000000010", "FORMAT"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_snapshot_is_found_and_replaces_nothing(victim: str, damage: str, tmp_path: Path) -> None:
    """Verifying names the file, restoring refuses before the old store is touched, and the list says so."""
    with filled(tmp_path / "store") as store:
        name = take(store, tmp_path / "snapshots").manifest.name
        before = state_of(store)
    path = tmp_path / "snapshots" / name / victim
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.unlink()
    if damage != "remove":
        path.write_bytes(raw[:-1] if damage == "truncate" else raw)
    place = open_place(str(tmp_path / "snapshots"))
    with pytest.raises(CorruptStore) as found:
        verify_snapshot(place, name, unwatched)
    assert found.value.reason == "SNAPSHOT_DAMAGED"
    assert victim in found.value.message
    assert list_snapshots(place)[0].verified_time_us == 0
    with pytest.raises(CorruptStore):
        restore(RestoreRequest(place, name, tmp_path / "store", options=OPTIONS), unwatched)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["snapshots", "store"]
    with open_store(tmp_path / "store") as store:
        assert state_of(store) == before


def test_a_damaged_manifest_is_listed_as_damaged(tmp_path: Path) -> None:
    """A manifest whose checksum is wrong is in the list with the reason, and is not restored."""
    with filled(tmp_path / "store") as store:
        name = take(store, tmp_path / "snapshots").manifest.name
    path = tmp_path / "snapshots" / name / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"revision": 5', b'"revision": 6'))
    place = open_place(str(tmp_path / "snapshots"))
    assert "checksum is wrong" in list_snapshots(place)[0].damage
    with pytest.raises(CorruptStore):
        restore(RestoreRequest(place, name, tmp_path / "new", options=OPTIONS), unwatched)


@pytest.mark.parametrize("field", ["format_version", "manifest_version"])
def test_a_newer_format_is_refused_with_the_version_needed(field: str, tmp_path: Path) -> None:
    """A snapshot of a later release says which format a release must read."""
    with filled(tmp_path / "store") as store:
        name = take(store, tmp_path / "snapshots").manifest.name
    path = tmp_path / "snapshots" / name / "manifest.json"
    content = json.loads(path.read_bytes()) | {"format_version": 9, field: 9}
    path.write_text(json.dumps(content))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent / "manifest.sha256").write_text(f"{digest}  manifest.json\n")
    with pytest.raises(PreconditionFailed) as refused:
        restore(RestoreRequest(open_place(str(path.parent.parent)), name, tmp_path / "n", options=OPTIONS), unwatched)
    assert refused.value.reason == "SNAPSHOT_FORMAT_TOO_NEW"
    assert refused.value.metadata["format_version"] == "9"


def test_a_restore_keeps_the_store_that_was_there(tmp_path: Path) -> None:
    """The old store is kept whole beside the restored one, under the name that is answered."""
    with filled(tmp_path / "store") as store:
        name = take(store, tmp_path / "snapshots").manifest.name
        old = state_of(store)
        store.write(DeleteGallery("people", force=True))
        newer = state_of(store)
    request = RestoreRequest(open_place(str(tmp_path / "snapshots")), name, tmp_path / "store", options=OPTIONS)
    restored = restore(request, unwatched)
    with open_store(tmp_path / "store") as store:
        assert state_of(store) == old
    assert restored.kept is not None
    with open_store(restored.kept) as store:
        assert state_of(store) == newer
    assert restore(request, unwatched).kept not in {None, restored.kept}


def test_a_store_in_use_and_other_folders_are_not_replaced(tmp_path: Path) -> None:
    """Restoring over an open store, or over something that is no store, is refused."""
    with filled(tmp_path / "store") as store:
        name = take(store, tmp_path / "snapshots").manifest.name
        place = open_place(str(tmp_path / "snapshots"))
        with pytest.raises(Unavailable) as locked:
            restore(RestoreRequest(place, name, tmp_path / "store", options=OPTIONS), unwatched)
        assert locked.value.reason == "STORE_LOCKED"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(PreconditionFailed) as refused:
        restore(RestoreRequest(place, name, tmp_path / "other", options=OPTIONS), unwatched)
    assert refused.value.reason == "NOT_A_STORE"


def test_a_snapshot_inside_of_its_store_is_refused(tmp_path: Path) -> None:
    """A store does not hold its own snapshots, however the path is spelled."""
    with filled(tmp_path / "store") as store:
        (tmp_path / "link").symlink_to(tmp_path / "store")
        for path in (tmp_path / "store" / "snapshots", tmp_path / "link" / "x", tmp_path / "a" / ".." / "store"):
            with pytest.raises(InvalidArgument) as refused:
                take(store, path)
            assert refused.value.reason == "SNAPSHOT_DESTINATION_INVALID"


@pytest.mark.parametrize(
    "name", ["", "..", "20260101T000000000000Z-r1-0123456g", "a/b", "20260101T000000000000Z-r1-01234567/"]
)
def test_only_names_of_snapshots_are_looked_up(name: str, tmp_path: Path) -> None:
    """A name that would lead out of the place is refused, one that is not there is not found."""
    place = open_place(str(tmp_path))
    with pytest.raises(InvalidArgument):
        snapshot_named(place, name)
    with pytest.raises(InvalidArgument):
        remove_snapshot(place, name)
    with pytest.raises(NotFound):
        remove_snapshot(place, "20260101T000000000000Z-r1-01234567")


def test_a_generation_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    """The index is taken along where it can be read; a gallery whose index cannot is restored without one."""
    folder = tmp_path / "generation"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(b"{}")
    with filled(tmp_path / "store") as store:
        place = open_place(str(tmp_path / "snapshots"))
        whole = GenerationFiles("g-1", folder, ("manifest.json",))
        taken = take_snapshot(store, place, {1: whole}, {}, unwatched).manifest
        assert taken.galleries[0].generation == "g-1"
        torn = GenerationFiles("g-1", folder, ("manifest.json", "gone.faiss"))
        without = take_snapshot(store, place, {1: torn}, {}, unwatched).manifest
        assert without.galleries[0].generation == ""
        assert not [file.path for file in without.files if file.path.startswith("index/")]
    restore(RestoreRequest(place, taken.name, tmp_path / "restored", options=OPTIONS), unwatched)
    assert (tmp_path / "restored" / "index" / "00000001" / "CURRENT").read_text() == "g-1\n"


def test_records_are_copied_in_one_piece_however_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records of the snapshot are read in blocks as LMDB writes them, and are whole."""
    monkeypatch.setattr(taking_module, "BLOCK_BYTES", 1 << 14)
    with open_store(tmp_path / "store") as store:
        people = create(store)
        enroll(store, rows(people, [(f"p{i}", f"f{i}", i) for i in range(3000)]))
        taken = take(store, tmp_path / "snapshots")
        before = state_of(store)
    assert taken.manifest.files[1].size_bytes > 20 << 14
    assert restored_state(tmp_path / "snapshots", taken.manifest.name, tmp_path / "restored") == before
    assert np.isfinite(taken.duration_s)
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == [taken.manifest.name]


def test_a_place_that_refuses_leaves_no_snapshot(tmp_path: Path) -> None:
    """A place without room is said to be full, one that is no folder refuses, and neither has a snapshot after."""
    with filled(tmp_path / "store") as store:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(Unavailable) as refused:
            take(store, tmp_path / "file" / "snapshots")
        assert refused.value.reason == "SNAPSHOT_PLACE_FAILED"
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, before[1]))
        try:
            with pytest.raises(Unavailable) as full:
                take(store, tmp_path / "snapshots")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert full.value.reason == "SNAPSHOT_PLACE_FULL"
        assert list((tmp_path / "snapshots").iterdir()) == []
        verify_snapshot(
            open_place(str(tmp_path / "snapshots")), take(store, tmp_path / "snapshots").manifest.name, unwatched
        )
