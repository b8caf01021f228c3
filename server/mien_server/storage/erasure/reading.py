"""Reading records while others write: large ones, all of a database; erasures, the newest first, or those pending."""

from __future__ import annotations

from collections.abc import Iterator

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import ErasureRecord
from mien_server.storage.databases import Database
from mien_server.storage.erasure.notes import is_pending
from mien_server.storage.store import Store
from mien_server.storage.values import decode_message

__all__ = ["pending_erasures", "raw_record_lists", "raw_records"]

READ_BYTES_MAX = 4 << 20
"""What is held at once, about: an entry of the journal may have megabytes itself."""
READ_RECORDS_MAX = 256
"""Records read in one view: LMDB cannot use pages again that an open view may read."""
_ERASURES_CHUNK = 1024


def raw_record_lists(store: Store, database: Database) -> Iterator[list[tuple[bytes, bytes]]]:
    """Every record of a database whose keys have one value, unverified, in lists each of which is read in a view.

    What is committed meanwhile may be among them.
    """
    start = b""
    while True:
        found: list[tuple[bytes, bytes]] = []
        size = 0
        with store.view(shows_expired=True) as view:
            for chunk in view.records.reading.raw_chunks(database, b"", 1, start):
                found += chunk
                size += len(chunk[0][1])
                if len(found) == READ_RECORDS_MAX or size >= READ_BYTES_MAX:
                    break
        if not found:
            return
        start = found[-1][0] + b"\0"
        yield found


def raw_records(store: Store, database: Database) -> Iterator[tuple[bytes, bytes]]:
    """As `raw_record_lists`, one by one."""
    for found in raw_record_lists(store, database):
        yield from found


def pending_erasures(store: Store) -> tuple[list[ErasureRecord], list[CorruptStore]]:
    """The erasures that are not done, in the order of names; and what of the records of erasures is damaged.

    Reads all that there ever were.
    """
    damages: list[CorruptStore] = []
    pending = []
    with store.view() as view:
        for chunk in view.records.reading.whole_chunks(Database.ERASURES, b"", _ERASURES_CHUNK, damages.append):
            for key, raw in chunk:
                try:
                    record = decode_message(ErasureRecord, raw, Database.ERASURES, key)
                except CorruptStore as error:
                    damages.append(error)
                    continue
                if is_pending(record):
                    pending.append(record)
    return pending, damages
