"""Identities and faces that are damaged, in a store whose rest is served: left out, refused alone, and deleted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mien_index_tools.cli.main import main
from mien_server.errors import CorruptStore, MienError
from mien_server.records.policies import Duplicates
from mien_server.storage import (
    Committed,
    DeleteFaces,
    DeleteIdentity,
    GalleryView,
    IdentitySeed,
    MoveFaces,
    PutIdentity,
    RemoveExpired,
    Store,
    StoreOptions,
    Subject,
)
from mien_server.storage.store import Store as OpenStore
from tests.recovery.corruption_support import DAMAGED_OPTIONS, FACE_COUNT, PERSON_COUNT, make_store
from tests.recovery.test_corruption_store import record_flipped, vector_flipped
from tests.snapshot_support import take
from tests.storage_support import OPTIONS, enroll, labelled, open_store, rows

PERSON = "person-031"
PEOPLE = [f"person-{number:03d}" for number in range(PERSON_COUNT)]
FACES_OF_PERSON = [f"people-face-{row:04d}" for row in range(31, FACE_COUNT, PERSON_COUNT)]
DAMAGES = {
    "a name": record_flipped("identities", b"Name 31"),
    "its number": record_flipped("identities", b"\x08 \x12\x07Name 31"),
    "its id": record_flipped("identity_ids", PERSON.encode()),
}


@pytest.fixture(scope="module")
def whole_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was ended well; to be copied."""
    return make_store(tmp_path_factory.mktemp("whole") / "store")


@pytest.fixture
def store(whole_store: Path, store_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(whole_store, store_path)


@pytest.fixture(params=DAMAGES.values(), ids=DAMAGES)
def served(request: pytest.FixtureRequest, store: Path) -> Iterator[Store]:
    """Served without person 31, whose record or number is damaged."""
    request.param(store)
    with open_store(store, DAMAGED_OPTIONS) as opened:
        yield opened


def listed(gallery: GalleryView, page: int) -> list[str]:
    """Ids of all identities, a page at a time."""
    ids: list[str] = []
    while found := [one for one, _ in gallery.identities(ids[-1] if ids else "", page)]:
        ids += found
        if len(found) < page:
            break
    return ids


def assert_whole(store: Path) -> None:
    """Nothing is damaged, and nothing contradicts anything."""
    with open_store(store) as opened, opened.view() as view:
        assert view.check() == []
    assert main(["verify", str(store), "--deep"]) == 0


@pytest.mark.parametrize("page", [1, 7, PERSON_COUNT, 1000])
@pytest.mark.parametrize("number", [0, 31, PERSON_COUNT - 1])
def test_a_list_leaves_out_a_damaged_identity(store: Path, page: int, number: int) -> None:
    """Every other identity is listed, whatever the size of a page; asked for by its id it is refused."""
    record_flipped("identities", b"Name %d" % number)(store)
    with open_store(store, DAMAGED_OPTIONS) as opened, opened.view() as view:
        gallery = view.gallery("people")
        others = [one for one in PEOPLE if one != PEOPLE[number]]
        assert listed(gallery, page) == others
        with pytest.raises(CorruptStore, match="delete it and enrol it anew") as refused:
            gallery.identity(PEOPLE[number])
        assert refused.value.metadata["database"] == "identities"
    with open_store(store) as opened, opened.view() as view, pytest.raises(CorruptStore):
        listed(view.gallery("people"), page)


def test_filters_leave_out_a_damaged_identity(served: Store) -> None:
    """Whoever else is meant by an id, a label or a time is found, also where the damaged one is named."""
    with served.view() as view:
        gallery = view.gallery("people")
        postings = gallery.postings
        assert len(postings.identity_numbers(["person-030", PERSON])) >= 1
        for subject in Subject:
            key = "team" if subject is Subject.IDENTITY else "camera"
            assert sum(len(numbers) for numbers, _, _ in postings.labels_from(subject, key, 0)) >= PERSON_COUNT - 1
            assert sum(len(numbers) for numbers, _ in postings.times_from(subject, 0)) >= PERSON_COUNT - 1


def test_a_batch_is_enrolled_without_the_rows_of_a_damaged_identity(served: Store) -> None:
    """Each of its rows has an error that names database and key; the others are enrolled, new people and known ones."""
    with served.view() as view:
        gallery = view.gallery("people").record
        before = view.gallery("people").rows.live_count
    batch = [("person-000", "a", 9000), (PERSON, "b", 9001), ("new", "c", 9002), (PERSON, "d", 9003), ("new", "e", 1)]
    result = enroll(served, rows(gallery, batch))
    assert sorted(result.errors) == [1, 3]
    for error in result.errors.values():
        assert isinstance(error, CorruptStore)
        assert error.reason == "RECORD_DAMAGED"
        assert error.metadata["database"] in {"identities", "identity_ids"}
        assert error.metadata["key"]
    assert result.ordinals.tolist() == [FACE_COUNT, -1, FACE_COUNT + 1, -1, FACE_COUNT + 2]
    with served.view() as view:
        people = view.gallery("people")
        assert people.rows.live_count == before + 3
        assert people.face_ordinals(["a", "b", "c", "d", "e"]).keys() == {"a", "c", "e"}


@pytest.mark.parametrize("duplicates", [Duplicates.SKIP, Duplicates.REFUSE])
def test_a_batch_is_enrolled_without_the_duplicate_of_a_damaged_face(store: Path, duplicates: Duplicates) -> None:
    """What a damaged face would decide is refused alone, and so is a face id whose record is damaged."""
    record_flipped("faces", b"picture 77")(store)
    record_flipped("face_ids", (78).to_bytes(8, "big"))(store)
    with open_store(store, DAMAGED_OPTIONS) as opened:
        with opened.view() as view:
            gallery = view.gallery("people").record
        batch = [
            ("person-077", "x", 77),
            ("person-078", "people-face-0078", 78),
            ("person-079", "people-face-0079", 79),
        ]
        result = enroll(opened, rows(gallery, [*batch, ("person-077", "y", 9000)], duplicates=duplicates))
        assert {row: error.reason for row, error in result.errors.items() if row < 2} == {
            0: "RECORD_DAMAGED",
            1: "RECORD_DAMAGED",
        }
        assert 3 not in result.errors
        assert bool(result.is_duplicate[2]) == (duplicates is Duplicates.SKIP)


@pytest.mark.parametrize(
    ("database", "wanted"),
    [
        ("identities", b"Name 31"),
        ("identity_ids", PERSON.encode()),
        ("faces", b"picture 77"),
        ("face_ids", (77).to_bytes(8, "big")),
        ("journal", b"visitors"),
        ("requests", b"fingerprint"),
        ("operations", b"done"),
    ],
)
@pytest.mark.parametrize("options", [OPTIONS, DAMAGED_OPTIONS], ids=["strict", "damaged"])
def test_no_snapshot_is_taken_of_a_damaged_record(
    store: Path, tmp_path: Path, database: str, wanted: bytes, options: StoreOptions
) -> None:
    """No restore would accept it, and it would stand where a good one stood."""
    record_flipped(database, wanted)(store)
    with open_store(store, options) as opened, pytest.raises(CorruptStore) as refused:
        take(opened, tmp_path / "snapshots")
    assert refused.value.metadata["database"] == database
    assert list(tmp_path.glob("snapshots/*")) == []


def test_no_snapshot_is_taken_of_a_damaged_vector_that_is_not_served(store: Path, tmp_path: Path) -> None:
    """Left out of searches it is in the store all the same."""
    vector_flipped(store)
    with open_store(store, DAMAGED_OPTIONS) as opened:
        with pytest.raises(CorruptStore) as refused:
            take(opened, tmp_path / "snapshots")
        assert refused.value.reason == "VECTOR_DAMAGED"
        assert list(tmp_path.glob("snapshots/*")) == []
        opened.write(DeleteFaces("people", ["people-face-0007"]))
        take(opened, tmp_path / "snapshots")


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_without_the_flag_what_names_a_damaged_identity_is_refused(store: Path, damage: Callable[[Path], str]) -> None:
    """A batch that names it is refused as a whole, and so is its deletion where its record is damaged."""
    damage(store)
    with open_store(store) as opened:
        with opened.view() as view:
            gallery = view.gallery("people").record
        if damage is not DAMAGES["its id"]:
            with pytest.raises(CorruptStore):
                enroll(opened, rows(gallery, [("new", "a", 9000), (PERSON, "b", 9001)]))
            with pytest.raises(CorruptStore):
                opened.write(DeleteIdentity("people", PERSON))


def test_a_damaged_identity_is_deleted_with_all_that_follows_from_it(served: Store) -> None:
    """Its faces, labels and number go with it, the counts are exact, and the store is whole again."""
    with served.view() as view:
        counts = view.gallery("people").counts
    deleted = served.write(DeleteIdentity("people", PERSON))
    assert isinstance(deleted, Committed)
    assert deleted.result == len(FACES_OF_PERSON)
    with served.view() as view:
        gallery = view.gallery("people")
        assert view.check() == []
        assert gallery.identity(PERSON) is None
        assert listed(gallery, 10) == [one for one in PEOPLE if one != PERSON]
        assert gallery.face_ordinals(FACES_OF_PERSON) == {}
        assert gallery.counts.identity_count == counts.identity_count - 1
        assert gallery.counts.face_count == counts.face_count - len(FACES_OF_PERSON) == gallery.rows.live_count
        assert 32 not in labelled(gallery, Subject.IDENTITY, "team", "t3")
    record = gallery.record
    assert not enroll(served, rows(record, [(PERSON, "anew", 9000)])).errors
    served.close()
    assert_whole(served.path)


def test_a_damaged_identity_with_damaged_faces_is_deleted(store: Path) -> None:
    """Faces of which nothing can be read go too, with labels, ids, digests and times that others have of them."""
    with open_store(store) as opened:
        with opened.view() as view:
            gallery = view.gallery("people").record
        opened.write(PutIdentity("people", PERSON, expire_time_us=10**17))
        command = rows(
            gallery, [(PERSON, "expiring", 9000)], seeds={PERSON: IdentitySeed()}, labels={0: {"camera": "c9"}}
        )
        enroll(opened, type(command)(**{**vars_of(command), "expire_times_us": [10**17]}))
    for database, wanted in (("identities", b"Name 31"), ("faces", b"picture 121"), ("faces", b"picture 9000")):
        record_flipped(database, wanted)(store)
    with open_store(store, DAMAGED_OPTIONS) as opened:
        deleted = opened.write(DeleteIdentity("people", PERSON))
        assert isinstance(deleted, Committed)
        assert deleted.result == len(FACES_OF_PERSON) + 1
        with opened.view() as view:
            assert view.check() == []
            assert view.gallery("people").face_ordinals([*FACES_OF_PERSON, "expiring"]) == {}
    assert_whole(store)


def vars_of(command: object) -> dict[str, object]:
    """The fields of a command."""
    return {name: getattr(command, name) for name in type(command).__dataclass_fields__}  # type: ignore[attr-defined]


def test_a_version_is_not_compared_with_a_damaged_record(store: Path) -> None:
    """Who asks for a version gets the damage: nobody can say whether it is the one."""
    record_flipped("identities", b"Name 31")(store)
    with open_store(store, DAMAGED_OPTIONS) as opened, pytest.raises(CorruptStore):
        opened.write(DeleteIdentity("people", PERSON, expected_version=1))


def test_a_damaged_face_is_deleted_by_its_id(store: Path) -> None:
    """Its person stays, with one face less; a whole face of a damaged person goes too."""
    record_flipped("faces", b"picture 77")(store)
    record_flipped("identities", b"Name 31")(store)
    with open_store(store, DAMAGED_OPTIONS) as opened:
        opened.write(DeleteFaces("people", ["people-face-0077", FACES_OF_PERSON[0]]))
        with opened.view() as view:
            person = view.gallery("people").identity("person-077")
            assert person is not None
            assert person.face_count == 3
        opened.write(DeleteIdentity("people", PERSON))
        with opened.view() as view:
            assert view.check() == []
    assert_whole(store)


def test_a_face_whose_id_is_damaged_is_deleted_by_it(store: Path) -> None:
    """Its own record says which one it is."""
    record_flipped("face_ids", (77).to_bytes(8, "big"))(store)
    with open_store(store, DAMAGED_OPTIONS) as opened:
        deleted = opened.write(DeleteFaces("people", ["people-face-0077", "people-face-0078"]))
        assert isinstance(deleted, Committed)
        assert deleted.result.deleted_count == 2
    assert_whole(store)


def test_faces_are_not_given_to_somebody_who_cannot_be_named(served: Store) -> None:
    """They would fail every search that finds them."""
    with pytest.raises(CorruptStore):
        served.write(MoveFaces("people", ["people-face-0001"], PERSON))


def test_faces_of_a_person_with_a_damaged_face_are_read_without_it(store: Path) -> None:
    """Templates, comparisons and lists of one person rest on the faces that are whole."""
    record_flipped("faces", b"picture 77")(store)
    with open_store(store, DAMAGED_OPTIONS) as opened, opened.view() as view:
        gallery = view.gallery("people")
        person = gallery.identity("person-077")
        assert person is not None
        assert gallery.faces_of(person.number).tolist() == [167, 257, 347]
        assert gallery.faces_of(person.number, 200, 1).tolist() == [257]


def test_what_has_expired_is_swept_though_it_is_damaged(store: Path) -> None:
    """A face and an identity whose time has come are deleted, whatever can be read of them; others stay."""
    now_us = 10**17
    with open_store(store) as opened:
        with opened.view() as view:
            gallery = view.gallery("people").record
        command = rows(gallery, [("person-040", "expiring", 9000)])
        enroll(opened, type(command)(**{**vars_of(command), "expire_times_us": [now_us]}))
        for person in (PERSON, "person-050"):
            opened.write(PutIdentity("people", person, expire_time_us=now_us))
    for database, wanted in (
        ("identities", b"Name 31"),
        ("identity_ids", b"person-050"),
        ("identity_ids", b"person-040"),
        ("faces", b"picture 9000"),
    ):
        record_flipped(database, wanted)(store)
    options = StoreOptions(map_size_bytes=1 << 30, serve_damaged=True, clock_us=lambda: now_us + 1)
    with OpenStore.open(store, options) as opened:
        swept = opened.write(RemoveExpired("people", 512))
        assert isinstance(swept, Committed)
        assert (swept.result.face_count, swept.result.identity_count) == (len(FACES_OF_PERSON) + 5, 2)
        assert not swept.result.is_more_due
        with opened.view(shows_expired=True) as view:
            gallery_view = view.gallery("people")
            left = {identity_id for identity_id, _ in gallery_view.identities()}
            assert left == set(PEOPLE) - {PERSON, "person-050"}
    with open_store(store) as opened, opened.view() as view:
        # Person 40 is there still, and cannot be named.
        doubts = view.check()
        assert doubts
        assert all("identity_ids" in doubt for doubt in doubts)


def test_what_nobody_can_number_is_refused_with_the_way_out(store: Path) -> None:
    """Where neither its record nor its id says which number it has, a deletion names the repair."""
    record_flipped("identities", b"Name 31")(store)
    record_flipped("identity_ids", PERSON.encode())(store)
    with open_store(store, DAMAGED_OPTIONS) as opened, pytest.raises(MienError, match="--repair NEW_STORE"):
        opened.write(DeleteIdentity("people", PERSON))


def test_a_record_that_is_not_found_is_refused_by_name(store: Path) -> None:
    """Who has a number and faces, but whose record a damaged key hides, is named, also when the id is another's."""
    import lmdb

    environment = lmdb.open(str(store / "meta"), max_dbs=64)
    with environment.begin(write=True) as transaction:
        assert transaction.delete(b"\0\0\0\1" + PERSON.encode(), db=environment.open_db(b"identities", transaction))
    environment.close()
    with open_store(store) as opened:
        with opened.view() as view, pytest.raises(CorruptStore, match=f"{PERSON}' has a number but no record"):
            view.gallery("people").identities_named(["person-030", PERSON])
        opened.write(PutIdentity("people", PERSON, allow_missing=True))
        with pytest.raises(CorruptStore, match="faces name an identity that has no record"):
            opened.write(MoveFaces("people", FACES_OF_PERSON[:1], "person-030"))
