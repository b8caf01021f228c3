"""Long-running work as it stands: kept in memory, its turns kept in the store, so that a restart tells the truth."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from mien_server.engine.types import OperationKind, OperationState
from mien_server.errors import MienError, Overloaded
from mien_server.records.store_pb2 import OperationRecord, SnapshotRecord
from mien_server.storage import Committed, ForgetOperations, PutOperation, Replayed, RequestKey, Store

__all__ = ["OperationEntry", "OperationLog"]

KEPT_MAX = 1000
"""Operations that are done and remembered; of more the oldest are forgotten."""


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
        waiting_max: operations that are not done; beyond them none is started for a caller.
    """

    def __init__(self, store: Store, age_max_s: int, waiting_max: int) -> None:
        self._store = store
        self._waiting_max = waiting_max
        self._age_max_us = age_max_s * 1_000_000
        self._entries: dict[str, OperationEntry] = {}
        self._lock = threading.Lock()
        self._sequence = 0

    def new_record(
        self, kind: OperationKind, gallery_number: int = 0, gallery_name: str = "", *, name: str = ""
    ) -> OperationRecord:
        """The record of an operation to come.

        Args:
            name: what it is to be called, where that was said before; otherwise names ascend with time.
        """
        time_us = time.time_ns() // 1000
        return OperationRecord(
            name=name or self._new_name(time_us),
            kind=kind,
            gallery_number=gallery_number,
            gallery_name=gallery_name,
            state=OperationState.PENDING,
            stage="waiting",
            create_time_us=time_us,
        )

    def _new_name(self, now_us: int) -> str:
        with self._lock:
            self._sequence += 1
            return f"operations/{now_us:016d}-{self._sequence:06d}"

    def _forget_ended(self, before_us: int) -> None:
        with self._store.view() as view:
            done = [record for record in view.operations() if OperationState(record.state).is_done]
        # The newest come first.
        ended = [record.name for record in done if record.end_time_us < before_us]
        ended += [record.name for record in done[KEPT_MAX:] if record.end_time_us >= before_us]
        if not ended:
            return
        self._store.write(ForgetOperations(names=ended), is_internal=True)
        with self._lock:
            for name in ended:
                self._entries.pop(name, None)

    def recover(self, now_us: int) -> None:
        """Mark what a server that is gone left unfinished: it has failed, but for erasures, which go on."""
        with self._store.view() as view:
            left = [record for record in view.operations() if not OperationState(record.state).is_done]
        for record in left:
            if record.kind == OperationKind.ERASE:
                self.adopt(record)
                continue
            record.state = OperationState.FAILED
            record.end_time_us = now_us
            record.error_reason = "SERVER_RESTARTED"
            record.error_message = "the server ended before the operation did; start it again"
            self._store.write(PutOperation(record=record), is_internal=True)

    def adopt(self, record: OperationRecord) -> None:
        """Follow an operation that somebody else keeps in the store."""
        with self._lock:
            self._entries[record.name] = OperationEntry(record)

    def adopt_kept(self, names: Iterable[str]) -> None:
        """Follow those of the operations that the store keeps, that are not done and that nobody follows.

        Raises:
            CorruptStore: the record of one is damaged.
        """
        for name in names:
            if self.is_followed(name):
                continue
            with self._store.view() as view:
                record = view.operation(name)
            if record is not None and not OperationState(record.state).is_done:
                with self._lock:
                    self._entries.setdefault(name, OperationEntry(record))

    def drop(self, name: str) -> None:
        """Follow an operation no more that was not kept after all."""
        with self._lock:
            self._entries.pop(name, None)

    def is_followed(self, name: str) -> bool:
        """Whether this server runs or ran the operation."""
        with self._lock:
            return name in self._entries

    def unfinished(self, kind: OperationKind) -> list[OperationRecord]:
        """Operations of a kind that this server follows and that are not done."""
        with self._lock:
            entries = list(self._entries.values())
        return [
            one.record for one in entries if one.record.kind == kind and not OperationState(one.record.state).is_done
        ]

    def start(
        self, record: OperationRecord, request: RequestKey[None] | None = None, *, is_internal: bool = False
    ) -> str:
        """Keep a new operation and give its name; the first one's name for a request id that was used before.

        Args:
            is_internal: the server's own, which no queue of callers' writes may hold up.

        Raises:
            Overloaded: WRITE_QUEUE_FULL, TOO_MANY_OPERATIONS; nothing was started.
        """
        self._forget_ended(record.create_time_us - self._age_max_us)
        entry = OperationEntry(record)
        with self._lock:
            if not is_internal:
                self._require_room(request)
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

    def _require_room(self, request: RequestKey[None] | None) -> None:
        # Erasures are always taken, and must not keep others out.
        waiting = sum(
            not OperationState(entry.record.state).is_done and entry.record.kind != OperationKind.ERASE
            for entry in self._entries.values()
        )
        if waiting < self._waiting_max or (request is not None and self._is_known(request.request_id)):
            return
        raise Overloaded(
            f"{waiting} operations are not done, operations_waiting_max = {self._waiting_max}; wait for one to end",
            reason="TOO_MANY_OPERATIONS",
            metadata={"limit": "operations_waiting_max", "maximum": str(self._waiting_max)},
        )

    def _is_known(self, request_id: str) -> bool:
        with self._store.view() as view:
            return view.request(request_id) is not None

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
        self._finish([name], state, now_us, error)

    def succeed(self, names: Sequence[str], now_us: int) -> None:
        """Note that operations succeeded, as `finish` does, in few commits."""
        self._finish(names, OperationState.SUCCEEDED, now_us)

    def _finish(self, names: Sequence[str], state: OperationState, now_us: int, error: MienError | None = None) -> None:
        with ExitStack() as told:
            written = []
            for name in names:
                entry = self._entries[name]
                with entry.changed:
                    record = OperationRecord.FromString(entry.record.SerializeToString())
                record.state = state
                record.end_time_us = now_us
                if state is OperationState.SUCCEEDED:
                    record.progress = 1.0
                if error is not None:
                    record.error_reason, record.error_message = error.reason, error.message
                told.callback(_change, entry, record)
                written.append(self._store.submit(PutOperation(record=record), is_internal=True))
            for one in written:
                one.result()

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


def _change(entry: OperationEntry, record: OperationRecord) -> None:
    """Let whoever looks at an operation see the record."""
    with entry.changed:
        entry.record.CopyFrom(record)
        entry.changed.notify_all()
