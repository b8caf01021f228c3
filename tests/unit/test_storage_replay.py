"""A journal is replayed only where it leads on from the snapshot without a gap, and with vectors that are whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from mien_server.errors import CorruptStore, MienError, PreconditionFailed
from mien_server.storage import DeleteFaces, PutIdentity, Store, StoreOptions, keys
from mien_server.storage.backup import RestoreRequest, open_place, restore
from mien_server.storage.databases import Database, put
from tests.snapshot_support import state_of, take, unwatched
from tests.storage_support import OPTIONS, create, enroll, open_store, rows


def written(store: Store, first: int, count: int) -> None:
    """Enrol faces one by one: a revision each."""
    with store.view() as view:
        people = view.gallery("people").record
    for number in range(first, first + count):
        enroll(store, rows(people, [(f"person-{number % 3}", f"face-{number}", number)]))


def begun(path: Path, options: StoreOptions = OPTIONS) -> Store:
    store = open_store(path, options)
    create(store)
    written(store, 0, 4)
    return store


def refused(tmp_path: Path, name: str, revision: int, journal: str = "") -> MienError:
    """The error of a restore to a revision, which replaces nothing."""
    request = RestoreRequest(
        open_place(str(tmp_path / "snapshots")),
        name,
        tmp_path / "new",
        revision,
        journal or str(tmp_path / "store"),
        OPTIONS,
    )
    with pytest.raises(MienError) as error:
        restore(request, unwatched)
    assert not (tmp_path / "new").exists()
    return error.value


def test_a_trimmed_journal_is_not_replayed_over_the_gap(tmp_path: Path) -> None:
    """Where the journal no longer reaches back to the snapshot, only the snapshot itself is reachable."""
    options = StoreOptions(map_size_bytes=1 << 30, journal_revisions_max=3)
    with begun(tmp_path / "store", options) as store:
        taken = take(store, tmp_path / "snapshots").manifest
        written(store, 4, 6)
        newest = store.revision
    error = refused(tmp_path, taken.name, newest)
    assert error.reason == "REVISION_NOT_REACHABLE"
    assert error.metadata["reachable"].startswith(f"{taken.revision} (")
    assert "no longer has revision" in error.message


def test_another_stores_journal_is_not_replayed(tmp_path: Path) -> None:
    """The journal must be of the store that the snapshot was taken of."""
    with begun(tmp_path / "store") as store:
        name = take(store, tmp_path / "snapshots").manifest.name
    with begun(tmp_path / "other") as other:
        written(other, 4, 3)
    assert refused(tmp_path, name, 7, str(tmp_path / "other")).reason == "HISTORY_OF_ANOTHER_STORE"


def test_a_store_that_went_another_way_is_told_from_the_one_taken(tmp_path: Path) -> None:
    """After a restore and other writes the revisions have the same numbers, and the later snapshots do not follow."""
    with begun(tmp_path / "store") as store:
        early = take(store, tmp_path / "snapshots").manifest.name
        written(store, 4, 2)
        late = take(store, tmp_path / "snapshots").manifest.name
        expected = state_of(store)
        written(store, 6, 2)
    restore(
        RestoreRequest(open_place(str(tmp_path / "snapshots")), early, tmp_path / "way", options=OPTIONS), unwatched
    )
    with open_store(tmp_path / "way") as store:
        written(store, 40, 6)
    assert refused(tmp_path, late, 8, str(tmp_path / "way")).reason == "HISTORY_OF_ANOTHER_STORE"
    place = open_place(str(tmp_path / "snapshots"))
    journal = str(tmp_path / "snapshots" / late)
    restore(RestoreRequest(place, early, tmp_path / "new", 7, journal, OPTIONS), unwatched)
    with open_store(tmp_path / "new") as store:
        assert state_of(store) == expected


def test_a_damaged_entry_ends_what_can_be_reached(tmp_path: Path) -> None:
    """Up to the damaged entry revisions can be made, beyond it none, and the message names the record."""
    with begun(tmp_path / "store") as store:
        name = take(store, tmp_path / "snapshots").manifest.name
        written(store, 4, 4)
        handle = store._opened.handles[Database.JOURNAL]
        with store._opened.environment.begin(write=True) as transaction:
            key = keys.encode_number(8)
            raw = bytearray(transaction.get(key, db=handle))
            raw[len(raw) // 2] ^= 1
            transaction.put(key, bytes(raw), db=handle)
    error = refused(tmp_path, name, 9)
    assert error.reason == "REVISION_NOT_REACHABLE"
    assert error.metadata["reachable"].startswith("5 to 7 (")
    assert "journal" in error.message


def test_a_damaged_vector_is_not_replayed(tmp_path: Path) -> None:
    """A row of the journal's store that is not what was enrolled stops the replay, unless it is deleted by then."""
    with begun(tmp_path / "store") as store:
        name = take(store, tmp_path / "snapshots").manifest.name
        written(store, 4, 2)
        store.write(DeleteFaces("people", ["face-5"]))
        path = store.path / "vectors" / "00000001" / "rows.vec"
    with path.open("r+b") as file:
        file.seek(4096 + 5 * 32)
        file.write(b"\xff\xff")
    error = refused(tmp_path, name, 7)
    assert isinstance(error, CorruptStore)
    assert error.reason == "VECTOR_DAMAGED"
    place = open_place(str(tmp_path / "snapshots"))
    restored = restore(RestoreRequest(place, name, tmp_path / "new", 8, str(tmp_path / "store"), OPTIONS), unwatched)
    assert (restored.revision, restored.replayed_count) == (8, 3)


def test_an_entry_that_does_not_follow_stops_the_replay(tmp_path: Path) -> None:
    """An entry with a right checksum and a wrong content is refused when it contradicts what is there."""
    with begun(tmp_path / "store") as store:
        name = take(store, tmp_path / "snapshots").manifest.name
        written(store, 4, 3)
        opened = store._opened
        with opened.environment.begin(write=True) as transaction, store.view() as view:
            raw = view._reader().reading.get(Database.JOURNAL, keys.encode_number(8))
            assert raw is not None
            put(transaction, opened.handles, Database.JOURNAL, keys.encode_number(7), raw)
    assert refused(tmp_path, name, 8).reason == "REPLAY_DIVERGED"


def test_an_earlier_revision_than_the_snapshots_is_refused(tmp_path: Path) -> None:
    """Nothing goes back from a snapshot; the message says from where on revisions are reachable."""
    with begun(tmp_path / "store") as store:
        name = take(store, tmp_path / "snapshots").manifest.name
        store.write(PutIdentity("people", "person-1", display_name="One"))
    error = refused(tmp_path, name, 3)
    assert isinstance(error, PreconditionFailed)
    assert error.metadata == {"snapshot_revision": "5", "reachable": "5 to 6"}
