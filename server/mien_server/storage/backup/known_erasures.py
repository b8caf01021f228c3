"""Who was erased, as a store or a later snapshot knows it: what a restore must not undo.

Records are read from LMDB's pages without LMDB: the store in place may be restored because it is damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import DecodeError

from mien_server.errors import CorruptStore, MienError, PreconditionFailed, Unavailable
from mien_server.records.store_pb2 import ErasureRecord, JournalEntry, SnapshotRecord
from mien_server.storage import keys
from mien_server.storage.backup.manifest import (
    META_FILE_NAME,
    SnapshotManifest,
    damaged,
    is_snapshot_folder,
    name_suffix,
    named_revision,
    read_manifest,
    require_format,
)
from mien_server.storage.backup.places import Place, open_place
from mien_server.storage.backup.verifying import verified_blocks
from mien_server.storage.databases import Database
from mien_server.storage.layout import FORMAT_VERSION, Layout
from mien_server.storage.offline import held
from mien_server.storage.page_file import PageFault, PageFile
from mien_server.storage.reading import RecordReader
from mien_server.storage.salvage_pages import RecordsFound

__all__ = ["ErasureSource", "ErasuresGathered", "KnownErasures", "gather_erasures", "snapshot_at"]


@dataclass(frozen=True, slots=True)
class KnownErasures:
    """What one state of a store knows.

    Attributes:
        where: what to call it.
        revision: its newest; later erasures are not known to it.
        secret: its key for hashes; None before its first erasure.
        snapshots: those that it knows.
        time_of: when a revision of its journal was committed, microseconds since 1970 UTC; None: not in its journal.
        journal_start: the oldest revision of its journal; None: it has none.
        is_partial: some of its records are damaged.
    """

    where: str
    store_id: str
    revision: int
    secret: bytes | None
    erasures: tuple[ErasureRecord, ...]
    snapshots: tuple[SnapshotRecord, ...]
    time_of: Callable[[int], int | None] = field(compare=False, repr=False)
    journal_start: int | None = None
    is_partial: bool = False

    def is_of_line(self, records: RecordReader, revision: int) -> bool:
        """Whether it is a later state of the store at this revision, of which these are the records.

        Those whose journal has the revision saw what came after it.
        """
        entry = next(records.journal(revision), None)
        return entry is not None and self.time_of(revision) == entry.time_us


@dataclass(frozen=True, slots=True)
class ErasureSource:
    """What may tell of erasures: a store's folder or a snapshot.

    Attributes:
        is_asked_for: somebody named it, so that a restore without it is none they want.
        is_locked: this process holds the store's lock already.
    """

    where: str
    is_asked_for: bool = False
    is_locked: bool = False


@dataclass(frozen=True, slots=True)
class ErasuresGathered:
    """What is known of erasures, and in `unread` for a person what is not."""

    known: tuple[KnownErasures, ...]
    unread: tuple[str, ...]


def gather_erasures(
    place: Place, manifest: SnapshotManifest, revision: int, sources: Iterable[ErasureSource], copied: Path
) -> ErasuresGathered:
    """Read what the sources know. If the place has a newer snapshot than any of them, its newest is asked as well.

    Args:
        revision: what is to be restored.
        copied: a file that may be written, and is removed.

    Raises:
        MienError: what was asked for cannot be read.
        PreconditionFailed: ERASURES_OF_ANOTHER_STORE, it belongs to another store than the snapshot.
    """
    known: list[KnownErasures] = []
    unread: list[str] = []
    for source in sources:
        try:
            known.append(_of_store(_read(source, copied), manifest))
        except MienError as error:
            if source.is_asked_for:
                raise
            unread.append(error.message)
    later, later_revision = _newest_later(place, manifest)
    if later_revision > max((one.revision for one in known), default=manifest.revision):
        try:
            known.append(_of_store(_of_snapshot(place, read_manifest(place, later), copied), manifest))
        except MienError as error:
            unread.append(error.message)
    unread += [
        f"{one.where}: some of its records are damaged, and erasures may be among them"
        for one in known
        if one.is_partial
    ]
    unread += _unreached(known, revision)
    return ErasuresGathered(tuple(known), tuple(unread))


def snapshot_at(where: str) -> tuple[Place, str] | None:
    """Place and name of a snapshot that is called DESTINATION/NAME; None when it is no snapshot."""
    if "://" not in where and not is_snapshot_folder(Path(where)):
        return None
    uri, _, name = where.rstrip("/").rpartition("/")
    return open_place(uri or "."), name


def _of_store(known: KnownErasures, manifest: SnapshotManifest) -> KnownErasures:
    if known.store_id != manifest.store_id:
        raise PreconditionFailed(
            f"{known.where}: belongs to store {known.store_id}, the snapshot to store {manifest.store_id}; its "
            "erasures are of other people",
            reason="ERASURES_OF_ANOTHER_STORE",
        )
    return known


def _newest_later(place: Place, manifest: SnapshotManifest) -> tuple[str, int]:
    """Name and revision of the newest snapshot of the store beside that of the manifest; "" and 0 if it is no later."""
    suffix = name_suffix(manifest.store_id)
    later = [name for name in place.names() if name.endswith(suffix) and name > manifest.name]
    found = [(name, revision) for name in later if (revision := named_revision(name)) is not None]
    return max(found, default=("", 0))


def _read(source: ErasureSource, copied: Path) -> KnownErasures:
    if found := snapshot_at(source.where):
        place, name = found
        return _of_snapshot(place, read_manifest(place, name), copied)
    path = Path(source.where).absolute()
    layout = Layout(path)
    if not layout.records_file.is_file():
        raise PreconditionFailed(
            f"{path}: is no store and no snapshot; give a store's folder or DESTINATION/NAME", reason="NOT_A_STORE"
        )
    if source.is_locked:
        return _known(str(path), layout.records_file)
    with held(layout):
        return _known(str(path), layout.records_file)


def _of_snapshot(place: Place, manifest: SnapshotManifest, copied: Path) -> KnownErasures:
    """What a snapshot knows: its records are copied to the file `copied`, which is removed."""
    where = f"{place.uri}/{manifest.name}"
    require_format(manifest, where)
    file = next((file for file in manifest.files if file.path == META_FILE_NAME), None)
    if file is None:
        raise damaged(place, f"{manifest.name}/{META_FILE_NAME}", "is missing")
    try:
        with copied.open("wb") as written:
            for block in verified_blocks(place, manifest.name, file):
                written.write(block)
        return _known(where, copied)
    finally:
        copied.unlink(missing_ok=True)


def _known(where: str, records_file: Path) -> KnownErasures:
    try:
        found = RecordsFound(PageFile(records_file))
        version = _number(found, keys.META_FORMAT_VERSION)
        store_id = found.get(Database.META, keys.META_STORE_ID)
        revision = _number(found, keys.META_REVISION) or 0
        if version is None or store_id is None:
            raise CorruptStore(
                f"{where}: its records are damaged, or older than format {FORMAT_VERSION}", reason="RECORDS_DAMAGED"
            )
        if version != FORMAT_VERSION:
            raise PreconditionFailed(
                f"{where}: has format {version}, this release reads format {FORMAT_VERSION}", reason="STORE_FORMAT_OLD"
            )
        known = KnownErasures(
            where,
            store_id.decode(),
            revision,
            found.get(Database.META, keys.META_ERASURE_SECRET),
            tuple(ErasureRecord.FromString(raw) for _, raw in found.items(Database.ERASURES)),
            tuple(SnapshotRecord.FromString(raw) for _, raw in found.items(Database.SNAPSHOTS)),
            _times(found),
            next((keys.decode_number(key) for key, _ in found.items(Database.JOURNAL)), None),
            is_partial=bool(found.notes or found.damaged),
        )
    except (PageFault, DecodeError, UnicodeDecodeError) as error:
        raise CorruptStore(f"{where}: its records cannot be read: {error}", reason="RECORDS_DAMAGED") from error
    except OSError as error:
        raise Unavailable(f"{where}: cannot be read: {error}", reason="STORAGE_READ_FAILED") from error
    return known


def _unreached(known: Iterable[KnownErasures], revision: int) -> list[str]:
    """Of later erasures of which nobody can tell whether their rows are those of the store at this revision."""
    later = [(one, {record.name for record in one.erasures if record.revision > revision}) for one in known]
    lines = [(one, names, bool(names) and one.time_of(revision) is not None) for one, names in later]
    reached = {record.name for one, _, is_reaching in lines if is_reaching for record in one.erasures}
    return [
        f"{one.where}: its journal begins at revision {one.journal_start}, after {revision}; faces that were given to "
        "people later who are erased since may be back, with those who had them before"
        for one, names, is_reaching in lines
        if not is_reaching and names - reached
    ]


def _number(found: RecordsFound, key: bytes) -> int | None:
    raw = found.get(Database.META, key)
    return None if raw is None else keys.decode_number(raw)


def _times(found: RecordsFound) -> Callable[[int], int | None]:
    def time_of(revision: int) -> int | None:
        raw = found.get(Database.JOURNAL, keys.encode_number(revision))
        return None if raw is None else JournalEntry.FromString(raw).time_us

    return time_of
