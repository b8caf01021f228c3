"""Operations as callers see them: start, get, list, wait, cancel."""

from __future__ import annotations

import time

from mien_server.engine.context import EngineContext, check_replay, now_us
from mien_server.engine.translation import erasure_info, erasure_of
from mien_server.engine.types import (
    OperationInfo,
    OperationKind,
    OperationState,
    RequestToken,
    SnapshotResult,
    SnapshotSummary,
)
from mien_server.engine.validation import check_gallery_name
from mien_server.errors import Cancelled, CorruptStore, InternalError, InvalidArgument, MienError, NotFound, Unavailable
from mien_server.records.deadline import Deadline
from mien_server.records.store_pb2 import OperationRecord
from mien_server.storage import RequestKey

__all__ = ["Operations"]

_ERROR_KINDS: dict[str, type[MienError]] = {
    "BUILD_CANCELLED": Cancelled,
    "CANCELLED": Cancelled,
    "CORRUPT_STORE": CorruptStore,
    "GALLERY_NOT_FOUND": NotFound,
    "RECORD_DAMAGED": CorruptStore,
    "SERVER_RESTARTED": Unavailable,
    "SNAPSHOT_DAMAGED": CorruptStore,
    "SNAPSHOT_DESTINATION_INVALID": InvalidArgument,
    "SNAPSHOT_PLACE_FAILED": Unavailable,
    "SNAPSHOT_PLACE_FULL": Unavailable,
    "STORAGE_READ_FAILED": Unavailable,
    "VECTOR_DAMAGED": CorruptStore,
}
"""How an operation's end is classed, by its reason; everything else is the server's own failure."""

WAIT_SLICE_S = 0.2
"""How often a wait looks whether its caller is still there."""


class Operations:
    """Long-running work on a store."""

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._log = context.indexes.log

    def rebuild_index(self, gallery: str, request: RequestToken | None = None) -> OperationInfo:
        """Start a build of the gallery's index beside the one that serves.

        Raises:
            NotFound: GALLERY_NOT_FOUND.
            Conflict: REQUEST_ID_REUSED.
        """
        check_gallery_name(gallery, "gallery")
        with self._context.snapshot(gallery) as snapshot:
            number = snapshot.gallery.number
        key: RequestKey[None] | None = None
        record = self._context.indexes.new_operation(number, gallery)
        if request is not None:
            encoded = record.name.encode()
            key = RequestKey(request.request_id, request.fingerprint, lambda _: encoded)
        name = self._log.start(record, key)
        if name == record.name:
            self._context.indexes.request_build(number, name)
        return self.get(name)

    def create_snapshot(
        self, destination: str, request: RequestToken | None = None, *, is_verified: bool = False, is_full: bool = False
    ) -> OperationInfo:
        """Start a snapshot of the whole store; see `Snapshots.start` for what it raises."""
        return self.get(self._context.snapshots.start(destination, request, is_verified=is_verified, is_full=is_full))

    def list_snapshots(self, destination: str, after: str, limit: int) -> tuple[tuple[SnapshotSummary, ...], str]:
        """A page of snapshots; see `Snapshots.page`."""
        return self._context.snapshots.page(destination, after, limit)

    def delete_snapshot(
        self, name: str, destination: str, request: RequestToken | None = None, *, allow_missing: bool = False
    ) -> None:
        """Remove a snapshot, once for each request id; see `Snapshots.remove`."""
        with self._context.store.view() as view:
            if check_replay(view, request) is not None:
                return
        self._context.snapshots.remove(name, destination, request, allow_missing=allow_missing)

    def get(self, name: str) -> OperationInfo:
        """An operation as it stands.

        Raises:
            NotFound: OPERATION_NOT_FOUND.
        """
        record = self._log.find(name)
        if record is None:
            raise NotFound(
                f"there is no operation {name!r}; those that ended more than a day ago are forgotten",
                reason="OPERATION_NOT_FOUND",
                metadata={"operation": name},
            )
        return self._info(record)

    def list(self, gallery: str, after: str, limit: int) -> tuple[tuple[OperationInfo, ...], str]:
        """A page of operations, the newest first, those after the one named `after`; and where the next page starts."""
        records = [record for record in self._log.every() if not gallery or record.gallery_name == gallery]
        if after:
            # Names ascend with time, so that a page's place holds even when the operation named is forgotten.
            records = [record for record in records if record.name < after]
        page = tuple(self._info(record) for record in records[:limit])
        return page, page[-1].name if len(records) > limit else ""

    def wait(self, name: str, timeout_s: float, deadline: Deadline) -> OperationInfo:
        """An operation when it is done, or as it stands when the time is up.

        Raises:
            NotFound: OPERATION_NOT_FOUND.
            Cancelled: the caller went away.
        """
        ends_s = time.monotonic() + min(timeout_s, deadline.remaining_s())
        info = self.get(name)
        while not info.state.is_done and (left_s := ends_s - time.monotonic()) > 0:
            if deadline.is_cancelled():
                raise Cancelled("the caller cancelled the request")
            self._log.wait(name, min(left_s, WAIT_SLICE_S))
            info = self.get(name)
        return info

    def cancel(self, name: str) -> OperationInfo:
        """Ask an operation to stop; it ends soon, or as it would have if it was too late.

        Raises:
            NotFound: OPERATION_NOT_FOUND.
        """
        info = self.get(name)
        if info.state.is_done:
            return info
        match info.kind:
            case OperationKind.REBUILD_INDEX:
                self._context.indexes.cancel(name)
            case OperationKind.SNAPSHOT:
                self._context.snapshots.cancel(name)
            case OperationKind.ERASE:
                # What was promised to a person is not taken back.
                pass
        return self.get(name)

    def _info(self, record: OperationRecord) -> OperationInfo:
        state, kind = OperationState(record.state), OperationKind(record.kind)
        index_state = erasure = None
        if state is OperationState.SUCCEEDED:
            with self._context.store.view() as view:
                match kind:
                    case OperationKind.REBUILD_INDEX:
                        gallery = view.gallery_by_number(record.gallery_number)
                        index_state = None if gallery is None else self._context.index_state(gallery)
                    case OperationKind.ERASE:
                        kept = view.erasure(erasure_of(record.name))
                        erasure = None if kept is None else erasure_info(kept, now_us(), 0)
                    case OperationKind.SNAPSHOT:
                        pass
        return OperationInfo(
            name=record.name,
            kind=kind,
            gallery=record.gallery_name,
            state=state,
            progress=record.progress,
            stage=record.stage,
            create_time_us=record.create_time_us,
            end_time_us=record.end_time_us,
            error=_error_of(record),
            result_generation=record.result_generation,
            result_rows=record.result_rows,
            index_state=index_state,
            result_snapshot=_snapshot_of(record) if record.HasField("result_snapshot") else None,
            erasure=erasure,
        )


def _snapshot_of(record: OperationRecord) -> SnapshotResult:
    snapshot = record.result_snapshot
    return SnapshotResult(
        name=snapshot.name,
        destination=snapshot.destination,
        revision=snapshot.revision,
        size_bytes=snapshot.size_bytes,
        new_bytes=snapshot.new_bytes,
        file_count=snapshot.file_count,
        duration_us=snapshot.duration_us,
    )


def _error_of(record: OperationRecord) -> MienError | None:
    if not record.error_reason:
        return None
    kind = _ERROR_KINDS.get(record.error_reason, InternalError)
    return kind(record.error_message, reason=record.error_reason)
