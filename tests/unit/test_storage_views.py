"""Views: pinned to one revision in LMDB and in memory, whatever is written meanwhile."""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mien_server.errors import CorruptStore, InternalError, MienError, NotFound, PreconditionFailed
from mien_server.records.store_pb2 import GalleryRecord, OperationRecord
from mien_server.storage import (
    DeleteFaces,
    DeleteGallery,
    DeleteIdentity,
    GalleryView,
    MoveFaces,
    PutOperation,
    Store,
    StoreOptions,
)
from tests.storage_support import create, digest, enroll, open_store, rows, vector

READER_COUNT = 4
WRITES = 60
VECTORS = np.array([vector(seed) for seed in range(2 * WRITES)])


@pytest.fixture
def store(store_path: Path) -> Iterator[Store]:
    with open_store(store_path) as opened:
        yield opened


@pytest.fixture
def gallery(store: Store) -> GalleryRecord:
    record = create(store)
    enroll(store, rows(record, [("ann", "a", 0), ("bob", "b", 1), ("ann", "c", 2)]))
    return record


def test_a_view_stays_as_it_was(store: Store, gallery: GalleryRecord) -> None:
    """A view does not see what is written after it was opened; the next one does."""
    with store.view() as old:
        people = old.gallery("people")
        store.write(DeleteIdentity("people", "bob"))
        store.write(MoveFaces("people", ["a"], "bob"))
        enroll(store, rows(gallery, [("new", "n", 5)]))
        assert old.revision == 2
        assert old.check() == []
        assert people.counts.face_count == people.rows.live_count == 3
        assert people.identity_ids(people.heads([0, 1, 2]).identity_numbers) == ["ann", "bob", "ann"]
        assert people.rows.identity_numbers.tolist() == [1, 2, 1]
        assert people.rows.live.tolist() == [0b111]
        assert people.identity("new") is None
    with store.view(min_revision=5) as new:
        assert new.gallery("people").rows.live.tolist() == [0b1101]


def test_a_gallery_deleted_under_a_view_can_be_read_to_the_end(store: Store, gallery: GalleryRecord) -> None:
    """Files of a deleted gallery go when the last view that holds it ends, not before."""
    folder = store.path / "vectors" / f"{gallery.number:08x}"
    index = store.index_directory(gallery.number)
    index.mkdir(parents=True)
    with store.view() as view:
        store.write(DeleteGallery("people", force=True))
        store.write(PutOperation(OperationRecord(name="operations/x")))
        assert folder.exists()
        assert np.array_equal(view.gallery("people").vectors([2])[0], vector(2))
    # Another write passes through the writer after the view's end has woken it.
    store.write(PutOperation(OperationRecord(name="operations/x")))
    store.write(PutOperation(OperationRecord(name="operations/x")))
    assert not folder.exists()
    assert not index.exists()
    with store.view() as view, pytest.raises(NotFound):
        view.gallery("people")


def test_records_of_a_deleted_gallery_are_taken_out(store_path: Path) -> None:
    """What a deleted gallery leaves in LMDB goes little by little, also when the store was closed in between."""
    with open_store(store_path) as store:
        gallery = create(store)
        for first in range(0, 6000, 1000):
            faces = [(f"i{row}", f"f{row}", row) for row in range(first, first + 1000)]
            enroll(store, rows(gallery, faces, labels={0: {"a": "b"}}))
        store.write(DeleteGallery("people", force=True))
        with store.view() as view:
            assert view.check() == []
    with open_store(store_path) as store:
        for _ in range(60):
            store.write(PutOperation(OperationRecord(name="operations/x")))
        with store.view() as view:
            assert view.check() == []
            reading = view._reader().reading
            assert list(reading.keys("meta", b"purge:")) == []  # type: ignore[arg-type]
            assert list(reading.keys("faces", b"")) == []  # type: ignore[arg-type]


@pytest.mark.usefixtures("gallery")
def test_a_revision_not_reached_is_refused(store: Store) -> None:
    """A reader that has to see a later revision is told where the store is."""
    with pytest.raises(PreconditionFailed) as refused, store.view(min_revision=3):
        pass
    assert refused.value.reason == "REVISION_NOT_REACHED"
    assert refused.value.metadata["revision"] == "2"


@pytest.mark.usefixtures("gallery")
def test_heads_and_faces_come_in_the_order_asked(store: Store) -> None:
    """Rows are answered in the order asked, repeated ones too, few of them and many."""
    with store.view() as view:
        people = view.gallery("people")
        for wanted in ([2, 0, 2, 1], [2, 0, 1] * 100):
            heads = people.heads(np.array(wanted))
            assert heads.face_ids == ["abc"[ordinal] for ordinal in wanted]
            assert heads.identity_numbers.tolist() == [[1, 2, 1][ordinal] for ordinal in wanted]
            assert set(heads.create_times_us.tolist()) == {1_000_000}
        faces = people.faces([2, 0])
        assert [(face.ordinal, face.face_id, face.identity_number) for face in faces] == [(2, "c", 1), (0, "a", 1)]
        assert faces[0].record.digest == digest(2)
        assert faces[0].record.source == "picture 2"
        assert np.array_equal(people.vectors([1, 1]), np.array([vector(1), vector(1)]))


@pytest.mark.usefixtures("gallery")
def test_rows_that_do_not_resolve_are_never_answered(store: Store) -> None:
    """A row that was deleted, or never was, and an identity that is not there, are errors that name the key."""
    store.write(DeleteFaces("people", ["b"]))
    with store.view() as view:
        people = view.gallery("people")
        for wanted in ([0, 1], [0, 77], [0, 1] * 100):
            with pytest.raises(CorruptStore) as refused:
                people.heads(wanted)
            assert refused.value.reason == "ROW_NOT_RESOLVED"
            assert refused.value.metadata["database"] == "faces"
        with pytest.raises(CorruptStore) as refused:
            people.identity_ids([1, 55])
        assert refused.value.reason == "IDENTITY_NOT_RESOLVED"


def test_lists_are_paged(store: Store, gallery: GalleryRecord) -> None:
    """Galleries, identities, faces of an identity and live rows go on after the last one seen."""
    for name in ("alpha", "zeta"):
        create(store, name)
    with store.view() as view:
        assert [one.name for one in view.galleries()] == ["alpha", "people", "zeta"]
        assert [one.name for one in view.galleries(after="alpha", limit=1)] == ["people"]
        assert [one.name for one in view.galleries(after="b")] == ["people", "zeta"]
        people = view.gallery("people")
        assert [one for one, _ in people.identities(limit=1)] == ["ann"]
        assert [one for one, _ in people.identities(after_id="ann")] == ["bob"]
        assert people.identities(after_id="x" * 600) == []
        assert people.faces_of(1).tolist() == [0, 2]
        assert people.faces_of(1, after_ordinal=0, limit=5).tolist() == [2]
        assert people.faces_of(9).tolist() == []
        assert people.live_ordinals(0, 1).tolist() == [1]
        assert people.live_ordinals(2, 5).tolist() == []
        assert people.face_ordinal("b") == 1
        assert people.face_ordinal("nobody") is None
        assert view.gallery_by_number(gallery.number) is people
        assert view.gallery_by_number(99) is None


def test_live_rows_are_found_across_many_bytes(store: Store) -> None:
    """The bitmap of live rows is right at every boundary of bytes, however rows were added and deleted."""
    gallery = create(store, "many")
    added = 0
    for count in (1, 6, 1, 8, 9, 50, 3):
        enroll(store, rows(gallery, [("ann", f"f{row}", row) for row in range(added, added + count)]))
        added += count
    gone = random.Random(1).sample(range(added), 30)
    store.write(DeleteFaces("many", [f"f{row}" for row in gone]))
    expected = sorted(set(range(added)) - set(gone))
    with store.view() as view:
        many = view.gallery("many")
        assert many.live_ordinals(-1, 1000).tolist() == expected
        assert many.live_ordinals(expected[10], 7).tolist() == expected[11:18]
        assert many.rows.live.shape == ((added + 7) // 8,)
        assert view.check() == []


def test_what_a_view_returned_outlives_it(store: Store, gallery: GalleryRecord) -> None:
    """Arrays, texts and records stay valid after the view and the store end; the view itself refuses."""
    with store.view() as view:
        people = view.gallery("people")
        shown, heads = people.rows, people.heads([0])
    enroll(store, rows(gallery, [("z", f"z{row}", 100 + row) for row in range(500)]))
    store.close()
    assert np.array_equal(np.asarray(shown.vectors[1]), vector(1))
    assert heads.face_ids == ["a"]
    with pytest.raises(InternalError):
        people.heads([0])
    with pytest.raises(InternalError):
        view.operations()


@pytest.mark.usefixtures("gallery")
def test_rows_cannot_be_written_through_a_view(store: Store) -> None:
    """Nothing that a view hands out can change the store."""
    with store.view() as view:
        shown = view.gallery("people").rows
        for array in (shown.vectors, shown.live, shown.identity_numbers):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


def test_vectors_stay_in_place_while_the_file_grows(store: Store, gallery: GalleryRecord) -> None:
    """Rows read before the file was made longer, and mapped anew, are the same rows."""
    with store.view() as old:
        before = old.gallery("people").rows.vectors
        for first in range(0, 300_000, 100_000):
            many = rows(gallery, [("bulk", f"b{row}", 7) for row in range(first, first + 1)])
            enroll(store, many)
        assert np.array_equal(np.asarray(before), np.array([vector(0), vector(1), vector(2)]))


def test_views_open_while_a_write_is_under_way(store_path: Path) -> None:
    """No view waits for the writer, however many are open already."""
    with open_store(store_path, StoreOptions(map_size_bytes=1 << 30, ready_reader_count_max=2)) as store:
        gallery = create(store)
        enroll(store, rows(gallery, [("ann", "a", 0)]))
        with store._opened.environment.begin(write=True), contextlib.ExitStack() as views:
            waiting = store.submit(rows(gallery, [("ann", "b", 1)]))
            for _ in range(20):
                view = views.enter_context(store.view())
                assert view.gallery("people").counts.face_count == 1
        assert waiting.result(30).revision == 3


def check_pinned(people: GalleryView, revision: int) -> None:
    """Memory and LMDB of this view agree on every live row."""
    shown = people.rows
    live = people.live_ordinals(-1, 10_000)
    assert shown.revision == revision
    assert len(live) == shown.live_count == people.counts.face_count
    heads = people.heads(live)
    assert np.array_equal(heads.identity_numbers, shown.identity_numbers[live])
    assert np.array_equal(shown.vectors[live], VECTORS[[int(face_id) for face_id in heads.face_ids]])


def test_readers_see_one_revision_while_a_writer_writes(store_path: Path) -> None:
    """Many readers, fewer ready transactions than readers: each view agrees with itself, and time never goes back."""
    failures: list[BaseException] = []
    is_over = threading.Event()
    with open_store(store_path, StoreOptions(map_size_bytes=1 << 30, ready_reader_count_max=2)) as store:
        gallery = create(store)

        def read() -> None:
            seen = 0
            try:
                while not is_over.is_set():
                    with store.view() as view:
                        assert view.revision >= seen
                        seen = view.revision
                        check_pinned(view.gallery("people"), seen)
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

        readers = [threading.Thread(target=read) for _ in range(READER_COUNT)]
        for reader in readers:
            reader.start()
        for number in range(WRITES):
            faces = [(f"p{number % 7}", str(seed), seed) for seed in (2 * number, 2 * number + 1)]
            answer = store.write(rows(gallery, faces))
            with store.view(min_revision=answer.revision) as view:
                assert view.gallery("people").face_ordinal(str(2 * number)) is not None
            if number % 3 == 2:
                store.write(DeleteFaces("people", [str(2 * number - 1)]))
                store.write(MoveFaces("people", [str(2 * number)], "mover"))
        is_over.set()
        for reader in readers:
            reader.join(30)
    assert failures == []


def test_a_forked_child_is_refused(store: Store) -> None:
    """A child made by fork is told, instead of harming the store it shares."""
    child = os.fork()
    if child == 0:
        try:
            store.view()
        except MienError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
