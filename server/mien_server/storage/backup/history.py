"""What happened after a snapshot: journal and vectors of a later snapshot, or of a store that nobody has open."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import lmdb

from mien_server.errors import CorruptStore, NotFound, PreconditionFailed, Unavailable
from mien_server.records.store_pb2 import JournalEntry
from mien_server.storage import keys
from mien_server.storage.backup.manifest import META_FILE_NAME, SnapshotManifest, damaged, read_manifest, require_format
from mien_server.storage.backup.places import Place
from mien_server.storage.backup.vectors import part_path
from mien_server.storage.backup.verifying import verified_blocks
from mien_server.storage.databases import Database, Reading, open_for_reading
from mien_server.storage.layout import Layout
from mien_server.storage.lmdb_errors import translated_open_error
from mien_server.storage.lmdb_format import DATA_FILE_NAME
from mien_server.storage.lock import StoreLock
from mien_server.storage.opening import require_sound_records
from mien_server.storage.options import StoreOptions
from mien_server.storage.reading import RecordReader
from mien_server.storage.values import decode_message
from mien_server.storage.vector_file import VectorFile

__all__ = ["History", "Reach", "open_snapshot_history", "open_store_history", "reach_of"]


class History(ABC):
    """A journal and the vectors of the rows it speaks of. Read only.

    Attributes:
        where: what to call it.
        store_id: of the store.
        revision: its newest.
    """

    def __init__(self, where: str, records: RecordReader) -> None:
        self.where = where
        self._records = records
        self.store_id = records.store_id()
        self.revision = records.revision()

    def entry(self, revision: int) -> bytes | None:
        """The journal's entry of a revision. Raises CorruptStore (RECORD_DAMAGED)."""
        return self._records.reading.get(Database.JOURNAL, keys.encode_number(revision))

    @abstractmethod
    def rows(self, file: VectorFile, first: int, last: int) -> bytes:
        """The bytes of rows [first, last) of a gallery, whose file in the store made anew is given.

        Raises:
            PreconditionFailed: REVISION_NOT_REACHABLE, it has them no more.
        """

    def _gone(self, file: VectorFile, first: int, last: int) -> PreconditionFailed:
        return PreconditionFailed(
            f"{self.where}: has no rows {first} to {last - 1} of gallery {file.gallery_number}; restore to an earlier "
            "revision, or replay from a later snapshot that has them",
            reason="REVISION_NOT_REACHABLE",
        )


class _StoreHistory(History):
    def __init__(self, layout: Layout, records: RecordReader) -> None:
        super().__init__(str(layout.root), records)
        self._layout = layout

    def rows(self, file: VectorFile, first: int, last: int) -> bytes:
        path = self._layout.vector_file(file.gallery_number)
        try:
            with path.open("rb") as opened:
                opened.seek(file.file_bytes(first))
                raw = opened.read((last - first) * file.row_bytes)
        except FileNotFoundError as error:
            raise self._gone(file, first, last) from error
        except OSError as error:
            raise Unavailable(f"{path}: cannot be read: {error}", reason="STORAGE_READ_FAILED") from error
        if len(raw) < (last - first) * file.row_bytes:
            raise self._gone(file, first, last)
        return raw


class _SnapshotHistory(History):
    def __init__(self, place: Place, manifest: SnapshotManifest, records: RecordReader) -> None:
        super().__init__(f"{place.uri}/{manifest.name}", records)
        self._place = place
        self._name = manifest.name
        self._galleries = {gallery.number: gallery for gallery in manifest.galleries}

    def rows(self, file: VectorFile, first: int, last: int) -> bytes:
        gallery = self._galleries.get(file.gallery_number)
        if gallery is None or gallery.row_count < last:
            raise self._gone(file, first, last)
        pieces = []
        while first < last:
            part_first = first - first % gallery.part_rows
            part_last = min(part_first + gallery.part_rows, gallery.row_count)
            end = min(last, part_last)
            path = f"{self._name}/{part_path(gallery.number, part_first, part_last)}"
            try:
                with self._place.read(path) as opened:
                    opened.seek((first - part_first) * file.row_bytes)
                    pieces.append(opened.read((end - first) * file.row_bytes))
            except NotFound as error:
                raise damaged(self._place, path, "is missing") from error
            first = end
        return b"".join(pieces)


@contextmanager
def open_store_history(path: Path, options: StoreOptions, *, is_locked: bool) -> Iterator[History]:
    """The history in a store's folder.

    Args:
        is_locked: this process holds the store's lock already.

    Raises:
        PreconditionFailed: NOT_A_STORE.
        Unavailable: STORE_LOCKED, a server has it open.
        CorruptStore: RECORDS_DAMAGED, reading its pages would end the process.
    """
    layout = Layout(path)
    with ExitStack() as opened:
        if not layout.records_file.is_file():
            raise PreconditionFailed(f"{path}: is no store and no snapshot; give either", reason="NOT_A_STORE")
        if not is_locked:
            opened.callback(StoreLock(layout.lock_file).release)
        try:
            require_sound_records(layout, options)
        except CorruptStore as error:
            raise CorruptStore(
                f"{error.message}. To restore without its journal leave out --to-revision, or name a later snapshot "
                "with --journal",
                reason=error.reason,
                metadata=error.metadata,
            ) from error
        yield _StoreHistory(layout, opened.enter_context(_records_in(layout.meta, options)))


@contextmanager
def open_snapshot_history(place: Place, name: str, work: Path, options: StoreOptions) -> Iterator[History]:
    """The history in a snapshot; its records are copied to the folder `work` for the length of the block.

    Raises:
        NotFound: SNAPSHOT_NOT_FOUND.
        CorruptStore: SNAPSHOT_DAMAGED.
    """
    manifest = read_manifest(place, name)
    require_format(manifest, f"{place.uri}/{name}")
    work.mkdir()
    try:
        file = next((file for file in manifest.files if file.path == META_FILE_NAME), None)
        if file is None:
            raise damaged(place, f"{name}/{META_FILE_NAME}", "is missing")
        with (work / DATA_FILE_NAME).open("wb") as copied:
            for block in verified_blocks(place, name, file):
                copied.write(block)
        with _records_in(work, options) as records:
            yield _SnapshotHistory(place, manifest, records)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _records_in(meta: Path, options: StoreOptions) -> Iterator[RecordReader]:
    try:
        environment, handles = open_for_reading(meta, options)
    except lmdb.Error as error:
        raise translated_open_error(error, meta, options.map_size_bytes) from error
    try:
        with environment.begin() as transaction:
            yield RecordReader(Reading(transaction, handles))
    finally:
        environment.close()


@dataclass(frozen=True, slots=True)
class Reach:
    """The revisions that can be made from a snapshot with a history.

    Attributes:
        ranges: first and last revision of each run, ascending; the first begins with the snapshot's.
        hindrance: why there are no others, "" when the history simply ends.
    """

    ranges: tuple[tuple[int, int], ...]
    hindrance: str = ""

    def has(self, revision: int) -> bool:
        """Whether the revision can be made."""
        return any(first <= revision <= last for first, last in self.ranges)

    def words(self) -> str:
        """The ranges for a person."""
        shown = [str(first) if first == last else f"{first} to {last}" for first, last in self.ranges]
        return ", ".join(shown) + (f" ({self.hindrance})" if self.hindrance else "")


def reach_of(base: RecordReader, history: History) -> Reach:
    """Which revisions the history leads to from the records of a snapshot. Reads the journal from there on.

    Raises:
        PreconditionFailed: HISTORY_OF_ANOTHER_STORE, or of one that went another way before the snapshot was taken.
    """
    start = base.revision()
    if history.store_id != base.store_id():
        raise PreconditionFailed(
            f"{history.where}: belongs to store {history.store_id}, the snapshot to store {base.store_id()}; give a "
            "later state of the same store",
            reason="HISTORY_OF_ANOTHER_STORE",
        )
    alone = ((start, start),)
    if history.revision <= start:
        return Reach(alone, f"{history.where} is at revision {history.revision}")
    if start:
        ours = base.reading.get(Database.JOURNAL, keys.encode_number(start))
        theirs = history.entry(start)
        if theirs is None:
            return Reach(
                alone, f"the journal of {history.where} no longer has revision {start}, to which it must reach"
            )
        if ours is None or _time_us(theirs) != _time_us(ours):
            raise PreconditionFailed(
                f"{history.where}: its revision {start} is not that of the snapshot; one of them was restored and "
                "written to since. Give a state that came after the snapshot",
                reason="HISTORY_OF_ANOTHER_STORE",
            )
    return _walked(start, history)


def _walked(start: int, history: History) -> Reach:
    first_enrolled: dict[int, int] = {}
    lost: set[int] = set()
    hindrances = []
    revision = start
    while revision < history.revision:
        try:
            raw = history.entry(revision + 1)
        except CorruptStore as error:
            hindrances.append(error.message)
            break
        if raw is None:
            hindrances.append(f"the journal of {history.where} has no revision {revision + 1}")
            break
        revision += 1
        entry = decode_message(JournalEntry, raw, Database.JOURNAL, keys.encode_number(revision))
        for operation in entry.operations:
            match operation.WhichOneof("operation"):
                case "enroll":
                    first_enrolled.setdefault(operation.enroll.gallery_number, revision)
                case "delete_gallery" if operation.delete_gallery in first_enrolled:
                    since = first_enrolled.pop(operation.delete_gallery)
                    lost |= set(range(since, revision))
                    hindrances.append(
                        f"what gallery {operation.delete_gallery} was given from revision {since} on went with it at "
                        f"revision {revision}"
                    )
                case _:
                    pass
    return Reach(_runs(start, revision, lost), "; ".join(hindrances))


def _runs(first: int, last: int, lost: set[int]) -> tuple[tuple[int, int], ...]:
    runs: list[tuple[int, int]] = []
    for revision in range(first, last + 1):
        if revision in lost:
            continue
        if runs and runs[-1][1] == revision - 1:
            runs[-1] = (runs[-1][0], revision)
        else:
            runs.append((revision, revision))
    return tuple(runs)


def _time_us(entry: bytes) -> int:
    """When an entry was committed: the rest of it may be without somebody who was erased since."""
    return JournalEntry.FromString(entry).time_us
