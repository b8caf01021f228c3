"""Many erasures at once: what they cost together, and that what fails for one fails for no other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from mien_server.errors import Conflict, CorruptStore, MienError, Unavailable
from mien_server.records.policies import Duplicates
from mien_server.records.store_pb2 import (
    CountOutcomeRecord,
    EnrolledRows,
    ErasureRecord,
    IdentityRecord,
    JournalEntry,
    JournalOperation,
    OperationRecord,
    RequestRecord,
)
from mien_server.storage import (
    Committed,
    DeleteFaces,
    EraseFaces,
    ErasureRun,
    IdentitySeed,
    PutIdentity,
    RequestKey,
    Store,
    StoreOptions,
    pending_erasures,
)
from mien_server.storage.commands import redact_records
from mien_server.storage.commands.redact_records import Redaction, RedactRecords
from mien_server.storage.databases import Database
from mien_server.storage.erasure import run, scanning
from mien_server.storage.erasure.history import History
from mien_server.storage.erasure.notes import ErasureState
from mien_server.storage.erasure.people import ById, Erased
from mien_server.storage.erasure.redaction import AnswerRedactor, EntryRedactor
from mien_server.storage.erasure.scanning import Finder, scan_folder
from mien_server.storage.erasure.verifying import check_receipt
from mien_server.storage.keys import encode_number
from mien_server.storage.reading import RecordReader
from tests.erasure_support import no_index, run_erasures
from tests.recovery.test_corruption_store import DATA, flip, live_bytes
from tests.snapshot_support import restored_state, take
from tests.storage_support import create, enroll, open_store, rows, vector
from tests.unit.test_storage_erasure import traces

ADA, BOB, EVE = "ada-lovelace", "bob-the-builder", "eve-the-listener"


def begin(store: Store, *people: str, gallery: str = "people") -> list[str]:
    """Ask for erasures of some people; their names."""
    names = []
    for identity_id in people:
        # It must not name them: it is kept.
        name = f"erasures/{store.revision:06d}"
        operation = OperationRecord(name=name.replace("erasures", "operations"))
        written = store.write(EraseFaces(gallery, identity_id, name, operation))
        assert isinstance(written, Committed)
        assert written.result
        names.append(name)
    return names


def fill(store: Store, gallery_name: str = "people") -> None:
    gallery = create(store, gallery_name)
    for seed, identity_id in enumerate((ADA, BOB, EVE)):
        seeds = {identity_id: IdentitySeed(f"Name of {identity_id}", {})}
        enroll(store, rows(gallery, [(identity_id, f"{identity_id}-{gallery_name}", seed)], seeds=seeds))


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_records_that_concern_nobody_cost_the_same_however_many_are_erased() -> None:
    """Who is concerned is looked up, not asked of everybody one after the other."""
    entries = []
    for number in range(1, 200):
        put, moved = JournalOperation(), JournalOperation()
        put.put_identity.gallery_number, put.put_identity.identity_id = 1, f"person-{number}"
        put.put_identity.identity.CopyFrom(IdentityRecord(number=number))
        moved.move_faces.gallery_number = 1
        moved.move_faces.ordinals.extend(range(number, number + 4))
        moved.move_faces.target_identity_number = number
        rows_of = EnrolledRows(
            gallery_number=1,
            first_ordinal=number,
            face_values=[number.to_bytes(8, "little")],
            first_new_identity_number=number,
            new_identity_ids=[f"person-{number}"],
            new_identity_records=[IdentityRecord(number=number).SerializeToString()],
        )
        entries.append(JournalEntry(revision=number, operations=[put, moved, JournalOperation(enroll=rows_of)]))
    answers = [CountOutcomeRecord(identity_ids=[f"it's 'person-{number}'"]) for number in range(200)]
    requests = [RequestRecord(outcome=one.SerializeToString()) for one in answers]

    def cost(people_count: int) -> int:
        people = [
            Erased(1, number, f"erased-{number}", ordinals={number}) for number in range(1000, 1000 + people_count)
        ]
        by_id, history, redactor = ById(people), History(people), EntryRedactor(people)
        answer_redactor = AnswerRedactor(people)

        def read() -> None:
            for entry in entries:
                by_id.take_numbers(entry)
                history.take(entry)
                assert not redactor.redact(entry)
            for request in requests:
                assert not answer_redactor.redact(request)

        return calls_of(read)

    assert cost(900) == cost(9)


def test_many_erasures_take_as_many_commits_as_few(store_path: Path) -> None:
    """What is kept of them is put together: a commit for each would be most of what they cost."""
    with open_store(store_path, StoreOptions(map_size_bytes=1 << 30)) as store:
        gallery = create(store)
        people = [f"person-{number:04d}" for number in range(200)]
        for number, person in enumerate(people):
            enroll(store, rows(gallery, [(person, f"face-of-{person}", number)]))

        def commits(chosen: list[str]) -> int:
            names = begin(store, *chosen)
            before = store.newest_transaction_id
            assert len(run_erasures(store).done) == len(names)
            return store.newest_transaction_id - before

        few = commits(people[:2])
        # Keys in branches of more people are rewritten in a few commits more.
        assert commits(people[2:162]) < few + 40
        with store.view() as view:
            assert view.check() == []


def test_rows_that_two_erasures_speak_of_are_of_both(store_path: Path) -> None:
    """Somebody who is erased twice at once, or again under their id: neither receipt rests on the other's work."""
    erased = [Erased(1, 7, ADA, ordinals={1, 2}), Erased(1, 9, ADA, {7: 0}, ordinals={2, 3}), Erased(1, 8, BOB)]
    history = History(erased)
    moved = JournalOperation()
    moved.move_faces.gallery_number = 1
    moved.move_faces.ordinals.extend([2, 5])
    moved.move_faces.target_identity_number = 7
    given = JournalOperation()
    given.move_faces.gallery_number = 1
    given.move_faces.ordinals.append(3)
    given.move_faces.target_identity_number = 8
    history.take(JournalEntry(operations=[moved, given]))
    history.finish()
    assert [one.ordinals for one in erased] == [{1, 2, 5}, {2, 5}, {3}]
    put = JournalOperation()
    put.put_identity.gallery_number, put.put_identity.identity_id = 1, ADA
    put.put_identity.identity.CopyFrom(IdentityRecord(number=7, display_name="Ada"))
    assert EntryRedactor(erased).redact(JournalEntry(operations=[put])) == set(erased[:2])
    assert [one.texts for one in erased] == [{b"Ada"}, {b"Ada"}, set()]
    assert not traces(store_path, b"Ada")


def test_a_damaged_entry_of_the_journal_goes_with_those_before_it_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell whose it was: the journal begins anew behind it, and the receipt counts it. Rows of before are
    overwritten where they are dead, since they may have been given to somebody in that entry.
    """
    monkeypatch.setattr(redact_records, "FORGOTTEN_MAX", 2)
    store_path, snapshots = tmp_path / "store", tmp_path / "snapshots"
    with open_store(store_path) as store:
        gallery = create(store, "first")
        start = take(store, snapshots).manifest
        people = [("somebody", "face-of-somebody", 30), ("somebody", "another-face", 31), (EVE, "eve-of-first", 32)]
        enroll(store, rows(gallery, people))
        store.write(DeleteFaces("first", ["face-of-somebody"]))
        fill(store)
        damaged_revision = store.revision - 2
        later = take(store, snapshots).manifest
        store.write(PutIdentity("people", BOB, display_name="Bob the Second"))
        last = store.revision
    flip(store_path / DATA, live_bytes(store_path, "journal", b"Name of ada-lovelace"), 1)
    with open_store(store_path) as store:
        with store.view() as view, pytest.raises(CorruptStore):
            list(view.records.journal(0))
        begin(store, ADA, BOB)
        begin(store, EVE, gallery="first")
        outcome = run_erasures(store)
        assert (len(outcome.done), outcome.failed) == (3, {})
        assert [record.receipt.damaged_record_count for record in outcome.done] == [1, 1, 1]
        with store.view() as view:
            assert next(view.records.journal(0)).revision == damaged_revision + 1
            assert view.check() == []
        assert (
            traces(store_path, b"ame of ada-lovelace", ADA.encode(), vector(30).tobytes(), vector(32).tobytes()) == []
        )
        assert traces(store_path, vector(31).tobytes()) == ["rows.vec"]
        begin(store, EVE)
        [record] = run_erasures(store).done
        assert record.receipt.damaged_record_count == 0, "the next ones find nothing damaged"
        source = str(take(store, snapshots, is_full=True).manifest.name)
    with pytest.raises(MienError, match="no longer has revision"):
        restored_state(snapshots, start.name, tmp_path / "before", start.revision + 1, str(snapshots / source))
    restored_state(snapshots, later.name, tmp_path / "after", last, str(snapshots / source))


def test_a_vector_that_is_of_the_history_of_others_holds_no_erasure_up(store_path: Path) -> None:
    """The same photograph was enrolled of two people, and deleted of one: it is counted as shared."""
    with open_store(store_path) as store:
        gallery = create(store)
        enroll(store, rows(gallery, [(ADA, "face-of-ada", 1), (BOB, "face-of-bob", 1)], duplicates=Duplicates.ALLOW))
        store.write(DeleteFaces("people", ["face-of-bob"]))
        begin(store, ADA)
        [record] = run_erasures(store).done
        assert record.receipt.scan.shared_count
        raw = next(store_path.glob("vectors/*/rows.vec")).read_bytes()
        assert raw.count(vector(1).tobytes()) == 1
        begin(store, BOB)
        run_erasures(store)
    assert traces(store_path, vector(1).tobytes()) == []


def test_a_damaged_answer_is_taken_away_and_its_request_is_not_carried_out_again(store_path: Path) -> None:
    """It may have named the person, so it goes; a retry is refused, as it would be of an answer that was erased."""

    def put(store: Store, identity_id: str, request_id: str) -> object:
        key: RequestKey[IdentityRecord] = RequestKey(request_id, b"body", IdentityRecord.SerializeToString)
        name = f"Name of {identity_id}"
        return store.write(PutIdentity("people", identity_id, display_name=name, allow_missing=True, request=key))

    with open_store(store_path) as store:
        create(store)
        for identity_id in (ADA, BOB):
            put(store, identity_id, f"request-of-{identity_id}")
    flip(store_path / DATA, live_bytes(store_path, "requests", b"Name of bob-the-builder"), 1)
    with open_store(store_path) as store:
        begin(store, ADA)
        [record] = run_erasures(store).done
        assert (record.receipt.damaged_record_count, record.receipt.request_count) == (1, 1)
        for identity_id in (ADA, BOB):
            with pytest.raises(Conflict):
                put(store, identity_id, f"request-of-{identity_id}")
        with store.view() as view:
            assert view.check() == []


def test_an_index_that_cannot_be_made_again_holds_up_its_own_gallery_alone(store_path: Path) -> None:
    """The people of other galleries are gone in the end, and the failure names whom it concerns."""
    with open_store(store_path) as store:
        fill(store)
        fill(store, "others")
        held, gone = begin(store, ADA, BOB), begin(store, ADA, gallery="others")

        def drop(number: int) -> Future[bool]:
            if number == 2:
                return no_index(number)
            future: Future[bool] = Future()
            future.set_exception(Unavailable("the lists are damaged", reason="INDEX_DAMAGED"))
            return future

        outcome = run_erasures(store, drop)
        assert [record.name for record in outcome.done] == gone
        assert {name: str(error) for name, error in outcome.failed.items()} == dict.fromkeys(
            held, "the lists are damaged"
        )
        assert len(run_erasures(store).done) == 2


def test_an_index_that_is_busy_makes_room_for_other_galleries(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build may take long: it is waited for a while, later not at all, until it has ended."""
    monkeypatch.setattr(run, "INDEX_WAIT_S", 0.1)
    asked: list[int] = []
    late: Future[bool] = Future()

    def drop(number: int) -> Future[bool]:
        asked.append(number)
        return late if number == 1 and not late.done() else no_index(number)

    with open_store(store_path) as store:
        fill(store)
        fill(store, "others")
        [held], gone = begin(store, ADA), begin(store, ADA, gallery="others")
        erasing = ErasureRun(store, drop, lambda *_: None, lambda: False)
        outcome = erasing.run([held, *gone])
        assert [record.name for record in outcome.done] == gone
        assert isinstance(outcome.failed[held], Unavailable)
        assert outcome.failed[held].reason == run.INDEX_BUSY
        asked.clear()
        assert held in erasing.run([held]).failed
        assert asked == [], "the request from before still stands"
        late.set_result(True)
        [record] = erasing.run([held]).done
        assert record.receipt.is_index_rewritten


def test_what_is_left_of_one_holds_up_nobody_else(store_path: Path) -> None:
    """A file that names one of two people: the other has a receipt, and the failure says where the first one stands."""
    with open_store(store_path) as store:
        fill(store)
        (store_path / "notes.txt").write_text(f"call {ADA}", encoding="utf-8")
        held, gone = begin(store, ADA, BOB)
        outcome = run_erasures(store)
        assert [record.name for record in outcome.done] == [gone]
        failure = outcome.failed[held]
        assert isinstance(failure, MienError)
        assert failure.reason == "ERASURE_INCOMPLETE"
        assert "notes.txt" in failure.message
        (store_path / "notes.txt").unlink()
        assert [record.name for record in run_erasures(store).done] == [held]


def test_what_is_said_of_one_and_cannot_be_read_makes_suspects(store_path: Path) -> None:
    """An entry that is whole and makes no sense for one of them: both are named, and alone the other is erased."""
    with open_store(store_path) as store:
        fill(store)
        spoil_entry_of(store, 0)
        held, gone = begin(store, ADA, BOB)
        outcome = run_erasures(store)
        assert outcome.done == []
        assert sorted(outcome.suspects) == sorted([held, gone]) == sorted(outcome.failed)
        erasing = ErasureRun(store, no_index, lambda *_: None, lambda: False)
        assert [record.name for record in erasing.run([gone]).done] == [gone]
        assert list(erasing.run([held]).failed) == [held]


def spoil_entry_of(store: Store, ordinal: int) -> None:
    """Put a value into the journal's entry of a row that no face has, with a checksum that fits."""
    with store.view() as view:
        for entry in view.records.journal(0):
            before = entry.SerializeToString()
            for operation in entry.operations:
                if operation.HasField("enroll") and operation.enroll.first_ordinal == ordinal:
                    number = operation.enroll.face_values[0][:8]
                    operation.enroll.face_values[0] = number
                    key = encode_number(entry.revision)
                    redaction = Redaction(Database.JOURNAL, key, before, entry.SerializeToString())
    store.write(RedactRecords([redaction]))


def test_a_damaged_record_of_an_erasure_is_told_and_holds_up_nobody_else(store_path: Path) -> None:
    """Of whom it was is not known any more; the others are found and carried out."""
    with open_store(store_path) as store:
        fill(store)
        damaged, whole = begin(store, ADA, BOB)
    flip(store_path / DATA, live_bytes(store_path, "erasures", damaged.encode()), 1)
    with open_store(store_path) as store:
        records, damages = pending_erasures(store)
        assert [record.name for record in records] == [whole]
        assert [damage.metadata["key"] for damage in damages] == [damaged.encode().hex()]
        outcome = ErasureRun(store, no_index, lambda *_: None, lambda: False).run([damaged, whole])
        assert [record.name for record in outcome.done] == [whole]
        assert isinstance(outcome.failed[damaged], CorruptStore)


def test_a_small_map_grows_for_an_erasure_as_it_does_for_a_write(store_path: Path) -> None:
    """Filling LMDB's buffers takes address space that no record needed before."""
    with open_store(store_path, StoreOptions(map_size_bytes=1 << 20)) as store:
        fill(store)
        begin(store, ADA)
        [record] = run_erasures(store).done
        assert record.state == ErasureState.DONE
        assert traces(store_path, ADA.encode()) == []
        enroll(store, rows(create(store, "later"), [(ADA, "ada-later", 9)]))
        with store.view() as view:
            assert view.check() == []


def test_a_search_ends_between_two_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not need it any more need not wait for its end."""
    monkeypatch.setattr(scanning, "_BLOCK_BYTES", 1 << 10)
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    blocks = 0

    def check() -> None:
        nonlocal blocks
        blocks += 1
        if blocks == 3:
            raise Unavailable("closing", reason="STORE_CLOSED")

    with pytest.raises(Unavailable):
        scan_folder(tmp_path, Finder({b"something to find"}), check)
    assert blocks == 3


def test_an_erasure_stops_at_whatever_step_when_the_store_closes(store_path: Path) -> None:
    """It is asked between the records, pages and blocks of every step."""
    with open_store(store_path) as store:
        fill(store)
        [name] = begin(store, ADA)
        asked, stop_at = 0, 0

        def is_closing() -> bool:
            nonlocal asked
            asked += 1
            return asked == stop_at

        erasing = ErasureRun(store, no_index, lambda *_: None, is_closing)
        for stop_at in (1, 3, 6, 12, 24, 48):  # noqa: B007 - `is_closing` looks at it
            asked = 0
            with pytest.raises(Unavailable, match="closing"):
                erasing.run([name])
        stop_at, asked = 0, 0
        [record] = erasing.run([name]).done
        assert record.state == ErasureState.DONE
        assert asked > 48


def test_a_receipt_tells_the_persons_own_entries_from_those_of_others(store_path: Path) -> None:
    """The id of somebody else stands in the journal without harm; what is said of the person themselves does not."""
    with open_store(store_path) as store:
        fill(store)
        with store.view() as view:
            kept = {entry.revision: entry.SerializeToString() for entry in view.records.journal(0)}
        begin(store, ADA)
        [record] = run_erasures(store).done
        enroll(store, rows(create(store, "others"), [(ADA, "ada-of-others", 7)]))
        checks = {check.name: check for check in check_receipt(store, record.receipt, ADA)}
        assert all(check.passed for check in checks.values()), checks
        assert "others" in checks["search"].detail
        with store.view() as view:
            revision, redacted = next(
                (entry.revision, entry.SerializeToString())
                for entry in view.records.journal(0)
                if kept.get(entry.revision, entry.SerializeToString()) != entry.SerializeToString()
            )
        key = encode_number(revision)
        store.write(RedactRecords([Redaction(Database.JOURNAL, key, redacted, kept[revision])]))
        checks = {check.name: check for check in check_receipt(store, record.receipt, ADA)}
        assert not checks["journal"].passed
        assert str(revision) in checks["journal"].detail
        assert not checks["search"].passed, "though others have the id as well"


def test_a_receipt_of_an_earlier_release_says_what_it_cannot_tell(store_path: Path) -> None:
    """The store kept no number of the person: whose entries of the journal are is not known."""
    from mien_server.storage.commands.put_erasure import PutErasures

    with open_store(store_path) as store:
        fill(store)
        begin(store, ADA)
        [record] = run_erasures(store).done
        old = ErasureRecord()
        old.CopyFrom(record)
        old.identity_number = 0
        store.write(PutErasures([old]))
        enroll(store, rows(create(store, "others"), [(ADA, "ada-of-others", 7)]))
        checks = {check.name: check for check in check_receipt(store, record.receipt, ADA)}
    assert all(check.passed for check in checks.values())
    assert "not looked for" in checks["journal"].detail
    assert "of whom is not known" in checks["search"].detail


def test_a_page_of_erasures_reads_no_more_than_the_page(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the newest on, whatever their number; from a name that is not there as well."""
    from mien_server.storage.commands.put_erasure import PutErasures

    with open_store(store_path) as store:
        names = [f"erasures/{number:04d}" for number in range(100)]
        store.write(PutErasures([ErasureRecord(name=name, state=ErasureState.DONE) for name in names]))
        read: list[str] = []
        real = RecordReader.erasures_before

        def counted(reader: RecordReader, name: str) -> object:
            for record in real(reader, name):
                read.append(record.name)
                yield record

        monkeypatch.setattr(RecordReader, "erasures_before", counted)
        with store.view() as view:
            for before, expected in (
                ("", names[:-4:-1]),
                ("erasures/0050", ["erasures/0049", "erasures/0048", "erasures/0047"]),
                ("erasures/0049x", ["erasures/0049", "erasures/0048", "erasures/0047"]),
                ("erasures/0001", ["erasures/0000"]),
                ("erasures/0000", []),
                ("f", names[:-4:-1]),
            ):
                read.clear()
                found = [record.name for record, _ in zip(view.erasures_before(before), range(3), strict=False)]
                assert found == expected
                assert len(read) <= 4
