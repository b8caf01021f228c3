"""A store that no server has open, read and never written: for checks, salvage and migrations."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import lmdb

from mien_server.errors import CorruptStore, Unavailable
from mien_server.records.store_pb2 import GalleryRecord
from mien_server.storage.databases import Database, Handles, Reading
from mien_server.storage.exchanging import require_exchanged
from mien_server.storage.layout import Layout, StoreFormat, read_format, require_format
from mien_server.storage.lmdb_errors import translated_open_error
from mien_server.storage.lmdb_format import DATA_FILE_NAME
from mien_server.storage.lock import lock_folder
from mien_server.storage.opening import vector_file_of
from mien_server.storage.reading import RecordReader
from mien_server.storage.vector_file import VectorFile

__all__ = ["OfflineStore", "held", "open_read_only", "reading_of"]

_PID_BYTES_MAX = 32


@contextmanager
def held(layout: Layout) -> Iterator[None]:
    """Keep servers out for the length of the block, without writing anything; a store without LOCK has none.

    Raises:
        PreconditionFailed: RESTORE_UNFINISHED.
        Unavailable: STORE_LOCKED, a process has the store open.
    """
    require_exchanged(layout.root)
    if not layout.root.is_dir():
        yield
        return
    with ExitStack() as opened:
        if layout.lock_file.exists():
            descriptor = os.open(layout.lock_file, os.O_RDONLY)
            opened.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(descriptor, _PID_BYTES_MAX, 0).decode(errors="replace").strip() or "unknown"
                raise Unavailable(
                    f"{layout.root}: process {holder} has the store open; stop it, or work on a snapshot",
                    reason="STORE_LOCKED",
                    metadata={"pid": holder},
                ) from error
        opened.callback(os.close, lock_folder(layout.root))
        yield


class _PartialReading(Reading):
    """Reading where some databases may never have been made: these are empty."""

    def entry_count(self, database: Database) -> int:
        return super().entry_count(database) if database in self._handles else 0

    def get(self, database: Database, key: bytes) -> bytes | None:
        return super().get(database, key) if database in self._handles else None

    def items(self, database: Database, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return super().items(database, prefix, start) if database in self._handles else iter(())

    def raw_chunks(
        self, database: Database, prefix: bytes, size: int, start: bytes = b""
    ) -> Iterator[list[tuple[bytes, bytes]]]:
        return super().raw_chunks(database, prefix, size, start) if database in self._handles else iter(())

    def keys(self, database: Database, prefix: bytes, start: bytes = b"") -> Iterator[bytes]:
        return super().keys(database, prefix, start) if database in self._handles else iter(())


@contextmanager
def reading_of(meta: Path) -> Iterator[Reading]:
    """Read an LMDB environment as it is, without its lock file.

    Raises:
        CorruptStore: LMDB does not know the file.
    """
    data = meta / DATA_FILE_NAME
    if not data.is_file():
        raise CorruptStore(
            f"{data}: missing, and with it all records; restore the store from a copy",
            reason="RECORDS_DAMAGED",
            metadata={"file": str(data)},
        )
    map_size_bytes = max(data.stat().st_size, 1 << 20)
    try:
        environment = lmdb.open(
            str(meta), map_size=map_size_bytes, max_dbs=len(Database), readonly=True, lock=False, create=False
        )
    except lmdb.Error as error:
        raise translated_open_error(error, meta, map_size_bytes) from error
    try:
        with environment.begin() as transaction:
            yield _PartialReading(transaction, _handles(environment, transaction))
    finally:
        environment.close()


def _handles(environment: lmdb.Environment, transaction: lmdb.Transaction[bytes]) -> Handles:
    handles = {}
    for database in Database:
        try:
            handles[database] = environment.open_db(database.value.encode(), transaction, create=False)
        except lmdb.NotFoundError:
            continue
    return handles


class OfflineStore:
    """What is open.

    Attributes:
        records: of the newest commit.
    """

    def __init__(self, layout: Layout, store_format: StoreFormat, records: RecordReader) -> None:
        self.layout = layout
        self.store_format = store_format
        self.records = records

    def file_of(self, record: GalleryRecord) -> VectorFile:
        """The vector file of a gallery."""
        return vector_file_of(self.layout, self.store_format.store_id, record)


@contextmanager
def open_read_only(path: Path) -> Iterator[OfflineStore]:
    """The store in `path`, for the length of the block.

    Raises:
        Unavailable: STORE_LOCKED.
        PreconditionFailed: NOT_A_STORE, STORE_FORMAT_OLD, STORE_FORMAT_TOO_NEW.
        CorruptStore: it cannot be read at all.
    """
    layout = Layout(path.absolute())
    with held(layout):
        store_format = read_format(layout)
        require_format(layout, store_format)
        with reading_of(layout.meta) as reading:
            yield OfflineStore(layout, store_format, RecordReader(reading))
