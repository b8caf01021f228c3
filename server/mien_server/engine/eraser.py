"""The thread that carries erasures to their end: begun again at the start, tried again after a failure."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from mien_server.engine.context import now_us
from mien_server.engine.indexing import Indexes
from mien_server.engine.operation_log import OperationLog
from mien_server.engine.pending_erasures import RETRY_AFTER_S, PendingErasures
from mien_server.engine.snapshots import Snapshots
from mien_server.engine.translation import erasure_of, operation_of
from mien_server.engine.types import OperationKind
from mien_server.errors import CorruptStore, MienError
from mien_server.storage import (
    ERASURE_INDEX_BUSY,
    WAITING_FOR_READERS,
    ErasureRun,
    PutOperation,
    Store,
    is_pending,
    pending_erasures,
)

__all__ = ["Eraser"]

logger = logging.getLogger(__name__)

TROUBLES_MAX = 20
"""Overdue erasures that are named, of many."""


class Eraser:
    """Erasures that are not done. Safe from many threads.

    Args:
        within_s: an erasure that takes longer is overdue, and the server says so.
    """

    def __init__(
        self, store: Store, log: OperationLog, indexes: Indexes, snapshots: Snapshots, within_s: float
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._log = log
        self._within_us = int(within_s * 1_000_000)
        self._wake = threading.Condition()
        self._is_closing = False
        self._pending = PendingErasures()
        self._damages: list[str] = []
        self._finish_due_s = math.inf
        # The erasures under way, and what is being done to them or waited for.
        self._under_way: frozenset[str] = frozenset()
        self._stage = ""
        self._hindrance = ""
        self._run = ErasureRun(store, indexes.drop_dead, self._note, lambda: self._is_closing, self._exclusively)
        self._thread = threading.Thread(target=self._loop, name="mien-eraser", daemon=True)

    @property
    def within_us(self) -> int:
        """How long an erasure may take, in microseconds."""
        return self._within_us

    def start(self) -> None:
        """Go on with what is not done."""
        records, damages = pending_erasures(self._store)
        for record in records:
            since_us = record.restore_time_us or record.create_time_us
            self._pending.add(record.name, record.gallery_name, since_us, time.monotonic())
        self._damages = [f"an erasure may not be carried out: {damage.message}" for damage in damages]
        self._store.on_commit(lambda _revision, _galleries: self._look_again())
        self._thread.start()

    def wake(self, name: str, gallery: str, *, is_in_doubt: bool = False) -> None:
        """There is an erasure that is to be carried out at once, whatever it failed by before.

        Args:
            is_in_doubt: or there may be, and no view shows it before the next commit is told of.
        """
        self._pending.add(name, gallery, now_us(), time.monotonic(), is_in_doubt=is_in_doubt)
        with self._wake:
            self._wake.notify_all()

    def close(self) -> None:
        """Stop soon; what is not done goes on at the next start."""
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def pending(self) -> list[str]:
        """Names of erasures that are not done, the newest first; some of them may be done just now, or never begun."""
        return self._pending.names()

    def trouble_of(self, name: str) -> str:
        """What holds an erasure up, or what it last failed by; empty while it is on its way."""
        if name in self._under_way and self._hindrance:
            return self._hindrance
        return self._pending.trouble_of(name)

    def troubles(self) -> list[str]:
        """What is overdue, and why."""
        overdue = self._pending.begun_before(now_us() - self._within_us)
        said = [
            f"erasure {name} of gallery {gallery} is overdue: {self.trouble_of(name) or self._whereabouts(name)}"
            for name, gallery in overdue[:TROUBLES_MAX]
        ]
        if len(overdue) > TROUBLES_MAX:
            said.append(f"{len(overdue) - TROUBLES_MAX} more erasures are overdue")
        return [*self._damages, *said]

    def _whereabouts(self, name: str) -> str:
        return self._stage if name in self._under_way else "it waits for those before it"

    def _look_again(self) -> None:
        # What was in doubt before a commit is settled by then.
        if self._pending.settle_doubts(time.monotonic()):
            with self._wake:
                self._wake.notify_all()

    def _loop(self) -> None:
        self._finish_done()
        while (names := self._next()) is not None:
            self._under_way = frozenset(names)
            begun_s = time.monotonic()
            try:
                for name in names:
                    if not self._log.is_followed(operation_of(name)):
                        with suppress(CorruptStore):
                            self._keep_operation(name)
                            self._log.adopt_kept([operation_of(name)])
                outcome = self._run.run(names)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next ones are tried
                if self._is_closing:
                    return
                self._note_failures(names, error)
            else:
                for record in outcome.done:
                    logger.info("erasure %s is done", record.name)
                for name, failure in outcome.failed.items():
                    if name not in outcome.suspects:
                        self._note_failures([name], failure)
                if outcome.suspects:
                    self._note_failures(outcome.suspects, outcome.failed[outcome.suspects[0]], is_shared=True)
                self._pending.remove([*outcome.gone, *(record.name for record in outcome.done)], begun_s)
                self._finish_done()
            finally:
                self._under_way = frozenset()
                self._stage = self._hindrance = ""

    def _next(self) -> list[str] | None:
        """The erasures to be carried out next, as soon as there are any; None when closing."""
        with self._wake:
            while not self._is_closing:
                now_s = time.monotonic()
                names = self._pending.batch(now_s)
                if names or now_s >= self._finish_due_s:
                    return names
                due_s = min(self._pending.next_s(), self._finish_due_s)
                self._wake.wait(None if due_s == math.inf else due_s - now_s)
            return None

    def _note_failures(self, names: Sequence[str], error: Exception, *, is_shared: bool = False) -> None:
        message = error.message if isinstance(error, MienError) else str(error) or repr(error)
        # Callers are told which file, not where it lies.
        trouble = message.replace(f"{self._store.path}/", "")
        is_waiting = isinstance(error, MienError) and error.reason == ERASURE_INDEX_BUSY
        self._pending.note_failure(names, trouble, time.monotonic(), is_shared=is_shared, is_waiting=is_waiting)
        is_defect = not isinstance(error, MienError | OSError)
        shown = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        logger.warning("erasure %s failed and is tried again: %s", shown, trouble, exc_info=is_defect and error)

    def _keep_operation(self, name: str) -> None:
        """Have an operation report an erasure: a restore that carries one over makes none."""
        with self._store.view() as view:
            record = view.erasure(name)
            if record is None or view.operation(record.operation) is not None:
                return
        number, gallery = record.gallery_number, record.gallery_name
        operation = self._log.new_record(OperationKind.ERASE, number, gallery, name=record.operation)
        self._store.write(PutOperation(record=operation), is_internal=True)

    def _finish_done(self) -> None:
        """End the operations of erasures that are done, also of those whose end a crash has cut off."""
        self._finish_due_s = math.inf
        try:
            unfinished = self._log.unfinished(OperationKind.ERASE)
            names = [one.name for one in unfinished if not self._pending.has(erasure_of(one.name))]
            if names:
                self._log.succeed([name for name in names if self._is_done(erasure_of(name))], now_us())
        except Exception as error:  # noqa: BLE001 - whatever it is, erasures go on
            self._finish_due_s = time.monotonic() + RETRY_AFTER_S
            if not self._is_closing:
                logger.warning("that erasures are done is kept later: %s", error)

    def _is_done(self, name: str) -> bool:
        with self._store.view() as view, suppress(CorruptStore):
            record = view.erasure(name)
            return record is not None and not is_pending(record)
        return False

    @contextmanager
    def _exclusively(self, check: Callable[[], None]) -> Iterator[None]:
        """A snapshot that reads while bytes are overwritten would hold some of both."""

        def wait() -> None:
            check()
            self._hindrance = "a snapshot is being taken; nothing is overwritten before its end"

        with self._snapshots.none_running(wait):
            self._hindrance = ""
            yield

    def _note(self, operations: Sequence[str], progress: float, stage: str) -> None:
        self._stage = stage
        self._hindrance = stage if stage == WAITING_FOR_READERS else ""
        for operation in operations:
            # Its record may have been forgotten with the gallery's people.
            if self._log.is_followed(operation):
                self._log.advance(operation, progress, stage)
