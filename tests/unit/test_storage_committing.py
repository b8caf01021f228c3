"""A commit that LMDB reports as failed: lost, kept all the same, or unknown; tests/recovery stages the disk's part."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest

from mien_server.storage.committing import OUTCOME_UNKNOWN, OutcomeUnknown, commit
from mien_server.storage.snapshots import SnapshotContent

CONTENT = SnapshotContent(1, 1, {}, {})


class FailingTransaction:
    """Commits, or does not, and reports a failure either way."""

    def __init__(self, transaction: lmdb.Transaction, *, is_kept: bool) -> None:
        self._transaction = transaction
        self._is_kept = is_kept

    def id(self) -> int:
        return self._transaction.id()

    def commit(self) -> None:
        if self._is_kept:
            self._transaction.commit()
        else:
            self._transaction.abort()
        raise lmdb.DiskError("the disk said no")


class SilentEnvironment:
    """An environment that answers nothing after a fatal error."""

    def begin(self) -> None:
        raise lmdb.PanicError("update of meta page failed")

    def path(self) -> str:
        return "meta"


@pytest.fixture
def environment(tmp_path: Path) -> lmdb.Environment:
    return lmdb.open(str(tmp_path / "meta"))


def put(environment: lmdb.Environment, *, is_kept: bool) -> FailingTransaction:
    transaction = environment.begin(write=True)
    transaction.put(b"key", b"value")
    return FailingTransaction(transaction, is_kept=is_kept)


def test_a_commit_that_was_lost_is_an_error(environment: lmdb.Environment) -> None:
    """When LMDB's newest commit is an older one, the write failed."""
    with pytest.raises(lmdb.DiskError):
        commit(environment, put(environment, is_kept=False), CONTENT)  # type: ignore[arg-type]


def test_a_commit_that_was_kept_is_done(environment: lmdb.Environment) -> None:
    """When LMDB's newest commit is this one, the write is durable and must be answered as such."""
    commit(environment, put(environment, is_kept=True), CONTENT)  # type: ignore[arg-type]
    with environment.begin() as transaction:
        assert transaction.get(b"key") == b"value"


def test_a_commit_of_unknown_outcome_says_so(environment: lmdb.Environment) -> None:
    """When LMDB answers nothing any more, nobody claims that the write was kept or lost."""
    with pytest.raises(OutcomeUnknown) as refused:
        commit(SilentEnvironment(), put(environment, is_kept=True), CONTENT)  # type: ignore[arg-type]
    assert refused.value.reason == OUTCOME_UNKNOWN
    assert refused.value.content is CONTENT
