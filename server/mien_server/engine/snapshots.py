"""Snapshots of the store: taken one at a time by a thread of their own, listed, removed.

A client names a destination; where the server may write is for its configuration to say.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from mien_server.engine.indexing import Indexes
from mien_server.engine.operation_log import OperationLog
from mien_server.engine.types import OperationKind, OperationState, RequestToken, SnapshotSummary
from mien_server.errors import Cancelled, InternalError, InvalidArgument, MienError, NotFound, PreconditionFailed
from mien_server.index import GenerationRefused, generation_files
from mien_server.records.store_pb2 import SnapshotRecord
from mien_server.storage import ForgetSnapshot, PutSnapshot, RequestKey, Store
from mien_server.storage.backup import (
    GenerationFiles,
    SnapshotInfo,
    canonical_uri,
    check_snapshot_name,
    is_inside,
    list_snapshots,
    name_suffix,
    open_place,
    remove_snapshot,
    snapshot_record,
    take_snapshot,
    verify_snapshot,
)

__all__ = ["Snapshots"]

logger = logging.getLogger(__name__)

_WAIT_SLICE_S = 0.2
"""How often a snapshot that waits for an erasure, or the other way round, looks whether it is still wanted."""
_TAKING_SHARE = 0.6
"""Of the progress of a snapshot that is verified too."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A snapshot that was asked for; `operation` is its name."""

    operation: str
    destination: str
    is_verified: bool
    is_full: bool


class Snapshots:
    """Takes snapshots of one store. Safe from many threads.

    Args:
        destinations: folders and URLs that snapshots may be written to, and below; none: no snapshots.

    Raises:
        InvalidArgument: SNAPSHOT_DESTINATION_INVALID.
    """

    def __init__(
        self,
        store: Store,
        log: OperationLog,
        indexes: Indexes,
        destinations: Sequence[str],
        library_versions: Mapping[str, str],
    ) -> None:
        self._store = store
        self._log = log
        self._indexes = indexes
        self._allowed = tuple(canonical_uri(destination) for destination in destinations)
        for uri in self._allowed:
            if is_inside(uri, store.path):
                raise InvalidArgument(
                    f"snapshots.destinations: {uri} lies in the store's folder {store.path}, so that each snapshot "
                    "would hold those before it; give a folder outside of it, on another disk if there is one",
                    field="snapshots.destinations",
                    reason="SNAPSHOT_DESTINATION_INVALID",
                )
        self._library_versions = library_versions
        self._wake = threading.Condition()
        self._waiting: deque[_Order] = deque()
        self._is_closing = False
        self._reading = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="mien-snapshots", daemon=True)

    def open(self) -> None:
        """Begin to take what is asked for."""
        self._thread.start()

    def close(self) -> None:
        """Stop the one that is being taken, which leaves nothing, and those that wait."""
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    @contextmanager
    def none_running(self, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """For the length of the block no snapshot reads the store: whoever overwrites rows of the past does it here.

        Waits for the end of one that is being taken.

        Args:
            check: called several times a second while it waits; what it raises ends the waiting.
        """
        while not self._reading.acquire(timeout=_WAIT_SLICE_S):
            check()
        try:
            yield
        finally:
            self._reading.release()

    # --- taking -------------------------------------------------------------------------------------------------

    def start(self, destination: str, request: RequestToken | None, *, is_verified: bool, is_full: bool) -> str:
        """Start taking a snapshot; answers with its operation's name, the first one's for a request id used before.

        Raises:
            InvalidArgument: SNAPSHOT_DESTINATION_INVALID.
            PreconditionFailed: SNAPSHOT_DESTINATION_NOT_ALLOWED, SNAPSHOT_PLACE_UNKNOWN.
            Conflict: REQUEST_ID_REUSED.
        """
        uri = self._permitted(destination)
        open_place(uri)
        record = self._log.new_record(OperationKind.SNAPSHOT)
        encoded = record.name.encode()
        key: RequestKey[None] | None = None
        if request is not None:
            key = RequestKey(request.request_id, request.fingerprint, lambda _: encoded)
        name = self._log.start(record, key)
        if name == record.name:
            with self._wake:
                self._waiting.append(_Order(name, uri, is_verified, is_full))
                self._wake.notify_all()
        return name

    def cancel(self, operation: str) -> None:
        """Stop a snapshot soon if it is being taken, at once if it still waits."""
        self._log.request_cancel(operation)
        with self._wake:
            order = next((one for one in self._waiting if one.operation == operation), None)
            if order is None:
                return
            self._waiting.remove(order)
        self._finish(operation, OperationState.CANCELLED, Cancelled("cancelled by a caller before it began"))

    def _run(self) -> None:
        while (order := self._next()) is not None:
            self._take(order)
        for order in self._waiting:
            error = Cancelled("the server shut down before the snapshot was begun")
            self._finish(order.operation, OperationState.CANCELLED, error)

    def _next(self) -> _Order | None:
        """The next snapshot to take; None when closing."""
        with self._wake:
            self._wake.wait_for(lambda: self._is_closing or bool(self._waiting))
            return None if self._is_closing else self._waiting.popleft()

    def _take(self, order: _Order) -> None:
        try:
            taken = self._taken(order)
        except Cancelled as error:
            self._finish(order.operation, OperationState.CANCELLED, error)
        except MienError as error:
            logger.warning("a snapshot in %s failed: %s", order.destination, error)
            self._finish(order.operation, OperationState.FAILED, error)
        except Exception as error:
            logger.exception("a snapshot in %s failed", order.destination)
            failure = InternalError(f"the snapshot failed: {error!r}; please report it")
            self._finish(order.operation, OperationState.FAILED, failure)
        else:
            logger.info("snapshot %s is in %s", taken.name, order.destination)
            self._log.set_snapshot(order.operation, taken)
            self._finish(order.operation, OperationState.SUCCEEDED)

    def _taken(self, order: _Order) -> SnapshotRecord:
        place = open_place(order.destination)
        share = _TAKING_SHARE if order.is_verified else 1.0

        def watch_taking(fraction: float, stage: str) -> None:
            self._note(order.operation, share * fraction, stage)

        def watch_verifying(fraction: float, stage: str) -> None:
            self._note(order.operation, share + (1.0 - share) * fraction, stage)

        while not self._reading.acquire(timeout=_WAIT_SLICE_S):
            self._note(order.operation, 0.0, "waiting")
        with ExitStack() as held:
            held.callback(self._reading.release)
            # Generations first: a view opened after is at least as new as any of them.
            generations = self._held_generations(held)
            taken = take_snapshot(
                self._store, place, generations, self._library_versions, watch_taking, is_full=order.is_full
            )
            record = snapshot_record(taken.manifest, place.uri, new_bytes=taken.new_bytes, duration_s=taken.duration_s)
            # Known before an erasure goes on, whose receipt names it.
            self._store.write(PutSnapshot(record=record), is_internal=True)
        if order.is_verified:
            verify_snapshot(place, record.name, watch_verifying)
        return record

    def _note(self, operation: str, fraction: float, stage: str) -> None:
        self._log.advance(operation, fraction, stage)
        if self._is_closing:
            raise Cancelled("the snapshot was stopped: the server is shutting down")
        if self._log.is_cancel_requested(operation):
            raise Cancelled("the snapshot was stopped: cancelled by a caller")

    def _held_generations(self, held: ExitStack) -> dict[int, GenerationFiles]:
        """What serves each gallery, kept while `held` is open; a damaged one is left out and built anew in time."""
        found = {}
        for number in self._indexes.generations:
            generation = held.enter_context(self._indexes.holding(number))
            if generation is None:
                continue
            folder = self._store.index_directory(number) / generation.name
            try:
                found[number] = GenerationFiles(generation.name, folder, generation_files(folder))
            except GenerationRefused as error:
                logger.warning("the index of gallery %d is not in the snapshot: %s", number, error)
        return found

    def _finish(self, operation: str, state: OperationState, error: MienError | None = None) -> None:
        try:
            self._log.finish(operation, state, time.time_ns() // 1000, error)
        except Exception:
            logger.exception("how %s ended could not be kept; a restart will say that it failed", operation)

    # --- those that are there -----------------------------------------------------------------------------------

    def page(self, destination: str, after: str, limit: int) -> tuple[tuple[SnapshotSummary, ...], str]:
        """A page of snapshots, the newest first, those after the one named `after`; and where the next page starts.

        Raises:
            InvalidArgument: SNAPSHOT_DESTINATION_INVALID.
            PreconditionFailed: SNAPSHOT_DESTINATION_NOT_ALLOWED.
            Unavailable: SNAPSHOT_PLACE_FAILED.
        """
        uris = [self._permitted(destination)] if destination else self._known()
        found = [info for uri in uris for info in list_snapshots(open_place(uri))]
        found.sort(key=lambda info: info.name, reverse=True)
        if after:
            found = [info for info in found if info.name < after]
        page = tuple(_summary_of(info) for info in found[:limit])
        return page, page[-1].name if len(found) > limit else ""

    def remove(self, name: str, destination: str, request: RequestToken | None, *, allow_missing: bool) -> None:
        """Remove a snapshot; what others share with it stays theirs.

        Raises:
            InvalidArgument: SNAPSHOT_NAME_INVALID, SNAPSHOT_DESTINATION_INVALID.
            NotFound: SNAPSHOT_NOT_FOUND.
            PreconditionFailed: SNAPSHOT_DESTINATION_NOT_ALLOWED, SNAPSHOT_OF_ANOTHER_STORE.
            Conflict: REQUEST_ID_REUSED.
        """
        place = open_place(self._permitted(destination))
        check_snapshot_name(name)
        if not name.endswith(name_suffix(self._store.store_id)):
            raise PreconditionFailed(
                f"{name!r} is a snapshot of another store; delete it there, or with mien-index",
                reason="SNAPSHOT_OF_ANOTHER_STORE",
            )
        try:
            # One that is being taken may share files with it: what is gone by then is written instead.
            remove_snapshot(place, name)
        except NotFound:
            # Removed by a call that ended before it could say so: then it is still known.
            if not allow_missing and not self._is_known(name, place.uri):
                raise
        key: RequestKey[None] | None = None
        if request is not None:
            key = RequestKey(request.request_id, request.fingerprint, lambda _: b"")
        self._store.write(ForgetSnapshot(name=name, destination=place.uri, request=key))

    def _is_known(self, name: str, uri: str) -> bool:
        with self._store.view() as view:
            return any((one.name, one.destination) == (name, uri) for one in view.snapshots())

    def _known(self) -> list[str]:
        """Every destination that is allowed, and those below them that snapshots were put to."""
        with self._store.view() as view:
            used = {record.destination for record in view.snapshots()}
        return sorted(set(self._allowed) | {uri for uri in used if self._is_allowed(uri)})

    def _is_allowed(self, uri: str) -> bool:
        return any(uri == prefix or uri.startswith(f"{prefix.rstrip('/')}/") for prefix in self._allowed)

    def _permitted(self, destination: str) -> str:
        """The destination's one name; the first that is allowed for the empty one."""
        if not self._allowed:
            raise PreconditionFailed(
                "this server keeps no snapshots; name folders or URLs for them in its setting snapshots.destinations",
                reason="SNAPSHOT_DESTINATION_NOT_ALLOWED",
            )
        uri = canonical_uri(destination) if destination else self._allowed[0]
        if not self._is_allowed(uri):
            raise PreconditionFailed(
                f"the server may not keep snapshots in {destination[:200]!r}; name a place that its setting "
                "snapshots.destinations allows, or none",
                reason="SNAPSHOT_DESTINATION_NOT_ALLOWED",
            )
        return uri


def _summary_of(info: SnapshotInfo) -> SnapshotSummary:
    return SnapshotSummary(
        name=info.name,
        destination=info.destination,
        store_id=info.store_id,
        format_version=info.format_version,
        revision=info.revision,
        time_us=info.time_us,
        size_bytes=info.size_bytes,
        file_count=info.file_count,
        face_count=sum(info.face_counts.values()),
        verify_time_us=info.verified_time_us,
        damage=info.damage,
    )
