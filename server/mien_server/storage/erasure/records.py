"""Taking people out of the journal and of answers that are kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import JournalEntry, RequestRecord
from mien_server.storage.commands.redact_records import ForgetAnswers, ForgetJournal, Redaction, RedactRecords
from mien_server.storage.databases import Database, stored_value
from mien_server.storage.erasure.cases import PUT_BYTES_MAX, Case, keep
from mien_server.storage.erasure.history import History
from mien_server.storage.erasure.people import ById, Erased
from mien_server.storage.erasure.reading import raw_records
from mien_server.storage.erasure.redaction import AnswerRedactor, EntryRedactor
from mien_server.storage.outcomes import Committed
from mien_server.storage.store import Store
from mien_server.storage.values import decode_message

__all__ = ["find_in_journal", "redact_answers", "redact_journal"]

log = logging.getLogger(__name__)

M = TypeVar("M", JournalEntry, RequestRecord)


def find_in_journal(store: Store, cases: Sequence[Case], check: Callable[[], None]) -> dict[int, int]:
    """Find faces that were deleted before the identity was, also those of whoever had the id before.

    Answers with the oldest row of each gallery of which the journal has all; before a damaged entry it has nothing.
    """
    people = [case.erased for case in cases]
    by_id = ById(people)
    for entry in _entries(store, check):
        if entry is not None:
            by_id.take_numbers(entry)
    history = History(people)
    for entry in _entries(store, check):
        if entry is None:
            history.skip()
        else:
            history.take(entry)
    history.finish()
    return history.first_ordinals


def redact_journal(store: Store, cases: Sequence[Case], check: Callable[[], None]) -> None:
    """Take people out of the journal. It ends at damaged entries, which may hold anybody: these go, and all before."""
    redactor = EntryRedactor(case.erased for case in cases)
    damaged = _Redacting(store, Database.JOURNAL, cases, check).run(JournalEntry, redactor.redact)
    if not damaged:
        return
    _count_damaged(store, cases, damaged)
    log.warning(
        "the journal's entry of revision %s is damaged, and may hold somebody who is erased: it is deleted with all "
        "before it, and no snapshot is led beyond them by it",
        int.from_bytes(damaged[-1]),
    )
    is_done = False
    while not is_done:
        check()
        written = store.write(ForgetJournal(damaged[-1]), is_internal=True)
        assert isinstance(written, Committed)
        is_done = written.result


def redact_answers(store: Store, cases: Sequence[Case], check: Callable[[], None]) -> None:
    """Take answers away that name people, and damaged ones, which may name anybody."""
    redactor = AnswerRedactor(case.erased for case in cases)
    damaged = _Redacting(store, Database.REQUESTS, cases, check).run(RequestRecord, redactor.redact)
    if damaged:
        _count_damaged(store, cases, damaged)
        log.warning("%d answers that were kept are damaged, and are taken away: they may name somebody", len(damaged))
        store.write(ForgetAnswers(damaged), is_internal=True)


def _count_damaged(store: Store, cases: Sequence[Case], damaged: Sequence[bytes]) -> None:
    for case in cases:
        case.erased.damaged_record_count += len(damaged)
    keep(store, cases)


def _entries(store: Store, check: Callable[[], None]) -> Iterator[JournalEntry | None]:
    """The entries of the journal; None in place of one that is damaged."""
    for key, raw in raw_records(store, Database.JOURNAL):
        check()
        try:
            yield decode_message(JournalEntry, stored_value(Database.JOURNAL, key, raw), Database.JOURNAL, key)
        except CorruptStore:
            yield None


class _Redacting:
    """Puts those records of a database again that are changed, in commits of bounded size."""

    def __init__(self, store: Store, database: Database, cases: Sequence[Case], check: Callable[[], None]) -> None:
        self._store = store
        self._database = database
        self._check = check
        self._case_of = {case.erased: case for case in cases}
        self._waiting: list[Redaction] = []
        self._waiting_bytes = 0
        self._touched: set[Case] = set()

    def run(self, kind: type[M], redact: Callable[[M], set[Erased]]) -> list[bytes]:
        """Put again what `redact` changes; answers with the keys of those that are damaged, ascending."""
        damaged = []
        for key, raw in raw_records(self._store, self._database):
            self._check()
            try:
                before = stored_value(self._database, key, raw)
                message = decode_message(kind, before, self._database, key)
            except CorruptStore:
                damaged.append(key)
                continue
            if named := redact(message):
                self._waiting.append(Redaction(self._database, key, before, message.SerializeToString()))
                self._waiting_bytes += len(raw)
                self._touched.update(map(self._case_of.__getitem__, named))
            if self._waiting_bytes >= PUT_BYTES_MAX:
                self._write()
        if self._waiting:
            self._write()
        return damaged

    def _write(self) -> None:
        # What is taken out of the records must be known until it was searched for.
        keep(self._store, self._touched)
        self._store.write(RedactRecords(self._waiting), is_internal=True)
        self._waiting, self._waiting_bytes, self._touched = [], 0, set()
