"""Carrying erasures to their end: what the store still holds of people who were deleted, taken out step by step.

Each step may be done twice: after a crash an erasure begins again with the first one. What fails for some people fails
for them alone, and the others go on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from mien_server.errors import InternalError, Unavailable
from mien_server.records.store_pb2 import ErasureReceiptRecord, ErasureRecord, ErasureScanRecord, HeldSnapshotRecord
from mien_server.storage.erasure.cases import Case, keep, put_erasures
from mien_server.storage.erasure.deleting import delete_rest
from mien_server.storage.erasure.notes import ErasureState, is_pending, seal, work_of
from mien_server.storage.erasure.pages import Pages, await_until, rewrite_parted, scrub
from mien_server.storage.erasure.proof import prove
from mien_server.storage.erasure.records import find_in_journal, redact_answers, redact_journal
from mien_server.storage.erasure.vectors import leave_to_others, overwrite_vectors
from mien_server.storage.steps import reached
from mien_server.storage.store import Store

__all__ = ["INDEX_BUSY", "WAITING_FOR_READERS", "ErasureOutcome", "ErasureRun"]

log = logging.getLogger(__name__)

ROWS_MAX = 4096
"""Of all people of one run, who are taken until they have as many: bounds what is to be searched for at once."""
SCRUBS_MAX = 3
INDEX_WAIT_S = 30.0
"""Longer, and those who wait for an index make room for others."""
INDEX_BUSY = "ERASURE_INDEX_BUSY"
WAITING_FOR_READERS = "waiting for whoever still reads an older revision"


@dataclass(slots=True)
class ErasureOutcome:
    """What became of erasures; those in neither wait for their turn.

    Attributes:
        failed: by name, why.
        suspects: those of the failed of whom some, nobody knows which, made the others fail.
        gone: names of erasures that are done already, or that nobody began.
    """

    done: list[ErasureRecord] = field(default_factory=list)
    failed: dict[str, Exception] = field(default_factory=dict)
    suspects: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ErasureRun:
    """Takes erasures that are not done to their end, together. Belongs to one thread.

    Attributes:
        drop_from_index: has a gallery's generation made again without dead rows; the future says whether there was one.
        on_progress: told the operations of erasures, how far they are and what is being done.
        is_closing: asked while working and waiting.
        exclusively: entered while bytes are overwritten: nobody takes a snapshot meanwhile, which would hold some of
            both. Told what to ask while it waits.
    """

    store: Store
    drop_from_index: Callable[[int], Future[bool]]
    on_progress: Callable[[Sequence[str], float, str], None]
    is_closing: Callable[[], bool]
    exclusively: Callable[[Callable[[], None]], AbstractContextManager[None]] = lambda _: nullcontext()
    _outcome: ErasureOutcome = field(default_factory=ErasureOutcome)
    _late_drops: dict[int, Future[bool]] = field(default_factory=dict)

    def run(self, names: Iterable[str]) -> ErasureOutcome:
        """Carry as many of the erasures as fit one run to their end.

        Raises:
            Unavailable: STORE_CLOSED.
            MienError, OSError, PagesNotUnderstood: a step failed that all have in common; they stay pending.
        """
        self._outcome = ErasureOutcome()
        pending = self._taken(names)
        for record in pending:
            if record.state == ErasureState.DELETING:
                with self._blamed([record]):
                    self._delete_rest(record)
        cases = []
        for record in self._unhindered(pending):
            if record.state == ErasureState.DELETED:
                with self._blamed([record]):
                    cases.append(Case.of(record))
        if cases:
            cases = self._out_of_index(cases)
        first_ordinals = self._out_of_records(cases) if cases else {}
        cases = self._unhindered_cases(cases)
        if cases:
            self._note(cases, 0.4, WAITING_FOR_READERS)
            newest = self.store.newest_transaction_id
            await_until(lambda: self.store.oldest_transaction_id >= newest, self._refuse_closing)
        receipted = [record for record in pending if record.state == ErasureState.RECEIPTED]
        if cases or receipted:
            with self.exclusively(self._refuse_closing):
                self._overwrite(cases, receipted, first_ordinals)
        return self._outcome

    def _taken(self, names: Iterable[str]) -> list[ErasureRecord]:
        """Records of the first ones, as many as fit one run."""
        taken = []
        row_count = 0
        with self.store.view() as view:
            for name in names:
                if row_count >= ROWS_MAX:
                    break
                with self._blamed_names([name]):
                    record = view.erasure(name)
                    if record is None or not is_pending(record):
                        self._outcome.gone.append(name)
                        continue
                    taken.append(record)
                    row_count += len(record.ordinals)
        return taken

    def _delete_rest(self, record: ErasureRecord) -> None:
        """Go on with the deletion that a crash interrupted."""
        identity_id = work_of(record).identity_id
        if delete_rest(self.store, record.gallery_name, identity_id, record.name, self._refuse_closing) is None:
            record.state = ErasureState.DELETED
            put_erasures(self.store, [record])
            return
        with self.store.view() as view:
            stored = view.erasure(record.name)
        assert stored is not None
        record.CopyFrom(stored)

    def _out_of_index(self, cases: list[Case]) -> list[Case]:
        """Have the codes of dead rows taken out of every index concerned; answers with those who may go on."""
        self._note(cases, 0.1, "taking their codes out of the index")
        busy = {number for number, late in self._late_drops.items() if not late.done()}
        futures = {number: self.drop_from_index(number) for number in _by_gallery(cases) if number not in busy}
        end_s = time.monotonic() + INDEX_WAIT_S
        for number, theirs in _by_gallery(cases).items():
            with self._blamed([case.record for case in theirs]):
                is_rewritten = self._is_rewritten(number, futures.get(number), end_s)
                for case in theirs:
                    case.is_index_rewritten = is_rewritten
        reached("erasure_index_dropped")
        return self._unhindered_cases(cases)

    def _is_rewritten(self, number: int, future: Future[bool] | None, end_s: float) -> bool:
        if future is not None:
            await_until(lambda: future.done() or time.monotonic() >= end_s, self._refuse_closing)
        if future is None or not future.done():
            if future is not None:
                self._late_drops.setdefault(number, future)
            raise Unavailable(
                "the gallery's index is being built or rewritten, and what is erased leaves it afterwards",
                reason=INDEX_BUSY,
            )
        is_rewritten = future.result()
        # Of one that was waited for in vain before, too.
        late = self._late_drops.pop(number, None)
        return is_rewritten or (late is not None and late.done() and not late.exception() and late.result())

    def _out_of_records(self, cases: list[Case]) -> dict[int, int]:
        """Take them out of journal and kept answers; answers with what `find_in_journal` does."""
        self._note(cases, 0.2, "taking them out of the journal and of answers that are kept")
        try:
            first_ordinals = find_in_journal(self.store, cases, self._refuse_closing)
            for number, theirs in _by_gallery(cases).items():
                leave_to_others(self.store, number, [case.erased for case in theirs])
            keep(self.store, cases)
            redact_journal(self.store, cases, self._refuse_closing)
            redact_answers(self.store, cases, self._refuse_closing)
        except (OSError, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it may be in what is said of one of them
            self._outcome.suspects = [case.record.name for case in cases]
            self._outcome.failed.update(dict.fromkeys(self._outcome.suspects, error))
            return {}
        reached("erasure_redacted")
        return first_ordinals

    def _overwrite(self, cases: list[Case], receipted: list[ErasureRecord], first_ordinals: dict[int, int]) -> None:
        """Overwrite what files hold of them, prove that nothing is left, and end the erasures."""
        with self.store.view() as view:
            # Until the files are overwritten a snapshot of any revision holds what they do; meanwhile none is taken.
            held = view.records.snapshots_until(view.revision)
        if cases:
            self._note(cases, 0.5, "overwriting vectors")
            for number, theirs in _by_gallery(cases).items():
                with self._blamed([case.record for case in theirs]):
                    overwrite_vectors(self.store, number, theirs, first_ordinals.get(number))
            reached("erasure_vectors_overwritten")
            if left := self._unhindered_cases(cases):
                receipted = receipted + self._proven(left, held)
        if receipted:
            # The lists of what was searched for lie in pages that were freed.
            scrub(self.store, receipted[0], self._refuse_closing)
            for record in receipted:
                record.state = ErasureState.DONE
            put_erasures(self.store, receipted)
            reached("erasure_done")
            self._outcome.done += receipted

    # --- pages ----------------------------------------------------------------------------------------------------

    def _proven(self, cases: list[Case], held: Sequence[HeldSnapshotRecord]) -> list[ErasureRecord]:
        """Overwrite freed pages until no file holds anything of them; answers with receipts of those who are gone."""
        proven: list[tuple[Case, ErasureScanRecord, Pages]] = []
        places: dict[Case, tuple[str, ...]] = dict.fromkeys(cases, ())
        for attempt in range(1, SCRUBS_MAX + 1):
            left = list(places)
            self._note(left, 0.6, "overwriting freed pages")
            wanted = [case.wanted for case in left]
            rewrite_parted(self.store, set().union(*wanted), self._refuse_closing)
            pages = scrub(self.store, left[0].record, self._refuse_closing)
            self._note(left, 0.8, "searching every file for what was erased")
            proofs = prove(self.store, wanted, [case.erased for case in left], self._refuse_closing)
            found = dict(zip(left, proofs, strict=True))
            proven += [(case, proof.scan, pages) for case, proof in found.items() if not proof.places]
            places = {case: proof.places for case, proof in found.items() if proof.places}
            if not places:
                break
            everywhere = sorted(set().union(*places.values()))
            log.warning("after scrub %d something of %d erasures is left in %s", attempt, len(places), everywhere)
        reached("erasure_scanned")
        for case, where in places.items():
            self._outcome.failed[case.record.name] = InternalError(
                f"after {SCRUBS_MAX} attempts something is left in {', '.join(where)}; it is tried again",
                reason="ERASURE_INCOMPLETE",
            )
        self._put_receipts(proven, held)
        reached("erasure_receipted")
        return [case.record for case, _, _ in proven]

    def _put_receipts(
        self, proven: Sequence[tuple[Case, ErasureScanRecord, Pages]], held: Sequence[HeldSnapshotRecord]
    ) -> None:
        with self.store.view() as view:
            secret = view.records.erasure_secret()
            there = {one.name for one in view.records.snapshots()} - {one.name for one in held}
        assert secret is not None
        for case, scan, pages in proven:
            record = case.record
            snapshots = [*held, *(one for one in record.earlier_snapshots if one.name in there)]
            snapshots.sort(key=lambda one: one.name)
            receipt = ErasureReceiptRecord(
                erasure=record.name,
                store_id=self.store.store_id,
                gallery_name=record.gallery_name,
                gallery_number=record.gallery_number,
                identity_hash=record.identity_hash,
                revision=record.revision,
                request_time_us=record.create_time_us,
                complete_time_us=time.time_ns() // 1000,
                face_count=record.face_count,
                row_count=case.row_count,
                journal_entry_count=record.journal_entry_count,
                request_count=record.request_count,
                damaged_record_count=record.damaged_record_count,
                is_index_rewritten=case.is_index_rewritten,
                live_page_count=pages.live_count,
                free_page_count=pages.free_count,
                scan=scan,
                snapshots=snapshots,
            )
            seal(secret, receipt)
            record.receipt.CopyFrom(receipt)
            record.state = ErasureState.RECEIPTED
            record.mask = record.masked_work = b""
        put_erasures(self.store, [case.record for case, _, _ in proven])

    # --- whose fault it is ----------------------------------------------------------------------------------------

    def _blamed(self, records: Sequence[ErasureRecord]) -> AbstractContextManager[None]:
        """What fails in the block is the failure of these erasures, and of no other."""
        return self._blamed_names([record.name for record in records])

    @contextmanager
    def _blamed_names(self, names: Sequence[str]) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self.is_closing():
                raise
            self._outcome.failed.update(dict.fromkeys(names, error))

    def _unhindered(self, records: Iterable[ErasureRecord]) -> list[ErasureRecord]:
        return [record for record in records if record.name not in self._outcome.failed]

    def _unhindered_cases(self, cases: Iterable[Case]) -> list[Case]:
        return [case for case in cases if case.record.name not in self._outcome.failed]

    def _note(self, cases: Iterable[Case], progress: float, stage: str) -> None:
        self._refuse_closing()
        self.on_progress([case.record.operation for case in cases], progress, stage)

    def _refuse_closing(self) -> None:
        if self.is_closing():
            raise Unavailable(
                "the store is closing; the erasure goes on when it is opened again", reason="STORE_CLOSED"
            )


def _by_gallery(cases: Iterable[Case]) -> dict[int, list[Case]]:
    found: dict[int, list[Case]] = {}
    for case in cases:
        found.setdefault(case.erased.gallery_number, []).append(case)
    return found
