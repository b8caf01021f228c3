"""Put records again without somebody who was erased; and take damaged ones away, which may be of anybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import JournalEntry, RequestRecord
from mien_server.storage import keys
from mien_server.storage.changes import Changes
from mien_server.storage.checksums import CHECKSUM_BYTES
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.databases import Database
from mien_server.storage.reading import RecordReader
from mien_server.storage.values import decode_message

__all__ = ["ForgetAnswers", "ForgetJournal", "RedactRecords", "Redaction"]

FORGOTTEN_MAX = 1024
FORGOTTEN_BYTES_MAX = 16 << 20
"""Entries that one commit deletes, and their bytes."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """A record of `journal` or `requests` as it was read, and as it is to be."""

    database: Database
    key: bytes
    before: bytes
    after: bytes


@dataclass(frozen=True)
class RedactRecords(Command[int]):
    """Replace those records that are still as they were read; answers how many. Advances no revision."""

    redactions: Sequence[Redaction]

    def plan(self, planning: Planning) -> Plan[int]:
        """Decide what to write; see `Command.plan`."""
        changes = Changes()
        journal_bytes = planning.records.journal_bytes()
        count = 0
        for one in self.redactions:
            # Trimmed meanwhile; or a request id that was forgotten and used again.
            if planning.records.reading.get(one.database, one.key) != one.before:
                continue
            changes.put(one.database, one.key, one.after)
            count += 1
            if one.database is Database.JOURNAL:
                journal_bytes += len(one.after) - len(one.before)
        if count:
            changes.put(Database.META, keys.META_JOURNAL_BYTES, keys.encode_number(journal_bytes))
        return Plan(count, changes)


@dataclass(frozen=True)
class ForgetJournal(Command[bool]):
    """Delete a damaged entry of the journal after all before it, the oldest first and some at a time; answers whether
    that is done. Advances no revision.

    Nothing can be replayed beyond such an entry; nor is it known any more whose the rows were that were moved in it.
    """

    damaged: bytes

    def plan(self, planning: Planning) -> Plan[bool]:
        """Decide what to write; see `Command.plan`."""
        changes = Changes()
        if not _is_damaged(planning.records, Database.JOURNAL, self.damaged):
            return Plan(result=True, changes=changes)
        journal_bytes = planning.records.journal_bytes()
        deleted_bytes = 0
        is_done = False
        every = planning.records.reading.raw_chunks(Database.JOURNAL, b"", 1)
        for ((key, raw),) in islice(every, FORGOTTEN_MAX):
            changes.delete(Database.JOURNAL, key)
            deleted_bytes += len(raw) - CHECKSUM_BYTES
            is_done = key == self.damaged
            if is_done or deleted_bytes >= FORGOTTEN_BYTES_MAX:
                break
        left_bytes = max(0, journal_bytes - deleted_bytes)
        changes.put(Database.META, keys.META_JOURNAL_BYTES, keys.encode_number(left_bytes))
        return Plan(is_done, changes)


@dataclass(frozen=True)
class ForgetAnswers(Command[int]):
    """Take those kept answers away that are still damaged; answers how many. Advances no revision.

    Their requests are refused from then on, so that none is carried out a second time.
    """

    damaged: Sequence[bytes]

    def plan(self, planning: Planning) -> Plan[int]:
        """Decide what to write; see `Command.plan`."""
        changes = Changes()
        damaged = [key for key in self.damaged if _is_damaged(planning.records, Database.REQUESTS, key)]
        for key in damaged:
            record = RequestRecord(time_us=_request_time_us(planning.records, key), is_erased=True)
            changes.put(Database.REQUESTS, key, record.SerializeToString())
        return Plan(len(damaged), changes)


def _is_damaged(records: RecordReader, database: Database, key: bytes) -> bool:
    """Whether what is there cannot be read, in the way that whoever reads it would find out."""
    kind: type[JournalEntry | RequestRecord] = JournalEntry if database is Database.JOURNAL else RequestRecord
    try:
        raw = records.reading.get(database, key)
        if raw is not None:
            decode_message(kind, raw, database, key)
    except CorruptStore:
        return True
    return False


def _request_time_us(records: RecordReader, request_key: bytes) -> int:
    """When the request was answered, as the index by time has it; 0 where it has nothing."""
    every = records.reading.keys(Database.REQUEST_TIMES, b"")
    found = (key for key in every if key[keys.NUMBER_BYTES :] == request_key)
    return next((keys.decode_number(key[: keys.NUMBER_BYTES]) for key in found), 0)
