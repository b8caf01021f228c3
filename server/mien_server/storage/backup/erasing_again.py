"""Taking people who were erased since out of a store that was made of a snapshot, before anybody opens it.

What a snapshot holds of them comes back with it: they themselves, faces that they were given later, and, where a
journal was replayed past their erasure, what records and vectors hold of them. People and faces are deleted here; the
rest is noted as pending erasures, which the server carries to their end as it does any other.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mien_server.records.store_pb2 import (
    ErasureReceiptRecord,
    ErasureRecord,
    ErasureWork,
    HeldSnapshotRecord,
    IdentityRecord,
    JournalEntry,
    SnapshotRecord,
)
from mien_server.storage.backup.hashes import Hashes, is_about
from mien_server.storage.backup.known_erasures import KnownErasures
from mien_server.storage.commands.base import Command
from mien_server.storage.commands.delete_identity import DeleteIdentity
from mien_server.storage.commands.erase_again import EraseAgain
from mien_server.storage.commands.erase_faces import ERASED_FACES_MAX
from mien_server.storage.commands.put_erasure import PutErasures
from mien_server.storage.commands.snapshots import PutSnapshot
from mien_server.storage.erasure.deleting import delete_rest
from mien_server.storage.erasure.notes import ErasureState, identity_hash, is_pending, work_of
from mien_server.storage.reading import RecordReader
from mien_server.storage.replay import stand_ins
from mien_server.storage.store import Store
from mien_server.storage.views import StoreView

__all__ = ["ErasedAgain", "erase_again"]


@dataclass(frozen=True, slots=True)
class ErasedAgain:
    """An erasure that a restore would have undone.

    Attributes:
        erasure: its name.
        face_count: faces that had come back, and were deleted; 0: only files hold something.
    """

    erasure: str
    gallery: str
    face_count: int


@dataclass(slots=True)
class _Case:
    """An erasure that the store does not know, and what the store has of the person.

    Attributes:
        is_later: the erasure is of the store's own history, and to come: its rows are the same.
        gallery_number: of the gallery here; 0: there is none.
        identity_id: "": nothing here calls them by their id.
        identity_number: theirs, or that of the last one before them who had the id; 0: not known.
        is_there: there is an identity to be deleted.
        rows: theirs, as far as they are in the store.
        notes: what the snapshot said of them before it was replayed on.
    """

    source: KnownErasures
    record: ErasureRecord
    is_of_line: bool
    is_later: bool
    gallery_number: int = 0
    identity_id: str = ""
    identity_number: int = 0
    create_time_us: int = 0
    is_there: bool = False
    rows: list[int] = field(default_factory=list)
    has_traces: bool = False
    notes: ErasureWork = field(default_factory=ErasureWork)

    def take(self, identity_id: str, record: IdentityRecord, *, is_there: bool) -> None:
        """Note who has the id; numbers ascend, and the last one counts."""
        self.identity_id = identity_id
        if record.number >= self.identity_number:
            self.identity_number, self.create_time_us = record.number, record.create_time_us
        self.is_there |= is_there

    def is_found(self) -> bool:
        """Whether the store holds anything of the person."""
        return bool(self.identity_id) or self.has_traces


def erase_again(
    store: Store,
    known: Sequence[KnownErasures],
    restored: SnapshotRecord,
    remembered: Mapping[str, ErasureWork] | None = None,
) -> list[ErasedAgain]:
    """Delete who was erased, as `known` tells, and keep the erasures; those that found something are answered.

    Args:
        restored: what the store was made of.
        remembered: what it said of people before the journal was replayed on it, by erasure.

    Raises:
        CorruptStore: a record cannot be read.
        Unavailable: the disk refuses.
    """
    return _ErasingAgain(store, known, restored, remembered or {}).run()


class _ErasingAgain:
    """One run."""

    def __init__(
        self,
        store: Store,
        known: Sequence[KnownErasures],
        restored: SnapshotRecord,
        remembered: Mapping[str, ErasureWork],
    ) -> None:
        self._store = store
        self._restored = restored
        self._remembered = remembered
        with store.view(shows_expired=True) as view:
            self._revision = view.revision
            self._secret = view.records.erasure_secret()
            self._there = {record.name: record for record in view.erasures_before("")}
            lines = [(one, one.is_of_line(view.records, view.revision)) for one in known if one.erasures]
        self._known = sorted(lines, key=lambda line: (not line[1], -line[0].revision))

    def run(self) -> list[ErasedAgain]:
        """See `erase_again`."""
        self._finish_deleting()
        self._keep_receipts()
        done = self._erase_all()
        self._delete_stand_ins()
        return done

    def _erase_all(self) -> list[ErasedAgain]:
        cases = self._cases()
        if not cases:
            return []
        new_secret = None
        if self._secret is None:
            self._secret = new_secret = next((case.source.secret for case in cases if case.source.secret), None)
        with self._store.view(shows_expired=True) as view:
            self._look(view, cases)
        found = [case for case in cases if case.is_found() or is_pending(case.record)]
        if found:
            self._keep_snapshots(case.source for case in found)
        done = [self._erase(case, new_secret) for case in found]
        names = {one.erasure for one in done}
        # A receipt under another key could not be checked.
        left = [case for case in cases if case.record.name not in names and case.source.secret == self._secret]
        self._write_all(EraseAgain(self._as_it_was(case), secret=new_secret) for case in left)
        return done

    def _finish_deleting(self) -> None:
        """Go on with deletions that the snapshot holds half: the person must not be found until a server goes on."""
        for record in self._there.values():
            if record.state == ErasureState.DELETING:
                delete_rest(self._store, record.gallery_name, work_of(record).identity_id, record.name)

    def _keep_receipts(self) -> None:
        """Keep what is known since of erasures that were pending when the snapshot was taken.

        Receipts that were made: somebody may have them. And the snapshots that hold the person, of which the one that
        is restored knows neither itself nor later ones.
        """
        pending = {name for name, ours in self._there.items() if is_pending(ours)}
        if not pending:
            return
        told = [(source, one) for source, _ in self._known for one in source.erasures if one.name in pending]
        self._keep_snapshots(source for source, _ in told)
        for source, theirs in told:
            with self._store.view() as view:
                record = view.erasure(theirs.name)
            assert record is not None
            before = ErasureRecord()
            before.CopyFrom(record)
            if source.secret == self._secret:
                record.earlier_receipts.extend(one for one in _receipts(theirs) if one not in record.earlier_receipts)
            held = {one.name: one for one in (*record.earlier_snapshots, *_held(source, theirs))}
            del record.earlier_snapshots[:]
            record.earlier_snapshots.extend(held[name] for name in sorted(held))
            if record != before:
                self._store.write(PutErasures([record]), is_internal=True)

    # --- finding --------------------------------------------------------------------------------------------------

    def _cases(self) -> list[_Case]:
        """Erasures that the store does not know, each once, in the order in which they were asked for."""
        cases: dict[str, _Case] = {}
        for source, is_of_line in self._known:
            for record in source.erasures:
                if record.name not in self._there and source.secret is not None:
                    is_later = is_of_line and record.revision > self._revision
                    cases.setdefault(record.name, _Case(source, record, is_of_line, is_later))
        return sorted(cases.values(), key=lambda case: (case.record.create_time_us, case.record.name))

    def _look(self, view: StoreView, cases: list[_Case]) -> None:
        """Find out what the store has of each."""
        numbers = {gallery.record.name: gallery.number for gallery in view.galleries()}
        wanted: dict[int, Hashes[_Case]] = defaultdict(Hashes)
        for case in cases:
            here = numbers.get(case.record.gallery_name, 0)
            case.gallery_number = case.record.gallery_number if case.is_of_line else here
            if case.gallery_number:
                assert case.source.secret is not None
                wanted[case.gallery_number].add(case.source.secret, case.record, case)
            if notes := self._remembered.get(case.record.name):
                case.notes.CopyFrom(notes)
                number = notes.identity_number
                record = IdentityRecord(number=number, create_time_us=notes.create_times_us[number])
                case.take(notes.identity_id, record, is_there=False)
        self._look_among_people(view, wanted)
        self._look_in_journal(view.records, wanted)
        for case in cases:
            if case.is_of_line:
                self._look_at_rows(view, case)
                # Replayed past it: the journal names them no more, and what was noted before may be incomplete.
                case.has_traces |= self._restored.revision < case.record.revision <= self._revision
            if not case.identity_id and is_pending(case.record):
                case.identity_id = work_of(case.record).identity_id

    @staticmethod
    def _look_among_people(view: StoreView, wanted: dict[int, Hashes[_Case]]) -> None:
        for number, hashes in wanted.items():
            for identity_id, record, case in hashes.people(view.records, number):
                if is_about(case.record, record):
                    case.take(identity_id, record, is_there=True)

    @staticmethod
    def _look_in_journal(records: RecordReader, wanted: dict[int, Hashes[_Case]]) -> None:
        for entry in records.journal(0):
            for number, identity_id, raw in _named(entry):
                for case in wanted[number].of(identity_id) if number in wanted else ():
                    record = IdentityRecord.FromString(raw)
                    if is_about(case.record, record):
                        case.take(identity_id, record, is_there=False)

    @staticmethod
    def _look_at_rows(view: StoreView, case: _Case) -> None:
        gallery = view.gallery_by_number(case.gallery_number)
        if gallery is None:
            return
        ordinals = np.array(case.record.ordinals, dtype=np.int64)
        ordinals = ordinals[ordinals < gallery.rows.row_count]
        case.rows = ordinals.tolist()
        case.has_traces = bool(gallery.rows.vectors[ordinals].any())

    # --- erasing --------------------------------------------------------------------------------------------------

    def _keep_snapshots(self, sources: Iterable[KnownErasures]) -> None:
        """Know the snapshots that receipts have to name, that which was restored among them."""
        with self._store.view() as view:
            there = {record.name for record in view.records.snapshots()}
        taken = {one.name: one for source in sources for one in source.snapshots}
        self._write_all(
            PutSnapshot(record)
            for name, record in sorted({self._restored.name: self._restored, **taken}.items())
            if name not in there
        )

    def _write_all(self, commands: Iterable[Command[None]]) -> None:
        """Write what does not depend on each other, in few commits."""
        for future in [self._store.submit(command, is_internal=True) for command in commands]:
            future.result()

    def _erase(self, case: _Case, new_secret: bytes | None) -> ErasedAgain:
        with self._store.view(shows_expired=True) as view:
            gallery = view.gallery_by_number(case.gallery_number)
            name = case.record.gallery_name if gallery is None else gallery.record.name
            ordinals: set[int] = set()
            is_there = False
            if gallery is not None:
                if case.is_later:
                    live = gallery.rows.live
                    ordinals.update(row for row in case.rows if live[row >> 3] >> (row & 7) & 1)
                # Another erasure of the same id may have deleted them a moment ago.
                identity = view.records.identity(gallery.number, case.identity_id) if case.is_there else None
                is_there = identity is not None
                if identity is not None:
                    ordinals.update(view.records.faces_of(gallery.number, identity.number).tolist())
        record = self._record(case, name, ordinals)
        work = case.notes
        work.identity_number, work.identity_id = case.identity_number, case.identity_id
        work.create_times_us[case.identity_number] = case.create_time_us
        left = sorted(ordinals)
        while True:
            some, left = left[:ERASED_FACES_MAX], left[ERASED_FACES_MAX:]
            identity_id = case.identity_id if is_there and not left else ""
            self._store.write(EraseAgain(record, work, some, identity_id, new_secret), is_internal=True)
            if not left:
                return ErasedAgain(record.name, name, len(ordinals))

    def _record(self, case: _Case, gallery_name: str, ordinals: set[int]) -> ErasureRecord:
        theirs = case.record
        assert self._secret is not None
        hashed = theirs.identity_hash
        if case.identity_id:
            hashed = identity_hash(self._secret, case.gallery_number or theirs.gallery_number, case.identity_id)
        held = {one.name: one for one in _held(case.source, theirs)}
        held[self._restored.name] = HeldSnapshotRecord(name=self._restored.name, revision=self._restored.revision)
        return ErasureRecord(
            name=theirs.name,
            operation=theirs.operation,
            gallery_number=case.gallery_number or theirs.gallery_number,
            gallery_name=gallery_name,
            create_time_us=theirs.create_time_us,
            identity_hash=hashed,
            revision=min(theirs.revision, self._revision),
            ordinals=sorted({*case.rows, *ordinals}),
            restore_time_us=time.time_ns() // 1000,
            earlier_receipts=_receipts(theirs),
            earlier_snapshots=[held[name] for name in sorted(held)],
        )

    def _delete_stand_ins(self) -> None:
        """Delete who stands for people that the replayed journal names no more, and lost their last face here."""
        if self._revision == self._restored.revision:
            return
        with self._store.view(shows_expired=True) as view:
            found = [
                DeleteIdentity(gallery.record.name, identity_id)
                for gallery in view.galleries()
                for identity_id, identity in stand_ins(view.records, gallery.number)
                if not identity.face_count
            ]
        for command in found:
            self._store.write(command, is_internal=True)

    def _as_it_was(self, case: _Case) -> ErasureRecord:
        """The record of an erasure that is done and of which nothing is there: its receipts are kept."""
        record = ErasureRecord()
        record.CopyFrom(case.record)
        # Later rows, numbers and revisions of this store are others.
        record.ordinals[:] = case.rows
        record.identity_number = 0
        record.revision = min(record.revision, self._revision)
        return record


def _named(entry: JournalEntry) -> Iterator[tuple[int, str, bytes]]:
    """Gallery, id and record of each identity that an entry calls by its id."""
    for operation in entry.operations:
        match operation.WhichOneof("operation"):
            case "enroll":
                rows = operation.enroll
                for identity_id, raw in zip(rows.new_identity_ids, rows.new_identity_records, strict=True):
                    yield rows.gallery_number, identity_id, raw
            case "put_identity":
                put = operation.put_identity
                yield put.gallery_number, put.identity_id, put.identity.SerializeToString()
            case _:
                continue


def _receipts(record: ErasureRecord) -> list[ErasureReceiptRecord]:
    """All that were made of an erasure."""
    last = [] if is_pending(record) or not record.HasField("receipt") else [record.receipt]
    return [*record.earlier_receipts, *last]


def _held(source: KnownErasures, record: ErasureRecord) -> list[HeldSnapshotRecord]:
    """The snapshots that hold the person, as far as the source tells."""
    held = [one for receipt in _receipts(record) for one in receipt.snapshots]
    held += record.earlier_snapshots
    if is_pending(record):
        held += [HeldSnapshotRecord(name=one.name, revision=one.revision) for one in source.snapshots]
    return held
