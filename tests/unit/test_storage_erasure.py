"""The parts of an erasure: journal entries and kept answers without somebody, keys in branches, the search of files."""

from __future__ import annotations

import tracemalloc
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien_server.errors import NotFound
from mien_server.records.store_pb2 import (
    CountOutcomeRecord,
    EnrolledFace,
    EnrollOutcomeRecord,
    EnrollRowsOutcomeRecord,
    FaceRecord,
    IdentityRecord,
    JournalEntry,
    JournalOperation,
    OperationRecord,
)
from mien_server.storage import (
    Committed,
    DeleteFaces,
    DeleteGallery,
    DeleteIdentity,
    EraseFaces,
    IdentitySeed,
    MoveFaces,
    PutIdentity,
    RequestKey,
    Store,
    StoreOptions,
)
from mien_server.storage.commands.erase_faces import ERASED_FACES_MAX
from mien_server.storage.databases import Database
from mien_server.storage.erasure import scanning
from mien_server.storage.erasure.history import History
from mien_server.storage.erasure.people import Erased
from mien_server.storage.erasure.redaction import AnswerRedactor, EntryRedactor
from mien_server.storage.erasure.scanning import Finder, scan_folder
from mien_server.storage.erasure.verifying import check_receipt
from mien_server.storage.values import decode_face
from mien_server.storage.vector_file import VECTORS_OFFSET
from tests.erasure_support import run_erasures
from tests.recovery.test_corruption_store import DATA, flip, live_bytes
from tests.snapshot_support import restored_state, state_of, take
from tests.storage_support import DIMENSION, create, enroll, open_store, rows, vector

ADA, BOB = "ada-lovelace", "bob-the-builder"


def journal(store: Store) -> list[JournalEntry]:
    with store.view() as view:
        return list(view.records.journal(0))


def erase(store: Store, identity_id: str, name: str = "erasures/1") -> None:
    """Erase an identity of the gallery `people`, which has no index."""
    operation = OperationRecord(name=name.replace("erasures", "operations"))
    is_gone = False
    while not is_gone:
        is_gone = store.write(EraseFaces("people", identity_id, name, operation)).result  # type: ignore[union-attr]
    assert [record.name for record in run_erasures(store).done] == [name]
    with store.view() as view:
        assert view.check() == []


def traces(path: Path, *wanted: bytes) -> list[str]:
    """Which of the files hold any of the byte strings."""
    files = [file for file in path.rglob("*") if file.is_file()]
    return [file.name for file in files if any(one in file.read_bytes() for one in wanted)]


def test_a_journal_without_somebody_still_says_what_became_of_every_row(store_path: Path) -> None:
    """Entries keep rows and numbers; of the person there are placeholders, of others everything."""
    with open_store(store_path) as store:
        gallery = create(store)
        enroll(
            store, rows(gallery, [(ADA, "ada-1", 1), (BOB, "bob-1", 2)], seeds={ADA: IdentitySeed("Ada", {"x": "y"})})
        )
        enroll(store, rows(gallery, [(BOB, "bob-2-of-ada", 3), (ADA, "ada-2-of-bob", 4)]))
        store.write(PutIdentity("people", ADA, display_name="Ada the Second"))
        store.write(MoveFaces("people", ["bob-2-of-ada"], ADA))
        store.write(MoveFaces("people", ["ada-2-of-bob"], BOB))
        store.write(DeleteFaces("people", ["ada-1"]))
        before = journal(store)
        erase(store, ADA)
        after = journal(store)
    assert [entry.revision for entry in after][: len(before)] == [entry.revision for entry in before]
    kinds = [[one.WhichOneof("operation") for one in entry.operations] for entry in after]
    # The new name is gone with its operation; whoever has the person, in a snapshot, keeps what it has.
    assert kinds[: len(before)] == [
        ["put_gallery"],
        ["enroll"],
        ["enroll"],
        [],
        ["move_faces"],
        ["move_faces"],
        ["delete_faces"],
    ]
    first, second = (after[place].operations[0].enroll for place in (1, 2))
    faces = [decode_face(b"", raw) for raw in [*first.face_values, *second.face_values]]
    assert [face.face_id for face in faces] == ["erased face 0", "bob-1", "erased face 2", "ada-2-of-bob"]
    assert [face.identity_number for face in faces] == [1, 2, 2, 1]
    assert list(first.new_identity_ids) == ["erased identity 1", BOB]
    assert IdentityRecord.FromString(first.new_identity_records[0]).display_name == ""
    assert traces(store_path, b"ada-lovelace", b"Ada the Second", b"bob-2-of-ada", b"picture 3") == []
    assert traces(store_path, b"bob-1") == ["data.mdb"]
    assert traces(store_path, b"ada-2-of-bob") == ["data.mdb"], "it was given to somebody else"


def test_faces_that_others_delete_before_their_turn_are_overwritten_too(store_path: Path) -> None:
    """Somebody of many faces is erased in several commits; whoever deletes some meanwhile leaves nothing of them."""
    with open_store(store_path, StoreOptions(map_size_bytes=1 << 30, journal_revisions_max=1)) as store:
        gallery = create(store)
        count = ERASED_FACES_MAX + 3
        enroll(store, rows(gallery, [(ADA, f"ada-{face}", face) for face in range(count)]))
        enroll(store, rows(gallery, [(BOB, "bob-1", count)]))
        first = store.write(EraseFaces("people", ADA, "erasures/1", OperationRecord(name="operations/1")))
        assert isinstance(first, Committed)
        assert not first.result
        store.write(DeleteFaces("people", [f"ada-{face}" for face in range(ERASED_FACES_MAX, count)]))
        erase(store, ADA)
    assert traces(store_path, vector(0).tobytes(), vector(count - 1).tobytes(), ADA.encode()) == []
    assert traces(store_path, vector(count).tobytes()) == ["rows.vec"]


def test_who_was_enrolled_again_is_erased_as_they_were_before_too(store_path: Path) -> None:
    """Of an identity that was deleted and made again nothing is left either; others may have the id elsewhere."""
    with open_store(store_path) as store:
        gallery, other = create(store), create(store, "others")
        seeds = {ADA: IdentitySeed("Ada the First", {})}
        enroll(store, rows(gallery, [(ADA, "ada-1-of-first", 1), (BOB, "bob-1", 2)], seeds=seeds))
        store.write(DeleteIdentity("people", ADA))
        enroll(store, rows(other, [(ADA, "ada-of-others", 5)]))
        store.write(DeleteIdentity("others", ADA))
        store.write(PutIdentity("people", ADA, display_name="Ada the Second", allow_missing=True))
        enroll(store, rows(gallery, [(ADA, "ada-1-of-second", 3)]))
        operation = OperationRecord(name="operations/1")
        assert store.write(EraseFaces("people", ADA, "erasures/1", operation)).result  # type: ignore[union-attr]
        enroll(store, rows(gallery, [(ADA, "ada-1-of-third", 4)], seeds={ADA: IdentitySeed("Ada the Third", {})}))

        def fail(_: object) -> AbstractContextManager[None]:
            raise OSError

        with pytest.raises(OSError):
            run_erasures(store, exclusively=fail)
        # The journal does not have the id any more: what it knew is kept with the erasure.
        [record] = run_erasures(store).done
        assert sorted(record.ordinals) == [0, 2]
        assert record.receipt.row_count == 2
        assert record.receipt.scan.shared_count == 1, "the id"
        ids = [list(one.enroll.new_identity_ids) for entry in journal(store) for one in entry.operations]
        with store.view() as view:
            assert view.check() == []
    assert [one for one in ids if one] == [["erased identity 1", BOB], [ADA], [ADA]]
    gone = (b"ada-1-of-first", b"Ada the First", b"ada-1-of-second", b"Ada the Second", b"picture 1", b"picture 3")
    assert traces(store_path, *gone, vector(1).tobytes(), vector(3).tobytes()) == []
    assert traces(store_path, b"Ada the Third") == traces(store_path, b"ada-of-others") == ["data.mdb"]
    assert traces(store_path, vector(4).tobytes()) == ["rows.vec"]


@pytest.mark.parametrize("is_trimmed", [False, True])
def test_faces_that_others_are_given_before_their_turn_are_left_to_them(tmp_path: Path, is_trimmed: bool) -> None:
    """What is moved away between two commits of the deletion is somebody else's, also when they delete it later."""
    options = StoreOptions(map_size_bytes=1 << 30)
    if is_trimmed:
        options = replace(options, journal_revisions_max=1)
    with open_store(tmp_path / "store", options) as store:
        gallery = create(store)
        start = take(store, tmp_path / "snapshots").manifest
        count = ERASED_FACES_MAX + 3
        enroll(store, rows(gallery, [(ADA, f"ada-{face}", face) for face in range(count)]))
        first = store.write(EraseFaces("people", ADA, "erasures/1", OperationRecord(name="operations/1")))
        assert isinstance(first, Committed)
        assert not first.result
        store.write(MoveFaces("people", [f"ada-{count - 2}", f"ada-{count - 1}"], BOB))
        store.write(DeleteFaces("people", [f"ada-{count - 2}"]))
        erase(store, ADA)
        with store.view() as view:
            record = view.erasure("erasures/1")
        assert record is not None
        left = {count - 2, count - 1}.intersection(record.ordinals)
        assert left == ({count - 2} if is_trimmed else set())
        checks = check_receipt(store, record.receipt, ADA)
        assert [check.detail for check in checks if not check.passed] == []
        last, state = store.revision, state_of(store)
        source = str(take(store, tmp_path / "snapshots", is_full=True).manifest.name)
    assert traces(tmp_path / "store", vector(0).tobytes(), vector(count - 3).tobytes(), ADA.encode()) == []
    assert traces(tmp_path / "store", vector(count - 1).tobytes()) == ["rows.vec"]
    if not is_trimmed:
        snapshots = tmp_path / "snapshots"
        made = restored_state(snapshots, start.name, tmp_path / "made", last, str(snapshots / source))
        assert (made["faces"], made["face_ids"]) == (state["faces"], state["face_ids"])


def test_what_is_damaged_and_not_served_is_overwritten_for_nobody(store_path: Path) -> None:
    """A store that serves the rest keeps rows of damaged records: they are others', and can be saved."""
    with open_store(store_path) as store:
        gallery = create(store)
        people = [(f"somebody-{number}", f"face-{number}", number) for number in range(20)]
        enroll(store, rows(gallery, [*people, (ADA, "ada-1", 20), (BOB, "bob-1", 21)]))
    # Of one the person's record, of another the face's, of a third the vector.
    flip(store_path / DATA, live_bytes(store_path, "identity_ids", b"somebody-3"), 1)
    flip(store_path / DATA, live_bytes(store_path, "faces", b"face-5"), 1)
    [file] = store_path.glob("vectors/*/rows.vec")
    flip(file, VECTORS_OFFSET + 7 * 4 * DIMENSION)
    # The journal goes back no further than to the erasure: of what is dead in older rows nobody knows whose it was.
    options = StoreOptions(map_size_bytes=1 << 30, journal_revisions_max=1, serve_damaged=True)
    with open_store(store_path, options) as store:
        assert store.damage.count
        before = file.read_bytes()
        store.write(EraseFaces("people", ADA, "erasures/1", OperationRecord(name="operations/1")))
        run_erasures(store)
    after = file.read_bytes()
    erased = slice(VECTORS_OFFSET + 20 * 4 * DIMENSION, VECTORS_OFFSET + 21 * 4 * DIMENSION)
    assert after[: erased.start] == before[: erased.start]
    assert not any(after[erased])
    assert after[erased.stop :] == before[erased.stop :]


def test_a_journal_without_somebody_is_replayed_to_any_revision(tmp_path: Path) -> None:
    """From a snapshot taken before the person came, every revision is made again without a name; from one that holds
    them, too, with what it holds. What everybody else was at the last revision is the same.
    """
    snapshots = tmp_path / "snapshots"
    with open_store(tmp_path / "store") as store:
        gallery = create(store)
        before = take(store, snapshots).manifest
        enroll(
            store, rows(gallery, [(ADA, "ada-1", 1), (BOB, "bob-1", 2)], seeds={ADA: IdentitySeed("Ada", {"x": "y"})})
        )
        holding = take(store, snapshots).manifest
        enroll(store, rows(gallery, [(BOB, "bob-2-of-ada", 3), (ADA, "ada-2-of-bob", 4)]))
        store.write(PutIdentity("people", ADA, display_name="Ada the Second"))
        store.write(MoveFaces("people", ["bob-2-of-ada"], ADA))
        store.write(MoveFaces("people", ["ada-2-of-bob"], BOB))
        store.write(DeleteFaces("people", ["ada-1"]))
        erase(store, ADA)
        last, state = store.revision, state_of(store)
        source = str(take(store, snapshots, is_full=True).manifest.name)
    for start in (before, holding):
        for revision in range(start.revision + 1, last + 1):
            target = tmp_path / f"{start.revision}-{revision}"
            made = restored_state(snapshots, start.name, target, revision, str(snapshots / source))
            assert not any(b"erased face" in key for key in made["face_ids"]), "placeholders are not restored"
            if start is before:
                assert traces(target, ADA.encode(), b"Ada the Second", b"bob-2-of-ada", vector(1).tobytes()) == []
        assert {name: made[name] for name in ("identities", "faces", "face_ids", "people")} == {
            name: state[name] for name in ("identities", "faces", "face_ids", "people")
        }


def test_redacting_twice_changes_nothing_more() -> None:
    """An erasure that begins again after a crash finds nothing to do in entries that it has put again."""
    put = JournalOperation()
    put.put_identity.gallery_number = 1
    put.put_identity.identity_id = ADA
    put.put_identity.identity.CopyFrom(IdentityRecord(number=7, display_name="Ada", create_time_us=5))
    entry = JournalEntry(revision=3, time_us=5, operations=[put])
    erased = Erased(1, 7, ADA)
    assert EntryRedactor([erased]).redact(entry) == {erased}
    assert erased.texts == {b"Ada"}
    assert entry.operations[0].put_identity.identity == IdentityRecord(number=7, create_time_us=5)
    assert not EntryRedactor([erased]).redact(entry)
    assert erased.journal_entry_count == 1


def test_history_gives_everybody_the_rows_that_were_theirs_last() -> None:
    """Rows moved away are somebody else's; rows moved in are theirs, also where their enrolment is not known."""

    def moved(ordinals: list[int], target: int) -> JournalOperation:
        operation = JournalOperation()
        operation.move_faces.gallery_number = 1
        operation.move_faces.ordinals.extend(ordinals)
        operation.move_faces.target_identity_number = target
        return operation

    erased = Erased(1, 7, ADA, ordinals={1})
    history = History([erased])
    history.take(JournalEntry(operations=[moved([20, 21, 22], 7)]))
    history.take(JournalEntry(operations=[moved([21], 8), moved([30], 9)]))
    history.finish()
    assert erased.ordinals == {1, 20, 22}


@pytest.mark.parametrize(
    ("outcome", "is_named"),
    [
        (EnrollRowsOutcomeRecord(face_ids=["x", "ada-1"]), True),
        (EnrollRowsOutcomeRecord(face_ids=["x", "ada-11"]), False),
        (EnrollOutcomeRecord(faces=[EnrolledFace(face_id="x", identity_id=ADA)]), True),
        (EnrollOutcomeRecord(faces=[EnrolledFace(face_id="ada-1", identity_id="x")]), True),
        (EnrollOutcomeRecord(faces=[EnrolledFace(error_message=f"identity {ADA!r} has this face already")]), True),
        (EnrollOutcomeRecord(faces=[EnrolledFace(face_id="x", identity_id=BOB)]), False),
        (CountOutcomeRecord(identity_count=7, face_count=2), False),
        (CountOutcomeRecord(identity_count=1, identity_ids=[BOB, ADA]), True),
        (IdentityRecord(number=7, display_name="anything", create_time_us=9), True),
        (IdentityRecord(number=8, display_name="anything", create_time_us=9), False),
        (IdentityRecord(number=7, display_name="anything", create_time_us=8), False),
        (IdentityRecord(number=3, display_name="who had the id before", create_time_us=4), True),
    ],
)
def test_kept_answers_that_name_somebody_are_told_from_others(outcome: object, is_named: bool) -> None:
    """Outcomes do not say of what kind they are; none is missed, and none of another's is taken."""
    ada = Erased(1, 7, ADA, {7: 9, 3: 4}, face_ids={"ada-1"})
    others = [Erased(1, number, f"somebody-{number}") for number in range(20, 30)]
    named = AnswerRedactor([*others, ada]).named(outcome.SerializeToString())  # type: ignore[attr-defined]
    assert named == ({ada} if is_named else set())


def test_kept_answers_of_other_galleries_stay(store_path: Path) -> None:
    """Numbers begin anew in every gallery; the answers that somebody of the same number was given are theirs."""
    with open_store(store_path) as store:
        create(store)
        create(store, "others")

        def put(gallery: str, identity_id: str, name: str, request_id: str) -> None:
            key: RequestKey[IdentityRecord] = RequestKey(request_id, b"body", IdentityRecord.SerializeToString)
            store.write(PutIdentity(gallery, identity_id, display_name=name, allow_missing=True, request=key))

        put("people", ADA, "Ada the First", "first")
        put("others", BOB, "Bob of the others", "bob-1")
        store.write(DeleteIdentity("people", ADA))
        put("people", ADA, "Ada the Second", "second")
        put("others", "eve-of-the-others", "Eve of the others", "eve-2")
        erase(store, ADA)
        with store.view() as view:
            kept = {name: view.request(name) for name in ("first", "second", "bob-1", "eve-2")}
    assert {name: one is not None and one.is_erased for name, one in kept.items()} == {
        "first": True,
        "second": True,
        "bob-1": False,
        "eve-2": False,
    }
    assert traces(store_path, b"Ada the First", b"Ada the Second") == []


def test_an_erasure_holds_few_entries_of_the_journal_at_once(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries may have megabytes each; a long journal of them is never in memory as a whole."""
    monkeypatch.setattr(scanning, "_BLOCK_BYTES", 1 << 20)
    entry_bytes, count = 1 << 20, 80
    with open_store(store_path) as store:
        gallery = create(store)
        enroll(store, rows(gallery, [(ADA, "ada-1-of-one", 0)], seeds={ADA: IdentitySeed("of the same name", {})}))
        for number in range(1, count):
            seeds = {f"person-{number}": IdentitySeed("of the same name", {})}
            command = rows(gallery, [(f"person-{number}", f"face-{number}", number)], seeds=seeds)
            source = FaceRecord(source=f"{number:08d}" * (entry_bytes // 8)).SerializeToString()
            enroll(store, replace(command, records=[source]))
            store.write(DeleteIdentity("people", f"person-{number}"))
        tracemalloc.start()
        try:
            erase(store, ADA)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < count * entry_bytes // 2


def test_keys_leave_the_branches_of_trees_at_every_height(store_path: Path) -> None:
    """LMDB parts its trees by keys of records that may be deleted since: whoever is erased parts none any more."""
    count = 9000
    with open_store(store_path, StoreOptions(map_size_bytes=1 << 30)) as store:
        gallery = create(store)
        for start in range(0, count, 1000):
            people = [
                (f"person-{number * 7919 % count:06d}-of-many", f"face-{number:06d}", number)
                for number in range(start, start + 1000)
            ]
            enroll(store, rows(gallery, people))
        heights: dict[int, bytes] = {}
        for one in parting(store):
            heights.setdefault(one[0], one[1])
        assert set(heights) == {1, 2}, "a tree of three levels"
        for number, key in enumerate(heights.values()):
            identity_id = key[4:].decode()
            erase(store, identity_id, f"erasures/{number}")
            assert traces(store_path, identity_id.encode()) == []
            assert key not in {one for _, one in parting(store)}


def parting(store: Store) -> list[tuple[int, bytes]]:
    """Height and key of what parts the tree of identities."""
    from mien_server.storage.lmdb_pages import separators

    scrubber = store.scrubber
    with scrubber._pinned() as (file, meta, _):
        return separators(file, meta, Database.IDENTITIES.value.encode())


def test_a_gallery_that_is_deleted_meanwhile_ends_the_erasure(store_path: Path) -> None:
    """What the gallery took with it needs no erasing; the rest is erased as ever."""
    with open_store(store_path) as store:
        gallery = create(store)
        enroll(store, rows(gallery, [(ADA, "ada-1-of-many", 1)]))
        operation = OperationRecord(name="operations/1")
        store.write(EraseFaces("people", ADA, "erasures/1", operation))
        store.write(DeleteGallery("people", force=True))
        [record] = run_erasures(store).done
        assert record.receipt.row_count == 0
        assert traces(store_path, ADA.encode(), b"ada-1-of-many") == []
        with pytest.raises(NotFound):
            store.write(EraseFaces("people", ADA, "erasures/2", operation))


@settings(max_examples=60)
@given(
    raw=st.binary(max_size=600).map(lambda raw: bytes(byte & 3 for byte in raw)),
    chosen=st.lists(st.tuples(st.integers(0, 600), st.integers(7, 40)), max_size=12),
    others=st.lists(st.binary(min_size=7, max_size=20).map(lambda raw: bytes(byte & 3 for byte in raw)), max_size=12),
    block_bytes=st.sampled_from([16, 64, 200, 1 << 20]),
)
def test_the_search_finds_what_is_there_wherever_it_stands(
    tmp_path_factory: pytest.TempPathFactory,
    raw: bytes,
    chosen: list[tuple[int, int]],
    others: list[bytes],
    block_bytes: int,
) -> None:
    """At any offset, over the ends of blocks, at the end of the file: as `in` finds it, and nothing else."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "empty").touch()
    (folder / "below").mkdir()
    (folder / "below" / "file").write_bytes(raw)
    patterns = {raw[first : first + length] for first, length in chosen} | set(others)
    patterns = {one for one in patterns if len(one) >= scanning.PATTERN_BYTES_MIN}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scanning, "_BLOCK_BYTES", block_bytes)
        scan = scan_folder(folder, Finder(patterns), lambda: None)
    assert {hit.pattern for hit in scan.hits} == {one for one in patterns if one in raw}
    assert all(raw[hit.offset : hit.offset + len(hit.pattern)] == hit.pattern for hit in scan.hits)
    assert (scan.file_count, scan.byte_count) == (2, len(raw))
