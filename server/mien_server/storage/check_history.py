"""What a store remembers beside its galleries: journal, request ids, operations, erasures, snapshots."""

from __future__ import annotations

import struct

from mien_server.records.store_pb2 import JournalEntry, OperationRecord, RequestRecord
from mien_server.storage import keys
from mien_server.storage.databases import Database, corrupt
from mien_server.storage.doubts import Checked
from mien_server.storage.pair_sums import PairSums
from mien_server.storage.reading import RecordReader
from mien_server.storage.values import decode_message

__all__ = ["check_journal", "check_operations", "check_requests", "check_sealed"]

# Journal entries can be large.
_JOURNAL_CHUNK = 16
_CHUNK = 4096


def check_journal(records: RecordReader, revision: int, checked: Checked) -> None:
    """One entry for each revision from the oldest to the newest, and as many bytes as are counted.

    An empty journal is none of a store that was migrated or repaired, until the next write.
    """
    doubts = checked.doubts
    total_bytes = 0
    last: int | None = None
    for chunk in records.reading.whole_chunks(Database.JOURNAL, b"", _JOURNAL_CHUNK, doubts.add_error):
        for key, raw in chunk:
            total_bytes += len(raw)
            checked.count += 1
            with doubts.noted():
                entry = decode_message(JournalEntry, raw, Database.JOURNAL, key)
                if keys.encode_number(entry.revision) != key:
                    raise corrupt(Database.JOURNAL, key, f"the entry is of revision {entry.revision}")
                if last is not None and entry.revision != last + 1:
                    doubts.add_error(corrupt(Database.JOURNAL, key, f"comes behind revision {last}"))
                last = entry.revision
    if last is not None and last != revision:
        doubts.add(f"the journal ends at revision {last}, the store is at {revision}", database="journal")
    with doubts.noted():
        if not doubts.count and records.journal_bytes() != total_bytes:
            doubts.add(
                f"the journal takes {total_bytes} bytes, and {records.journal_bytes()} are counted", database="journal"
            )


def check_requests(records: RecordReader, revision: int, checked: Checked) -> None:
    """Each request id is remembered with its time, and at no revision to come."""
    doubts = checked.doubts
    expected, there = PairSums(), PairSums()
    for chunk in records.reading.whole_chunks(Database.REQUESTS, b"", _CHUNK, doubts.add_error):
        for key, raw in chunk:
            checked.count += 1
            with doubts.noted():
                record = decode_message(RequestRecord, raw, Database.REQUESTS, key)
                if record.revision > revision:
                    doubts.add_error(corrupt(Database.REQUESTS, key, f"is of revision {record.revision}, to come"))
                try:
                    expected.add((keys.encode_request_time(record.time_us, keys.decode_name(key)), b""))
                except (UnicodeDecodeError, struct.error) as error:
                    raise corrupt(Database.REQUESTS, key, f"id or time is none: {error}") from error
    for chunk in records.reading.raw_chunks(Database.REQUEST_TIMES, b"", _CHUNK):
        there.add_all(chunk)
    if expected.differing(there) and not doubts.count:
        doubts.add(
            f"{expected.count} requests are remembered and {there.count} times of them, which are not theirs",
            reason="RECORDS_DISAGREE",
            database="request_times",
        )


def check_operations(records: RecordReader, _revision: int, checked: Checked) -> None:
    """Each operation lies under its name."""
    for chunk in records.reading.whole_chunks(Database.OPERATIONS, b"", _CHUNK, checked.doubts.add_error):
        for key, raw in chunk:
            checked.count += 1
            with checked.doubts.noted():
                record = decode_message(OperationRecord, raw, Database.OPERATIONS, key)
                if record.name.encode() != key:
                    raise corrupt(Database.OPERATIONS, key, f"the operation says that it is {record.name!r}")


def check_sealed(records: RecordReader, _revision: int, checked: Checked) -> None:
    """Records that stand for themselves: their checksums."""
    for database in (Database.ERASURES, Database.SNAPSHOTS):
        for chunk in records.reading.whole_chunks(database, b"", _CHUNK, checked.doubts.add_error):
            checked.count += len(chunk)
