"""Committing a transaction and showing it, when LMDB fails to say clearly whether it was kept."""

from __future__ import annotations

import logging
from collections.abc import Callable

import lmdb

from mien_server.errors import Unavailable
from mien_server.storage.databases import Transaction
from mien_server.storage.snapshots import SnapshotContent, Snapshots
from mien_server.storage.steps import reached

__all__ = ["OUTCOME_UNKNOWN", "OutcomeUnknown", "commit", "commit_and_publish", "lost"]

log = logging.getLogger(__name__)

OUTCOME_UNKNOWN = "STORAGE_OUTCOME_UNKNOWN"


class OutcomeUnknown(Unavailable):
    """A write may have been kept, and no view shows it; nothing may be written until that is settled.

    Attributes:
        content: what is to be published when it was kept.
        on_kept: what is left to be done then.
    """

    default_reason = OUTCOME_UNKNOWN

    def __init__(self, message: str, content: SnapshotContent) -> None:
        super().__init__(message)
        self.content = content
        self.on_kept: Callable[[], None] = lambda: None


def commit(environment: lmdb.Environment, transaction: Transaction, content: SnapshotContent) -> None:
    """Commit; when that fails, ask LMDB for its newest commit, and take one that was kept for done.

    Raises:
        OSError, lmdb.Error: nothing was kept.
        OutcomeUnknown: LMDB refuses to say.
    """
    transaction_id = transaction.id()
    try:
        transaction.commit()
    except (OSError, lmdb.Error) as error:
        try:
            with environment.begin() as newest:
                is_kept = newest.id() >= transaction_id
        except lmdb.Error:
            raise OutcomeUnknown(
                f"{environment.path()}: a commit failed ({error}) and LMDB cannot say whether it was kept; send the "
                "write again with its request_id until it is answered",
                content,
            ) from error
        if not is_kept:
            raise
        log.warning("%s: a commit was kept although it reported: %s", environment.path(), error)


def commit_and_publish(
    environment: lmdb.Environment, transaction: Transaction, snapshots: Snapshots, content: SnapshotContent
) -> None:
    """Commit, then let views see it.

    Raises:
        OSError, lmdb.Error: nothing was kept.
        OutcomeUnknown: it may have been kept, and is not shown.
    """
    commit(environment, transaction, content)
    try:
        reached("committed")
        snapshots.publish(content)
        reached("published")
    except Exception as error:
        raise OutcomeUnknown(
            f"{environment.path()}: the write was kept but cannot be shown yet ({error!r}); send it again with its "
            "request_id until it is answered",
            content,
        ) from error


def lost(unknown: OutcomeUnknown) -> Unavailable:
    """What a write is answered with when it turned out that it was not kept."""
    return Unavailable(
        f"writing failed: {unknown.__cause__}; nothing of this write was kept, send it again",
        reason="STORAGE_WRITE_FAILED",
    )
