"""A restore to a later revision, by a journal that names erased people no more: nothing of them stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mien_server.engine import Engine, erasures
from mien_server.engine.translation import erasure_of
from mien_server.storage.commands import erase_faces
from tests.erasure_support import (
    FACES_EACH,
    GALLERY,
    NEVER,
    OPTIONS,
    batch,
    create,
    enroll,
    erase,
    face_id,
    history,
    identity_id,
    nearest_person,
    patterns,
    store_agrees,
    traces,
)
from tests.restore_support import (
    EVERY_FACE,
    FORGETFUL,
    NEIGHBOR,
    PEOPLE,
    PERSON,
    check_nothing_is_left,
    ended,
    erased_after_a_snapshot,
    opened,
    people,
    restored,
    snapshot,
)


@pytest.mark.parametrize("is_enrolled_again", [False, True])
def test_replaying_past_an_erasure_leaves_no_trace_either(
    is_enrolled_again: bool, store_path: Path, place: Path
) -> None:
    """A snapshot of before the erasure and the journal of after it make a store without them, in which records and
    vectors of the snapshot still hold them: until a server has run. Who was enrolled under the id since stays.
    """
    name, erasure = erased_after_a_snapshot(store_path, place)
    with Engine.open(store_path, OPTIONS) as engine:
        engine.enrollment.enroll(batch(PERSON if is_enrolled_again else PEOPLE), NEVER)
        revision = engine.server_info().revision
    made = restored(place, name, store_path, revision)
    assert [(one.erasure, one.face_count) for one in made.erased_again] == [(erasure.name, 0)]
    assert made.revision == made.restored_revision == revision
    assert (identity_id(PERSON) in people(store_path)) == is_enrolled_again
    if not is_enrolled_again:
        assert traces(store_path, patterns(PERSON, EVERY_FACE))
        check_nothing_is_left(store_path, erasure)
        return
    with Engine.open(store_path, OPTIONS) as engine:
        ended(engine)
        assert engine.identities.get(GALLERY, identity_id(PERSON))[0].face_count == FACES_EACH
        assert nearest_person(engine, PERSON) == identity_id(PERSON)
        old = [100, 101]
        assert traces(store_path, [face_id(PERSON, face).encode() for face in old]) == []
    store_agrees(store_path)


def test_a_revision_between_snapshot_and_erasure_is_without_them(store_path: Path, place: Path) -> None:
    """Replayed from a journal that names them no more, up to a revision at which they were there."""
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(PEOPLE))
        name = snapshot(engine)
        history(engine, PERSON, NEIGHBOR)
        enroll(engine, [PEOPLE])
        revision = engine.server_info().revision
        erasure = erase(engine, PERSON)
    made = restored(place, name, store_path, revision)
    assert made.restored_revision == revision
    assert [(one.erasure, one.face_count) for one in made.erased_again] == [(erasure.name, FACES_EACH)]
    assert people(store_path) == {identity_id(person) for person in range(PEOPLE + 1) if person != PERSON}
    check_nothing_is_left(store_path, erasure)


@pytest.mark.parametrize("has_faces", [True, False])
def test_a_replay_does_not_forget_whom_the_journal_of_the_snapshot_names_no_more(
    has_faces: bool, store_path: Path, place: Path
) -> None:
    """Only the snapshot's own records say who they are, and the entries that are replayed no longer do."""
    with Engine.open(store_path, replace(FORGETFUL, snapshot_destinations=(str(place),))) as engine:
        create(engine)
        enroll(engine, [PERSON])
        if not has_faces:
            engine.faces.delete(GALLERY, [face_id(PERSON, face) for face in range(FACES_EACH)])
        enroll(engine, [NEIGHBOR, *range(PERSON)])
        name = snapshot(engine)
    with Engine.open(store_path, OPTIONS) as engine:
        erasure = erase(engine, PERSON)
        enroll(engine, [PEOPLE])
        revision = engine.server_info().revision
    made = restored(place, name, store_path, revision)
    assert [(one.erasure, one.face_count) for one in made.erased_again] == [(erasure.name, 0)]
    assert traces(store_path, patterns(PERSON)[:1])
    if has_faces:
        check_nothing_is_left(store_path, erasure)
        return
    with Engine.open(store_path, OPTIONS) as engine:
        ended(engine)
    assert traces(store_path, patterns(PERSON)) == []


def test_a_replay_past_the_end_of_the_gallery_of_the_erased_person_leaves_nothing(
    store_path: Path, place: Path
) -> None:
    """The gallery went after them; freed pages and kept answers of the snapshot hold them."""
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, [PERSON, NEIGHBOR])
        name = snapshot(engine)
        erasure = erase(engine, PERSON)
        engine.galleries.delete(GALLERY, force=True)
        revision = engine.server_info().revision
    made = restored(place, name, store_path, revision)
    assert [(one.erasure, one.face_count) for one in made.erased_again] == [(erasure.name, 0)]
    assert traces(store_path, patterns(PERSON))
    with Engine.open(store_path, OPTIONS) as engine:
        ended(engine)
    assert traces(store_path, patterns(PERSON)) == []


def test_nobody_stands_in_for_who_was_erased_where_no_face_is_left(store_path: Path, place: Path) -> None:
    """Of two who are in no snapshot one had another's face at the revision restored, which is all that is erased again,
    and one had none.
    """
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(3))
        name = snapshot(engine)
        enroll(engine, [PERSON, NEIGHBOR])
        engine.faces.move(GALLERY, [face_id(1, 0)], identity_id(PERSON))
        engine.faces.delete(GALLERY, [face_id(NEIGHBOR, face) for face in range(FACES_EACH)])
        revision = engine.server_info().revision
        erase(engine, PERSON)
        erase(engine, NEIGHBOR)
    made = restored(place, name, store_path, revision)
    assert [one.face_count for one in made.erased_again] == [1]
    assert people(store_path) == {identity_id(person) for person in range(3)}
    with Engine.open(store_path, OPTIONS) as engine:
        ended(engine)
    store_agrees(store_path)


@pytest.mark.parametrize("is_ended_by_another", [False, True])
def test_a_deletion_that_is_half_done_at_the_revision_restored_is_ended(
    is_ended_by_another: bool, store_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replayed to between its commits, from a store in which it never went on, or somebody else deleted the person."""
    monkeypatch.setattr(erase_faces, "ERASED_FACES_MAX", 1)
    with opened(store_path, place) as engine:
        create(engine)
        enroll(engine, range(PEOPLE))
        name = snapshot(engine)
        with monkeypatch.context() as patched:
            patched.setattr(engine.erasures._eraser, "wake", lambda *_, **__: None)
            patched.setattr(erasures.Erasures, "_delete_rest", lambda *_: 0)
            operation, _ = engine.erasures.erase(GALLERY, identity_id(PERSON))
        revision = engine.server_info().revision
        if is_ended_by_another:
            engine.identities.delete(GALLERY, identity_id(PERSON))
    made = restored(place, name, store_path, revision)
    assert [(one.erasure, one.face_count) for one in made.erased_again] == [
        (erasure_of(operation.name), FACES_EACH - 1)
    ]
    assert identity_id(PERSON) not in people(store_path)
    with Engine.open(store_path, OPTIONS) as engine:
        ended(engine)
        assert traces(store_path, patterns(PERSON)) == []
    store_agrees(store_path)
