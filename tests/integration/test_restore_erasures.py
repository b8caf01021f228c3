"""A restore does not undo erasures: nobody finds who was erased, and no file holds them once a server has run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mien_server.engine import Engine, erasures
from mien_server.engine.translation import erasure_of
from mien_server.errors import MienError, NotFound, PreconditionFailed
from mien_server.storage import Store, check_receipt
from mien_server.storage.backup import erasing_again
from mien_server.storage.commands import erase_faces
from mien_server.storage.vector_file import VECTORS_OFFSET
from tests.erasure_support import (
    DIMENSION,
    FACES_EACH,
    GALLERY,
    NEVER,
    OPTIONS,
    create,
    enroll,
    erase,
    face_id,
    identity_id,
    nearest_person,
    patterns,
    store_agrees,
    traces,
)
from tests.restore_support import (
    FORGETFUL,
    NEIGHBOR,
    PEOPLE,
    PERSON,
    WAIT_S,
    check_nothing_is_left,
    ended,
    erased_after_a_snapshot,
    opened,
    people,
    restored,
    snapshot,
)


def test_a_restore_in_place_does_not_bring_back_who_was_erased(store_path: Path, place: Path) -> None:
    """They are not in the store that is put in place, and after a server ran no byte of them is; the receipt of the
    first erasure still holds, and the new one names the snapshot that holds them.
    """
    name, erasure = erased_after_a_snapshot(store_path, place)
    made = restored(place, name, store_path)
    assert [(one.erasure, one.face_count) for one in made.erased_again] == [(erasure.name, FACES_EACH + 1)]
    assert made.erasures_known == ((str(store_path), made.erasures_known[0][1]),)
    assert made.revision > made.restored_revision == made.manifest.revision
    assert made.erasures_unread == ()
    assert people(store_path) == {identity_id(person) for person in range(PEOPLE) if person != PERSON}
    again = check_nothing_is_left(store_path, erasure)
    assert again.receipt is not None
    assert [one.name for one in again.receipt.snapshots] == [name]
    assert again.receipt.row_count >= FACES_EACH + 1


def test_a_receipt_does_not_hold_before_what_came_back_is_erased(store_path: Path, place: Path) -> None:
    """Until the server has overwritten what the restore brought back, the receipt that was made before is not true."""
    name, erasure = erased_after_a_snapshot(store_path, place)
    restored(place, name, store_path)
    assert erasure.receipt is not None
    with Store.open(store_path, OPTIONS.store) as store:
        checks = {check.name: check.passed for check in check_receipt(store, erasure.receipt, "")}
    assert checks == {"seal": True, "record": False, "vectors": False}


def test_a_store_without_its_place_takes_erasures_from_whoever_knows(
    store_path: Path, place: Path, tmp_path: Path
) -> None:
    """To another folder: by `erasures` that names store or later snapshot, or by the newest snapshot beside; where
    nobody knows, the person is there, and that is said.
    """
    name, erasure = erased_after_a_snapshot(store_path, place)
    others = tmp_path / "others"
    shutil.copytree(place, others)
    alone = restored(place, name, tmp_path / "alone")
    assert (alone.erasures_known, alone.erased_again) == ((), ())
    assert identity_id(PERSON) in people(tmp_path / "alone")
    made = restored(place, name, tmp_path / "by-store", sources=[store_path])
    assert [one.erasure for one in made.erased_again] == [erasure.name]
    check_nothing_is_left(tmp_path / "by-store", erasure)
    with opened(store_path, place) as engine:
        later = snapshot(engine)
    for target, known in (("by-snapshot", [place / later]), ("by-itself", [])):
        made = restored(others if known else place, name, tmp_path / target, sources=known)
        assert made.erasures_unread == ()
        assert [one.erasure for one in made.erased_again] == [erasure.name], target
        assert identity_id(PERSON) not in people(tmp_path / target)
    with pytest.raises(PreconditionFailed) as refused:
        restored(place, name, tmp_path / "nowhere", sources=[tmp_path / "absent"])
    assert refused.value.reason == "NOT_A_STORE"
    with Store.open(tmp_path / "stranger", OPTIONS.store):
        pass
    with pytest.raises(PreconditionFailed) as refused:
        restored(place, name, tmp_path / "nowhere", sources=[tmp_path / "stranger"])
    assert refused.value.reason == "ERASURES_OF_ANOTHER_STORE"
    assert not (tmp_path / "nowhere").exists()


def test_a_journal_that_does_not_reach_back_is_told(store_path: Path, place: Path) -> None:
    """What was given to the person since the snapshot cannot be told from other rows, and comes back."""
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(3))
        name = snapshot(engine)
    with Engine.open(store_path, FORGETFUL) as engine:
        engine.faces.move(GALLERY, [face_id(1, 0)], identity_id(0))
        erase(engine, 0)
        enroll(engine, range(PERSON, PEOPLE))
    made = restored(place, name, store_path)
    assert [one.face_count for one in made.erased_again] == [FACES_EACH]
    (told,) = made.erasures_unread
    assert told.startswith(f"{store_path}: its journal begins at revision")


def test_a_face_that_was_given_to_the_erased_person_later_does_not_come_back(store_path: Path, place: Path) -> None:
    """At the snapshot it is another's; that one stays, without the face."""
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(PEOPLE))
        name = snapshot(engine)
        engine.faces.move(GALLERY, [face_id(NEIGHBOR, 0)], identity_id(PERSON))
        erase(engine, PERSON)
    made = restored(place, name, store_path)
    assert [one.face_count for one in made.erased_again] == [FACES_EACH + 1]
    with Engine.open(store_path, OPTIONS) as engine:
        ended(engine)
        assert engine.identities.get(GALLERY, identity_id(NEIGHBOR))[0].face_count == FACES_EACH - 1
        assert traces(store_path, [face_id(NEIGHBOR, 0).encode()]) == []
        with pytest.raises(NotFound):
            engine.faces.get(GALLERY, face_id(NEIGHBOR, 0))
    store_agrees(store_path)


def test_a_face_that_came_back_to_the_erased_person_later_leaves_nothing(store_path: Path, place: Path) -> None:
    """At the snapshot it had been given away: what the journal says of its last owner is not the last word."""
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(PEOPLE))
        first = snapshot(engine)
        engine.faces.move(GALLERY, [face_id(PERSON, 0)], identity_id(NEIGHBOR))
        second = snapshot(engine)
        engine.faces.move(GALLERY, [face_id(PERSON, 0)], identity_id(PERSON))
        erase(engine, PERSON)
    for name in (second, first):
        restored(place, name, store_path)
        with Engine.open(store_path, OPTIONS) as engine:
            ended(engine)
            assert engine.identities.get(GALLERY, identity_id(NEIGHBOR))[0].face_count == FACES_EACH
        assert traces(store_path, patterns(PERSON)) == []
    store_agrees(store_path)


def test_restoring_again_and_again_never_brings_anybody_back(store_path: Path, place: Path) -> None:
    """Whatever snapshot of whichever history follows which: an erasure that any of the stores in place saw holds."""
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(PEOPLE))
        first = snapshot(engine)
        erase(engine, 0)
        enroll(engine, [PEOPLE])
        second = snapshot(engine)
        erase(engine, 1)
    gone = {0, 1}
    for step, name in enumerate((first, second, first, second), start=2):
        restored(place, name, store_path)
        there = people(store_path)
        assert not there & {identity_id(person) for person in gone}, step
        with opened(store_path, place) as engine:
            ended(engine)
            erase(engine, step)
        gone.add(step)
    with Engine.open(store_path, OPTIONS) as engine:
        infos = ended(engine)
        assert len(infos) == len(gone)
        for info in infos:
            assert info.receipt is not None
            assert all(check.passed for check in engine.erasures.verify(info.receipt))
    assert traces(store_path, [one for person in gone for one in patterns(person)]) == []
    store_agrees(store_path)


def test_receipts_of_who_is_not_in_the_snapshot_still_hold(store_path: Path, place: Path) -> None:
    """Who was enrolled and erased after it leaves nothing there: their erasure is kept, done, and not done again; rows
    that others get in their places later do not count against the receipt.
    """
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(3))
        name = snapshot(engine)
        enroll(engine, [PERSON])
        erasure = erase(engine, PERSON)
    made = restored(place, name, store_path)
    assert made.erased_again == ()
    assert made.revision == made.restored_revision
    with Engine.open(store_path, OPTIONS) as engine:
        (kept,) = ended(engine)
        assert (kept.name, kept.receipt) == (erasure.name, erasure.receipt)
        assert kept.receipt is not None
        enroll(engine, [NEIGHBOR])
        checks = engine.erasures.verify(kept.receipt, identity_id(PERSON))
        assert all(check.passed for check in checks), checks


def test_a_receipt_of_an_erasure_that_a_snapshot_holds_half_still_holds(
    store_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot was taken between deletion and overwriting, the receipt made after: it holds once the restored store
    has carried its erasure to the end, and the receipt that is made then names the snapshot, which holds the person.
    """
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(PEOPLE))
        with monkeypatch.context() as patched:
            patched.setattr(engine.erasures._eraser, "wake", lambda *_, **__: None)
            operation, _ = engine.erasures.erase(GALLERY, identity_id(PERSON))
        name = snapshot(engine)
        engine.erasures._eraser.wake(erasure_of(operation.name), GALLERY)
        erasure = engine.operations.wait(operation.name, WAIT_S, NEVER).erasure
    assert erasure is not None
    assert restored(place, name, store_path).erased_again == ()
    with Engine.open(store_path, OPTIONS) as engine:
        (again,) = ended(engine)
        assert erasure.receipt is not None
        checks = engine.erasures.verify(erasure.receipt, identity_id(PERSON))
        assert all(check.passed for check in checks), checks
        assert again.receipt is not None
        assert [one.name for one in again.receipt.snapshots] == [name]


def test_a_person_of_many_faces_is_deleted_in_several_commits(
    store_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an erasure: all of them are gone before the store is in place, and all of their rows are overwritten."""
    name, erasure = erased_after_a_snapshot(store_path, place)
    monkeypatch.setattr(erasing_again, "ERASED_FACES_MAX", 1)
    made = restored(place, name, store_path)
    assert made.revision == made.restored_revision + FACES_EACH + 1
    check_nothing_is_left(store_path, erasure)


def test_stores_with_keys_of_their_own_tell_each_other(store_path: Path, place: Path, tmp_path: Path) -> None:
    """Two histories that made a key each: an id is looked for by the key of whoever erased it, and sealed by the
    store's own.
    """
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(PEOPLE))
        first = snapshot(engine)
    other = tmp_path / "other"
    restored(place, first, other)
    with Engine.open(other, OPTIONS) as engine:
        theirs = erase(engine, PERSON)
    with opened(store_path, place) as engine:
        erase(engine, 0)
        second = snapshot(engine)
    made = restored(place, second, store_path, sources=[other])
    assert [one.erasure for one in made.erased_again] == [theirs.name]
    with Engine.open(store_path, OPTIONS) as engine:
        for info in ended(engine):
            person = PERSON if info.name == theirs.name else 0
            assert info.receipt is not None
            checks = engine.erasures.verify(info.receipt, identity_id(person))
            assert all(check.passed for check in checks), checks
        assert traces(store_path, patterns(PERSON)) == []


def test_a_store_in_place_that_is_damaged_still_tells_who_was_erased(store_path: Path, place: Path) -> None:
    """The reason for many a restore is that the store does not open: its erasures are read around the damage, and where
    nothing can be read that is said.
    """
    name, erasure = erased_after_a_snapshot(store_path, place)
    records = store_path / "meta" / "data.mdb"
    raw = bytearray(records.read_bytes())
    place_of_faces = raw.rindex(identity_id(NEIGHBOR).encode())
    page = place_of_faces // 4096 * 4096
    raw[page : page + 64] = b"\xff" * 64
    records.write_bytes(raw)
    with pytest.raises(MienError):
        Store.open(store_path, OPTIONS.store)
    made = restored(place, name, store_path)
    assert [one.erasure for one in made.erased_again] == [erasure.name]
    assert "damaged" in made.erasures_unread[0]
    check_nothing_is_left(store_path, erasure)
    records.write_bytes(b"\xff" * len(raw))
    blind = restored(place, name, store_path)
    assert (blind.erasures_known, len(blind.erasures_unread)) == ((), 1)


def test_a_person_whose_deletion_a_snapshot_holds_half_is_not_found(
    store_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restore goes on with the deletion before the store is in place."""
    monkeypatch.setattr(erase_faces, "ERASED_FACES_MAX", 1)
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(PEOPLE))
        with monkeypatch.context() as patched:
            patched.setattr(engine.erasures._eraser, "wake", lambda *_, **__: None)
            patched.setattr(erasures.Erasures, "_delete_rest", lambda *_: 0)
            engine.erasures.erase(GALLERY, identity_id(PERSON))
        name = snapshot(engine)
    restored(place, name, store_path)
    assert identity_id(PERSON) not in people(store_path)
    with Engine.open(store_path, OPTIONS) as engine:
        ended(engine)
        assert traces(store_path, patterns(PERSON)) == []


def test_who_was_enrolled_under_the_id_after_an_erasure_elsewhere_stays(
    store_path: Path, place: Path, tmp_path: Path
) -> None:
    """Also at the next restore, for which the erasure is one of the store's own, of a revision that says nothing."""
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(3))
        first = snapshot(engine)
    other = tmp_path / "other"
    restored(place, first, other)
    with Engine.open(other, OPTIONS) as engine:
        enroll(engine, [PERSON])
        erase(engine, PERSON)
    with opened(store_path, place) as engine:
        enroll(engine, [PERSON])
        second = snapshot(engine)
        enroll(engine, [NEIGHBOR])
        third = snapshot(engine)
    for name in (third, second):
        made = restored(place, name, store_path, sources=[other] if name == third else [])
        assert made.erased_again == ()
        with Engine.open(store_path, OPTIONS) as engine:
            assert engine.identities.get(GALLERY, identity_id(PERSON))[0].face_count == FACES_EACH


def test_who_was_erased_in_another_history_is_told_by_the_time(store_path: Path, place: Path, tmp_path: Path) -> None:
    """A store that was restored and went another way has other rows: its erasures hold for whoever was enrolled before
    them, and nobody else loses a face.
    """
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(3))
        first = snapshot(engine)
        enroll(engine, range(3, 6))
        second = snapshot(engine)
    other = tmp_path / "other"
    restored(place, first, other)
    with Engine.open(other, OPTIONS) as engine:
        enroll(engine, [7, 8, 9])
        for person in (1, 7, 4):
            if person == 4:
                enroll(engine, [4])
            erase(engine, person)
    made = restored(place, second, store_path, sources=[other])
    assert sum(one.face_count for one in made.erased_again) == 2 * FACES_EACH
    assert people(store_path) == {identity_id(person) for person in (0, 2, 3, 5)}
    with Engine.open(store_path, OPTIONS) as engine:
        ended(engine)
        for person in (0, 2, 3, 5):
            assert engine.identities.get(GALLERY, identity_id(person))[0].face_count == FACES_EACH
            assert nearest_person(engine, person) == identity_id(person)
    store_agrees(store_path)
    with (store_path / "vectors" / "00000001" / "rows.vec").open("rb") as file:
        file.seek(VECTORS_OFFSET)
        zeros = [not any(file.read(DIMENSION * 4)) for _ in range(6 * FACES_EACH)]
    assert [row // FACES_EACH for row, is_zero in enumerate(zeros) if is_zero] == [1] * FACES_EACH + [4] * FACES_EACH
