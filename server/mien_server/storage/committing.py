"""Committing a transaction, when LMDB fails to say clearly whether it did."""

from __future__ import annotations

import logging

import lmdb

from mien_server.errors import Unavailable
from mien_server.storage.databases import Transaction

__all__ = ["OUTCOME_UNKNOWN", "commit", "kept_but_not_shown"]

log = logging.getLogger(__name__)

OUTCOME_UNKNOWN = "STORAGE_OUTCOME_UNKNOWN"


def commit(environment: lmdb.Environment, transaction: Transaction) -> None:
    """Commit; when that fails, ask LMDB for its newest commit, and take one that was kept for done.

    Raises:
        OSError, lmdb.Error: nothing was kept.
        Unavailable: STORAGE_OUTCOME_UNKNOWN, LMDB refuses to say; nothing can be written until the store is reopened.
    """
    transaction_id = transaction.id()
    try:
        transaction.commit()
    except (OSError, lmdb.Error) as error:
        try:
            with environment.begin() as newest:
                is_kept = newest.id() >= transaction_id
        except lmdb.Error:
            raise Unavailable(
                f"{environment.path()}: a commit failed ({error}) and LMDB cannot say whether it was kept; restart the "
                "server, then send the write again with its request_id",
                reason=OUTCOME_UNKNOWN,
            ) from error
        if not is_kept:
            raise
        log.warning("%s: a commit was kept although it reported: %s", environment.path(), error)


def kept_but_not_shown(environment: lmdb.Environment, error: Exception) -> Unavailable:
    """What a write is answered with when it was committed and the snapshot that shows it could not be made."""
    return Unavailable(
        f"{environment.path()}: the write was kept but cannot be shown ({error!r}); restart the server, then send it "
        "again with its request_id",
        reason=OUTCOME_UNKNOWN,
    )
