"""What each write does beyond what the history test holds: refusals, etags, labels, idempotency."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from mien_server.errors import (
    AlreadyExists,
    Conflict,
    EmbeddingRefused,
    InvalidArgument,
    LimitExceeded,
    MienError,
    NotFound,
)
from mien_server.records.policies import Duplicates
from mien_server.records.store_pb2 import DecisionPolicyRecord, GalleryRecord, OperationRecord
from mien_server.storage import (
    Command,
    Committed,
    CreateGallery,
    DeleteFaces,
    DeleteGallery,
    DeleteIdentity,
    EnrollRows,
    IdentitySeed,
    MoveFaces,
    PutIdentity,
    PutOperation,
    Replayed,
    RequestKey,
    Store,
    Subject,
    UpdateGallery,
)
from tests.storage_support import DIMENSION, create, enroll, labelled, open_store, rows

R = TypeVar("R")


@pytest.fixture
def store(store_path: Path) -> Iterator[Store]:
    with open_store(store_path) as opened:
        yield opened
        with opened.view() as view:
            assert view.check() == []


@pytest.fixture
def gallery(store: Store) -> GalleryRecord:
    return create(store)


def refusal(store: Store, command: Command[object], error: type[MienError]) -> MienError:
    """The error a write is refused with."""
    with pytest.raises(error) as refused:
        store.write(command)
    return refused.value


def accepted(store: Store, command: Command[R]) -> R:
    """The result of a write."""
    answer = store.write(command)
    assert isinstance(answer, Committed)
    return answer.result


def test_a_gallery_gets_number_version_and_times(store: Store) -> None:
    """A new gallery has the next number, the revision that made it, and times."""
    first, second = create(store, "one"), create(store, "two")
    assert (first.number, second.number) == (1, 2)
    assert (first.version, second.version) == (1, 2)
    assert second.update_time_us == second.create_time_us == 1


def test_a_gallery_number_is_never_given_again(store: Store) -> None:
    """A gallery of the same name made after a deletion has another number."""
    first = create(store)
    accepted(store, DeleteGallery(first.name))
    assert create(store).number == first.number + 1


@pytest.mark.usefixtures("gallery")
def test_galleries_beyond_the_limit_are_refused(store: Store) -> None:
    """The store has no more galleries than the limit given."""
    command = CreateGallery(GalleryRecord(name="more", dimension=2, vector_type=1), galleries_max=1)
    assert refusal(store, command, LimitExceeded).reason == "GALLERIES_MAX"


def test_a_gallery_needs_dimension_and_vector_type(store: Store) -> None:
    """A gallery whose rows could not be stored is refused before anything is made of it."""
    for record in (GalleryRecord(name="g", dimension=4), GalleryRecord(name="g", vector_type=1)):
        refusal(store, CreateGallery(record, galleries_max=9), InvalidArgument)
    refusal(store, CreateGallery(GalleryRecord(dimension=4, vector_type=1), galleries_max=9), InvalidArgument)
    assert store.revision == 0


def test_an_update_changes_what_is_given_and_keeps_the_rest(store: Store, gallery: GalleryRecord) -> None:
    """Fields that are None stay as they were."""
    accepted(store, UpdateGallery(gallery.name, display_name="People", labels={"a": "b"}))
    policy = DecisionPolicyRecord(similarity=0.5)
    updated = accepted(store, UpdateGallery(gallery.name, decision_policy=policy, update_time_us=77))
    assert (updated.display_name, dict(updated.labels)) == ("People", {"a": "b"})
    assert updated.decision_policy.similarity == 0.5
    assert (updated.version, updated.update_time_us, updated.create_time_us) == (3, 77, 1)
    with store.view() as view:
        assert view.gallery(gallery.name).record == updated


def test_a_stale_version_is_refused_everywhere(store: Store, gallery: GalleryRecord) -> None:
    """Whoever expects an older version is told, and changes nothing."""
    accepted(store, UpdateGallery(gallery.name, display_name="changed"))
    accepted(store, PutIdentity(gallery.name, "ann", allow_missing=True))
    stale: list[Command[object]] = [
        UpdateGallery(gallery.name, display_name="x", expected_version=gallery.version),
        DeleteGallery(gallery.name, force=True, expected_version=gallery.version),
        PutIdentity(gallery.name, "ann", display_name="x", expected_version=1),
        DeleteIdentity(gallery.name, "ann", expected_version=1),
    ]
    revision = store.revision
    for command in stale:
        assert refusal(store, command, Conflict).reason == "ETAG_MISMATCH"
    assert store.revision == revision
    accepted(store, DeleteIdentity(gallery.name, "ann", expected_version=revision))


def test_writes_to_a_missing_gallery_are_refused(store: Store) -> None:
    """Every verb names the gallery that is not there."""
    missing: list[Command[object]] = [
        UpdateGallery("none"),
        DeleteGallery("none"),
        PutIdentity("none", "ann"),
        DeleteIdentity("none", "ann"),
        MoveFaces("none", ["a"], "ann"),
        DeleteFaces("none", ["a"]),
    ]
    for command in missing:
        error = refusal(store, command, NotFound)
        assert error.reason == "GALLERY_NOT_FOUND"
        assert error.metadata["gallery"] == "none"


def test_rows_for_a_gallery_made_anew_are_refused(store: Store, gallery: GalleryRecord) -> None:
    """Rows made for a gallery that was deleted and made again do not end up in the new one."""
    command = rows(gallery, [("ann", "a", 1)])
    accepted(store, DeleteGallery(gallery.name))
    create(store)
    assert refusal(store, command, NotFound).reason == "GALLERY_NOT_FOUND"


def test_columns_that_do_not_fit_are_refused(store: Store, gallery: GalleryRecord) -> None:
    """Vectors of another dimension, and columns of other lengths, change nothing."""
    good = rows(gallery, [("ann", "a", 1)])
    narrow = np.zeros((1, DIMENSION - 1), dtype=np.float32)
    double = np.zeros((1, DIMENSION), dtype=np.float64)

    def refused(**changed: object) -> None:
        columns = {name: getattr(good, name) for name in good.__dataclass_fields__}
        refusal(store, EnrollRows(**{**columns, **changed}), InvalidArgument)

    refused(vectors=narrow)
    refused(vectors=double)
    refused(face_ids=[])
    refused(face_ids=[""])
    refused(face_ids=["x" * 65])
    refused(identity_ids=["i" * 257])
    refused(digests=[b"short"])
    refused(face_labels={0: {"not": "recorded"}})
    assert refusal(store, EnrollRows("people", 1, narrow, ["a"], ["a"], [b"d" * 16], [b""], 1), EmbeddingRefused)
    assert store.revision == 1


def test_nothing_enrolled_changes_nothing(store: Store, gallery: GalleryRecord) -> None:
    """An enrolment of no rows, or of duplicates alone, is no revision."""
    enroll(store, rows(gallery, [("ann", "a", 1)]))
    revision = store.revision
    assert enroll(store, rows(gallery, [])).face_ids == []
    result = enroll(store, rows(gallery, [("ann", "another", 1)]))
    assert (result.face_ids, result.ordinals.tolist(), result.is_duplicate.tolist()) == (["a"], [0], [True])
    assert store.revision == revision


def test_a_row_can_repeat_an_earlier_one_of_its_own_command(store: Store, gallery: GalleryRecord) -> None:
    """Later rows see earlier ones: a repeated face is a duplicate, a repeated id with another face is refused."""
    result = enroll(store, rows(gallery, [("ann", "a", 1), ("ann", "b", 1), ("bob", "a", 1), ("bob", "c", 1)]))
    assert result.ordinals.tolist() == [0, 0, -1, 1]
    assert result.face_ids == ["a", "a", "a", "c"]
    assert result.is_duplicate.tolist() == [False, True, False, False]
    assert result.identity_created.tolist() == [True, False, False, True]
    assert result.errors[2].reason == "FACE_ID_EXISTS"


def test_an_allowed_duplicate_outlives_the_first(store: Store, gallery: GalleryRecord) -> None:
    """When one of two equal faces is deleted, the other still counts as a duplicate."""
    enroll(store, rows(gallery, [("ann", "a", 1), ("ann", "b", 1)], duplicates=Duplicates.ALLOW))
    accepted(store, DeleteFaces(gallery.name, ["a"]))
    assert enroll(store, rows(gallery, [("ann", "c", 1)])).face_ids == ["b"]


def test_identities_are_made_with_what_their_seed_says(store: Store, gallery: GalleryRecord) -> None:
    """Display name and labels of a seed go to the identity that is made, and to no identity that is there."""
    seeds = {"ann": IdentitySeed("Ann", {"team": "red"})}
    enroll(store, rows(gallery, [("ann", "a", 1), ("bob", "b", 2)], seeds=seeds))
    enroll(store, rows(gallery, [("ann", "c", 3)], seeds={"ann": IdentitySeed("Other", {"team": "blue"})}))
    with store.view() as view:
        people = view.gallery(gallery.name)
        ann, bob = people.identity("ann"), people.identity("bob")
        assert ann is not None
        assert bob is not None
        assert (ann.display_name, dict(ann.labels), ann.face_count) == ("Ann", {"team": "red"}, 2)
        assert (bob.display_name, bob.face_count, bob.version) == ("", 1, 2)
        assert labelled(people, Subject.IDENTITY, "team", "red") == [ann.number]
        assert labelled(people, Subject.IDENTITY, "team", "blue") == []


def test_labels_of_faces_are_found_and_forgotten(store: Store, gallery: GalleryRecord) -> None:
    """The label index of faces follows the faces, also when they move."""
    labels = {0: {"year": "2001"}, 1: {"year": "2002"}}
    enroll(store, rows(gallery, [("ann", "a", 1), ("ann", "b", 2), ("ann", "c", 3)], labels=labels))
    accepted(store, MoveFaces(gallery.name, ["b"], "bob"))
    with store.view() as view:
        found = view.gallery(gallery.name)
        assert [labelled(found, Subject.FACE, "year", value) for value in ("2001", "2002", "")] == [[0], [1], []]
    accepted(store, DeleteFaces(gallery.name, ["a"]))
    with store.view() as view:
        assert labelled(view.gallery(gallery.name), Subject.FACE, "year", "2001") == []


@pytest.mark.usefixtures("gallery")
def test_missing_identities_are_made_only_when_allowed(store: Store) -> None:
    """An identity that is not there is refused, unless it may be made; one with a version expected never is."""
    assert refusal(store, PutIdentity("people", "ann"), NotFound).reason == "IDENTITY_NOT_FOUND"
    refusal(store, PutIdentity("people", "ann", allow_missing=True, expected_version=3), NotFound)
    assert accepted(store, DeleteIdentity("people", "ann", allow_missing=True)) == 0
    assert accepted(store, PutIdentity("people", "ann", display_name="Ann", allow_missing=True)).display_name == "Ann"
    refusal(store, PutIdentity("people", "", allow_missing=True), InvalidArgument)


def test_a_missing_face_is_named(store: Store, gallery: GalleryRecord) -> None:
    """Moving or deleting an unknown face says which one, and touches no other."""
    enroll(store, rows(gallery, [("ann", "a", 1)]))
    commands: list[Command[object]] = [
        MoveFaces(gallery.name, ["a", "ghost"], "bob"),
        DeleteFaces(gallery.name, ["a", "ghost"]),
        DeleteFaces(gallery.name, ["x" * 600]),
    ]
    for command in commands[:2]:
        assert refusal(store, command, NotFound).metadata["face_id"] == "ghost"
    assert refusal(store, commands[2], NotFound).reason == "FACE_NOT_FOUND"


def test_a_request_id_is_answered_once(store: Store, gallery: GalleryRecord) -> None:
    """The same request again is given the first outcome and changes nothing; another body is refused."""
    key = RequestKey("request-1", b"body", lambda result: ",".join(result.face_ids).encode())
    first = store.write(rows(gallery, [("ann", "a", 1)], request=key))
    enroll(store, rows(gallery, [("ann", "b", 2)]))
    revision = store.revision
    again = store.write(rows(gallery, [("ann", "a", 1)], request=key))
    assert isinstance(first, Committed)
    assert again == Replayed(first.revision, b"a")
    other = RequestKey("request-1", b"other", lambda _: b"")
    assert refusal(store, rows(gallery, [("x", "y", 3)], request=other), Conflict).reason == "REQUEST_ID_REUSED"
    assert store.revision == revision
    with store.view() as view:
        record = view.request("request-1")
        assert record is not None
        assert (record.fingerprint, record.outcome, record.revision) == (b"body", b"a", first.revision)
        assert view.request("request-2") is None


def test_a_failed_request_is_not_remembered(store: Store, gallery: GalleryRecord) -> None:
    """A request that was refused can be sent again, and is then tried again."""
    key = RequestKey("request-1", b"body", lambda _: b"")
    again = CreateGallery(gallery, galleries_max=9, request=key)
    assert refusal(store, again, AlreadyExists).reason == "GALLERY_EXISTS"
    with store.view() as view:
        assert view.request("request-1") is None


def test_operations_are_kept_without_a_revision(store: Store) -> None:
    """The state of a long-running operation is kept, the newest name first, and is no revision."""
    for name, created in (("operations/a", 1), ("operations/b", 5), ("operations/c", 3)):
        accepted(store, PutOperation(OperationRecord(name=name, create_time_us=created)))
    accepted(store, PutOperation(OperationRecord(name="operations/a", create_time_us=1, state=2)))
    assert store.revision == 0
    with store.view() as view:
        names = [record.name for record in view.operations()]
        assert names == ["operations/c", "operations/b", "operations/a"]
        operation = view.operation("operations/a")
        assert operation is not None
        assert operation.state == 2
        assert view.operation("operations/none") is None
