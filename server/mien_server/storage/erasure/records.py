"""Taking people out of the journal and of answers that are kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import JournalEntry, RequestRecord
from mien_server.storage.commands.redact_records import OverwriteDamaged, Redaction, RedactRecords
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

    Answers with the oldest row of each gallery whose enrolment the journal has. Damaged entries are passed over.
    """
    people = [case.erased for case in cases]
    by_id = ById(people)
    for entry in _entries(store, check):
        by_id.take_numbers(entry)
    history = History(people)
    for entry in _entries(store, check):
        history.take(entry)
    history.finish()
    return history.first_ordinals


def redact_journal(store: Store, cases: Sequence[Case], check: Callable[[], None]) -> None:
    """Take people out of the journal; damaged entries are overwritten, since they may hold anybody."""
    redactor = EntryRedactor(case.erased for case in cases)
    _Redacting(store, Database.JOURNAL, cases, check).run(JournalEntry, redactor.redact)


def redact_answers(store: Store, cases: Sequence[Case], check: Callable[[], None]) -> None:
    """Take answers away that name people, and damaged ones, which may name anybody."""
    redactor = AnswerRedactor(case.erased for case in cases)
    _Redacting(store, Database.REQUESTS, cases, check).run(RequestRecord, redactor.redact)


def _entries(store: Store, check: Callable[[], None]) -> Iterator[JournalEntry]:
    """The entries of the journal that are whole."""
    for key, raw in raw_records(store, Database.JOURNAL):
        check()
        entry = _message(JournalEntry, Database.JOURNAL, key, raw)
        if entry is not None:
            yield entry


def _message(kind: type[M], database: Database, key: bytes, raw: bytes) -> M | None:
    """What a record says; None when it is damaged."""
    try:
        return decode_message(kind, stored_value(database, key, raw), database, key)
    except CorruptStore:
        return None


class _Redacting:
    """Puts those records of a database again that are changed, in commits of bounded size."""

    def __init__(self, store: Store, database: Database, cases: Sequence[Case], check: Callable[[], None]) -> None:
        self._store = store
        self._database = database
        self._cases = cases
        self._check = check
        self._case_of = {case.erased: case for case in cases}
        self._waiting: list[Redaction] = []
        self._waiting_bytes = 0
        self._touched: set[Case] = set()

    def run(self, kind: type[M], redact: Callable[[M], set[Erased]]) -> None:
        damaged = []
        for key, raw in raw_records(self._store, self._database):
            self._check()
            message = _message(kind, self._database, key, raw)
            if message is None:
                damaged.append(key)
            elif named := redact(message):
                before = stored_value(self._database, key, raw)
                self._waiting.append(Redaction(self._database, key, before, message.SerializeToString()))
                self._waiting_bytes += len(raw)
                self._touched.update(map(self._case_of.__getitem__, named))
            if self._waiting_bytes >= PUT_BYTES_MAX:
                self._write()
        if self._waiting:
            self._write()
        if damaged:
            self._overwrite(damaged)

    def _write(self) -> None:
        # What is taken out of the records must be known until it was searched for.
        keep(self._store, self._touched)
        self._store.write(RedactRecords(self._waiting), is_internal=True)
        self._waiting, self._waiting_bytes, self._touched = [], 0, set()

    def _overwrite(self, damaged: list[bytes]) -> None:
        for case in self._cases:
            case.erased.damaged_record_count += len(damaged)
        keep(self._store, self._cases)
        written = self._store.write(OverwriteDamaged(self._database, damaged), is_internal=True)
        assert isinstance(written, Committed)
        shown = ", ".join(key.hex() for key in damaged[:10])
        log.warning(
            "%d damaged records of %s were overwritten, since they may have held somebody who is erased: keys %s",
            written.result,
            self._database,
            shown,
        )
