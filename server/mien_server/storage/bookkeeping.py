"""Old journal entries and request ids, taken out a few with each commit so that no commit pays for many."""

from __future__ import annotations

from mien_server.storage import keys
from mien_server.storage.checksums import CHECKSUM_BYTES
from mien_server.storage.databases import Database, Handles, Transaction

__all__ = ["trim_journal", "trim_requests"]

# More than the one entry a commit adds, so that a store opened with a smaller limit gets there.
_JOURNAL_TRIM_COUNT = 4


def trim_journal(transaction: Transaction, handles: Handles, last_revision: int, bytes_too_many: int) -> int:
    """Delete the oldest entries, a few of them, up to `last_revision` and further while there are bytes too many; the
    newest stays. Answers with the bytes deleted. Raises lmdb.Error.
    """
    deleted_bytes = 0
    with transaction.cursor(handles[Database.JOURNAL]) as cursor:
        newest = cursor.key() if cursor.last() else b""
        for _ in range(_JOURNAL_TRIM_COUNT):
            if not cursor.first() or cursor.key() == newest:
                break
            if keys.decode_number(cursor.key()) > last_revision and deleted_bytes >= bytes_too_many:
                break
            deleted_bytes += len(cursor.value()) - CHECKSUM_BYTES
            cursor.delete()
    return deleted_bytes


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
