"""Long-running work as it stands: kept in memory, its turns kept in the store, so that a restart tells the truth."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from mien_server.engine.types import OperationState
from mien_server.errors import MienError
from mien_server.records.store_pb2 import OperationRecord, SnapshotRecord
from mien_server.storage import Committed, ForgetOperations, PutOperation, Replayed, RequestKey, Store

__all__ = ["OperationEntry", "OperationLog"]


@dataclass(slots=True)
class OperationEntry:
    """One operation that this server runs or ran; `is_cancel_requested` is looked at by who runs it."""

    record: OperationRecord
    is_cancel_requested: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)


class OperationLog:
    """The operations of a store. Safe from many threads.

    Args:
        age_max_s: operations that ended longer ago are forgotten when a new one starts.
    """

    def __init__(self, store: Store, age_max_s: int) -> None:
        self._store = store
        self._age_max_us = age_max_s * 1_000_000
        self._entries: dict[str, OperationEntry] = {}
        self._lock = threading.Lock()
        self._sequence = 0

    def new_name(self, now_us: int) -> str:
        """The name of an operation to come; names ascend with time."""
        with self._lock:
            self._sequence += 1
            return f"operations/{now_us:016d}-{self._sequence:06d}"

    def _forget_ended(self, before_us: int) -> None:
        with self._store.view() as view:
            ended = [
                record.name
                for record in view.operations()
                if OperationState(record.state).is_done and record.end_time_us < before_us
            ]
        if not ended:
            return
        self._store.write(ForgetOperations(names=ended), is_internal=True)
        with self._lock:
            for name in ended:
                self._entries.pop(name, None)

    def recover(self, now_us: int) -> None:
        """Mark what a server that is gone left unfinished: it has failed."""
        with self._store.view() as view:
            left = [record for record in view.operations() if not OperationState(record.state).is_done]
        for record in left:
            record.state = OperationState.FAILED
            record.end_time_us = now_us
            record.error_reason = "SERVER_RESTARTED"
            record.error_message = "the server ended before the operation did; start it again"
            self._store.write(PutOperation(record=record), is_internal=True)

    def start(
        self, record: OperationRecord, request: RequestKey[None] | None = None, *, is_internal: bool = False
    ) -> str:
        """Keep a new operation and give its name; the first one's name for a request id that was used before.

        Args:
            is_internal: the server's own, which no queue of callers' writes may hold up.

        Raises:
            Overloaded: WRITE_QUEUE_FULL; nothing was started.
        """
        self._forget_ended(record.create_time_us - self._age_max_us)
        entry = OperationEntry(record)
        with self._lock:
            self._entries[record.name] = entry
        is_kept = False
        try:
            command = PutOperation(record=record, request=request)
            written: Committed[None] | Replayed = self._store.write(command, is_internal=is_internal)
            is_kept = isinstance(written, Committed)
        finally:
            if not is_kept:
                with self._lock:
                    del self._entries[record.name]
        return written.outcome.decode() if isinstance(written, Replayed) else record.name

    def advance(self, name: str, progress: float, stage: str) -> None:
        """Note how far an operation is. Not kept in the store."""
        entry = self._entries[name]
        with entry.changed:
            entry.record.state = OperationState.RUNNING
            entry.record.progress = min(1.0, max(entry.record.progress, progress))
            entry.record.stage = stage
            entry.changed.notify_all()

    def finish(self, name: str, state: OperationState, now_us: int, error: MienError | None = None) -> None:
        """Note how an operation ended, in the store first: who sees it done may rely on it after a restart."""
        entry = self._entries[name]
        with entry.changed:
            record = OperationRecord.FromString(entry.record.SerializeToString())
        record.state = state
        record.end_time_us = now_us
        if state is OperationState.SUCCEEDED:
            record.progress = 1.0
        if error is not None:
            record.error_reason, record.error_message = error.reason, error.message
        try:
            self._store.write(PutOperation(record=record), is_internal=True)
        finally:
            with entry.changed:
                entry.record.CopyFrom(record)
                entry.changed.notify_all()

    def set_result(self, name: str, generation: str, rows: int) -> None:
        """Note what a build made."""
        record = self._entries[name].record
        record.result_generation, record.result_rows = generation, rows

    def set_snapshot(self, name: str, snapshot: SnapshotRecord) -> None:
        """Note which snapshot was taken."""
        self._entries[name].record.result_snapshot.CopyFrom(snapshot)

    def find(self, name: str) -> OperationRecord | None:
        """An operation as it stands; None when there is none of that name."""
        with self._lock:
            entry = self._entries.get(name)
        if entry is not None:
            with entry.changed:
                return OperationRecord.FromString(entry.record.SerializeToString())
        with self._store.view() as view:
            return view.operation(name)

    def every(self) -> list[OperationRecord]:
        """All operations, the newest first."""
        with self._store.view() as view:
            kept = view.operations()
        return [self.find(record.name) or record for record in kept]

    def wait(self, name: str, timeout_s: float) -> None:
        """Return when the operation is done or changes no more here, or the time is up."""
        with self._lock:
            entry = self._entries.get(name)
        if entry is None:
            return
        with entry.changed:
            entry.changed.wait_for(lambda: OperationState(entry.record.state).is_done, timeout_s)

    def request_cancel(self, name: str) -> None:
        """Ask whoever runs the operation to stop."""
        with self._lock:
            entry = self._entries.get(name)
        if entry is not None:
            entry.is_cancel_requested = True

    def is_cancel_requested(self, name: str) -> bool:
        """Whether somebody asked the operation to stop."""
        return self._entries[name].is_cancel_requested
