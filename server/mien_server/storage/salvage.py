"""Saving what is whole of a damaged store into a new one; the old one is only read.

Records are read from LMDB's pages without LMDB (`page_file`), so that nothing in them can end the process. A record is
taken when its checksum holds, a face when its vector's does too and its person is known. What follows from identities
and faces is made anew. Ordinals, identity numbers and the store's id stay; the journal is left behind.

Where pages above the records are damaged, the pages below them are found again by looking at each page that no tree
reaches and that is not free. When the list of free pages is damaged itself, that is not done: it would bring back what
was deleted.

Ids and records of the identities are held in memory, about a kilobyte each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeAlias

import numpy as np

from mien_server.errors import CorruptStore, PreconditionFailed
from mien_server.records.policies import VectorType
from mien_server.records.store_pb2 import (
    FaceRecord,
    GalleryCounts,
    GalleryRecord,
    IdentityRecord,
    JournalEntry,
    RequestRecord,
)
from mien_server.storage import keys
from mien_server.storage.checksums import row_checksums
from mien_server.storage.databases import Database
from mien_server.storage.derived import pairs_of_face, pairs_of_identity
from mien_server.storage.doubts import Progress, no_progress
from mien_server.storage.layout import FORMAT_VERSION, Layout, StoreFormat, read_format, sync_folder, write_format
from mien_server.storage.page_file import PageFault, PageFile
from mien_server.storage.salvage_pages import RecordsFound
from mien_server.storage.salvage_sink import NewRecords
from mien_server.storage.values import FaceValue, decode_face, decode_message, encode_face
from mien_server.storage.vector_file import VECTORS_OFFSET, VectorFile, make_vector_file

__all__ = ["Salvaged", "report_path", "salvage"]

Put: TypeAlias = Callable[[Database, bytes, bytes], None]

_CHUNK = 2048
_NUMBERS_MAX = 1 << 32


@dataclass(slots=True)
class Salvaged:
    """What was saved and what was not.

    Attributes:
        kept: how many records of each kind are in the new store.
        lost: how many are not, by kind and reason.
        notes: what else is to be known, for a person.
        report: where each loss is named, one JSON object a line; None when nothing was written.
    """

    kept: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    report: Path | None = None
    revision: int = 0

    def keep(self, what: str) -> None:
        """Count something that was saved."""
        self.kept[what] = self.kept.get(what, 0) + 1


def report_path(target: Path) -> Path:
    """Where what was lost on the way to a new store is named."""
    return target.with_name(f"{target.name}.lost.jsonl")


def salvage(source: Path, target: Path | None, progress: Progress = no_progress) -> Salvaged:
    """Save what is whole of the store in `source` into a new store in `target`.

    Args:
        target: absent or an empty folder; None finds out what would be saved, and writes nothing.

    Raises:
        PreconditionFailed: TARGET_NOT_EMPTY; STORE_FORMAT_OLD and others of another format.
        CorruptStore: NOTHING_TO_SAVE, there is nothing to begin with.
        OSError: the disk refuses.
    """
    if target is not None and target.exists() and any(target.iterdir()):
        raise PreconditionFailed(
            f"{target}: holds something; a repair goes into a new place", reason="TARGET_NOT_EMPTY"
        )
    return _Salvaging(Layout(source.absolute()), target, progress).run()


@dataclass(slots=True)
class _Gallery:
    """One gallery on its way. Arrays have a place for each identity number."""

    record: GalleryRecord
    old_counts: GalleryCounts | None
    old_file: VectorFile
    new_file: VectorFile | None
    numbers: dict[int, str] = field(default_factory=dict)
    records: dict[int, IdentityRecord] = field(default_factory=dict)
    face_counts: dict[int, int] = field(default_factory=dict)
    rows_end: int = 0
    face_count: int = 0
    kept_rows: set[int] = field(default_factory=set)


class _Salvaging:
    """One run."""

    def __init__(self, layout: Layout, target: Path | None, progress: Progress) -> None:
        self._layout = layout
        self._target = target
        self._progress = progress
        self._done = Salvaged()
        self._losses: TextIO | None = None
        try:
            self._found = RecordsFound(PageFile(layout.records_file))
        except (PageFault, FileNotFoundError) as error:
            raise CorruptStore(
                f"{layout.meta / 'data.mdb'}: {error}; nothing can be saved without it, restore the store from a copy",
                reason="NOTHING_TO_SAVE",
            ) from error
        self._done.notes += self._found.notes
        self._store_format = self._format()

    def _format(self) -> StoreFormat:
        """What FORMAT says, or what the records say where it is damaged."""
        try:
            found = read_format(self._layout)
        except CorruptStore:
            raw = self._found.get(Database.META, keys.META_STORE_ID)
            if raw is None:
                raise
            self._done.notes.append("FORMAT is damaged; the store's id is that of its records")
            return StoreFormat(FORMAT_VERSION, raw.decode())
        if found.version != FORMAT_VERSION or found.is_migrating:
            raise PreconditionFailed(
                f"{self._layout.root}: stores of format {FORMAT_VERSION} alone have checksums that tell what is "
                "whole; bring it up first with mien-index migrate, or restore it from a copy",
                reason="STORE_FORMAT_OLD",
            )
        return found

    def run(self) -> Salvaged:
        if self._target is None:
            self._run(None)
            return self._done
        target = Layout(self._target.absolute())
        for folder in (target.root, target.meta, target.vectors, target.index):
            folder.mkdir(parents=True, exist_ok=True)
        self._done.report = report_path(target.root)
        with self._done.report.open("w", encoding="utf-8") as losses, NewRecords(target.meta) as sink:
            self._losses = losses
            self._run(sink, target)
            losses.flush()
            os.fsync(losses.fileno())
        # Only now is it a store.
        write_format(target, StoreFormat(FORMAT_VERSION, self._store_format.store_id))
        sync_folder(target.root.parent)
        return self._done

    def _run(self, sink: NewRecords | None, target: Layout | None = None) -> None:
        put = sink.put if sink is not None else _nowhere
        versions = [0]
        galleries = {}
        for number, gallery in self._galleries(target):
            galleries[number] = gallery
            versions.append(gallery.record.version)
        for number, gallery in galleries.items():
            self._identities(number, gallery)
            self._faces(number, gallery, put)
            self._name_lost_faces(number, gallery)
            versions += [record.version for record in gallery.records.values()]
            self._put_gallery(number, gallery, put)
        self._lose_strays(set(galleries))
        versions.append(self._remembered(put))
        self._done.revision = max(versions) + 1
        for key, raw in self._found.items(Database.META):
            if key == keys.META_REVISION:
                self._done.revision = max(self._done.revision, keys.decode_number(raw) + 1)
            elif key not in _MADE_ANEW and not key.startswith(keys.META_PURGE_PREFIX):
                put(Database.META, key, raw)
        for key, _ in self._found.items(Database.JOURNAL):
            self._done.revision = max(self._done.revision, keys.decode_number(key) + 1)
        put(Database.META, keys.META_REVISION, keys.encode_number(self._done.revision))
        put(Database.META, keys.META_STORE_ID, self._store_format.store_id.encode())
        put(Database.META, keys.META_FORMAT_VERSION, keys.encode_number(FORMAT_VERSION))
        put(Database.META, keys.META_JOURNAL_BYTES, keys.encode_number(0))
        next_number = max([0, *galleries]) + 1
        raw_next = self._found.get(Database.META, keys.META_NEXT_GALLERY_NUMBER)
        if raw_next is not None:
            next_number = max(next_number, keys.decode_number(raw_next))
        put(Database.META, keys.META_NEXT_GALLERY_NUMBER, keys.encode_number(next_number))
        for key, database in self._found.damaged:
            self._lose("record", f"a record of {database} is damaged", database=database, key=key.hex())

    # --- galleries and identities -------------------------------------------------------------------------------

    def _galleries(self, target: Layout | None) -> Iterator[tuple[int, _Gallery]]:
        for number, record in self._gallery_records().items():
            key = keys.encode_gallery(number)
            raw_counts = self._found.get(Database.GALLERY_COUNTS, key)
            counts = None
            if raw_counts is not None:
                counts = decode_message(GalleryCounts, raw_counts, Database.GALLERY_COUNTS, key)
            old_file = self._file_of(self._layout, record)
            new_file = None
            if target is not None:
                new_file = self._file_of(target, record)
                make_vector_file(new_file)
            yield number, _Gallery(record, counts, old_file, new_file)

    def _gallery_records(self) -> dict[int, GalleryRecord]:
        """By number; one that is damaged as the journal has it, if it does."""
        records = {
            keys.decode_gallery(key): decode_message(GalleryRecord, raw, Database.GALLERIES, key)
            for key, raw in self._found.items(Database.GALLERIES)
        }
        missing = self._counted_galleries() - records.keys()
        if not missing:
            return records
        told: dict[int, GalleryRecord] = {}
        for key, raw in self._found.items(Database.JOURNAL):
            for operation in decode_message(JournalEntry, raw, Database.JOURNAL, key).operations:
                if operation.HasField("put_gallery"):
                    told[operation.put_gallery.number] = operation.put_gallery
        for number in sorted(missing & told.keys()):
            records[number] = told[number]
            self._done.notes.append(
                f"gallery {told[number].name!r}: its record is damaged, and was taken from the journal"
            )
        return records

    def _counted_galleries(self) -> set[int]:
        """Numbers of the galleries that have counts and were not deleted."""
        purged = {
            keys.decode_purge(key)
            for key, _ in self._found.items(Database.META)
            if key.startswith(keys.META_PURGE_PREFIX)
        }
        return {keys.decode_gallery(key) for key, _ in self._found.items(Database.GALLERY_COUNTS)} - purged

    def _file_of(self, layout: Layout, record: GalleryRecord) -> VectorFile:
        return VectorFile(
            layout.vector_file(record.number),
            self._store_format.store_id,
            record.number,
            record.dimension,
            VectorType(record.vector_type),
        )

    def _identities(self, number: int, gallery: _Gallery) -> None:
        prefix = keys.encode_gallery(number)
        ids = set()
        for key, raw in self._found.items(Database.IDENTITIES, prefix):
            record = decode_message(IdentityRecord, raw, Database.IDENTITIES, key)
            identity_id = key[keys.GALLERY_BYTES :].decode()
            if record.number in gallery.numbers or record.number >= _NUMBERS_MAX:
                self._lose("identity", "its number is another's", gallery=gallery.record.name, identity_id=identity_id)
                continue
            gallery.numbers[record.number] = identity_id
            gallery.records[record.number] = record
            ids.add(identity_id)
        for key, raw in self._found.items(Database.IDENTITY_IDS, prefix):
            identity_number, identity_id = keys.decode_numbered(key)[1], raw.decode()
            if identity_number in gallery.numbers:
                continue
            if identity_id in ids:
                self._lose("identity", "its id is another's", gallery=gallery.record.name, identity_id=identity_id)
                continue
            # The number is known to be of this id: the faces keep their person, who loses name and labels.
            ids.add(identity_id)
            gallery.numbers[identity_number] = identity_id
            gallery.records[identity_number] = IdentityRecord(number=identity_number)
            self._lose("name and labels", "of an identity", gallery=gallery.record.name, identity_id=identity_id)

    # --- faces --------------------------------------------------------------------------------------------------

    def _faces(self, number: int, gallery: _Gallery, put: Put) -> None:
        vectors = _mapped(gallery.old_file)
        face_ids: set[str] = set()
        items = self._found.items(Database.FACES, keys.encode_gallery(number))
        chunk: list[tuple[int, FaceValue]] = []
        for key, raw in items:
            chunk.append((keys.decode_numbered(key)[1], decode_face(key, raw)))
            if len(chunk) == _CHUNK:
                self._take_faces(number, gallery, chunk, vectors, face_ids, put)
                chunk = []
        if chunk:
            self._take_faces(number, gallery, chunk, vectors, face_ids, put)

    def _take_faces(
        self,
        number: int,
        gallery: _Gallery,
        chunk: list[tuple[int, FaceValue]],
        vectors: np.ndarray[Any, Any],
        face_ids: set[str],
        put: Put,
    ) -> None:
        ordinals = np.array([ordinal for ordinal, _ in chunk], dtype=np.int64)
        is_there = ordinals < vectors.shape[0]
        is_whole = np.zeros(len(chunk), dtype=np.bool_)
        expected = np.array([face.vector_checksum for _, face in chunk], dtype=np.uint64)
        rows = vectors[ordinals[is_there]]
        is_whole[is_there] = row_checksums(rows) == expected[is_there]
        kept: list[int] = []
        for place, (ordinal, face) in enumerate(chunk):
            reason = ""
            if not is_whole[place]:
                reason = "its vector is damaged" if is_there[place] else "its vector is missing"
            elif face.identity_number not in gallery.numbers:
                reason = "nothing says whose it is"
            elif face.face_id in face_ids:
                reason = "its id is another's"
            if reason:
                self._lose_face(gallery, ordinal, face.face_id, gallery.numbers.get(face.identity_number, ""), reason)
                continue
            kept.append(ordinal)
            face_ids.add(face.face_id)
            self._put_face(number, gallery, ordinal, face, put)
        if kept and gallery.new_file is not None:
            _write_rows(gallery.new_file, kept, vectors)
        gallery.rows_end = max([gallery.rows_end, *(ordinal + 1 for ordinal, _ in chunk if ordinal < 1 << 40)])
        gallery.kept_rows.update(ordinal for ordinal, _ in chunk)
        self._progress(0.5, f"faces of {gallery.record.name}")

    def _put_face(self, number: int, gallery: _Gallery, ordinal: int, face: FaceValue, put: Put) -> None:
        key = keys.encode_numbered(number, ordinal)
        labels = decode_message(FaceRecord, face.record, Database.FACES, key).labels
        put(Database.FACES, key, encode_face(face))
        for database, (derived_key, value) in pairs_of_face(number, ordinal, face, labels):
            put(database, derived_key, value)
        gallery.face_counts[face.identity_number] = gallery.face_counts.get(face.identity_number, 0) + 1
        gallery.face_count += 1
        self._done.keep("faces")

    def _name_lost_faces(self, number: int, gallery: _Gallery) -> None:
        """Faces that other records name and whose own record was not found."""
        for key, raw in self._found.items(Database.FACE_IDS, keys.encode_gallery(number)):
            ordinal = keys.decode_number(raw)
            gallery.rows_end = max(gallery.rows_end, ordinal + 1)
            if ordinal not in gallery.kept_rows:
                face_id = key[keys.GALLERY_BYTES :].decode()
                self._lose_face(gallery, ordinal, face_id, "", "its record is damaged")

    def _put_gallery(self, number: int, gallery: _Gallery, put: Put) -> None:
        key = keys.encode_gallery(number)
        for identity_number, identity_id in gallery.numbers.items():
            record = gallery.records[identity_number]
            record.face_count = gallery.face_counts.get(identity_number, 0)
            put(Database.IDENTITIES, keys.encode_text(number, identity_id), record.SerializeToString())
            for database, (derived_key, value) in pairs_of_identity(number, identity_id, record):
                put(database, derived_key, value)
            self._done.keep("identities")
        old = gallery.old_counts
        row_count = max(gallery.rows_end, old.row_count if old is not None else 0)
        counts = GalleryCounts(
            identity_count=len(gallery.numbers),
            face_count=gallery.face_count,
            row_count=row_count,
            next_identity_number=max([0, *gallery.numbers, old.next_identity_number - 1 if old is not None else 0]) + 1,
        )
        put(Database.GALLERIES, key, gallery.record.SerializeToString())
        put(Database.GALLERY_NAMES, gallery.record.name.encode(), key)
        put(Database.GALLERY_COUNTS, key, counts.SerializeToString())
        self._done.keep("galleries")
        if gallery.new_file is not None:
            os.truncate(gallery.new_file.path, gallery.new_file.file_bytes(row_count))
            with gallery.new_file.path.open("rb") as file:
                os.fsync(file.fileno())

    def _lose_strays(self, numbers: set[int]) -> None:
        """Galleries whose record was not found anywhere."""
        lost = self._counted_galleries() - numbers
        for key, raw in self._found.items(Database.GALLERY_COUNTS):
            number = keys.decode_gallery(key)
            if number in lost:
                counts = decode_message(GalleryCounts, raw, Database.GALLERY_COUNTS, key)
                self._lose("gallery", "its record is damaged", number=str(number), faces=str(counts.face_count))

    def _remembered(self, put: Put) -> int:
        """Copy what stands for itself; answers with the newest revision that it names."""
        newest = 0
        for database in (Database.REQUESTS, Database.OPERATIONS, Database.ERASURES, Database.SNAPSHOTS):
            for key, raw in self._found.items(database):
                put(database, key, raw)
                self._done.keep(database.value)
                if database is Database.REQUESTS:
                    record = decode_message(RequestRecord, raw, database, key)
                    newest = max(newest, record.revision)
                    put(Database.REQUEST_TIMES, keys.encode_request_time(record.time_us, key.decode()), b"")
        return newest

    # --- losses -------------------------------------------------------------------------------------------------

    def _lose_face(self, gallery: _Gallery, ordinal: int, face_id: str, identity_id: str, reason: str) -> None:
        self._lose(
            "face",
            reason,
            gallery=gallery.record.name,
            ordinal=str(ordinal),
            face_id=face_id,
            identity_id=identity_id,
        )

    def _lose(self, what: str, reason: str, **facts: str) -> None:
        name = f"{what}: {reason}"
        self._done.lost[name] = self._done.lost.get(name, 0) + 1
        if self._losses is not None:
            self._losses.write(json.dumps({"what": what, "reason": reason, **facts}, ensure_ascii=False) + "\n")


_MADE_ANEW = {
    keys.META_REVISION,
    keys.META_STORE_ID,
    keys.META_FORMAT_VERSION,
    keys.META_JOURNAL_BYTES,
    keys.META_NEXT_GALLERY_NUMBER,
}


def _nowhere(_database: Database, _key: bytes, _value: bytes) -> None:
    """Nothing is written."""


def _mapped(file: VectorFile) -> np.ndarray[Any, Any]:
    """The rows that the file has, whatever its header says; [0, dimension] when there is no file."""
    try:
        size = file.path.stat().st_size
    except OSError:
        size = 0
    count = max(0, size - VECTORS_OFFSET) // file.row_bytes
    if count == 0:
        return np.zeros((0, file.dimension), dtype=file.dtype)
    rows: np.ndarray[Any, Any] = np.memmap(
        file.path, dtype=file.dtype, mode="r", offset=VECTORS_OFFSET, shape=(count, file.dimension)
    )
    return rows


def _write_rows(file: VectorFile, ordinals: list[int], vectors: np.ndarray[Any, Any]) -> None:
    """Copy these rows, run by run."""
    numbers = np.array(sorted(ordinals), dtype=np.int64)
    descriptor = os.open(file.path, os.O_RDWR)
    try:
        for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
            raw = vectors[int(run[0]) : int(run[-1]) + 1].tobytes()
            offset = file.file_bytes(int(run[0]))
            while raw:
                written = os.pwrite(descriptor, raw, offset)
                raw, offset = raw[written:], offset + written
    finally:
        os.close(descriptor)
