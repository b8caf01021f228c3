"""Putting what a command or a replay decided to write into a transaction."""

from __future__ import annotations

from mien_server.storage.changes import Changes
from mien_server.storage.databases import Handles, Transaction, put_many

__all__ = ["apply_changes"]


def apply_changes(transaction: Transaction, handles: Handles, changes: Changes) -> None:
    """Delete and put, in the order of keys. Raises lmdb.Error."""
    for database, gone in changes.deletes.items():
        handle = handles[database]
        for key in sorted(gone):
            transaction.delete(key, db=handle)
    for database, pairs in changes.pair_deletes.items():
        handle = handles[database]
        for key, value in sorted(pairs):
            transaction.delete(key, value, db=handle)
    for database, items in changes.puts.items():
        items.sort()
        put_many(transaction, handles, database, items)
