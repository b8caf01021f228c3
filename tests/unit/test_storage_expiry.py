"""What has expired: hidden from views, kept with snapshots, deleted when it is named or swept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien_server.errors import CorruptStore, InvalidArgument, NotFound
from mien_server.records.policies import Duplicates
from mien_server.records.store_pb2 import GalleryRecord, OperationRecord
from mien_server.storage import (
    Committed,
    DeleteFaces,
    DeleteIdentity,
    EraseFaces,
    MoveFaces,
    PutIdentity,
    RemoveExpired,
    Store,
    StoreOptions,
    keys,
)
from mien_server.storage import expiry as expiry_module
from mien_server.storage.backup import RestoreRequest, open_place, restore
from mien_server.storage.commands.expired import EXPIRED_FACES_MAX
from mien_server.storage.databases import Database, Reading, put
from mien_server.storage.expiry import Clock
from mien_server.storage.reading import RecordReader
from mien_server.storage.values import decode_face
from tests.erasure_support import run_erasures
from tests.snapshot_support import take, unwatched
from tests.storage_support import OPTIONS, create, enroll, rows, vector

NOW_US = 1_800_000_000_000_000
PEOPLE = "people"


class FakeClock:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now_us = NOW_US

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(store_path: Path, clock: FakeClock) -> Iterator[Store]:
    with open_at(store_path, clock) as opened:
        yield opened


def open_at(path: Path, clock: FakeClock) -> Store:
    return Store.open(path, StoreOptions(map_size_bytes=1 << 30, clock_us=clock))


def enroll_until(store: Store, gallery: GalleryRecord, faces: list[tuple[str, str, int]], *times_us: int) -> None:
    result = enroll(store, replace(rows(gallery, faces), expire_times_us=times_us))
    assert not result.errors


def shown(store: Store) -> tuple[list[str], list[str]]:
    """Identity ids and face ids that a view shows; its counts and bitmap must agree, and the store with itself."""
    with store.view() as view:
        assert view.check() == []
        gallery = view.gallery(PEOPLE)
        people = [identity_id for identity_id, _ in gallery.identities()]
        faces = gallery.heads(gallery.live_ordinals(-1, 1000)).face_ids
        assert gallery.counts.identity_count == len(people)
        assert gallery.counts.face_count == gallery.rows.live_count == len(faces)
        assert int(np.bitwise_count(gallery.rows.live).sum()) == len(faces)
        assert gallery.face_ordinals(faces).keys() == set(faces)
        return people, faces


def test_the_clock_never_goes_back() -> None:
    """A wall clock that is set back is waited for; what was read before a restart counts as read."""
    wall = FakeClock()
    clock = Clock(wall, latest_us=NOW_US + 5)
    assert clock.now_us() == NOW_US + 5
    wall.now_us = NOW_US + 9
    assert clock.now_us() == NOW_US + 9
    wall.now_us = NOW_US
    assert clock.now_us() == NOW_US + 9


def test_the_time_of_the_last_commit_outlives_a_restart(store_path: Path, clock: FakeClock) -> None:
    """What had expired before the last commit stays hidden when the clock is set back while the store is closed."""
    with open_at(store_path, clock) as store:
        enroll_until(store, create(store), [("ann", "a", 0), ("bob", "b", 1)], NOW_US + 5, 0)
        clock.now_us += 10
        store.write(PutIdentity(PEOPLE, "bob", display_name="Bob"))
    clock.now_us -= 10
    with open_at(store_path, clock) as store:
        assert shown(store) == (["ann", "bob"], ["b"])


def test_a_view_is_as_late_as_when_it_was_entered(store: Store, clock: FakeClock) -> None:
    """What passes while a view is open is shown by it to the end, and not by the next one."""
    enroll_until(store, create(store), [("ann", "a", 0)], NOW_US + 5)
    with store.view() as early:
        people = early.gallery(PEOPLE)
        clock.now_us += 5
        assert people.face_ordinal("a") == 0
        with store.view(shows_expired=True) as whole:
            assert whole.gallery(PEOPLE).counts.face_count == 1
        assert shown(store) == (["ann"], [])
        assert people.face_ordinal("a") == 0


def test_what_expired_stays_hidden_in_later_snapshots(store: Store, clock: FakeClock) -> None:
    """Writes of others, deletions among the expired, and further times leave answers right."""
    gallery = create(store)
    enroll_until(store, gallery, [("ann", "a", 0), ("ann", "b", 1), ("bob", "c", 2)], NOW_US + 5, 0, 0)
    store.write(PutIdentity(PEOPLE, "bob", expire_time_us=NOW_US + 5))
    store.write(PutIdentity(PEOPLE, "cid", expire_time_us=NOW_US + 5, allow_missing=True))
    clock.now_us += 5
    assert shown(store) == (["ann"], ["b"])
    enroll_until(store, gallery, [("dee", "d", 3)], 0)
    assert shown(store) == (["ann", "dee"], ["b", "d"])
    store.write(DeleteIdentity(PEOPLE, "cid", allow_missing=True))
    assert shown(store) == (["ann", "dee"], ["b", "d"])
    store.write(PutIdentity(PEOPLE, "dee", expire_time_us=NOW_US + 6))
    clock.now_us += 1
    assert shown(store) == (["ann"], ["b"])


def test_a_time_that_is_put_late_counts(store: Store, clock: FakeClock) -> None:
    """A face that is written with a time before one that a view has seen pass is never shown."""
    gallery = create(store)
    enroll_until(store, gallery, [("ann", "a", 0), ("ann", "b", 1)], NOW_US + 5, 0)
    clock.now_us += 10
    assert shown(store) == (["ann"], ["b"])
    enroll_until(store, gallery, [("ann", "c", 2), ("ann", "d", 3)], NOW_US + 4, 0)
    assert shown(store) == (["ann"], ["b", "d"])


def test_later_snapshots_read_only_what_passed_since(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While expired rows wait for the sweep, a write does not have them found out again."""
    gallery = create(store)
    faces = [("ann", f"face-{number}", number) for number in range(40)]
    enroll_until(store, gallery, faces, *[NOW_US + 5] * 30, *[0] * 10)
    clock.now_us += 5
    assert len(shown(store)[1]) == 10
    entries_read = []
    due_entries = expiry_module.due_entries

    def counted(reading: Reading, number: int, after_us: int, now_us: int) -> Iterator[np.ndarray]:
        for entries in due_entries(reading, number, after_us, now_us):
            entries_read.append(len(entries))
            yield entries

    monkeypatch.setattr(expiry_module, "due_entries", counted)
    enroll_until(store, gallery, [("bob", "new", 99)], 0)
    assert len(shown(store)[1]) == 11
    store.write(RemoveExpired(PEOPLE, rows_max=10))
    assert len(shown(store)[1]) == 11
    assert entries_read == []


def test_a_duplicate_of_what_expired_is_none(store: Store, clock: FakeClock) -> None:
    """Of several faces with one digest those that have expired do not count, and the one that has not does."""
    gallery = create(store)
    allowed = replace(
        rows(gallery, [("ann", "a", 7), ("ann", "b", 7), ("ann", "c", 7)], duplicates=Duplicates.ALLOW),
        expire_times_us=[NOW_US + 1, NOW_US + 2, 0],
    )
    assert not enroll(store, allowed).errors
    clock.now_us += 2
    again = enroll(store, rows(gallery, [("ann", "d", 7)]))
    assert (again.is_duplicate[0], again.face_ids[0]) == (True, "c")
    assert shown(store) == (["ann"], ["c"])


def test_a_move_meets_neither_face_nor_receiver_that_expired(store: Store, clock: FakeClock) -> None:
    """A face whose identity expired is not found; a receiver that expired is made anew."""
    enroll_until(store, create(store), [("ann", "a", 0), ("bob", "b", 1)], 0, 0)
    store.write(PutIdentity(PEOPLE, "ann", expire_time_us=NOW_US + 1, labels={"team": "red"}))
    clock.now_us += 1
    with pytest.raises(NotFound) as refusal:
        store.write(MoveFaces(PEOPLE, ["a"], "bob"))
    assert refusal.value.reason == "FACE_NOT_FOUND"
    store.write(MoveFaces(PEOPLE, ["b"], "ann"))
    assert shown(store) == (["ann", "bob"], ["b"])
    with store.view() as view:
        made = view.gallery(PEOPLE).identity("ann")
        assert made is not None
        assert (dict(made.labels), made.face_count, made.expire_time_us) == ({}, 1, 0)


@pytest.mark.parametrize("is_moved", [False, True])
def test_whoever_has_nothing_left_but_what_expired_is_emptied(
    store: Store, clock: FakeClock, *, is_moved: bool
) -> None:
    """The last face that could be seen goes: the identity goes with it, though its expired faces wait for the sweep."""
    count = EXPIRED_FACES_MAX + 2
    gallery = create(store)
    late = [("ann", f"late-{face}", face) for face in range(count)]
    enroll_until(store, gallery, [*late, ("ann", "a", count), ("bob", "b", 5000)], *[NOW_US + 1] * count, 0, 0)
    clock.now_us += 1
    if is_moved:
        store.write(MoveFaces(PEOPLE, ["a"], "bob", delete_emptied_identities=True))
    else:
        store.write(DeleteFaces(PEOPLE, ["a"], delete_emptied_identities=True))
    assert shown(store) == (["bob"], ["a", "b"] if is_moved else ["b"])


def test_somebody_of_many_faces_who_expired_goes_in_several_commits(store: Store, clock: FakeClock) -> None:
    """Whoever is enrolled again under the id waits for no commit that deletes more than its share."""
    gallery = create(store)
    count = 2 * EXPIRED_FACES_MAX + 3
    enroll(store, rows(gallery, [("ann", f"a{face}", face) for face in range(count)]))
    store.write(PutIdentity(PEOPLE, "ann", expire_time_us=NOW_US + 1))
    clock.now_us += 1
    before = store.revision
    enrolled = store.write(rows(gallery, [("ann", "b", count)]))
    assert enrolled.revision == store.revision == before + 3
    with store.view() as view:
        deleted = [
            len(operation.delete_faces.ordinals)
            for entry in view.records.journal(before + 1)
            for operation in entry.operations
            if operation.HasField("delete_faces")
        ]
    assert deleted == [EXPIRED_FACES_MAX, EXPIRED_FACES_MAX, 3]
    assert shown(store) == (["ann"], ["b"])


def test_a_time_that_has_passed_is_refused_for_an_identity(store: Store) -> None:
    """Nobody is made to expire at once: that is what deleting is for."""
    enroll_until(store, create(store), [("ann", "a", 0)], 0)
    with pytest.raises(InvalidArgument) as refusal:
        store.write(PutIdentity(PEOPLE, "ann", expire_time_us=NOW_US))
    assert refusal.value.reason == "EXPIRE_TIME_PAST"
    assert shown(store) == (["ann"], ["a"])


def test_the_journal_holds_times_and_deletions(store: Store, clock: FakeClock) -> None:
    """Whoever replays the journal needs no clock: times are in it as given, and a sweep as what it deleted."""
    gallery = create(store)
    enroll_until(store, gallery, [("ann", "a", 0), ("bob", "b", 1)], NOW_US + 1, 0)
    store.write(PutIdentity(PEOPLE, "bob", expire_time_us=NOW_US + 1))
    clock.now_us += 1
    store.write(RemoveExpired(PEOPLE, rows_max=100))
    with store._opened.environment.begin() as transaction:
        entries = list(RecordReader(Reading(transaction, store._opened.handles)).journal(1))
    operations = [operation for entry in entries for operation in entry.operations]
    [enrolled] = [one.enroll for one in operations if one.HasField("enroll")]
    assert [decode_face(b"", raw).expire_time_us for raw in enrolled.face_values] == [NOW_US + 1, 0]
    [made] = [one.put_identity for one in operations if one.HasField("put_identity")]
    assert made.identity.expire_time_us == NOW_US + 1
    [faces] = [one.delete_faces for one in operations if one.HasField("delete_faces")]
    [person] = [one.delete_identity for one in operations if one.HasField("delete_identity")]
    assert (list(faces.ordinals), person.identity_number) == ([0, 1], made.identity.number)


@pytest.mark.parametrize("adds", [True, False])
def test_a_check_finds_an_expiry_that_is_not_as_the_records_say(store_path: Path, clock: FakeClock, adds: bool) -> None:
    """An entry too many and an entry too few are both told."""
    with open_at(store_path, clock) as store:
        gallery = create(store)
        enroll_until(store, gallery, [("ann", "a", 0)], NOW_US + 5)
        opened = store._opened
        with opened.environment.begin(write=True) as transaction:
            key = next(Reading(transaction, opened.handles).keys(Database.EXPIRY, b""))
            if adds:
                put(transaction, opened.handles, Database.EXPIRY, key[:-1] + b"\x07", b"")
            else:
                transaction.delete(key, db=opened.handles[Database.EXPIRY])
    with open_at(store_path, clock) as store, store.view() as view:
        [sentence] = view.check()
        assert ("should not have" if adds else "lacks") in sentence
        assert "expiry" in sentence


def test_vectors_of_rows_that_are_left_are_theirs(store: Store, clock: FakeClock) -> None:
    """Hiding rows moves none."""
    enroll_until(store, create(store), [("ann", "a", 0), ("ann", "b", 1), ("bob", "c", 2)], NOW_US + 1, 0, 0)
    clock.now_us += 1
    with store.view() as view:
        gallery = view.gallery(PEOPLE)
        left = gallery.live_ordinals(-1, 10)
        assert np.array_equal(gallery.vectors(left), np.array([vector(1), vector(2)]))
        ann = gallery.identity("ann")
        assert ann is not None
        assert (ann.face_count, gallery.faces_of(ann.number).tolist()) == (1, [1])


def test_a_snapshot_holds_what_waits_for_the_sweep(store: Store, clock: FakeClock, tmp_path: Path) -> None:
    """Restored, a store has every record with its vector, those that have expired too, and shows none of these."""
    enroll_until(store, create(store), [("ann", "a", 0), ("ann", "b", 1)], NOW_US + 1, 0)
    clock.now_us += 1
    taken = take(store, tmp_path / "snapshots")
    assert [gallery.face_count for gallery in taken.manifest.galleries] == [2]
    target = tmp_path / "restored"
    request = RestoreRequest(open_place(str(tmp_path / "snapshots")), taken.manifest.name, target, options=OPTIONS)
    restore(request, unwatched)
    with open_at(target, clock) as restored:
        assert shown(restored) == (["ann"], ["b"])
        with restored.view(shows_expired=True) as view:
            assert np.array_equal(view.gallery(PEOPLE).vectors([0, 1]), np.array([vector(0), vector(1)]))


def test_an_erasure_leaves_others_who_wait_for_the_sweep_whole(store_path: Path, clock: FakeClock) -> None:
    """Erasing overwrites rows that are deleted, and none that is still to be swept; who has expired can be erased."""
    # Rows older than the journal are overwritten where they are deleted, whosever they were.
    options = StoreOptions(map_size_bytes=1 << 30, clock_us=clock, journal_revisions_max=1)
    with Store.open(store_path, options) as store:
        enroll_until(store, create(store), [("ann", "a", 0), ("bob", "b", 1), ("cid", "c", 2)], NOW_US + 1, 0, 0)
        store.write(PutIdentity(PEOPLE, "cid", expire_time_us=NOW_US + 1))
        clock.now_us += 1
        for number, identity_id in enumerate(["bob", "cid"]):
            operation = OperationRecord(name=f"operations/{number}")
            assert store.write(EraseFaces(PEOPLE, identity_id, f"erasures/{number}", operation)).result  # type: ignore[union-attr]
        run_erasures(store)
        assert shown(store) == (["ann"], [])
        with store.view(shows_expired=True) as view:
            rows_left = view.gallery(PEOPLE).rows.vectors
            assert np.array_equal(rows_left[0], vector(0))
            assert not rows_left[1:].any()


def test_a_changed_key_of_expiry_deletes_nobody_who_is_to_stay(store_path: Path, clock: FakeClock) -> None:
    """Keys have no checksum: the sweep asks the person's own record, deletes the rest, and says what contradicts."""
    with open_at(store_path, clock) as store:
        gallery = create(store)
        enroll_until(store, gallery, [("ann", "a", 0), ("bob", "b", 1), ("carol", "c", 2)], 0, 0, 0)
        for identity_id, time_us in (("ann", NOW_US + 2), ("bob", NOW_US + 1)):
            store.write(PutIdentity(PEOPLE, identity_id, expire_time_us=time_us))
        with store._opened.environment.begin(write=True) as transaction:
            handle = store._opened.handles[Database.EXPIRY]
            (bobs,) = keys.encode_expiry_many(gallery.number, [NOW_US + 1], keys.EXPIRY_IDENTITY, [2])
            (carols,) = keys.encode_expiry_many(gallery.number, [NOW_US + 1], keys.EXPIRY_IDENTITY, [3])
            assert transaction.delete(bobs, db=handle)
            transaction.put(carols, b"", db=handle)
    clock.now_us += 3
    with open_at(store_path, clock) as store:
        written = store.write(RemoveExpired(PEOPLE, 100))
        assert isinstance(written, Committed)
        assert (written.result.identity_count, written.result.is_more_due) == (1, True)
        with pytest.raises(CorruptStore) as refusal:
            store.write(RemoveExpired(PEOPLE, 100))
        assert refusal.value.reason == "RECORDS_DISAGREE"
        with store.view(shows_expired=True) as view:
            assert [one for one, _ in view.gallery(PEOPLE).identities()] == ["bob", "carol"]
