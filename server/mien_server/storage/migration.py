"""Bringing a store of an older format up to this release's: explicit, resumable, with a backup left behind.

    1. the backup: a copy of the old store in another folder (generations are linked where they can be), FORMAT last
    2. `meta.new`: every record written anew, as the new format has it; vectors stay where they are
    3. `meta.new` is checked against the vectors, wholly
    4. FORMAT says that the store is migrating: no release opens it any more
    5. `meta` becomes `meta.old`, `meta.new` becomes `meta`
    6. FORMAT says the new version; `meta.old` goes

Cut off before step 4, the old store is as it was, and a further run begins anew; cut off later, a further run ends it.

Format 1 had no checksums. Those of format 2 are computed from what is there: damage from before cannot be told. Its
journal named what was written without holding it, and is left behind: a store can be restored to revisions from its
migration on.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import lmdb
import numpy as np

from mien_server.errors import CorruptStore, PreconditionFailed, Unavailable
from mien_server.records.store_pb2 import GalleryCounts, GalleryRecord
from mien_server.storage import keys
from mien_server.storage.check import CheckOptions, StoreCheck
from mien_server.storage.checksums import row_checksums
from mien_server.storage.databases import (
    GALLERY_KEYED,
    Database,
    Handles,
    open_databases,
    open_environment,
    put,
    put_many,
)
from mien_server.storage.doubts import Progress, no_progress
from mien_server.storage.exchanging import finish_exchange
from mien_server.storage.layout import FORMAT_VERSION, Layout, StoreFormat, read_format, sync_folder, write_format
from mien_server.storage.lmdb_errors import translated_open_error
from mien_server.storage.lmdb_format import DATA_FILE_NAME
from mien_server.storage.lock import StoreLock
from mien_server.storage.offline import reading_of
from mien_server.storage.opening import vector_file_of
from mien_server.storage.options import StoreOptions
from mien_server.storage.reading import RecordReader
from mien_server.storage.steps import reached
from mien_server.storage.structure import require_sound_structure
from mien_server.storage.values import decode_message
from mien_server.storage.vector_file import VectorArray, VectorMapping, inspect_vector_file

__all__ = ["MIGRATION_STEPS", "Migration", "migrate"]

MIGRATION_STEPS = (
    "migrate.begun",
    "migrate.copied",
    "migrate.backed_up",
    "migrate.records",
    "migrate.written",
    "migrate.checked",
    "migrate.announced",
    "migrate.old_aside",
    "migrate.new_in_place",
    "migrate.done",
)
"""At which a test can have the process killed, in their order."""

_CHUNK = 4096
# What a store consists of beside FORMAT.
_FOLDERS = ("meta", "vectors", "index")
# Identity number u64, time of enrolment i64, digest, length of the face id u16; then the id and the record.
_face_header_1 = struct.Struct(f"<Qq{keys.DIGEST_BYTES}sH")
_face_header_2 = struct.Struct(f"<QqqQ{keys.DIGEST_BYTES}sH")


@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration did.

    Attributes:
        from_version: what the store had; this release's when there was nothing to do.
        backup: where the old store is; None when there was nothing to do, or an earlier run was given another place.
        records: how many were written anew; 0 when an earlier run had done it.
        revision: the first that the store can be restored to.
    """

    from_version: int
    backup: Path | None
    records: int
    revision: int


def migrate(path: Path, backup: Path | None = None, progress: Progress = no_progress) -> Migration:
    """Bring the store in `path` up to this release's format.

    Args:
        path: the store; no server may have it open.
        backup: where the old store is kept; beside it, with `.format-1` behind its name, when none is given.
        progress: is told how far it is.

    Raises:
        Unavailable: STORE_LOCKED; STORAGE_FULL, the backup does not fit.
        PreconditionFailed: NOT_A_STORE; STORE_FORMAT_TOO_NEW; BACKUP_EXISTS, where it would go lie other things, or a
            backup that is not of the store as it is now.
        CorruptStore: the old store contradicts itself; it is left as it was.
        OSError: the disk refuses.
    """
    layout = Layout(path.absolute())
    finish_exchange(layout.root)
    store_format = read_format(layout)
    if store_format.version > FORMAT_VERSION:
        raise PreconditionFailed(
            f"{layout.root}: the store has format {store_format.version}, newer than the {FORMAT_VERSION} of this "
            f"release; use a release that reads format {store_format.version}",
            reason="STORE_FORMAT_TOO_NEW",
            metadata={"format_version": str(store_format.version)},
        )
    lock = StoreLock(layout.lock_file)
    try:
        return _Migrating(layout, backup, progress).run()
    finally:
        lock.release()


class _Migrating:
    """One run; the lock is held."""

    def __init__(self, layout: Layout, backup: Path | None, progress: Progress) -> None:
        self._layout = layout
        self._format = read_format(layout)
        root = layout.root
        self._backup = backup.absolute() if backup is not None else root.with_name(f"{root.name}.format-1")
        self._new = root / "meta.new"
        self._old = root / "meta.old"
        self._progress = progress
        self._records = 0

    def run(self) -> Migration:
        is_done = self._format.version == FORMAT_VERSION and not self._format.is_migrating
        if is_done:
            self._remove_old()
            return Migration(FORMAT_VERSION, None, 0, self._revision())
        if not self._format.is_migrating:
            reached("migrate.begun")
            require_sound_structure(self._layout.records_file)
            self._back_up()
            reached("migrate.backed_up")
            self._write_records()
            reached("migrate.written")
            self._check()
            reached("migrate.checked")
            write_format(self._layout, StoreFormat(FORMAT_VERSION, self._format.store_id, is_migrating=True))
        reached("migrate.announced")
        self._replace()
        write_format(self._layout, StoreFormat(FORMAT_VERSION, self._format.store_id))
        reached("migrate.done")
        self._remove_old()
        is_kept = Layout(self._backup).format_file.exists()
        return Migration(1, self._backup if is_kept else None, self._records, self._revision())

    def _revision(self) -> int:
        with reading_of(self._layout.meta) as reading:
            return RecordReader(reading).revision()

    # --- the backup ---------------------------------------------------------------------------------------------

    def _back_up(self) -> None:
        """Copy the old store, FORMAT last; a copy that an earlier run made stays, if it is of the store as it is now.

        Vectors are copied, not linked: a server writes into their files in place.
        """
        if self._backup.exists() and any(self._backup.iterdir()):
            if difference := self._difference():
                raise PreconditionFailed(
                    f"{self._backup}: is no backup of this store as it is now: {difference}; move it away, or name "
                    "another place with --backup",
                    reason="BACKUP_EXISTS",
                )
            return
        partial = self._backup.with_name(f"{self._backup.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        self._require_room(partial.parent)
        partial.mkdir(parents=True)
        root = self._layout.root
        for folder in _FOLDERS:
            (partial / folder).mkdir()
        for source in self._files():
            target = partial / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._progress(0.0, f"copying {source.relative_to(root)}")
            copy = _link_or_copy if source.is_relative_to(self._layout.index) else _copy
            copy(source, target)
        _copy(self._layout.format_file, partial / "FORMAT")
        for folder_path in [partial, *(one for one in partial.rglob("*") if one.is_dir())]:
            sync_folder(folder_path)
        reached("migrate.copied")
        if self._backup.exists():
            self._backup.rmdir()
        partial.rename(self._backup)
        sync_folder(self._backup.parent)

    def _files(self) -> list[Path]:
        """Every file of the old store but FORMAT."""
        found = [path for folder in _FOLDERS for path in sorted((self._layout.root / folder).rglob("*"))]
        return [path for path in found if path.is_file() and path.name != "lock.mdb"]

    def _difference(self) -> str:
        """What of the folder for the backup is not as in the store, byte for byte; empty when it is a copy of it."""
        try:
            copied = read_format(Layout(self._backup))
        except (PreconditionFailed, CorruptStore) as error:
            return error.message
        if copied.store_id != self._format.store_id:
            return f"it is of store {copied.store_id}, and this is {self._format.store_id}"
        if copied != self._format:
            return f"it has format {copied.version}, and this store {self._format.version}"
        for source in self._files():
            name = source.relative_to(self._layout.root)
            kept = self._backup / name
            self._progress(0.0, f"comparing {name} with the backup")
            if not kept.is_file():
                return f"it has no {name}"
            if not kept.samefile(source) and not filecmp.cmp(source, kept, shallow=False):
                return f"its {name} is another, of an earlier state or damaged"
        return ""

    def _require_room(self, where: Path) -> None:
        where.mkdir(parents=True, exist_ok=True)
        files = [self._layout.records_file, *self._layout.vectors.rglob("*.vec")]
        needed = sum(file.stat().st_blocks * 512 for file in files) + self._layout.records_file.stat().st_size
        free = shutil.disk_usage(where).free
        if free < needed:
            raise Unavailable(
                f"{where}: the backup and the new records take {needed} bytes, and {free} are free; free some, or name "
                "another place with --backup",
                reason="STORAGE_FULL",
            )

    # --- the records --------------------------------------------------------------------------------------------

    def _write_records(self) -> None:
        shutil.rmtree(self._new, ignore_errors=True)
        self._new.mkdir()
        environment = open_environment(self._new, StoreOptions())
        try:
            handles = open_databases(environment)
            with _old_records(self._layout.meta) as old:
                self._convert(old, environment, handles)
            environment.sync(True)  # noqa: FBT003 - LMDB's own: wait until it is on disk
        finally:
            environment.close()
        sync_folder(self._new)
        sync_folder(self._layout.root)

    def _convert(self, old: _OldRecords, environment: lmdb.Environment, handles: Handles) -> None:
        galleries = {
            keys.decode_gallery(key): decode_message(GalleryRecord, raw, Database.GALLERIES, key)
            for key, raw in old.items(Database.GALLERIES)
        }
        prefixes = {keys.encode_gallery(number) for number in galleries}
        vectors = dict(self._vectors(old, galleries))
        total = max(old.entry_count(), 1)
        for database in Database:
            for chunk in old.chunks(database):
                if database in GALLERY_KEYED:
                    # Of galleries that were deleted some records may still wait to be taken out.
                    chunk = [item for item in chunk if item[0][: keys.GALLERY_BYTES] in prefixes]  # noqa: PLW2901
                if database is Database.FACES:
                    chunk = list(_faces(chunk, vectors))  # noqa: PLW2901
                elif database is Database.META:
                    chunk = [item for item in chunk if not item[0].startswith(keys.META_PURGE_PREFIX)]  # noqa: PLW2901
                elif database is Database.JOURNAL:
                    continue
                with environment.begin(write=True) as transaction:
                    put_many(transaction, handles, database, chunk)
                self._records += len(chunk)
                self._progress(self._records / total, f"writing {database}")
                reached("migrate.records")
        with environment.begin(write=True) as transaction:
            put(transaction, handles, Database.META, keys.META_FORMAT_VERSION, keys.encode_number(FORMAT_VERSION))
            put(transaction, handles, Database.META, keys.META_JOURNAL_BYTES, keys.encode_number(0))

    def _vectors(self, old: _OldRecords, galleries: dict[int, GalleryRecord]) -> Iterator[tuple[int, VectorArray]]:
        for number, record in galleries.items():
            key = keys.encode_gallery(number)
            raw = old.get(Database.GALLERY_COUNTS, key)
            if raw is None:
                raise CorruptStore(
                    f"{self._layout.meta}: gallery {record.name!r} has no counts; restore it from a copy"
                )
            row_count = decode_message(GalleryCounts, raw, Database.GALLERY_COUNTS, key).row_count
            file = vector_file_of(self._layout, self._format.store_id, record)
            inspect_vector_file(file, row_count)
            yield number, VectorMapping(file, row_count).rows(row_count)

    def _check(self) -> None:
        """Raise CorruptStore, and leave the old store as it is, unless the new records are sound."""
        require_sound_structure(self._new / DATA_FILE_NAME)
        with reading_of(self._new) as reading:
            check = StoreCheck(
                RecordReader(reading),
                lambda record: vector_file_of(self._layout, self._format.store_id, record),
                CheckOptions(progress=self._progress),
            )
            doubts = [doubt for checked in check.run() for doubt in checked.doubts.listed]
        if doubts:
            shutil.rmtree(self._new)
            raise CorruptStore(
                f"{self._layout.root}: the old store contradicts itself and stays as it was; {len(doubts)} doubts, the "
                f"first: {doubts[0].message}",
                reason="MIGRATION_REFUSED",
                metadata=dict(doubts[0].place),
            )

    # --- the change ---------------------------------------------------------------------------------------------

    def _replace(self) -> None:
        if self._new.exists() and not self._old.exists():
            self._layout.meta.rename(self._old)
            sync_folder(self._layout.root)
        reached("migrate.old_aside")
        if self._new.exists():
            self._new.rename(self._layout.meta)
            sync_folder(self._layout.root)
        reached("migrate.new_in_place")

    def _remove_old(self) -> None:
        shutil.rmtree(self._old, ignore_errors=True)
        shutil.rmtree(self._new, ignore_errors=True)


def _faces(chunk: list[tuple[bytes, bytes]], vectors: dict[int, VectorArray]) -> Iterator[tuple[bytes, bytes]]:
    """Faces of format 1 as those of format 2."""
    for number, group in groupby(chunk, lambda item: keys.decode_gallery(item[0])):
        items, rows = list(group), vectors[number]
        ordinals = keys.decode_trailing_numbers([key for key, _ in items]).astype(np.int64)
        for (key, raw), ordinal in zip(items, ordinals.tolist(), strict=True):
            if len(raw) < _face_header_1.size or not 0 <= ordinal < rows.shape[0]:
                raise CorruptStore(
                    f"meta/: database faces, key {key.hex()}: no face of the {rows.shape[0]} rows; restore the store "
                    "from a copy",
                    metadata={"database": "faces", "key": key.hex()},
                )
        checksums = row_checksums(rows[ordinals]).tolist()
        for (key, raw), checksum in zip(items, checksums, strict=True):
            identity_number, created_us, digest, length = _face_header_1.unpack_from(raw)
            header = _face_header_2.pack(identity_number, created_us, 0, checksum, digest, length)
            yield key, header + raw[_face_header_1.size :]


class _OldRecords:
    """The records of format 1, as LMDB has them: their values had no checksums."""

    def __init__(self, environment: lmdb.Environment, transaction: lmdb.Transaction[bytes]) -> None:
        self._transaction = transaction
        self._handles = {}
        for database in Database:
            try:
                self._handles[database] = environment.open_db(database.value.encode(), transaction, create=False)
            except lmdb.NotFoundError:
                continue

    def entry_count(self) -> int:
        return sum(self._transaction.stat(handle)["entries"] for handle in self._handles.values())

    def get(self, database: Database, key: bytes) -> bytes | None:
        return self._transaction.get(key, db=self._handles[database])

    def items(self, database: Database) -> Iterator[tuple[bytes, bytes]]:
        if database in self._handles:
            with self._transaction.cursor(self._handles[database]) as cursor:
                if cursor.first():
                    yield from cursor.iternext()

    def chunks(self, database: Database) -> Iterator[list[tuple[bytes, bytes]]]:
        items = self.items(database)
        while chunk := list(islice(items, _CHUNK)):
            yield chunk


@contextmanager
def _old_records(meta: Path) -> Iterator[_OldRecords]:
    data = meta / DATA_FILE_NAME
    map_size_bytes = max(data.stat().st_size, 1 << 20)
    try:
        environment = lmdb.open(
            str(meta), map_size=map_size_bytes, max_dbs=len(Database), readonly=True, lock=False, create=False
        )
    except lmdb.Error as error:
        raise translated_open_error(error, meta, map_size_bytes) from error
    try:
        with environment.begin() as transaction:
            yield _OldRecords(environment, transaction)
    finally:
        environment.close()


def _copy(source: Path, target: Path) -> None:
    shutil.copy2(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _link_or_copy(source: Path, target: Path) -> None:
    """Files of generations are never written to again, and so can be shared."""
    try:
        os.link(source, target)
    except OSError:
        _copy(source, target)
