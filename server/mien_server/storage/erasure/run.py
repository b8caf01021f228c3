"""Carrying erasures to their end: what the store still holds of people who were deleted, taken out step by step.

Each step may be done twice: after a crash an erasure begins again with the first one.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mien_server.errors import InternalError, NotFound, Unavailable
from mien_server.records.rows import GalleryRows
from mien_server.records.store_pb2 import (
    ErasureReceiptRecord,
    ErasureRecord,
    ErasureScanRecord,
    ErasureWork,
    JournalEntry,
    RequestRecord,
)
from mien_server.storage import keys
from mien_server.storage.commands.erase_faces import EraseFaces
from mien_server.storage.commands.put_erasure import PutErasure
from mien_server.storage.commands.redact_records import Redaction, RedactRecords
from mien_server.storage.commands.rewrite_records import RewriteRecords
from mien_server.storage.databases import Database, stored_value
from mien_server.storage.erasure.notes import ErasureState, is_pending, put_work, seal, work_of
from mien_server.storage.erasure.proof import prove
from mien_server.storage.erasure.reading import raw_records
from mien_server.storage.erasure.redaction import Erased, History, redact_entry, redact_request
from mien_server.storage.outcomes import Committed
from mien_server.storage.reading import RecordReader
from mien_server.storage.scrubbing import write_zeros
from mien_server.storage.steps import reached
from mien_server.storage.store import Store
from mien_server.storage.values import decode_message

__all__ = ["ErasureRun"]

log = logging.getLogger(__name__)

R = TypeVar("R")

REDACTED_BYTES_MAX = 4 << 20
"""What one commit puts again, about."""
WAIT_SLICE_S = 0.02
WAIT_WORK_S = 1.0
"""How often whoever waits looks whether the store is closing."""
SCRUBS_MAX = 3
REWRITES_MAX = 4
TEXT_KEYED = (
    Database.IDENTITIES,
    Database.FACE_IDS,
    Database.FACE_DIGESTS,
    Database.IDENTITY_LABEL_INDEX,
    Database.FACE_LABEL_INDEX,
)
"""Databases whose keys say something of somebody."""
_PART_BYTES = 32
_PART_VALUES_MIN = 8
_CHUNK_ROWS = 4096
_NO_ROWS = np.zeros(0, dtype=np.int64)


@dataclass(slots=True)
class _Case:
    """One erasure under way."""

    record: ErasureRecord
    work: ErasureWork
    erased: Erased
    is_index_rewritten: bool = False
    row_count: int = 0


@dataclass(slots=True)
class _Pages:
    """What a scrub overwrote: pages read for their gaps, and freed pages."""

    live_count: int = 0
    free_count: int = 0


@dataclass(slots=True)
class ErasureRun:
    """Takes all erasures that are not done to their end, together. Belongs to one thread.

    Attributes:
        drop_from_index: has a gallery's generation made again without dead rows, and waits for it; answers whether
            there was one.
        on_progress: told the operation of an erasure, how far it is and what is being done.
        is_closing: asked while waiting.

    Raises:
        Unavailable: STORE_CLOSED; or what is waited for does not come.
        MienError, OSError, PagesNotUnderstood: a step failed; the erasures stay pending.
    """

    store: Store
    drop_from_index: Callable[[int], bool]
    on_progress: Callable[[str, float, str], None]
    is_closing: Callable[[], bool]
    _first_ordinals: dict[int, int] = field(default_factory=dict)
    _begun_revision: int = 0

    def run(self) -> list[ErasureRecord]:
        """Carry every pending erasure to its end; answers with those that came there."""
        with self.store.view() as view:
            self._begun_revision = view.revision
            pending = [record for record in view.erasures() if is_pending(record)]
        for record in pending:
            if record.state == ErasureState.DELETING:
                self._delete_rest(record)
        cases = [_case(record) for record in pending if record.state == ErasureState.DELETED]
        if cases:
            self._carry_out(cases)
        done = [record for record in pending if record.state == ErasureState.RECEIPTED]
        if not done:
            return []
        # The lists of what was searched for lie in pages that were freed.
        self._scrub(done[0])
        for record in done:
            record.state = ErasureState.DONE
            self._put(record)
        reached("erasure_done")
        return done

    def _delete_rest(self, record: ErasureRecord) -> None:
        """Go on with the deletion that a crash interrupted."""
        identity_id = work_of(record).identity_id
        is_gone = False
        while not is_gone:
            try:
                written = self.store.write(EraseFaces(record.gallery_name, identity_id, record.name), is_internal=True)
            except NotFound:
                # The gallery was deleted meanwhile.
                record.state = ErasureState.DELETED
                self._put(record)
                return
            assert isinstance(written, Committed)
            is_gone = written.result
        with self.store.view() as view:
            stored = view.erasure(record.name)
        assert stored is not None
        record.CopyFrom(stored)

    def _carry_out(self, cases: list[_Case]) -> None:
        self._note(cases, 0.1, "taking them out of the journal and of answers that are kept")
        self._find_in_journal(cases)
        self._redact_journal(cases)
        self._redact_requests(cases)
        reached("erasure_redacted")
        self._note(cases, 0.3, "taking their codes out of the index")
        for number in {case.erased.gallery_number for case in cases}:
            is_rewritten = self.drop_from_index(number)
            for case in cases:
                case.is_index_rewritten |= is_rewritten and case.erased.gallery_number == number
        reached("erasure_index_dropped")
        self._note(cases, 0.4, "waiting for whoever still reads an older revision")
        newest = self.store.newest_transaction_id
        self._await(lambda: self.store.oldest_transaction_id >= newest)
        self._note(cases, 0.5, "overwriting vectors")
        self._overwrite_vectors(cases)
        reached("erasure_vectors_overwritten")
        scans, pages = self._proven(cases)
        reached("erasure_scanned")
        for case, scan in zip(cases, scans, strict=True):
            self._put_receipt(case, scan, pages)
        reached("erasure_receipted")

    def _proven(self, cases: list[_Case]) -> tuple[list[ErasureScanRecord], _Pages]:
        """Overwrite freed pages until no file holds anything. Raises InternalError: ERASURE_INCOMPLETE."""
        places: list[str] = []
        for attempt in range(1, SCRUBS_MAX + 1):
            self._note(cases, 0.6, "overwriting freed pages")
            self._rewrite_parted(cases)
            pages = self._scrub(cases[0].record)
            self._note(cases, 0.8, "searching every file for what was erased")
            scans, places = prove(self.store, [_wanted(case.work) for case in cases], [case.erased for case in cases])
            if not places:
                return scans, pages
            log.warning("after scrub %d of an erasure something is left in %s", attempt, ", ".join(places))
        raise InternalError(
            f"after {SCRUBS_MAX} attempts something is left in {', '.join(places)}; it is tried again",
            reason="ERASURE_INCOMPLETE",
        )

    # --- records --------------------------------------------------------------------------------------------------

    def _find_in_journal(self, cases: list[_Case]) -> None:
        """Find faces that were deleted before the identity was, also those of whoever had the id before."""
        for _, raw in self._records(Database.JOURNAL):
            entry = JournalEntry.FromString(raw)
            for case in cases:
                case.erased.take_numbers(entry)
        history = History(case.erased for case in cases)
        for _, raw in self._records(Database.JOURNAL):
            history.take(JournalEntry.FromString(raw))
        history.finish()
        self._first_ordinals = history.first_ordinals
        for case in cases:
            self._leave_to_others(case.erased)
            self._keep(case)

    def _leave_to_others(self, erased: Erased) -> None:
        """Take rows out that somebody has: faces moved away between two commits of the deletion."""
        with self.store.view(shows_expired=True) as view:
            gallery = view.gallery_by_number(erased.gallery_number)
            if gallery is not None:
                kept = _kept(view.records, gallery.number) if self.store.damage.count else _NO_ROWS
                theirs = np.array(sorted(erased.ordinals), dtype=np.int64)
                erased.ordinals = set(_dead(gallery.rows, theirs, kept).tolist())

    def _redact_journal(self, cases: list[_Case]) -> None:
        people = [case.erased for case in cases]

        def redacted(key: bytes, raw: bytes) -> bytes | None:
            entry = decode_message(JournalEntry, raw, Database.JOURNAL, key)
            return entry.SerializeToString() if redact_entry(entry, people) else None

        self._redact(Database.JOURNAL, redacted, cases)

    def _redact_requests(self, cases: list[_Case]) -> None:
        people = [case.erased for case in cases]

        def redacted(key: bytes, raw: bytes) -> bytes | None:
            record = decode_message(RequestRecord, raw, Database.REQUESTS, key)
            return record.SerializeToString() if redact_request(record, people) else None

        self._redact(Database.REQUESTS, redacted, cases)

    def _redact(self, database: Database, redacted: Callable[[bytes, bytes], bytes | None], cases: list[_Case]) -> None:
        """Put those records again that come back changed, in commits of bounded size."""
        waiting: list[Redaction] = []
        size = 0
        for key, raw in self._records(database):
            if (after := redacted(key, raw)) is not None:
                waiting.append(Redaction(database, key, raw, after))
                size += len(raw)
            if size >= REDACTED_BYTES_MAX:
                self._write_redacted(waiting, cases)
                waiting, size = [], 0
        if waiting:
            self._write_redacted(waiting, cases)

    def _write_redacted(self, waiting: list[Redaction], cases: list[_Case]) -> None:
        # What is taken out of the records must be known until it was searched for.
        for case in cases:
            self._keep(case)
        self.store.write(RedactRecords(waiting), is_internal=True)

    def _records(self, database: Database) -> Iterator[tuple[bytes, bytes]]:
        """Every record of a database; what is committed meanwhile may be among them."""
        for key, raw in raw_records(self.store, database):
            self._refuse_closing()
            yield key, stored_value(database, key, raw)

    # --- vectors --------------------------------------------------------------------------------------------------

    def _overwrite_vectors(self, cases: list[_Case]) -> None:
        for number in {case.erased.gallery_number for case in cases}:
            with self.store.view(shows_expired=True) as view:
                gallery = view.gallery_by_number(number)
                rows = None if gallery is None else gallery.rows
                # What is damaged and not served counts as deleted in the bitmap, and is to be saved one day.
                kept = _kept(view.records, number) if rows is not None and self.store.damage.count else _NO_ROWS
            if rows is None:
                # Deleted: its files are gone, or about to be.
                continue
            theirs = [case for case in cases if case.erased.gallery_number == number]
            gone = [_dead(rows, np.array(sorted(case.erased.ordinals), dtype=np.int64), kept) for case in theirs]
            for case, ordinals in zip(theirs, gone, strict=True):
                case.work.vector_parts[:] = sorted({*case.work.vector_parts, *_parts(rows, ordinals)})
                case.row_count = ordinals.size
                self._keep(case)
            # Whose the older ones were, the journal knows no more; nor can it bring them back.
            first = self._first_ordinals.get(number, rows.row_count)
            older = _dead(rows, np.arange(first, dtype=np.int64), kept)
            try:
                _overwrite(rows, np.unique(np.concatenate([*gone, older])))
            except FileNotFoundError:
                continue

    # --- pages ----------------------------------------------------------------------------------------------------

    def _rewrite_parted(self, cases: list[_Case]) -> None:
        """Have no key of theirs left in the branches of trees."""
        wanted = {text for case in cases for text in _wanted(case.work)}
        for database in TEXT_KEYED:
            for _ in range(REWRITES_MAX):
                stale = self.store.scrubber.stale_separators(database, partial(_is_of, wanted, database))
                for one in stale:
                    self._refuse_closing()
                    self.store.write(RewriteRecords(one), is_internal=True)
                if not stale:
                    break

    def _scrub(self, record: ErasureRecord) -> _Pages:
        """Overwrite what the records' file holds beside live records."""
        store, scrubber = self.store, self.store.scrubber
        pages = _Pages()
        self._done(store.between_commits(scrubber.wipe_buffers))
        reached("erasure_buffers_wiped")
        cleaned, pages.live_count = scrubber.clean_gaps()
        reached("erasure_gaps_cleaned")
        # LMDB spares what its newest commit set free: one more has to follow the one that was cleaned.
        self._put(record)
        self._await(lambda: scrubber.oldest_reader() > cleaned)
        after: int | None = 0
        while after is not None:
            self._refuse_closing()
            after, count = self._done(store.between_commits(partial(scrubber.clean_free, after)))
            pages.free_count += count
        scrubber.sync()
        reached("erasure_free_cleaned")
        return pages

    # --- the end --------------------------------------------------------------------------------------------------

    def _put_receipt(self, case: _Case, scan: ErasureScanRecord, pages: _Pages) -> None:
        record = case.record
        with self.store.view() as view:
            secret = view.records.erasure_secret()
            # Until the files are overwritten a snapshot of any revision holds what they do; meanwhile none is taken.
            held = view.records.snapshots_until(self._begun_revision)
            there = {one.name for one in view.records.snapshots()} - {one.name for one in held}
        held += [one for one in record.earlier_snapshots if one.name in there]
        held.sort(key=lambda one: one.name)
        assert secret is not None
        receipt = ErasureReceiptRecord(
            erasure=record.name,
            store_id=self.store.store_id,
            gallery_name=record.gallery_name,
            gallery_number=record.gallery_number,
            identity_hash=record.identity_hash,
            revision=record.revision,
            request_time_us=record.create_time_us,
            complete_time_us=time.time_ns() // 1000,
            face_count=record.face_count,
            row_count=case.row_count,
            journal_entry_count=record.journal_entry_count,
            request_count=record.request_count,
            is_index_rewritten=case.is_index_rewritten,
            live_page_count=pages.live_count,
            free_page_count=pages.free_count,
            scan=scan,
            snapshots=held,
        )
        seal(secret, receipt)
        record.receipt.CopyFrom(receipt)
        record.state = ErasureState.RECEIPTED
        record.mask = record.masked_work = b""
        self._put(record)

    def _keep(self, case: _Case) -> None:
        """Keep what is known now of what is to be searched for."""
        before = ErasureRecord()
        before.CopyFrom(case.record)
        case.work.create_times_us.clear()
        case.work.create_times_us.update(case.erased.create_times_us)
        case.work.face_ids[:] = sorted(case.erased.face_ids)
        case.work.texts[:] = sorted(case.erased.texts)
        case.record.ordinals[:] = sorted(case.erased.ordinals)
        case.record.journal_entry_count = case.erased.journal_entry_count
        case.record.request_count = case.erased.request_count
        put_work(case.record, case.work)
        if case.record != before:
            self._put(case.record)

    def _put(self, record: ErasureRecord) -> None:
        self.store.write(PutErasure(record), is_internal=True)

    def _note(self, cases: Iterable[_Case], progress: float, stage: str) -> None:
        self._refuse_closing()
        for case in cases:
            self.on_progress(case.record.operation, progress, stage)

    def _done(self, future: Future[R]) -> R:
        """What the writer thread's work gave."""
        while True:
            self._refuse_closing()
            with suppress(TimeoutError):
                return future.result(WAIT_WORK_S)

    def _await(self, has_come: Callable[[], bool]) -> None:
        while not has_come():
            self._refuse_closing()
            time.sleep(WAIT_SLICE_S)

    def _refuse_closing(self) -> None:
        if self.is_closing():
            raise Unavailable(
                "the store is closing; the erasure goes on when it is opened again", reason="STORE_CLOSED"
            )


def _case(record: ErasureRecord) -> _Case:
    work = work_of(record)
    erased = Erased(
        record.gallery_number,
        work.identity_number,
        work.identity_id,
        dict(work.create_times_us),
        set(record.ordinals),
        set(work.face_ids),
        set(work.texts),
        record.journal_entry_count,
        record.request_count,
        set(record.ordinals) if record.restore_time_us else set(),
    )
    return _Case(record, work, erased)


def _wanted(work: ErasureWork) -> set[bytes]:
    """Everything that is to be found nowhere."""
    return {work.identity_id.encode(), *work.texts, *work.vector_parts} - {b""}


def _is_of(texts: set[bytes], database: Database, key: bytes) -> bool:
    return _text_in(database, key) in texts


def _text_in(database: Database, key: bytes) -> bytes:
    """What a key of one of TEXT_KEYED says of somebody."""
    match database:
        case Database.FACE_DIGESTS:
            return keys.decode_digest_key(key)[2]
        case Database.IDENTITY_LABEL_INDEX | Database.FACE_LABEL_INDEX:
            return keys.decode_label(key[: -keys.NUMBER_BYTES])[2].encode()
        case _:
            return key[keys.GALLERY_BYTES :]


def _kept(records: RecordReader, gallery_number: int) -> npt.NDArray[np.int64]:
    """The rows, ascending, that have a face's record, whole or damaged."""
    found = records.reading.keys(Database.FACES, keys.encode_gallery(gallery_number))
    return np.fromiter((keys.decode_numbered(key)[1] for key in found), dtype=np.int64)


def _dead(rows: GalleryRows, ordinals: npt.NDArray[np.int64], kept: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Those of the rows, ascending, that no face has: not live, and none of `kept`."""
    ordinals = ordinals[ordinals < rows.row_count]
    is_dead = (rows.live[ordinals >> 3] >> (ordinals & 7).astype(np.uint8)) & 1 == 0
    dead: npt.NDArray[np.int64] = ordinals[is_dead & ~np.isin(ordinals, kept)]
    return dead


def _parts(rows: GalleryRows, ordinals: npt.NDArray[np.int64]) -> Iterator[bytes]:
    """What to search for of each row: parts of it as stored, but for those that could be anybody's."""
    for start in range(0, ordinals.size, _CHUNK_ROWS):
        raw = rows.vectors[ordinals[start : start + _CHUNK_ROWS]]
        for row in raw.reshape(raw.shape[0], -1).view(np.uint8):
            for first in {0, row.size // 2, max(0, row.size - _PART_BYTES)}:
                part = row[first : first + _PART_BYTES].tobytes()
                if len(set(part)) >= _PART_VALUES_MIN:
                    yield part


def _overwrite(rows: GalleryRows, ordinals: npt.NDArray[np.int64]) -> None:
    """Overwrite rows of the vector file, ascending, durably. Raises OSError."""
    location = rows.location
    row_bytes = rows.vectors.dtype.itemsize * location.dimension
    descriptor = os.open(location.path, os.O_RDWR)
    try:
        for start in range(0, ordinals.size, _CHUNK_ROWS):
            chunk = ordinals[start : start + _CHUNK_ROWS]
            for ordinal in chunk[rows.vectors[chunk].any(axis=1)].tolist():
                write_zeros(descriptor, location.offset + ordinal * row_bytes, row_bytes)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
