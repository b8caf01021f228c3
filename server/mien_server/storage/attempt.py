"""One group on its way into one transaction: each command planned on what those before it left, then applied."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mien_server.errors import Conflict, InternalError, MienError
from mien_server.records.store_pb2 import JournalEntry, JournalOperation, RequestRecord
from mien_server.storage import keys
from mien_server.storage.applying import apply_changes
from mien_server.storage.bookkeeping import trim_journal, trim_requests
from mien_server.storage.changes import Changes, GalleryChange
from mien_server.storage.commands.base import Command, Planning
from mien_server.storage.commands.expired import EXPIRED_FACES_MAX
from mien_server.storage.databases import Database, Reading, Transaction, put
from mien_server.storage.expiry import Carried, first_expiry_us
from mien_server.storage.gallery_state import GalleryDraft, GalleryState
from mien_server.storage.opening import OpenedStore, vector_file_of
from mien_server.storage.options import StoreOptions
from mien_server.storage.outcomes import Committed, Replayed, RequestKey, request_erased
from mien_server.storage.reading import RecordReader
from mien_server.storage.snapshots import SnapshotContent
from mien_server.storage.steps import reached
from mien_server.storage.vector_file import make_vector_file
from mien_server.storage.vector_writer import VectorWriter

__all__ = ["Attempt"]

log = logging.getLogger(__name__)

WRITE_AHEAD_BYTES_MIN = 128 * 1024
"""Vectors of one command from this size on are written while the commands after it are planned; to hand fewer to
another thread takes longer than to write them."""


@dataclass(frozen=True, slots=True)
class _Result:
    """A command was planned and applied."""

    value: object


@dataclass(frozen=True, slots=True)
class _Replay:
    """A request id was answered before; revision None: by an earlier command of this group."""

    outcome: bytes
    revision: int | None


class Attempt:
    """Collects what a group writes. Dropped with its transaction when anything fails: nothing shared is changed before.

    Attributes:
        revision: what the group's answers carry; the next one once a command has changed something.
        touched_galleries: numbers of galleries that a command changed.
        deleted_galleries: numbers of galleries deleted.
    """

    def __init__(self, opened: OpenedStore, vectors: VectorWriter, options: StoreOptions) -> None:
        self._opened = opened
        self._vectors = vectors
        self._options = options
        self._base = opened.snapshots.current
        self._drafts: dict[int, GalleryDraft] = {}
        self._journal: list[JournalOperation] = []
        self._requests: dict[str, tuple[RequestKey[Any], bytes]] = {}
        self._outcomes: list[MienError | _Result | _Replay] = []
        self._has_puts = False
        self._changed_keys = 0
        self._expired_count = 0
        self._now_us = opened.clock.now_us()
        self.touched_galleries: set[int] = set()
        self.deleted_galleries: set[int] = set()

    @property
    def advances_revision(self) -> bool:
        """Whether any command changed something."""
        return bool(self._journal)

    @property
    def revision(self) -> int:
        """The revision of the group's answers."""
        return self._base.revision + 1 if self._journal else self._base.revision

    @property
    def writes(self) -> bool:
        """Whether there is anything to commit."""
        return self._has_puts or bool(self._requests)

    def begin(self, transaction: Transaction) -> None:
        """Work in this write transaction from here on."""
        self._transaction = transaction
        reading = Reading(transaction, self._opened.handles)
        self._records = RecordReader(reading, serves_damaged=self._opened.serves_damaged)
        self._planning = Planning(self._records, self._base.revision + 1, self._now_us)

    @property
    def taken_count(self) -> int:
        """How many commands were taken."""
        return len(self._outcomes)

    def take(self, command: Command[Any]) -> bool:
        """Plan a command and apply its plan. What the plan raises is the command's answer; what applying raises
        (OSError, lmdb.Error) fails the group.

        False: the commit deletes so much that has expired that the command, and those after it, are for the next one.
        """
        try:
            replay = None if command.request is None else self._replay(command.request)
            if replay is not None:
                self._outcomes.append(replay)
                return True
            # What has expired is not there for a command that names it: it goes first, whatever becomes of the command.
            while (gone := command.expired(self._planning)) is not None:
                self._apply(gone)
                self._expired_count += gone.deleted_count
                if self._expired_count >= EXPIRED_FACES_MAX:
                    return False
            plan = command.plan(self._planning)
            outcome = b"" if command.request is None else command.request.encode(plan.result)
        except MienError as error:
            self._outcomes.append(error)
            return True
        except Exception as error:
            log.exception("planning %s failed", type(command).__name__)
            self._outcomes.append(InternalError(f"the write could not be planned: {error!r}; please report it"))
            return True
        self._apply(plan.changes)
        if command.request is not None:
            self._requests[command.request.request_id] = (command.request, outcome)
        self._outcomes.append(_Result(plan.result))
        return True

    def put_records(self) -> None:
        """Put what belongs to the group as a whole: request ids, journal, revision."""
        handles = self._opened.handles
        self._opened.upkeep.note_commit(self._changed_keys)
        for request_id, (request, outcome) in self._requests.items():
            record = RequestRecord(
                fingerprint=request.fingerprint, revision=self.revision, time_us=self._now_us, outcome=outcome
            )
            key = keys.encode_name(request_id, "request id", keys.REQUEST_ID_BYTES_MAX)
            put(self._transaction, handles, Database.REQUESTS, key, record.SerializeToString())
            time_key = keys.encode_request_time(self._now_us, request_id)
            put(self._transaction, handles, Database.REQUEST_TIMES, time_key, b"")
        oldest_us = self._now_us - self._options.request_age_max_s * 1_000_000
        trim_requests(self._transaction, handles, oldest_us, count_max=2 * len(self._requests) + 8)
        if not self._journal:
            return
        revision_key = keys.encode_number(self.revision)
        entry = JournalEntry(revision=self.revision, time_us=self._now_us, operations=self._journal)
        raw = entry.SerializeToString()
        put(self._transaction, handles, Database.JOURNAL, revision_key, raw)
        put(self._transaction, handles, Database.META, keys.META_REVISION, revision_key)
        put(self._transaction, handles, Database.META, keys.META_TIME, keys.encode_number(self._now_us))
        journal_bytes = self._records.journal_bytes() + len(raw)
        last_revision = self.revision - self._options.journal_revisions_max
        journal_bytes -= trim_journal(
            self._transaction, handles, last_revision, journal_bytes - self._options.journal_bytes_max
        )
        put(self._transaction, handles, Database.META, keys.META_JOURNAL_BYTES, keys.encode_number(journal_bytes))

    def write_vectors(self) -> dict[int, GalleryState]:
        """Write and sync the vectors of all galleries; answers with the galleries' next states. Raises OSError."""
        states = {}
        written = []
        for number, draft in self._drafts.items():
            states[number], room = draft.finish(first_expiry_us(self._records.reading, number))
            if room is not None:
                self._vectors.extend(draft.file, room)
                draft.map_ahead(states[number])
            if draft.has_new_rows:
                self._vectors.write(draft.file, draft.unwritten)
                written.append(draft.file)
        # Those of a gallery that was deleted in the same group have to end too.
        self._vectors.finish_writes(written)
        if written:
            reached("vectors_written")
            for file in written:
                self._vectors.sync(file)
            reached("vectors_synced")
        return states

    def content(self, transaction_id: int, states: Mapping[int, GalleryState]) -> SnapshotContent:
        """What the next snapshot shows."""
        galleries = {**self._base.galleries, **states}
        for number in self.deleted_galleries:
            galleries.pop(number, None)
        numbers = self._base.numbers
        if galleries.keys() != self._base.galleries.keys():
            numbers = dict(sorted((state.record.name, number) for number, state in galleries.items()))
        return SnapshotContent(self.revision, transaction_id, galleries, numbers, self._carried(galleries))

    def _carried(self, galleries: Mapping[int, GalleryState]) -> dict[int, Carried]:
        """What had expired in the snapshot before, where this group leaves it at that."""
        carried = {}
        for number, state in galleries.items():
            known = self._base.to_carry(number)
            draft = self._drafts.get(number)
            if known is not None and draft is not None:
                known = known.after(self._now_us, draft.first_expiry_us, draft.removed_identity_numbers)
            if known is not None and state.next_expiry_us <= known.known.last_us:
                carried[number] = known
        return carried

    def outcomes(self) -> Iterable[MienError | Committed[Any] | Replayed]:
        """The answer of each command, in the order they were taken."""
        for outcome in self._outcomes:
            match outcome:
                case _Result():
                    yield Committed(self.revision, outcome.value)
                case _Replay():
                    yield Replayed(self.revision if outcome.revision is None else outcome.revision, outcome.outcome)
                case MienError():
                    yield outcome

    def _replay(self, request: RequestKey[Any]) -> _Replay | None:
        """The first answer under this request id, if there is one.

        Raises:
            Conflict: REQUEST_ID_REUSED, REQUEST_ERASED.
        """
        if request.request_id in self._requests:
            first, outcome = self._requests[request.request_id]
            fingerprint, replay, is_erased = first.fingerprint, _Replay(outcome, None), False
        else:
            record = self._records.request(request.request_id)
            if record is None:
                return None
            fingerprint, replay = record.fingerprint, _Replay(record.outcome, record.revision)
            is_erased = record.is_erased
        if fingerprint != request.fingerprint:
            raise Conflict(
                f"the request id {request.request_id!r} was used for another request; take a new id for each",
                reason="REQUEST_ID_REUSED",
                metadata={"request_id": request.request_id},
            )
        if is_erased:
            raise request_erased(request.request_id)
        return replay

    def _apply(self, changes: Changes) -> None:
        self._changed_keys += changes.key_count
        apply_changes(self._transaction, self._opened.handles, changes)
        self._has_puts |= changes.writes
        self._journal.extend(changes.journal)
        if changes.gallery is not None:
            self._change_gallery(changes, changes.gallery)

    def _change_gallery(self, changes: Changes, change: GalleryChange) -> None:
        self.touched_galleries.add(change.number)
        if change.is_deleted:
            self._drafts.pop(change.number, None)
            self.deleted_galleries.add(change.number)
            return
        draft = self._drafts.get(change.number)
        if draft is None:
            state = self._make_gallery(change) if change.is_created else self._base.galleries[change.number]
            draft = self._drafts[change.number] = GalleryDraft(state)
        draft.add(change)
        if draft.unwritten and draft.unwritten[-1].vectors.nbytes >= WRITE_AHEAD_BYTES_MIN:
            self._vectors.write_ahead(draft.file, draft.unwritten.pop())
        draft.note_identities(
            relabels=changes.relabels(draft.first_new_identity), removed=changes.removed_identity_numbers
        )
        draft.note_expiry(changes.first_expiry_us)

    def _make_gallery(self, change: GalleryChange) -> GalleryState:
        assert change.record is not None
        assert change.counts is not None
        file = vector_file_of(self._opened.layout, self._opened.store_format.store_id, change.record)
        self._vectors.close_path(file.path)
        make_vector_file(file)
        return GalleryState.empty(change.record, change.counts, file)
