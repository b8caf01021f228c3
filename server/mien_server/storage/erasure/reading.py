"""Reading large records, all of a database, while others write."""

from __future__ import annotations

from collections.abc import Iterator

from mien_server.storage.databases import Database
from mien_server.storage.store import Store

__all__ = ["raw_records"]

READ_BYTES_MAX = 4 << 20
"""What is held at once, about: an entry of the journal may have megabytes itself."""
READ_RECORDS_MAX = 256
"""Records read in one view: LMDB cannot use pages again that an open view may read."""


def raw_records(store: Store, database: Database) -> Iterator[tuple[bytes, bytes]]:
    """Every record of a database whose keys have one value, unverified, in views that end soon.

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
        yield from found
