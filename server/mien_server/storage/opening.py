"""Opening a store: what is checked, what is put right, and how the snapshot in memory is made from LMDB."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lmdb
import numpy as np
import numpy.typing as npt

from mien_server.errors import CorruptStore, PreconditionFailed, Unavailable
from mien_server.records.policies import VectorType
from mien_server.records.store_pb2 import GalleryCounts, GalleryRecord
from mien_server.storage import keys
from mien_server.storage.databases import (
    Database,
    Handles,
    Reading,
    Transaction,
    corrupt,
    open_databases,
    open_environment,
    put,
)
from mien_server.storage.doubts import Doubts
from mien_server.storage.exchanging import finish_exchange
from mien_server.storage.expiry import Clock, first_expiry_us
from mien_server.storage.gallery_state import GalleryState
from mien_server.storage.layout import FORMAT_VERSION, Layout, StoreFormat, folder_name, read_or_make_format
from mien_server.storage.lmdb_errors import translated_open_error
from mien_server.storage.lock import StoreLock
from mien_server.storage.options import StoreOptions
from mien_server.storage.quarantine import find_quarantine
from mien_server.storage.reading import RecordReader
from mien_server.storage.snapshots import SnapshotContent, Snapshots
from mien_server.storage.structure import require_sound_structure
from mien_server.storage.upkeep import Upkeep
from mien_server.storage.values import decode_face_headers
from mien_server.storage.vector_file import VectorFile, VectorMapping, check_vector_file, trim_vector_file

__all__ = ["OpenedStore", "close_files", "open_meta", "open_store", "require_sound_records", "vector_file_of"]

log = logging.getLogger(__name__)

# Faces decoded at once while the snapshot is made: bounds the memory that takes.
_SCAN_FACES = 65_536
# Of a larger file the pages above the records alone are looked at when it is opened: all of it takes 10 ms a MiB.
_STRUCTURE_BYTES_MAX = 256 << 20
_NUMBER_MAX = np.iinfo(np.uint32).max


@dataclass(slots=True)
class OpenedStore:
    """Everything that is open. The writer replaces environment and handles when it opens LMDB anew.

    Attributes:
        damage: what is not served, where that was asked for.
        serves_damaged: whether it was.
    """

    layout: Layout
    store_format: StoreFormat
    lock: StoreLock
    environment: lmdb.Environment
    handles: Handles
    snapshots: Snapshots
    clock: Clock
    upkeep: Upkeep = field(default_factory=Upkeep)
    damage: Doubts = field(default_factory=Doubts)
    serves_damaged: bool = False

    @contextmanager
    def pinned(self) -> Iterator[Transaction]:
        """A read transaction of the newest commit, or in the moment before its publication the one before it."""
        snapshot, transaction = self.snapshots.acquire()
        try:
            yield transaction
        finally:
            self.snapshots.release(snapshot, transaction)


def vector_file_of(layout: Layout, store_id: str, record: GalleryRecord) -> VectorFile:
    """The vector file of a gallery."""
    return VectorFile(
        layout.vector_file(record.number), store_id, record.number, record.dimension, VectorType(record.vector_type)
    )


def open_store(path: Path, options: StoreOptions) -> OpenedStore:
    """Open or make the store in `path`; see `Store.open` for what it raises."""
    layout = Layout(path.absolute())
    undo: list[Callable[[], None]] = []
    try:
        finish_exchange(layout.root)
        layout.root.mkdir(parents=True, exist_ok=True)
        lock = StoreLock(layout.lock_file)
        undo.append(lock.release)
        store_format = read_or_make_format(layout)
        for folder in (layout.meta, layout.vectors, layout.index):
            folder.mkdir(exist_ok=True)
        require_sound_records(layout, options)
        environment, handles = open_meta(layout, options, options.map_size_bytes)
        undo.append(environment.close)
        _agree_on_store_id(layout, store_format, environment, handles)
        damage = Doubts()
        content, latest_us = _load(
            layout, store_format.store_id, environment, handles, damage if options.serve_damaged else None
        )
        if not damage.count:
            _remove_strays(layout, content)
    except OSError as error:
        _undo(undo)
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            raise PreconditionFailed(f"{path}: not a folder; give a folder", reason="NOT_A_STORE") from error
        raise Unavailable(f"{path}: cannot be opened: {error}", reason="STORAGE_OPEN_FAILED") from error
    except BaseException:
        _undo(undo)
        raise
    snapshots = Snapshots(environment, content, options.ready_reader_count_max)
    clock = Clock(options.clock_us, latest_us)
    return OpenedStore(
        layout,
        store_format,
        lock,
        environment,
        handles,
        snapshots,
        clock,
        damage=damage,
        serves_damaged=options.serve_damaged,
    )


def close_files(opened: OpenedStore, wait_s_max: float) -> None:
    """Wait for the views, cut the room off the vector files, close LMDB, release the lock. The writer has ended."""
    if not opened.snapshots.close(wait_s_max):
        # Closing LMDB under a view would crash the process; the lock stays ours, so that nobody opens it beside us.
        log.error("%s: views are still open after %g s; the store stays open", opened.layout.root, wait_s_max)
        return
    # After a failure LMDB may hold rows that memory does not know; the next opening trims.
    trimmed = {} if opened.snapshots.has_failed else opened.snapshots.current.galleries
    for state in trimmed.values():
        try:
            trim_vector_file(state.mapping.file, state.counts.row_count)
        except OSError as error:
            # Harmless: the next opening does it.
            log.warning("%s: could not be trimmed: %s", state.mapping.file.path, error)
    opened.environment.close()
    opened.lock.release()


def _undo(steps: list[Callable[[], None]]) -> None:
    for step in reversed(steps):
        step()


def require_sound_records(layout: Layout, options: StoreOptions) -> None:
    """Refuse a file that would end the process when LMDB reads it; raises CorruptStore (RECORDS_DAMAGED)."""
    path = layout.records_file
    if not path.exists() and any(layout.vectors.iterdir()):
        # LMDB would make an empty one.
        raise _records_missing(layout)
    is_small = path.exists() and path.stat().st_size <= _STRUCTURE_BYTES_MAX
    require_sound_structure(path, leaves=is_small or options.serve_damaged)


def _records_missing(layout: Layout) -> CorruptStore:
    return CorruptStore(
        f"{layout.meta}: has no records, but there are vectors beside it; restore it from a copy",
        reason="RECORDS_DAMAGED",
        metadata={"file": str(layout.meta)},
    )


def open_meta(layout: Layout, options: StoreOptions, map_size_bytes: int) -> tuple[lmdb.Environment, Handles]:
    """Open LMDB with that much address space, or what its records take already if that is more. Raises MienError."""
    try:
        environment = open_environment(layout.meta, options, map_size_bytes)
    except lmdb.Error as error:
        raise translated_open_error(error, layout.meta, map_size_bytes) from error
    try:
        return environment, open_databases(environment)
    except lmdb.Error as error:
        environment.close()
        raise translated_open_error(error, layout.meta, map_size_bytes) from error


def _agree_on_store_id(
    layout: Layout, store_format: StoreFormat, environment: lmdb.Environment, handles: Handles
) -> None:
    """LMDB must be of the store that FORMAT names; a store whose making was cut off is finished."""
    with environment.begin() as transaction:
        records = RecordReader(Reading(transaction, handles))
        found = records.store_id()
        is_new = found is None and records.revision() == 0
    if is_new:
        if any(layout.vectors.iterdir()):
            raise _records_missing(layout)
        with environment.begin(write=True) as transaction:
            put(transaction, handles, Database.META, keys.META_STORE_ID, store_format.store_id.encode())
            put(transaction, handles, Database.META, keys.META_FORMAT_VERSION, keys.encode_number(FORMAT_VERSION))
    elif found != store_format.store_id:
        raise CorruptStore(
            f"{layout.meta}: belongs to store {found}, and FORMAT names store {store_format.store_id}; restore both "
            "from one copy",
            reason="STORE_MIXED",
            metadata={"file": str(layout.format_file)},
        )


def _load(
    layout: Layout, store_id: str, environment: lmdb.Environment, handles: Handles, damage: Doubts | None
) -> tuple[SnapshotContent, int]:
    """The store as it was closed, and the time of its last commit in microseconds.

    Args:
        damage: gets what is damaged, and memory does without that; None: nothing may be.
    """
    with environment.begin() as transaction:
        records = RecordReader(Reading(transaction, handles))
        quarantine = None
        if damage is not None:
            quarantine = find_quarantine(records, lambda record: vector_file_of(layout, store_id, record), damage)
        galleries = {}
        for record in records.galleries():
            counts = records.counts(record.number)
            file = vector_file_of(layout, store_id, record)
            check_vector_file(file, counts.row_count)
            if quarantine is None:
                identity_numbers, live = _scan_faces(records, record.number, counts)
            else:
                identity_numbers, live = quarantine[record.number]
            mapping = VectorMapping(file, counts.row_count)
            next_expiry_us = first_expiry_us(records.reading, record.number)
            galleries[record.number] = GalleryState(
                record,
                counts,
                identity_numbers,
                live,
                mapping,
                next_expiry_us=next_expiry_us,
                has_quarantine=quarantine is not None,
            )
        numbers = {state.record.name: number for number, state in galleries.items()}
        content = SnapshotContent(records.revision(), transaction.id(), galleries, dict(sorted(numbers.items())))
        return content, records.latest_time_us()


def _scan_faces(
    records: RecordReader, gallery_number: int, counts: GalleryCounts
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]:
    """Identity numbers uint32 [row_count] and the bitmap of live rows, from the headers of all faces."""
    identity_numbers = np.zeros(counts.row_count, dtype=np.uint32)
    is_live = np.zeros(counts.row_count, dtype=np.bool_)
    prefix = keys.encode_gallery(gallery_number)
    # Their checksums are verified when they are read to be answered: here that would double the time.
    for chunk in records.reading.raw_chunks(Database.FACES, prefix, _SCAN_FACES):
        found, values = zip(*chunk, strict=True)
        if any(len(key) != len(prefix) + keys.NUMBER_BYTES for key in found):
            raise corrupt(Database.FACES, prefix, "a key of this gallery is none of a face", "RECORD_DAMAGED")
        ordinals = keys.decode_trailing_numbers(found)
        headers = decode_face_headers(values, found)
        wrong = (ordinals >= counts.row_count) | (headers["identity_number"] > _NUMBER_MAX)
        if wrong.any():
            raise corrupt(Database.FACES, found[int(wrong.argmax())], f"outside the {counts.row_count} rows committed")
        identity_numbers[ordinals] = headers["identity_number"]
        is_live[ordinals] = True
    face_count = int(np.count_nonzero(is_live))
    if face_count != counts.face_count:
        raise corrupt(
            Database.GALLERY_COUNTS, prefix, f"counts {counts.face_count} faces, and there are {face_count} of them"
        )
    return identity_numbers, np.packbits(is_live, bitorder="little")


def _remove_strays(layout: Layout, content: SnapshotContent) -> None:
    """Remove the folders of galleries that are gone, or were never committed."""
    kept = {folder_name(number) for number in content.galleries}
    for parent in (layout.vectors, layout.index):
        for folder in parent.iterdir():
            if folder.name not in kept:
                log.warning("%s: no gallery has this folder; removing it", folder)
                if folder.is_dir():
                    shutil.rmtree(folder)
                else:
                    folder.unlink()
