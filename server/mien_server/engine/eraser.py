"""The thread that carries erasures to their end: begun again at the start, tried again after a failure."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future

from mien_server.engine.context import now_us
from mien_server.engine.indexing import Indexes
from mien_server.engine.operation_log import OperationLog
from mien_server.engine.snapshots import Snapshots
from mien_server.engine.translation import erasure_info, erasure_of
from mien_server.engine.types import OperationKind, OperationState
from mien_server.errors import MienError, Unavailable
from mien_server.records.store_pb2 import OperationRecord
from mien_server.storage import ErasureRun, PutOperation, Store, is_pending

__all__ = ["Eraser"]

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 5.0
"""After a failure, nothing is tried for so long."""
WAIT_SLICE_S = 0.5
"""How often whoever waits for the index looks whether the server is closing."""


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
        self._indexes = indexes
        self._within_us = int(within_s * 1_000_000)
        self._wake = threading.Condition()
        self._is_wanted = True
        self._is_in_doubt = False
        self._is_closing = False
        self._trouble = ""
        self._run = ErasureRun(store, self._drop_from_index, self._note, lambda: self._is_closing)
        self._thread = threading.Thread(target=self._loop, name="mien-eraser", daemon=True)

    @property
    def within_us(self) -> int:
        """How long an erasure may take, in microseconds."""
        return self._within_us

    def start(self) -> None:
        """Go on with what is not done."""
        self._store.on_commit(lambda _revision, _galleries: self._look_again())
        self._thread.start()

    def wake(self, *, is_in_doubt: bool = False) -> None:
        """There is a new one.

        Args:
            is_in_doubt: or there may be, and no view shows it before the next commit is told of.
        """
        with self._wake:
            self._is_in_doubt |= is_in_doubt
            self._is_wanted = True
            self._wake.notify_all()

    def close(self) -> None:
        """Stop soon; what is not done goes on at the next start."""
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def troubles(self) -> list[str]:
        """What is overdue, and why if that is known."""
        # Asked with every look at the server: erasures that are done, of which there is no end, are not read.
        names = sorted((erasure_of(one.name) for one in self._log.unfinished(OperationKind.ERASE)), reverse=True)
        time_us = now_us()
        with self._store.view() as view:
            records = [record for name in names if (record := view.erasure(name)) is not None]
        overdue = [one for one in records if erasure_info(one, time_us, self._within_us).is_overdue]
        why = f": {self._trouble}" if self._trouble else ""
        return [f"erasure {one.name} of gallery {one.gallery_name} is overdue{why}" for one in overdue]

    def _look_again(self) -> None:
        # What was in doubt before a commit is settled by then.
        if self._is_in_doubt:
            self._is_in_doubt = False
            self.wake()

    def _loop(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._is_wanted or self._is_closing)
                if self._is_closing:
                    return
                self._is_wanted = False
            try:
                self._keep_operations()
                self._log.adopt_kept(OperationKind.ERASE)
                # A snapshot that reads while bytes are overwritten would hold some of both.
                with self._snapshots.none_running():
                    for record in self._run.run():
                        logger.info("erasure %s is done", record.name)
                self._finish_done()
                self._trouble = ""
            except Exception as error:
                if self._is_closing:
                    return
                self._trouble = error.message if isinstance(error, MienError) else repr(error)
                is_defect = not isinstance(error, MienError | OSError)
                logger.warning("an erasure failed and is tried again: %s", self._trouble, exc_info=is_defect and error)
                with self._wake:
                    self._wake.wait_for(lambda: self._is_closing, RETRY_AFTER_S)
                    self._is_wanted = True

    def _keep_operations(self) -> None:
        """Have an operation report each erasure: a restore that carries one over makes none."""
        with self._store.view() as view:
            pending = [one for one in view.erasures() if is_pending(one) and view.operation(one.operation) is None]
        for one in pending:
            operation = OperationRecord(
                name=one.operation,
                kind=OperationKind.ERASE,
                gallery_number=one.gallery_number,
                gallery_name=one.gallery_name,
                state=OperationState.PENDING,
                stage="waiting",
                create_time_us=now_us(),
            )
            self._store.write(PutOperation(record=operation), is_internal=True)

    def _finish_done(self) -> None:
        """End the operations of erasures that are done, also of those whose end a crash has cut off."""
        self._log.adopt_kept(OperationKind.ERASE)
        for operation in self._log.unfinished(OperationKind.ERASE):
            with self._store.view() as view:
                record = view.erasure(erasure_of(operation.name))
            if record is not None and not is_pending(record):
                self._log.finish(operation.name, OperationState.SUCCEEDED, now_us())

    def _drop_from_index(self, number: int) -> bool:
        future: Future[bool] = self._indexes.drop_dead(number)
        while True:
            if self._is_closing:
                raise Unavailable("the server is shutting down", reason="SHUTTING_DOWN")
            try:
                return future.result(WAIT_SLICE_S)
            except TimeoutError:
                if future.done():
                    raise

    def _note(self, operation: str, progress: float, stage: str) -> None:
        # Its record may have been forgotten with the gallery's people.
        if self._log.is_followed(operation):
            self._log.advance(operation, progress, stage)
