"""Old journal entries and request ids, taken out a few with each commit so that no commit pays for many."""

from __future__ import annotations

from mien_server.storage import keys
from mien_server.storage.databases import Database, Handles, Transaction

__all__ = ["trim_journal", "trim_requests"]

# More than the one entry a commit adds, so that a store opened with a smaller limit gets there.
_JOURNAL_TRIM_COUNT = 4


def trim_journal(transaction: Transaction, handles: Handles, last_revision: int) -> None:
    """Delete the oldest entries up to `last_revision`, a few of them. Raises lmdb.Error."""
    with transaction.cursor(handles[Database.JOURNAL]) as cursor:
        for _ in range(_JOURNAL_TRIM_COUNT):
            if not cursor.first() or keys.decode_number(cursor.key()) > last_revision:
                return
            cursor.delete()


def trim_requests(transaction: Transaction, handles: Handles, oldest_us: int, count_max: int) -> None:
    """Forget up to `count_max` request ids answered before `oldest_us`. Raises lmdb.Error."""
    with transaction.cursor(handles[Database.REQUEST_TIMES]) as cursor:
        for _ in range(count_max):
            if not cursor.first():
                return
            time_us, request_id = keys.decode_request_time(cursor.key())
            if time_us >= oldest_us:
                return
            cursor.delete()
            key = keys.encode_name(request_id, "request id", keys.REQUEST_ID_BYTES_MAX)
            transaction.delete(key, db=handles[Database.REQUESTS])
