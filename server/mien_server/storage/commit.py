"""One commit for a group of commands: vectors durable, then one LMDB transaction, then a new snapshot, then answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import lmdb

from mien_server.errors import InternalError, MienError, Unavailable
from mien_server.storage.attempt import Attempt
from mien_server.storage.chores import Chores
from mien_server.storage.commands.base import Command
from mien_server.storage.committing import OUTCOME_UNKNOWN, commit, kept_but_not_shown
from mien_server.storage.lmdb_errors import translated_write_error
from mien_server.storage.opening import OpenedStore
from mien_server.storage.options import StoreOptions
from mien_server.storage.outcomes import Committed, Replayed
from mien_server.storage.steps import reached
from mien_server.storage.vector_file import VectorWriter

__all__ = ["Committer", "Pending"]

log = logging.getLogger(__name__)

R = TypeVar("R")


@dataclass(slots=True, eq=False)
class Pending(Generic[R]):
    """A command and whoever waits for it."""

    command: Command[R]
    row_count: int
    byte_count: int = 0
    future: Future[Committed[R] | Replayed] = field(default_factory=Future)


class Committer:
    """Commits groups, one at a time; belongs to the writer thread.

    Attributes:
        callbacks: called with (revision, gallery numbers) after a new revision was published and answered.
    """

    def __init__(self, opened: OpenedStore, options: StoreOptions) -> None:
        self._opened = opened
        self._options = options
        self._vectors = VectorWriter()
        self._chores = Chores(opened, self._vectors)
        self._failure: MienError | None = None
        self.callbacks: list[Callable[[int, frozenset[int]], None]] = []

    def commit(self, group: Sequence[Pending[Any]]) -> None:
        """Write the group and answer every command of it. Never raises."""
        attempt = Attempt(self._opened, self._vectors, self._options)
        try:
            if self._failure is not None:
                raise self._failure
            self._write(attempt, group)
        except Exception as error:  # noqa: BLE001 - whatever it is, every caller must be answered
            failure = self._explained(error)
            for pending in group:
                pending.future.set_exception(failure)
            return
        self._answer(attempt, group)

    def do_chores(self, *, is_idle: bool) -> bool:
        """Take out some of what deleted galleries left; answers whether there is more to do at once."""
        if self._failure is not None:
            return False
        try:
            return self._chores.do_some(is_idle=is_idle)
        except Exception as error:  # noqa: BLE001 - whatever it is, the writer goes on
            self._remember(error)
            log.error("taking out what a deleted gallery left failed, and is tried again later: %s", error)
            return False

    def close(self) -> None:
        """Close the vector files."""
        self._vectors.close()

    def _write(self, attempt: Attempt, group: Sequence[Pending[Any]]) -> None:
        transaction = self._opened.environment.begin(write=True)
        transaction_id = transaction.id()
        try:
            attempt.begin(transaction)
            for pending in group:
                attempt.take(pending.command)
            if not attempt.writes:
                transaction.abort()
                return
            attempt.put_records()
            reached("records_put")
            states = attempt.write_vectors()
        except BaseException:
            transaction.abort()
            raise
        commit(self._opened.environment, transaction)
        try:
            reached("committed")
            self._opened.snapshots.publish(attempt.content(transaction_id, states))
            reached("published")
            self._chores.galleries_deleted(attempt.deleted_galleries, transaction_id)
        except Exception as error:
            raise kept_but_not_shown(self._opened.environment, error) from error

    def _remember(self, error: Exception) -> None:
        """After a commit of unknown outcome nothing may be written: memory and LMDB may no longer agree."""
        if isinstance(error, MienError) and error.reason == OUTCOME_UNKNOWN:
            log.error("nothing is written until the store is opened again: %s", error)
            self._failure = Unavailable(
                f"nothing of this write was kept, for an earlier one ended badly: {error.message}",
                reason="STORAGE_WRITE_FAILED",
            )
            self._opened.snapshots.fail(error.message)

    def _explained(self, error: Exception) -> MienError:
        match error:
            case MienError():
                self._remember(error)
                return error
            case OSError() | lmdb.Error():
                failure = translated_write_error(error, self._opened.layout.root)
                log.error("a group of writes was not kept: %s", failure)
                return failure
            case _:
                log.error("a group of writes was not kept", exc_info=error)
                return InternalError(f"writing failed, nothing was kept: {error!r}; please report it")

    def _answer(self, attempt: Attempt, group: Sequence[Pending[Any]]) -> None:
        for pending, outcome in zip(group, attempt.outcomes(), strict=True):
            if isinstance(outcome, MienError):
                pending.future.set_exception(outcome)
            else:
                pending.future.set_result(outcome)
        if attempt.advances_revision:
            for callback in self.callbacks:
                try:
                    callback(attempt.revision, frozenset(attempt.touched_galleries))
                except Exception:
                    log.exception("a callback of revision %d failed", attempt.revision)
