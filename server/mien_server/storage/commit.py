"""One commit for a group of commands: vectors durable, then one LMDB transaction, then a new snapshot, then answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import lmdb

from mien_server.errors import InternalError, MienError
from mien_server.storage.attempt import Attempt
from mien_server.storage.chores import Chores
from mien_server.storage.commands.base import Command
from mien_server.storage.committing import OutcomeUnknown, commit_and_publish, lost
from mien_server.storage.lmdb_errors import translated_write_error
from mien_server.storage.opening import OpenedStore
from mien_server.storage.options import StoreOptions
from mien_server.storage.outcomes import Committed, Replayed
from mien_server.storage.recovery import Recovery
from mien_server.storage.steps import reached
from mien_server.storage.vector_writer import VectorWriter

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
        self._recovery = Recovery(opened, options)
        opened.upkeep.grow_map = self._recovery.grow_map
        self._have_chores_failed = False
        self.callbacks: list[Callable[[int, frozenset[int]], None]] = []

    def commit(self, group: Sequence[Pending[Any]]) -> None:
        """Write the group, in several commits where it deletes much that has expired, and answer every command of it.

        Never raises.
        """
        while group:
            try:
                attempt = self._written(group)
            except Exception as error:  # noqa: BLE001 - whatever it is, every caller must be answered
                failure = self._explained(error)
                for pending in group:
                    pending.future.set_exception(failure)
                return
            self._answer(attempt, group[: attempt.taken_count])
            self._tell(attempt)
            group = group[attempt.taken_count :]

    @property
    def waits_for_recovery(self) -> bool:
        """Whether `do_chores` has a failure to put right, as soon as the disk lets it."""
        return self._recovery.is_needed or bool(self._vectors.unsynced)

    def do_chores(self, *, is_idle: bool) -> bool:
        """Put failures right and take out some of what deleted galleries left; answers whether there is more to do."""
        try:
            self._settle()
            more = self._chores.do_some(is_idle=is_idle)
        except lmdb.MapFullError:
            return self._has_grown()
        except Exception as error:  # noqa: BLE001 - whatever it is, the writer goes on
            if isinstance(error, OutcomeUnknown):
                self._recovery.note(error)
            level = logging.DEBUG if self._have_chores_failed else logging.ERROR
            self._have_chores_failed = True
            log.log(level, "what is done between the writes failed, and is tried again later: %s", error)
            return False
        self._have_chores_failed = False
        return more

    def close(self) -> None:
        """Close the vector files."""
        self._vectors.close()

    def _written(self, group: Sequence[Pending[Any]]) -> Attempt:
        """Write the group; again when what hindered it could be put right at once."""
        self._settle()
        has_failed = False
        while True:
            attempt = Attempt(self._opened, self._vectors, self._options)
            try:
                self._write(attempt, group)
            except lmdb.MapFullError:
                self._recovery.grow_map()
            except OutcomeUnknown as unknown:
                if self._was_kept(unknown):
                    self._chores.galleries_deleted(attempt.deleted_galleries, unknown.content.transaction_id)
                    return attempt
                if has_failed:
                    raise lost(unknown) from unknown
                has_failed = True
            else:
                return attempt

    def _was_kept(self, unknown: OutcomeUnknown) -> bool:
        """Settle at once what became of a commit; raises OutcomeUnknown where that cannot be."""
        self._recovery.note(unknown)
        try:
            return self._recovery.settle() is not None
        except MienError:
            raise unknown from None

    def _settle(self) -> None:
        finish = self._recovery.settle()
        if finish is not None:
            finish()

    def _has_grown(self) -> bool:
        try:
            self._recovery.grow_map()
        except MienError as error:
            log.error("%s", error)
            return False
        return True

    def _write(self, attempt: Attempt, group: Sequence[Pending[Any]]) -> None:
        self._opened.snapshots.keep_readers()
        transaction = self._opened.environment.begin(write=True)
        transaction_id = transaction.id()
        try:
            attempt.begin(transaction)
            for pending in group:
                if not attempt.take(pending.command):
                    break
            if not attempt.writes:
                transaction.abort()
                return
            attempt.put_records()
            reached("records_put")
            content = attempt.content(transaction_id, attempt.write_vectors())
        except BaseException:
            transaction.abort()
            self._vectors.abandon_writes()
            raise
        try:
            commit_and_publish(self._opened.environment, transaction, self._opened.snapshots, content)
        except OutcomeUnknown as unknown:
            unknown.on_kept = partial(self._note_kept, attempt, transaction_id)
            raise
        self._chores.galleries_deleted(attempt.deleted_galleries, transaction_id)

    def _note_kept(self, attempt: Attempt, transaction_id: int) -> None:
        """A write whose callers were told that its outcome is unknown was kept."""
        self._chores.galleries_deleted(attempt.deleted_galleries, transaction_id)
        self._tell(attempt)

    def _explained(self, error: Exception) -> MienError:
        match error:
            case MienError():
                return error
            case OSError() | lmdb.Error():
                layout = self._opened.layout
                failure = translated_write_error(error, layout.root if isinstance(error, OSError) else layout.meta)
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

    def _tell(self, attempt: Attempt) -> None:
        if attempt.advances_revision:
            for callback in self.callbacks:
                try:
                    callback(attempt.revision, frozenset(attempt.touched_galleries))
                except Exception:
                    log.exception("a callback of revision %d failed", attempt.revision)
