"""The writer: groups, refusals within them, failures of disk and database, the journal, and the end."""

from __future__ import annotations

import dataclasses
import resource
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from mien_server.errors import InternalError, MienError, NotFound, Overloaded, Unavailable
from mien_server.records.store_pb2 import GalleryRecord, IdentityRecord, JournalEntry, OperationRecord
from mien_server.storage import (
    Committed,
    CreateGallery,
    DeleteFaces,
    DeleteIdentity,
    EnrollResult,
    MoveFaces,
    PutIdentity,
    PutOperation,
    Replayed,
    RequestKey,
    Store,
    StoreOptions,
    keys,
    recovery,
)
from mien_server.storage.changes import Changes
from mien_server.storage.checksums import row_checksums
from mien_server.storage.commands import Command, Plan, Planning
from mien_server.storage.databases import Database
from mien_server.storage.values import decode_face
from tests.storage_support import OPTIONS, create, enroll, open_store, rows, vector


@pytest.fixture
def store(store_path: Path) -> Iterator[Store]:
    with open_store(store_path) as opened:
        yield opened
        with opened.view() as view:
            assert view.check() == []


@dataclass(frozen=True)
class Hold(Command[None]):
    """Keeps the writer busy until it is let go, so that what is queued behind it is one group."""

    is_busy: threading.Event
    may_go: threading.Event

    def plan(self, planning: Planning) -> Plan[None]:  # noqa: ARG002
        self.is_busy.set()
        assert self.may_go.wait(30)
        return Plan(None, Changes())


@dataclass(frozen=True)
class Broken(Command[None]):
    """A defect."""

    def plan(self, planning: Planning) -> NoReturn:  # noqa: ARG002
        raise ZeroDivisionError("a defect")


@contextmanager
def writer_held(store: Store) -> Iterator[None]:
    is_busy, may_go = threading.Event(), threading.Event()
    held = store.submit(Hold(is_busy, may_go))
    assert is_busy.wait(30)
    try:
        yield
    finally:
        may_go.set()
        held.result(30)


@contextmanager
def files_no_longer_than(byte_count: int) -> Iterator[None]:
    """The system refuses to write any file of this process beyond that size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte_count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def failure(future: Future[object]) -> MienError:
    error = future.exception(30)
    assert isinstance(error, MienError)
    return error


def journal(store: Store) -> list[JournalEntry]:
    with store.view() as view:
        items = view._reader().reading.items(Database.JOURNAL, b"")
        entries = [(keys.decode_number(key), JournalEntry.FromString(raw)) for key, raw in items]
    assert all(revision == entry.revision for revision, entry in entries)
    return [entry for _, entry in entries]


def fill(store: Store, gallery: GalleryRecord) -> None:
    for first in range(0, 10_000, 100):
        enroll(store, rows(gallery, [(f"i{row}", f"f{row}", row) for row in range(first, first + 100)]))


def test_a_group_is_one_revision_and_later_commands_see_earlier_ones(store: Store) -> None:
    """Commands that wait together are one commit, planned one after the other."""
    with writer_held(store):
        record = GalleryRecord(name="people", dimension=8, vector_type=1)
        gallery = GalleryRecord(name="people", number=1)
        created = store.submit(CreateGallery(record, galleries_max=9))
        first = store.submit(rows(gallery, [("ann", "a", 1), ("bob", "b", 2)]))
        moved = store.submit(MoveFaces("people", ["a"], "bob"))
        again = store.submit(rows(gallery, [("bob", "other", 1), ("bob", "c", 3)]))
        deleted = store.submit(DeleteFaces("people", ["b"]))
    answers = [future.result(30) for future in (created, first, moved, again, deleted)]
    assert [answer.revision for answer in answers] == [1] * 5
    result = again.result()
    assert isinstance(result, Committed)
    assert result.result.ordinals.tolist() == [0, 2]
    with store.view() as view:
        people = view.gallery("people")
        assert people.live_ordinals(-1, 9).tolist() == [0, 2]
        assert people.identity_ids(people.heads([0, 2]).identity_numbers) == ["bob", "bob"]


def test_a_refused_command_fails_alone(store: Store) -> None:
    """In a group the others are written as if the refused and the broken ones had never been there."""
    gallery = create(store)
    with writer_held(store):
        good = store.submit(rows(gallery, [("ann", "a", 1)]))
        missing = store.submit(DeleteIdentity("people", "nobody"))
        broken = store.submit(Broken())
        key = RequestKey[EnrollResult]("r", b"f", lambda _: 1 // 0)  # type: ignore[arg-type, return-value]
        unencoded = store.submit(rows(gallery, [("ann", "b", 2)], request=key))
        last = store.submit(rows(gallery, [("ann", "c", 3)]))
    assert isinstance(failure(missing), NotFound)
    assert isinstance(failure(broken), InternalError)
    assert isinstance(failure(unencoded), InternalError)
    assert good.result(30).revision == last.result(30).revision == 2
    with store.view() as view:
        assert view.gallery("people").face_ordinals(["a", "b", "c"]) == {"a": 0, "c": 1}


def test_a_request_sent_twice_at_once_is_written_once(store: Store) -> None:
    """Two commands of one request id in one group are one write and one replay at the same revision."""
    gallery = create(store)
    key = RequestKey("r", b"f", lambda result: str(result.ordinals.tolist()).encode())
    with writer_held(store):
        first = store.submit(rows(gallery, [("ann", "a", 1)], request=key))
        second = store.submit(rows(gallery, [("ann", "a", 1)], request=key))
    assert isinstance(first.result(30), Committed)
    assert second.result(30) == Replayed(2, b"[0]")


@pytest.mark.parametrize("bound", [{"queue_rows_max": 3}, {"queue_bytes_max": 50}])
def test_a_full_queue_is_refused_and_takes_again_later(store_path: Path, bound: dict[str, int]) -> None:
    """Beyond the rows or bytes that may wait a write is refused with when to come back; one alone is always taken."""
    options = dataclasses.replace(StoreOptions(map_size_bytes=1 << 30), **bound)
    with open_store(store_path, options) as store:
        gallery = create(store)
        with writer_held(store):
            large = store.submit(rows(gallery, [("ann", f"a{row}", row) for row in range(5)]))
            with pytest.raises(Overloaded) as refused:
                store.submit(rows(gallery, [("ann", "b", 9)]))
            assert refused.value.reason == "WRITE_QUEUE_FULL"
            assert refused.value.retry_after_s > 0
        assert large.result(30).revision == 2
        enroll(store, rows(gallery, [("ann", "b", 9)]))


def test_the_servers_own_writes_pass_a_full_queue(store_path: Path) -> None:
    """What the server writes for itself waits its turn however much callers have queued."""
    options = StoreOptions(map_size_bytes=1 << 30, queue_rows_max=1)
    with open_store(store_path, options) as store:
        with writer_held(store):
            store.submit(PutOperation(OperationRecord(name="operations/a")))
            own = store.submit(PutOperation(OperationRecord(name="operations/b")), is_internal=True)
            with pytest.raises(Overloaded):
                store.submit(PutOperation(OperationRecord(name="operations/c")))
        own.result(30)
        with store.view() as view:
            assert [one.name for one in view.operations()] == ["operations/b", "operations/a"]


def test_a_cancelled_write_is_not_written(store: Store) -> None:
    """A write that is cancelled while it waits never happens."""
    gallery = create(store)
    with writer_held(store):
        future = store.submit(rows(gallery, [("ann", "a", 1)]))
        assert future.cancel()
    assert store.write(PutOperation(OperationRecord(name="operations/x"))).revision == 1


@pytest.mark.parametrize("room_bytes", [0, 4096 + 8 * 4])
def test_a_full_disk_fails_the_group_and_nothing_else(store: Store, room_bytes: int) -> None:
    """When vectors cannot be written every write of the group fails, and the store goes on as it was."""
    gallery = create(store)
    with files_no_longer_than(room_bytes):
        with writer_held(store):
            futures = [store.submit(rows(gallery, [("ann", f"a{row}", row)])) for row in range(2)]
        reasons = {failure(future).reason for future in futures}
    assert reasons == {"STORAGE_FULL"}
    assert store.revision == 1
    with store.view() as view:
        assert view.check() == []
        assert view.gallery("people").counts.row_count == 0
    assert enroll(store, rows(gallery, [("ann", "a", 1)])).ordinals.tolist() == [0]


def test_a_commit_that_fails_is_asked_for_and_not_answered(store: Store, store_path: Path) -> None:
    """When LMDB cannot write its pages nothing is kept, though the vectors were written, and the next write works."""
    gallery = create(store)
    enroll(store, rows(gallery, [("ann", "a", 0)]))
    records_bytes = (store_path / "meta" / "data.mdb").stat().st_size
    many = [(f"person {row}" + "x" * 200, f"face {row}", row) for row in range(1, 1000)]
    with files_no_longer_than(records_bytes), pytest.raises(Unavailable) as refused:
        store.write(rows(gallery, many))
    assert refused.value.reason in {"STORAGE_FULL", "STORAGE_WRITE_FAILED"}
    assert store.revision == 2
    with store.view() as view:
        assert view.check() == []
    assert enroll(store, rows(gallery, many)).ordinals.tolist() == list(range(1, 1000))


def test_a_full_map_grows(store_path: Path) -> None:
    """Records beyond map_size_bytes are written all the same, by one write or by many; views are served meanwhile and
    the next opening reads it all, whatever its setting.
    """
    options = StoreOptions(map_size_bytes=1 << 18)
    is_over = threading.Event()

    def read(store: Store) -> int:
        count = 0
        while not is_over.is_set():
            with store.view() as view:
                assert view.gallery("people").counts.face_count % 100 == 0
                count += 1
        return count

    with open_store(store_path, options) as store, ThreadPoolExecutor(2) as threads:
        gallery = create(store)
        readers = [threads.submit(read, store) for _ in range(2)]
        try:
            fill(store, gallery)
            enroll(store, rows(gallery, [(f"j{row}", f"g{row}", row) for row in range(10_000, 14_000)]))
        finally:
            is_over.set()
        assert all(reader.result(30) for reader in readers)
    with open_store(store_path, options) as store:
        with store.view() as view:
            assert view.check() == []
            assert view.gallery("people").counts.face_count == 14_000
        store.write(DeleteFaces("people", [f"g{row}" for row in range(10_000, 14_000)]))


def test_a_view_that_stays_open_puts_off_the_growth(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a view does not end the write that needs more room is refused as passing; after it, it is written."""
    monkeypatch.setattr(recovery, "VIEWS_WAIT_S_MAX", 0.2)
    monkeypatch.setattr(recovery, "VIEWS_REST_S", 0.0)
    with open_store(store_path, StoreOptions(map_size_bytes=1 << 18)) as store:
        gallery = create(store)
        with store.view() as view, pytest.raises(Unavailable) as refused:
            fill(store, gallery)
        assert refused.value.reason == "STORAGE_WRITE_FAILED"
        assert "nothing of it was kept" in refused.value.message
        fill(store, gallery)
        with store.view() as view:
            assert view.check() == []
            assert view.gallery("people").counts.face_count == 10_000


def test_the_journal_tells_every_choice(store: Store) -> None:
    """An entry a revision, with numbers and ordinals fixed, in the order they were written."""
    gallery = create(store)
    enroll(store, rows(gallery, [("ann", "a", 1), ("bob", "b", 2)]))
    store.write(PutIdentity("people", "ann", display_name="Ann"))
    store.write(MoveFaces("people", ["a"], "cem", delete_emptied_identities=True))
    store.write(DeleteFaces("people", ["b"]))
    entries = journal(store)
    assert [entry.revision for entry in entries] == [1, 2, 3, 4, 5]
    kinds = [[operation.WhichOneof("operation") for operation in entry.operations] for entry in entries]
    assert kinds == [
        ["put_gallery"],
        ["enroll"],
        ["put_identity"],
        ["put_identity", "move_faces", "delete_identity"],
        ["delete_faces"],
    ]
    enrolled = entries[1].operations[0].enroll
    faces = [decode_face(b"", raw) for raw in enrolled.face_values]
    assert (enrolled.first_ordinal, [(face.identity_number, face.face_id) for face in faces]) == (
        0,
        [(1, "a"), (2, "b")],
    )
    assert [face.vector_checksum for face in faces] == row_checksums(np.array([vector(1), vector(2)])).tolist()
    made = [IdentityRecord.FromString(raw) for raw in enrolled.new_identity_records]
    assert (list(enrolled.new_identity_ids), [record.number for record in made]) == (["ann", "bob"], [1, 2])
    assert entries[3].operations[1].move_faces.target_identity_number == 3
    assert list(entries[4].operations[0].delete_faces.ordinals) == [1]


def test_old_journal_entries_go(store_path: Path) -> None:
    """No more entries are kept than asked for, also after a store is opened with fewer."""
    with open_store(store_path) as store:
        gallery = create(store)
        for row in range(9):
            enroll(store, rows(gallery, [("ann", f"a{row}", row)]))
    with open_store(store_path, StoreOptions(map_size_bytes=1 << 30, journal_revisions_max=2)) as store:
        for row in range(9, 13):
            enroll(store, rows(gallery, [("ann", f"a{row}", row)]))
        assert [entry.revision for entry in journal(store)] == [13, 14]


def test_a_journal_beyond_its_bytes_is_cut(store_path: Path) -> None:
    """Old entries also go when they take more bytes than allowed; the newest stays whatever it takes."""
    with open_store(store_path, StoreOptions(map_size_bytes=1 << 30, journal_bytes_max=600)) as store:
        gallery = create(store)
        for row in range(20):
            enroll(store, rows(gallery, [("ann", f"a{row}", row)]))
        kept = journal(store)
        assert kept[-1].revision == store.revision
        assert 1 < len(kept) < 10
        assert sum(entry.ByteSize() for entry in kept) <= 600
        enroll(store, rows(gallery, [("ann", f"b{row}", 100 + row) for row in range(50)]))
        enroll(store, rows(gallery, [("ann", "last", 7)]))
        assert journal(store)[-1].revision == store.revision


def test_old_request_ids_are_forgotten(store_path: Path) -> None:
    """A request id older than its age goes with a later write, and can then be used for something else."""
    with open_store(store_path, StoreOptions(map_size_bytes=1 << 30, request_age_max_s=-1)) as store:
        gallery = create(store)
        store.write(rows(gallery, [("ann", "a", 1)], request=RequestKey("r", b"f", lambda _: b"")))
        enroll(store, rows(gallery, [("ann", "b", 2)]))
        with store.view() as view:
            assert view.request("r") is None


def test_callbacks_tell_revision_and_galleries(store: Store) -> None:
    """Each revision is told once, after it can be read; one callback that fails harms nobody."""
    told: list[tuple[int, frozenset[int], int]] = []
    store.on_commit(lambda revision, galleries: told.append((revision, galleries, store.revision)))
    store.on_commit(lambda _revision, _galleries: 1 // 0)  # type: ignore[arg-type, return-value]
    create(store, "one")
    gallery = create(store, "two")
    store.write(PutOperation(OperationRecord(name="operations/x")))
    enroll(store, rows(gallery, [("ann", "a", 1)]))
    store.write(PutOperation(OperationRecord(name="operations/x")))
    assert told == [(1, frozenset({1}), 1), (2, frozenset({2}), 2), (3, frozenset({2}), 3)]


def test_closing_writes_what_waits_and_refuses_the_rest(store_path: Path) -> None:
    """What was queued before the end is written and answered; afterwards every use says that the store is closed."""
    store = open_store(store_path, OPTIONS)
    gallery = create(store)
    is_busy, may_go = threading.Event(), threading.Event()
    store.submit(Hold(is_busy, may_go))
    assert is_busy.wait(30)
    waiting = [store.submit(rows(gallery, [("ann", f"a{row}", row)])) for row in range(5)]
    closing = threading.Thread(target=store.close)
    closing.start()
    may_go.set()
    closing.join(30)
    assert all(future.result(0).revision == 2 for future in waiting)
    with pytest.raises(Unavailable) as refused:
        store.submit(PutOperation(OperationRecord(name="operations/x")))
    assert refused.value.reason == "STORE_CLOSED"
    with pytest.raises(Unavailable), store.view():
        pass
    store.close()
    with open_store(store_path) as reopened, reopened.view() as view:
        assert view.gallery("people").counts.face_count == 5
