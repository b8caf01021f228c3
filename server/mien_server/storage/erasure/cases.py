"""Erasures under way: what is known of each, and keeping it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from mien_server.records.store_pb2 import ErasureRecord, ErasureWork
from mien_server.storage.commands.put_erasure import PutErasures
from mien_server.storage.erasure.notes import put_work, work_of
from mien_server.storage.erasure.people import Erased
from mien_server.storage.store import Store

__all__ = ["PUT_BYTES_MAX", "Case", "keep", "put_erasures"]

PUT_BYTES_MAX = 4 << 20
"""What one commit puts again, about."""


@dataclass(slots=True, eq=False)
class Case:
    """One erasure under way."""

    record: ErasureRecord
    work: ErasureWork
    erased: Erased
    is_index_rewritten: bool = False
    row_count: int = 0

    @classmethod
    def of(cls, record: ErasureRecord) -> Self:
        """The case of a record whose person is deleted."""
        work = work_of(record)
        erased = Erased(
            record.gallery_number,
            work.identity_number,
            work.identity_id,
            dict(work.create_times_us),
            set(record.ordinals),
            set(work.face_ids),
            set(work.texts),
            record.journal_entry_count,
            record.request_count,
            record.damaged_record_count,
            set(record.ordinals) if record.restore_time_us else set(),
        )
        return cls(record, work, erased)

    @property
    def wanted(self) -> set[bytes]:
        """What is to be found nowhere afterwards."""
        work = self.work
        return {work.identity_id.encode(), *work.texts, *work.vector_parts} - {b""}

    def has_changed(self) -> bool:
        """Fill in the record with what is known now; answers whether that is news."""
        record, erased = self.record, self.erased
        before = ErasureRecord()
        before.CopyFrom(record)
        self.work.create_times_us.clear()
        self.work.create_times_us.update(erased.create_times_us)
        self.work.face_ids[:] = sorted(erased.face_ids)
        self.work.texts[:] = sorted(erased.texts)
        record.ordinals[:] = sorted(erased.ordinals)
        record.identity_number = erased.identity_number
        record.journal_entry_count = erased.journal_entry_count
        record.request_count = erased.request_count
        record.damaged_record_count = erased.damaged_record_count
        put_work(record, self.work)
        return record != before


def keep(store: Store, cases: Iterable[Case]) -> None:
    """Keep what is known now of what is to be searched for, and what was done."""
    put_erasures(store, (case.record for case in cases if case.has_changed()))


def put_erasures(store: Store, records: Iterable[ErasureRecord]) -> None:
    """Keep how far erasures are, in commits of bounded size."""
    for some in _parts(records):
        store.write(PutErasures(some), is_internal=True)


def _parts(records: Iterable[ErasureRecord]) -> Iterator[list[ErasureRecord]]:
    part: list[ErasureRecord] = []
    size = 0
    for record in records:
        part.append(record)
        size += record.ByteSize()
        if size >= PUT_BYTES_MAX:
            yield part
            part, size = [], 0
    if part:
        yield part
