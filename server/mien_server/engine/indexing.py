"""The indexes of a store's galleries: loaded at open, built and measured beside what serves, published, watched.

One thread builds and measures, one gallery at a time, in processes of their own; another seals (`sealing`). Whoever
searches takes `generations` first and a view after it: a generation holds rows that were committed before it was
published, so the view is never older than the generation.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

from mien_server.engine.building import Builds, expected_generation, gallery_gone
from mien_server.engine.generations import Generations
from mien_server.engine.operation_log import OperationLog
from mien_server.engine.resting import Resting
from mien_server.engine.sealing import Sealer
from mien_server.engine.types import EffortLadderStep, IndexState, IndexStateKind, OperationKind, OperationState
from mien_server.errors import Cancelled, MienError
from mien_server.index import (
    BuildFailed,
    BuildProcess,
    Generation,
    GenerationRefused,
    RebuildPolicy,
    RebuildReason,
    current_generation,
    default_agreement,
    load_generation,
    prune,
    unpublish,
    wants_measurement,
    wants_rebuild,
)
from mien_server.index.bitmaps import set_count
from mien_server.records.policies import IndexCode
from mien_server.records.store_pb2 import OperationRecord
from mien_server.storage import GalleryView, Store

__all__ = ["IndexOptions", "Indexes"]

logger = logging.getLogger(__name__)

POLL_S = 0.1
"""How often a build is asked how far it is."""
SETTLE_S = 0.5
"""A gallery is looked at this long after a commit, so that a stream of commits is one look."""
SCHEDULE_S = 60.0
"""How often galleries that nobody writes to are asked whether they are to be measured again."""


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How indexes are built: when, and with how many cores."""

    policy: RebuildPolicy
    build_thread_count: int
    rebuilds_automatically: bool


class Indexes:
    """The generations that serve, and the thread that makes new ones."""

    def __init__(self, store: Store, log: OperationLog, options: IndexOptions) -> None:
        self._store = store
        self._options = options
        self.log = log
        self._generations = Generations(store)
        self._builds = Builds(store, self._generations, self._policy_of, options.build_thread_count)
        self._sealer = Sealer(store, self._generations, self._automatic_policy_of, self._note_seal)
        self._wake = threading.Condition()
        self._requested: dict[int, list[str]] = {}
        self._drops: dict[int, list[Future[bool]]] = {}
        self._touched: set[int] = set()
        self._settled: set[int] = set()
        self._building: dict[int, str] = {}
        self._troubles: dict[int, str] = {}
        self._upkeep_troubles: dict[tuple[int, str], str] = {}
        self._damaged: set[int] = set()
        self._resting = Resting()
        self._is_closing = False
        self._scheduled_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="mien-indexes", daemon=True)

    # --- life ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Load what was published, refuse what does not fit, and begin to watch."""
        loaded: dict[int, Generation] = {}
        with self._store.view() as view:
            for gallery in view.galleries():
                generation = self._load_published(gallery, view.revision)
                if generation is not None:
                    loaded[gallery.number] = generation
                self._touched.add(gallery.number)
        self._generations.begin(loaded)
        self._store.on_commit(self._note_commit)
        self._thread.start()
        self._sealer.start()
        self._sealer.note(frozenset(loaded))

    @property
    def generations(self) -> Mapping[int, Generation]:
        """What serves now, by gallery number; never changes, the next one is another."""
        return self._generations.served

    def holding(self, number: int) -> AbstractContextManager[Generation | None]:
        """What serves a gallery now, its files kept for the length of the block; None where nothing does."""
        return self._generations.holding(number)

    def _load_published(self, gallery: GalleryView, revision: int) -> Generation | None:
        directory = self._store.index_directory(gallery.number)
        try:
            # What a build left that died with the server before, or what a gallery has no use for any more.
            if IndexCode(gallery.record.index_policy.code) is IndexCode.FLAT:
                unpublish(directory)
                return None
            prune(directory, set())
        except OSError as error:
            logger.warning("leftovers in the index folder of gallery %s stay: %s", gallery.name, error)
        try:
            name = current_generation(directory)
            if name is None:
                return None
            return load_generation(directory / name, expected_generation(self._store.store_id, gallery, revision))
        except GenerationRefused as error:
            detail = self._without_folder(gallery.number, error.message)
            self._troubles[gallery.number] = detail
            logger.warning("gallery %s: its generation in %s is refused: %s", gallery.name, directory, detail)
            return None

    def close(self) -> None:
        """Cancel what is being built and stop."""
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._sealer.close()

    def _note_commit(self, _revision: int, gallery_numbers: frozenset[int]) -> None:
        with self._wake:
            self._touched |= gallery_numbers
            self._wake.notify_all()
        self._sealer.note(gallery_numbers)

    def _note_seal(self, number: int, error: Exception | None, *, is_sealed: bool) -> None:
        """What a seal ended by is shown until one succeeds or none is wanted; a damaged generation is built anew."""
        if error is None:
            self._upkeep_troubles.pop((number, "seal"), None)
        else:
            self._note_upkeep_trouble(number, "seal", "the newest rows are not sealed", error)
            if isinstance(error, GenerationRefused):
                self._damaged.add(number)
        if is_sealed or error is not None:
            with self._wake:
                # There may be more to measure now, or something to be built anew.
                self._touched.add(number)
                self._wake.notify_all()

    def _note_upkeep_trouble(self, number: int, what: str, words: str, error: Exception) -> None:
        message = error.message if isinstance(error, MienError) else str(error) or repr(error)
        self._upkeep_troubles[number, what] = f"{words}: {self._without_folder(number, message)}"

    def _without_folder(self, number: int, message: str) -> str:
        """Callers are told which file, not where it lies."""
        return message.replace(f"{self._store.index_directory(number)}/", "")

    def _trouble_of(self, number: int) -> str:
        upkeep = [words for (one, _), words in list(self._upkeep_troubles.items()) if one == number]
        return "; ".join([*filter(None, [self._troubles.get(number)]), *upkeep])

    # --- asking -------------------------------------------------------------------------------------------------

    def new_operation(
        self, gallery_number: int, gallery_name: str, kind: OperationKind = OperationKind.REBUILD_INDEX
    ) -> OperationRecord:
        """A record of an operation to come; its name ascends with time."""
        return self.log.new_record(kind, gallery_number, gallery_name)

    def request_build(self, gallery_number: int, operation: str) -> None:
        """Build this gallery's index soon, whatever its size wants."""
        with self._wake:
            self._requested.setdefault(gallery_number, []).append(operation)
            self._wake.notify_all()

    def drop_dead(self, gallery_number: int) -> Future[bool]:
        """Have the codes of rows that are dead now removed, with all older generations; whether there were any.

        A build that somebody asked for ends first.
        """
        future: Future[bool] = Future()
        with self._wake:
            self._drops.setdefault(gallery_number, []).append(future)
            self._wake.notify_all()
        return future

    def _drop_dead(self, number: int) -> None:
        with self._wake:
            waiting = self._drops.pop(number, [])
        if not waiting:
            return
        try:
            were_there = self._sealer.drop_dead(number)
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits must be told
            if isinstance(error, GenerationRefused):
                self._damaged.add(number)
            for future in waiting:
                future.set_exception(error)
        else:
            for future in waiting:
                future.set_result(were_there)

    def cancel(self, operation: str) -> None:
        """Stop a build soon if it runs, at once if it still waits for another to end."""
        self.log.request_cancel(operation)
        with self._wake:
            number = next((one for one, waiting in self._requested.items() if operation in waiting), None)
            if number is None:
                return
            self._requested[number].remove(operation)
            if not self._requested[number]:
                del self._requested[number]
        self._finish([operation], OperationState.CANCELLED, Cancelled("cancelled by a caller before it began"))

    def state(self, gallery: GalleryView) -> IndexState:
        """How the gallery is searched now."""
        generation = self.generations.get(gallery.number)
        rows = gallery.rows
        operation = self._building.get(gallery.number)
        trouble = self._trouble_of(gallery.number)
        kind = IndexStateKind.FLAT if generation is None else IndexStateKind.READY
        if trouble:
            kind = IndexStateKind.DEGRADED
        if operation is not None:
            kind = IndexStateKind.BUILDING
        if generation is None:
            return IndexState(kind=kind, detail=trouble, tail_rows=rows.row_count, code="FLAT")
        manifest = generation.manifest
        covered = min(manifest.rows, rows.row_count)
        return IndexState(
            kind=kind,
            detail=trouble,
            generation=manifest.name,
            indexed_rows=manifest.rows,
            tail_rows=rows.row_count - covered,
            tombstones=max(0, manifest.live_rows - set_count(rows.live, 0, covered)),
            lists=manifest.lists,
            code=manifest.code_name,
            ladder=tuple(
                EffortLadderStep(
                    one.step, one.lists, one.rescored, one.rank1_agreement, one.recall_at_10, one.milliseconds
                )
                for one in manifest.ladder
            ),
            build_time_us=manifest.build_time_us,
            segment_count=len(manifest.segments),
            list_imbalance=manifest.list_imbalance,
            trained_rows=manifest.trained_rows,
            measured_rows=manifest.measured_rows,
            measure_time_us=manifest.measure_time_us,
            drift=manifest.drift,
            default_agreement=default_agreement(manifest, self._policy_of(gallery).recall_target),
        )

    def troubles(self) -> list[str]:
        """Why indexes are not as they should be, by the names of their galleries."""
        numbers = {*self._troubles.copy(), *(number for number, _ in self._upkeep_troubles.copy())}
        with self._store.view() as view:
            galleries = [gallery for number in numbers if (gallery := view.gallery_by_number(number)) is not None]
        return sorted(f"gallery {one.name}: {self._trouble_of(one.number)}" for one in galleries)

    # --- building -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (work := self._next()) is not None:
            number, operations = work
            try:
                self._handle(number, operations)
            except Exception as raised:  # noqa: BLE001 - whatever it is, the other galleries are looked at
                self._note_commit(0, frozenset({number}))
                self._note_failure(number, operations, raised)

    def _next(self) -> tuple[int, list[str]] | None:
        """The next gallery to look at and the operations that asked for it; None when closing."""
        with self._wake:
            while not self._is_closing:
                if self._drops:
                    return next(iter(self._drops)), []
                if self._requested:
                    number = next(iter(self._requested))
                    self._settled.discard(number)
                    return number, self._requested.pop(number)
                if self._settled:
                    return self._settled.pop(), []
                ready = self._resting.awake(self._touched)
                if ready:
                    # Every commit notifies; only what cannot wait may end this.
                    if not self._wake.wait_for(self._is_anything_asked, SETTLE_S):
                        self._touched -= ready
                        self._settled = ready
                    continue
                self._wake.wait(POLL_S * 10 if self._touched else SCHEDULE_S)
                if time.monotonic() - self._scheduled_s >= SCHEDULE_S:
                    self._scheduled_s = time.monotonic()
                    self._touched |= set(self.generations)
            return None

    def _is_anything_asked(self) -> bool:
        return self._is_closing or bool(self._requested) or bool(self._drops)

    def _policy_of(self, gallery: GalleryView) -> RebuildPolicy:
        policy = gallery.record.index_policy
        target = round(policy.default_recall_target, 6) or None
        return replace(self._options.policy, code=IndexCode(policy.code), recall_target=target)

    def _automatic_policy_of(self, gallery: GalleryView) -> RebuildPolicy | None:
        """The gallery's policy; None when nothing is done for it without being asked."""
        is_automatic = self._options.rebuilds_automatically and not gallery.record.index_policy.manual_rebuild
        return self._policy_of(gallery) if is_automatic else None

    def _handle(self, number: int, operations: list[str]) -> None:
        """Look at one gallery; build when somebody asked or its size wants it."""
        self._drop_dead(number)
        with self._store.view(shows_expired=True) as view:
            gallery = view.gallery_by_number(number)
            if gallery is None:
                self._forget(number)
                self._finish(operations, OperationState.FAILED, gallery_gone())
                return
            policy = self._policy_of(gallery)
            generation = self.generations.get(number)
            reason = wants_rebuild(gallery.rows, generation, policy)
            if number in self._damaged:
                reason = reason or RebuildReason.DAMAGE
            is_flat = self._is_flat(gallery, policy)
            is_automatic = self._automatic_policy_of(gallery) is not None
            is_unmeasured = generation is not None and wants_measurement(
                gallery.rows, generation, policy, time.time_ns() // 1000
            )
            name = gallery.name
        if is_flat:
            is_unwanted = policy.code is IndexCode.FLAT and number in self.generations
            if operations or is_unwanted or self._trouble_of(number):
                self._unpublish(number)
            self._finish(operations, OperationState.SUCCEEDED)
            return
        if not operations:
            if not is_automatic:
                return
            if reason is None:
                if is_unmeasured:
                    self._measure(number)
                return
            operations = [self.log.start(self.new_operation(number, name), is_internal=True)]
            logger.info("building the index of gallery %s: %s", name, reason.value)
            self._build(number, operations, is_asked=False)
            return
        self._build(number, operations)

    @staticmethod
    def _is_flat(gallery: GalleryView, policy: RebuildPolicy) -> bool:
        """Whether the gallery is searched exactly whatever anybody asks: by its policy, or for want of rows."""
        rows = gallery.rows
        return policy.code is IndexCode.FLAT or rows.live_count <= policy.flat_rows_max(rows.dimension)

    def _build(self, number: int, operations: list[str], *, is_asked: bool = True) -> None:
        self._building[number] = operations[0]
        try:
            try:
                generation = self._builds.build(
                    number, partial(self._watched, operations=operations, number=number, is_asked=is_asked)
                )
            finally:
                # Before the operations end: whoever waited for one must not read that it is still building.
                self._building.pop(number, None)
        except Exception as raised:  # noqa: BLE001 - whatever it is, the operations must end
            self._note_failure(number, operations, raised)
        else:
            self._clear_troubles(number)
            self._resting.end(number)
            for operation in operations:
                self.log.set_result(operation, generation.manifest.name, generation.manifest.live_rows)
            self._finish(operations, OperationState.SUCCEEDED)
        finally:
            self._note_commit(0, frozenset({number}))

    def _note_failure(self, number: int, operations: list[str], raised: Exception) -> None:
        """End the operations of a build that made nothing, and leave the gallery alone for a while."""
        if self._is_gone(number):
            self._forget(number)
            self._finish(operations, OperationState.FAILED, gallery_gone())
            return
        self._resting.begin(number)
        if isinstance(raised, Cancelled):
            self._finish(operations, OperationState.CANCELLED, raised)
            return
        is_defect = not isinstance(raised, MienError | OSError)
        error = raised if isinstance(raised, MienError) else BuildFailed(str(raised) or repr(raised))
        self._troubles[number] = f"the last build failed: {self._without_folder(number, error.message)}"
        logger.warning("building the index of gallery %d failed: %s", number, error, exc_info=is_defect and raised)
        self._finish(operations, OperationState.FAILED, error)

    def _is_gone(self, number: int) -> bool:
        try:
            with self._store.view() as view:
                return view.gallery_by_number(number) is None
        except MienError:
            return False

    def _measure(self, number: int) -> None:
        """Measure what the generation promises again, and publish what was found.

        Raises:
            Cancelled: something else is to be done first, or the server ends.
        """
        try:
            drift = self._builds.measure(number, partial(self._watched, operations=[], number=number, is_asked=False))
        except Cancelled:
            raise
        except (MienError, OSError) as error:
            logger.warning("the index of gallery %d could not be measured again: %s", number, error)
            self._note_upkeep_trouble(number, "measure", "what the index finds could not be measured", error)
            self._resting.begin(number)
            self._note_commit(0, frozenset({number}))
            return
        self._upkeep_troubles.pop((number, "measure"), None)
        self._resting.end(number)
        logger.info("measured the index of gallery %d again: drift %s", number, drift)

    def _watched(self, process: BuildProcess, operations: list[str], number: int, *, is_asked: bool) -> BuildProcess:
        """Follow a process to its end. One that nobody asked for makes room for what somebody does."""
        while not process.wait(POLL_S):
            fraction, stage = process.progress()
            for operation in operations:
                self.log.advance(operation, fraction, stage)
            with self._wake:
                # A measuring also makes room for a build; a build only for who is to be erased.
                is_something_asked = number in self._drops or bool(self._requested and not operations)
                is_closing = self._is_closing
                others = [one for one in self._drops if one != number]
            for other in others:
                # What is being built holds nothing of other galleries.
                self._drop_dead(other)
            is_cancelled = bool(operations) and all(map(self.log.is_cancel_requested, operations))
            is_unwanted = not is_asked and (is_something_asked or self._is_gone(number))
            if is_closing or is_cancelled or is_unwanted:
                process.cancel()
                why = "cancelled by a caller" if is_cancelled else "something else is to be done first"
                why = "the server is shutting down" if is_closing else why
                raise Cancelled(f"the build was stopped: {why}")
        return process

    def _finish(self, operations: list[str], state: OperationState, error: MienError | None = None) -> None:
        for operation in operations:
            try:
                self.log.finish(operation, state, time.time_ns() // 1000, error)
            except Exception:
                logger.exception("how %s ended could not be kept; a restart will say that it failed", operation)

    def _forget(self, number: int) -> None:
        """Drop what is known of a gallery that has gone."""
        self._clear_troubles(number)
        self._resting.end(number)
        self._generations.forget(number)

    def _clear_troubles(self, number: int) -> None:
        self._troubles.pop(number, None)
        for what in ("seal", "measure"):
            self._upkeep_troubles.pop((number, what), None)
        self._damaged.discard(number)

    def _unpublish(self, number: int) -> None:
        """Search the gallery exactly from now on and remove what was built for it."""
        self._generations.unpublish(number)
        self._forget(number)
