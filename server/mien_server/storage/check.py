"""Does a store contradict itself? Every record of LMDB compared with every other, with the vectors and with memory.

Nothing is held but a few bytes a row, so that ten million faces can be checked where they are served. What follows from
identities and faces is compared by sums of hashes first (`pair_sums`); where these differ, by the records that do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import GalleryCounts, GalleryRecord
from mien_server.storage import keys
from mien_server.storage.check_faces import FacesCheck, FacesFound
from mien_server.storage.check_history import check_journal, check_operations, check_requests, check_sealed
from mien_server.storage.databases import GALLERY_KEYED, Database, corrupt
from mien_server.storage.doubts import Checked, Doubts, Progress, no_progress
from mien_server.storage.expiry import first_expiry_us
from mien_server.storage.gallery_state import GalleryState
from mien_server.storage.reading import RecordReader
from mien_server.storage.snapshots import SnapshotContent
from mien_server.storage.values import decode_message
from mien_server.storage.vector_file import VectorArray, VectorFile, VectorMapping, inspect_vector_file

__all__ = ["CheckOptions", "FacesFound", "StoreCheck", "find_contradictions"]

FileOf: TypeAlias = Callable[[GalleryRecord], VectorFile]


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How much is looked at.

    Attributes:
        sampled_rows: vectors of each gallery whose checksums are computed, evenly spread; None for all.
        progress: is told how far the check is.
    """

    sampled_rows: int | None = None
    progress: Progress = no_progress


@dataclass(slots=True)
class StoreCheck:
    """One pass over all records of one transaction, vectors included.

    Attributes:
        found: what was seen of the faces of each gallery, by number, as far as the check has come.
    """

    records: RecordReader
    file_of: FileOf
    options: CheckOptions = field(default_factory=CheckOptions)
    found: dict[int, FacesFound] = field(default_factory=dict)

    def run(self) -> Iterator[Checked]:
        """What was checked, one after the other, each with what is doubtful in it."""
        with_galleries = _timed("galleries")
        galleries = self._galleries(with_galleries)
        yield with_galleries.done()
        for record, counts in galleries:
            yield from self._gallery(record, counts)
        yield self._strays({record.number for record, _ in galleries})
        revision = self._revision()
        for what, check in (
            ("journal", check_journal),
            ("requests", check_requests),
            ("operations", check_operations),
            ("erasures and snapshots", check_sealed),
        ):
            timed = _timed(what)
            check(self.records, revision, timed.checked)
            yield timed.done()

    def _revision(self) -> int:
        try:
            return self.records.revision()
        except CorruptStore:
            return 0

    def _galleries(self, timed: _Timed) -> list[tuple[GalleryRecord, GalleryCounts]]:
        doubts = timed.checked.doubts
        galleries: dict[int, GalleryRecord] = {}
        for key, raw in _whole(self.records, Database.GALLERIES, doubts):
            with doubts.noted():
                record = decode_message(GalleryRecord, raw, Database.GALLERIES, key)
                if keys.encode_gallery(record.number) != key:
                    doubts.add(
                        f"the gallery {record.name!r} says that its number is {record.number}, and is {key.hex()}"
                    )
                galleries[keys.decode_gallery(key)] = record
        names = dict(_whole(self.records, Database.GALLERY_NAMES, doubts))
        expected = {record.name.encode(): keys.encode_gallery(number) for number, record in galleries.items()}
        if names != expected:
            wrong = sorted(name for name in names.keys() | expected.keys() if names.get(name) != expected.get(name))
            doubts.add(f"the names of galleries are not those of their records: {wrong[:3]}", database="gallery_names")
        counted = {}
        for key, raw in _whole(self.records, Database.GALLERY_COUNTS, doubts):
            with doubts.noted():
                counted[keys.decode_gallery(key)] = decode_message(GalleryCounts, raw, Database.GALLERY_COUNTS, key)
        if counted.keys() != galleries.keys():
            doubts.add(f"galleries {sorted(counted.keys() ^ galleries.keys())} have a record or counts, not both")
        for key, _ in _whole(self.records, Database.META, doubts):
            if key == keys.META_NEXT_GALLERY_NUMBER:
                with doubts.noted():
                    if self.records.next_gallery_number() <= max(galleries, default=0):
                        doubts.add("a gallery has a number that is still to be given out", database="meta")
        timed.checked.count = len(galleries)
        return [(record, counted[number]) for number, record in galleries.items() if number in counted]

    def _gallery(self, record: GalleryRecord, counts: GalleryCounts) -> Iterator[Checked]:
        prefix = f"gallery {record.name!r}: "
        timed = _timed(prefix + "vector file")
        vectors: VectorArray | None = None
        with timed.checked.doubts.noted():
            file = self.file_of(record)
            inspect_vector_file(file, counts.row_count)
            vectors = VectorMapping(file, counts.row_count).rows(counts.row_count)
            timed.checked.count = counts.row_count
        yield timed.done()
        check = FacesCheck(self.records, record, counts, vectors, self.file_of(record), self.options.progress)
        self.found[record.number] = check.found
        for what, step in check.steps(self.options.sampled_rows):
            timed = _timed(prefix + what)
            with timed.checked.doubts.noted():
                step(timed.checked)
            yield timed.done()

    def _strays(self, numbers: set[int]) -> Checked:
        """Records of galleries that are not there; goes from gallery to gallery, not from record to record."""
        timed = _timed("records of no gallery")
        reading = self.records.reading
        purged = set()
        for purge_key in reading.keys(Database.META, keys.META_PURGE_PREFIX):
            if len(purge_key) == len(keys.META_PURGE_PREFIX) + keys.GALLERY_BYTES:
                purged.add(keys.decode_purge(purge_key))
            else:
                timed.checked.doubts.add_error(corrupt(Database.META, purge_key, "names no gallery"))
        for database in GALLERY_KEYED:
            start = b"\0"
            strays = set()
            while (key := next(iter(reading.keys(database, b"", start)), None)) is not None:
                number = int.from_bytes(key[: keys.GALLERY_BYTES], "big")
                timed.checked.count += 1
                if number not in numbers | purged:
                    strays.add(number)
                if number + 1 >> 8 * keys.GALLERY_BYTES:
                    break
                start = keys.encode_gallery(number + 1)
            if strays:
                timed.checked.doubts.add(
                    f"{database} has records of galleries {sorted(strays)}, which are not there", database=database
                )
        return timed.done()


class _Timed:
    """A check that is under way."""

    def __init__(self, what: str) -> None:
        self.checked = Checked(what)
        self._start_s = time.perf_counter()

    def done(self) -> Checked:
        """The check with the time that it took."""
        self.checked.seconds = time.perf_counter() - self._start_s
        return self.checked


def _timed(what: str) -> _Timed:
    return _Timed(what)


def _whole(records: RecordReader, database: Database, doubts: Doubts) -> Iterable[tuple[bytes, bytes]]:
    for chunk in records.reading.whole_chunks(database, b"", 1024, doubts.add_error):
        yield from chunk


def find_contradictions(records: RecordReader, content: SnapshotContent) -> list[str]:
    """What is wrong with a snapshot, one sentence each; empty when nothing is. Reads everything."""
    files = {number: state.mapping.file for number, state in content.galleries.items()}
    check = StoreCheck(records, lambda record: files[record.number])
    doubts = [doubt for checked in check.run() for doubt in checked.sentences()]
    if records.revision() != content.revision:
        doubts.append(f"LMDB is at revision {records.revision()}, memory at {content.revision}")
    names = {record.name: record.number for record in records.galleries()}
    if names != dict(content.numbers):
        doubts.append("LMDB and memory name different galleries")
    for number, state in content.galleries.items():
        if number in check.found:
            doubts += [
                f"gallery {state.record.name!r}: {sentence}"
                for sentence in _check_memory(records, state, check.found[number])
            ]
    return doubts


def _check_memory(records: RecordReader, state: GalleryState, found: FacesFound) -> Iterator[str]:
    counts = records.counts(state.record.number)
    if counts != state.counts:
        yield f"LMDB counts {counts}, memory {state.counts}"
    if state.next_expiry_us != first_expiry_us(records.reading, state.record.number):
        yield "memory and LMDB name different times at which something expires next"
    is_live = found.is_live[: counts.row_count]
    if not np.array_equal(np.packbits(is_live, bitorder="little"), state.live):
        yield "the bitmap of live rows is not that of the faces"
    if not np.array_equal(
        state.identity_numbers[: counts.row_count][is_live], found.owners[: counts.row_count][is_live]
    ):
        yield "the identity numbers in memory are not those of the faces"
