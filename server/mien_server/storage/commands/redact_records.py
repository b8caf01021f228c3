"""Put records again without somebody who was erased; and nothing in place of damaged ones, which may be of anybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import JournalEntry, JournalOperation, RequestRecord
from mien_server.storage import keys
from mien_server.storage.changes import Changes
from mien_server.storage.checksums import CHECKSUM_BYTES
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.databases import Database
from mien_server.storage.reading import RecordReader

__all__ = ["OverwriteDamaged", "RedactRecords", "Redaction"]


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
class OverwriteDamaged(Command[int]):
    """Overwrite those records that are still damaged; answers how many. Advances no revision.

    The entry of a revision then says that it is lost, and nothing is replayed beyond it; a request is refused as one
    whose answer was erased.
    """

    database: Database
    damaged: Sequence[bytes]

    def plan(self, planning: Planning) -> Plan[int]:
        """Decide what to write; see `Command.plan`."""
        changes = Changes()
        journal_bytes = planning.records.journal_bytes()
        count = 0
        for key in self.damaged:
            raw = _damaged_value(planning.records, self.database, key)
            if raw is None:
                continue
            count += 1
            if self.database is Database.JOURNAL:
                entry = JournalEntry(revision=int.from_bytes(key[: keys.NUMBER_BYTES]))
                entry.operations.append(JournalOperation(is_lost=True))
                after = entry.SerializeToString()
                journal_bytes += len(after) - len(raw) + CHECKSUM_BYTES
            else:
                record = RequestRecord(time_us=_request_time_us(planning.records, key), is_erased=True)
                after = record.SerializeToString()
            changes.put(self.database, key, after)
        if count:
            changes.put(Database.META, keys.META_JOURNAL_BYTES, keys.encode_number(max(0, journal_bytes)))
        return Plan(count, changes)


def _damaged_value(records: RecordReader, database: Database, key: bytes) -> bytes | None:
    """What LMDB has for a key, with its checksum, when that is damaged."""
    try:
        value = records.reading.get(database, key)
        if value is not None:
            _message_of(database).FromString(value)
    except (CorruptStore, DecodeError):
        found = next(records.reading.raw_chunks(database, key, 1))
        return found[0][1]
    return None


def _message_of(database: Database) -> type[JournalEntry | RequestRecord]:
    return JournalEntry if database is Database.JOURNAL else RequestRecord


def _request_time_us(records: RecordReader, request_key: bytes) -> int:
    """When the request was answered, as the index by time has it; 0 where it has nothing."""
    every = records.reading.keys(Database.REQUEST_TIMES, b"")
    found = (key for key in every if key[keys.NUMBER_BYTES :] == request_key)
    return next((keys.decode_number(key[: keys.NUMBER_BYTES]) for key in found), 0)
