"""Making a store out of a snapshot: beside the place where it is to stand, verified, and only then moved there.

Nothing is taken away: a store that stood there is kept under another name. A restore that was cut off leaves a folder
that the next one removes; the one before it is as it was. Who was erased since the snapshot does not come back, as far
as the store in place, or what else is given, tells of it.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lmdb
import numpy as np

from mien_server.errors import CorruptStore, PreconditionFailed, Unavailable
from mien_server.records.store_pb2 import ErasureWork
from mien_server.storage import keys
from mien_server.storage.backup.erasing_again import ErasedAgain, erase_again
from mien_server.storage.backup.history import History, open_snapshot_history, open_store_history, reach_of
from mien_server.storage.backup.known_erasures import ErasureSource, KnownErasures, gather_erasures, snapshot_at
from mien_server.storage.backup.manifest import (
    META_FILE_NAME,
    SnapshotFile,
    SnapshotGallery,
    SnapshotManifest,
    damaged,
    is_snapshot_folder,
    require_format,
    snapshot_named,
    snapshot_record,
)
from mien_server.storage.backup.places import Place
from mien_server.storage.backup.remembering import remember
from mien_server.storage.backup.vectors import part_path, part_ranges
from mien_server.storage.backup.verifying import verified_blocks
from mien_server.storage.checksums import row_checksums
from mien_server.storage.databases import (
    Database,
    Handles,
    Reading,
    open_databases,
    open_environment,
)
from mien_server.storage.exchanging import finish_exchange, put_in_place
from mien_server.storage.layout import Layout, sync_folder
from mien_server.storage.lock import StoreLock
from mien_server.storage.opening import vector_file_of
from mien_server.storage.options import StoreOptions
from mien_server.storage.reading import RecordReader
from mien_server.storage.replay import Replay
from mien_server.storage.steps import reached
from mien_server.storage.store import Store
from mien_server.storage.values import decode_face_headers
from mien_server.storage.vector_file import VectorFile, make_vector_file, vector_damaged

__all__ = ["RestoreRequest", "Restored", "restore"]

log = logging.getLogger(__name__)

_REPLAYED_ENTRIES = 256
# Rows copied and verified at once.
_COPIED_ROWS = 4096


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What is restored where.

    Attributes:
        target: the store's folder; a store that is there is kept under another name.
        to_revision: a later revision than the snapshot's, made by replaying the journal; None: the snapshot's own.
        journal: a store's folder or a snapshot to replay from; "": the store in `target`.
        erasures: folders of stores, and snapshots, that know who was erased since; what is in `target` and `journal`
            does too.
    """

    place: Place
    name: str
    target: Path
    to_revision: int | None = None
    journal: str = ""
    options: StoreOptions = field(default_factory=StoreOptions)
    erasures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """A store that was restored.

    Attributes:
        restored_revision: what was asked for.
        revision: that, or a later one where people were erased again.
        replayed_count: revisions made by replaying.
        kept: where the store that was there is now.
        erased_again: erasures since, that found somebody or something of them.
        erasures_known: who told of erasures, and up to which revision.
        erasures_unread: who might have told of others, and why they did not.
    """

    manifest: SnapshotManifest
    target: Path
    restored_revision: int
    revision: int
    replayed_count: int
    kept: Path | None
    erased_again: tuple[ErasedAgain, ...]
    erasures_known: tuple[tuple[str, int], ...]
    erasures_unread: tuple[str, ...]
    duration_s: float


def restore(request: RestoreRequest, watch: Callable[[float, str], None]) -> Restored:
    """Restore a snapshot, whole or not at all.

    Raises:
        NotFound: SNAPSHOT_NOT_FOUND.
        CorruptStore: SNAPSHOT_DAMAGED, or the store made of it contradicts itself; nothing was replaced.
        PreconditionFailed: another format; NOT_A_STORE; REVISION_NOT_REACHABLE, with the revisions that are.
        Unavailable: STORE_LOCKED; the disk refuses.
        Cancelled: by `watch`.
    """
    started_s = time.monotonic()
    manifest = snapshot_named(request.place, request.name)
    require_format(manifest, f"{request.place.uri}/{request.name}")
    target = request.target.absolute().resolve()
    with ExitStack() as opened, _explained(target):
        finish_exchange(target)
        is_store = _is_store(target)
        _require_journal(request, manifest, target, is_store=is_store)
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_store:
            opened.callback(StoreLock(Layout(target).lock_file).release)
        work = _work_folder(target)
        opened.callback(shutil.rmtree, work, ignore_errors=True)
        reached("restore.begun")
        watch(0.0, "looking for later erasures")
        to_revision = manifest.revision if request.to_revision is None else request.to_revision
        sources = _sources(request, target, is_store=is_store)
        known = gather_erasures(request.place, manifest, to_revision, sources, work / "erasures")
        making = _Making(request, manifest, Layout(work), watch)
        making.copy()
        reached("restore.copied")
        with making.records() as (environment, handles):
            making.join_vectors(environment, handles)
            replayed_count = 0
            if to_revision != manifest.revision:
                making.remember(environment, handles, known.known)
                with _history(request, target, work, is_locked=is_store) as history:
                    replayed_count = making.replay(environment, handles, history, to_revision)
        reached("restore.replayed")
        making.erase(known.known)
        reached("restore.erased")
        revision = making.check()
        reached("restore.checked")
        kept = put_in_place(work, target, is_replacing=is_store)
    return Restored(
        manifest,
        target,
        manifest.revision + replayed_count,
        revision,
        replayed_count,
        kept,
        making.erased_again,
        tuple((one.where, one.revision) for one in known.known),
        known.unread,
        time.monotonic() - started_s,
    )


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, lmdb.Error) as error:
        raise Unavailable(
            f"{target}: could not be restored: {error}; what was there is as it was, restore again once that is mended",
            reason="STORAGE_WRITE_FAILED",
        ) from error


def _is_store(target: Path) -> bool:
    """Whether a store is there; refuses a place where other things are."""
    there = next(path for path in (target, *target.parents) if path.exists())
    if not there.is_dir():
        raise PreconditionFailed(f"{there}: is a file; give a store's folder or a new one", reason="NOT_A_STORE")
    if there != target:
        return False
    if is_snapshot_folder(target):
        raise PreconditionFailed(f"{target}: is a snapshot; give a store's folder or a new one", reason="NOT_A_STORE")
    if Layout(target).format_file.exists() or Layout(target).meta.exists():
        return True
    others = sorted(entry.name for entry in target.iterdir())
    if others:
        raise PreconditionFailed(
            f"{target}: the folder holds other things ({', '.join(others[:5])}); give a store's folder or a new one",
            reason="NOT_A_STORE",
        )
    return False


def _require_journal(request: RestoreRequest, manifest: SnapshotManifest, target: Path, *, is_store: bool) -> None:
    is_replayed = request.to_revision not in {None, manifest.revision}
    if is_replayed and not request.journal and not is_store:
        raise PreconditionFailed(
            f"{target}: there is no store to replay revisions {manifest.revision} to {request.to_revision} from; name "
            "one, or a later snapshot, as the journal",
            reason="JOURNAL_NEEDED",
        )


def _sources(request: RestoreRequest, target: Path, *, is_store: bool) -> list[ErasureSource]:
    """Who may tell of erasures, each once."""
    found = {str(target): ErasureSource(str(target), is_locked=True)} if is_store else {}
    if request.journal:
        found.setdefault(_canonical(request.journal), ErasureSource(request.journal))
    for where in request.erasures:
        key = _canonical(where)
        found[key] = ErasureSource(where, is_asked_for=True, is_locked=key in found and found[key].is_locked)
    return list(found.values())


def _canonical(where: str) -> str:
    return where if "://" in where else str(Path(where).absolute().resolve())


def _work_folder(target: Path) -> Path:
    """An empty folder beside the target, on the same disk; what an earlier restore left there is removed."""
    work = target.with_name(f".{target.name}.restoring")
    if work.exists():
        log.warning("%s: left by a restore that was cut off; removing it", work)
        shutil.rmtree(work)
    work.mkdir()
    return work


@contextmanager
def _history(request: RestoreRequest, target: Path, work: Path, *, is_locked: bool) -> Iterator[History]:
    where = request.journal or str(target)
    if found := snapshot_at(where):
        place, name = found
        with open_snapshot_history(place, name, work / "journal", request.options) as history:
            yield history
        return
    path = Path(where).absolute().resolve()
    with open_store_history(path, request.options, is_locked=is_locked and path == target) as history:
        yield history


class _Making:
    """A store that is being made in a folder of its own."""

    def __init__(
        self,
        request: RestoreRequest,
        manifest: SnapshotManifest,
        layout: Layout,
        watch: Callable[[float, str], None],
    ) -> None:
        self._place = request.place
        self._options = request.options
        self._manifest = manifest
        self._layout = layout
        self._watch = watch
        self._files = {file.path: file for file in manifest.files}
        self._done_bytes = 0
        self._remembered: dict[str, ErasureWork] = {}
        self.erased_again: tuple[ErasedAgain, ...] = ()

    def copy(self) -> None:
        """Copy everything but the vectors."""
        for path in ("FORMAT", META_FILE_NAME):
            if path not in self._files:
                raise damaged(self._place, f"{self._manifest.name}/{path}", "is missing")
        for folder in (self._layout.meta, self._layout.vectors, self._layout.index):
            folder.mkdir()
        for file in self._manifest.files:
            if file.path.startswith("vectors/"):
                continue
            target = self._layout.root / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copied:
                for block in self._blocks(file):
                    copied.write(block)
                _sync(copied.fileno())

    @contextmanager
    def records(self) -> Iterator[tuple[lmdb.Environment, Handles]]:
        """The records copied, to be read and written."""
        environment = open_environment(self._layout.meta, self._options)
        try:
            yield environment, open_databases(environment)
        finally:
            environment.close()

    def join_vectors(self, environment: lmdb.Environment, handles: Handles) -> None:
        """Make a vector file of the parts of each gallery."""
        listed = {gallery.number: gallery for gallery in self._manifest.galleries}
        with environment.begin() as transaction:
            records = RecordReader(Reading(transaction, handles))
            if records.revision() != self._manifest.revision or records.store_id() != self._manifest.store_id:
                raise damaged(self._place, self._manifest.name, "its records are not those that its manifest tells of")
            for record in records.galleries():
                file = vector_file_of(self._layout, self._manifest.store_id, record)
                gallery = listed.get(record.number)
                if gallery is None or gallery.row_count != records.counts(record.number).row_count:
                    raise damaged(self._place, self._manifest.name, f"its rows of gallery {record.number} are others")
                self._join(file, gallery)

    def _join(self, file: VectorFile, gallery: SnapshotGallery) -> None:
        make_vector_file(file)
        with file.path.open("r+b") as joined:
            for first, last in part_ranges(gallery.row_count, gallery.part_rows):
                part = self._files.get(part_path(gallery.number, first, last))
                if part is None or part.size_bytes != (last - first) * file.row_bytes:
                    raise damaged(self._place, self._manifest.name, f"rows {first} to {last} are missing")
                joined.seek(file.file_bytes(first))
                for block in self._blocks(part):
                    joined.write(block)
            joined.flush()
            _sync(joined.fileno())

    def _blocks(self, file: SnapshotFile) -> Iterator[bytes]:
        total = max(1, self._manifest.size_bytes)
        for block in verified_blocks(self._place, self._manifest.name, file):
            self._done_bytes += len(block)
            self._watch(min(1.0, self._done_bytes / total), "copying and verifying")
            yield block

    def remember(self, environment: lmdb.Environment, handles: Handles, known: Sequence[KnownErasures]) -> None:
        """Note what the snapshot says of people whom the journal that is to be replayed names no more."""
        with environment.begin() as transaction:
            self._remembered = remember(RecordReader(Reading(transaction, handles)), known)

    def replay(self, environment: lmdb.Environment, handles: Handles, history: History, to_revision: int) -> int:
        """Make a later revision; answers with how many were made on the way.

        Raises:
            PreconditionFailed: REVISION_NOT_REACHABLE.
        """
        with environment.begin() as transaction:
            records = RecordReader(Reading(transaction, handles))
            reach = reach_of(records, history)
            row_counts = {record.number: records.counts(record.number).row_count for record in records.galleries()}
        start = self._manifest.revision
        if not reach.has(to_revision):
            raise PreconditionFailed(
                f"revision {to_revision} cannot be made from the snapshot, which is at {start}: reachable are "
                f"{reach.words()}",
                reason="REVISION_NOT_REACHABLE",
                metadata={"snapshot_revision": str(start), "reachable": reach.words()},
            )
        revision = start
        while revision < to_revision:
            with environment.begin(write=True) as transaction:
                replay = Replay(transaction, handles)
                for _ in range(min(_REPLAYED_ENTRIES, to_revision - revision)):
                    raw = history.entry(revision + 1)
                    assert raw is not None
                    replay.apply(raw)
                    revision += 1
                    self._watch((revision - start) / (to_revision - start), "replaying")
        with environment.begin(write=True) as transaction:
            erased_count = Replay(transaction, handles).drop_erased(row_counts)
        if erased_count:
            log.info("%d faces of people who were erased since are not restored", erased_count)
        with environment.begin() as transaction:
            records = RecordReader(Reading(transaction, handles))
            for record in records.galleries():
                file = vector_file_of(self._layout, self._manifest.store_id, record)
                if record.number not in row_counts:
                    make_vector_file(file)
                self._add_rows(file, records, row_counts.get(record.number, 0), history)
        return to_revision - start

    def _add_rows(self, file: VectorFile, records: RecordReader, first: int, history: History) -> None:
        """Copy the rows from the first one on; those that have a face must be what was enrolled."""
        row_count = records.counts(file.gallery_number).row_count
        with file.path.open("r+b") as added:
            added.seek(file.file_bytes(first))
            for start in range(first, row_count, _COPIED_ROWS):
                end = min(start + _COPIED_ROWS, row_count)
                raw = history.rows(file, start, end)
                _require_whole(records, file, start, raw)
                added.write(raw)
            added.flush()
            _sync(added.fileno())

    def erase(self, known: Sequence[KnownErasures]) -> None:
        """Take out who was erased since."""
        taken = snapshot_record(self._manifest, self._place.uri)
        self._watch(1.0, "erasing who was erased since")
        with Store.open(self._layout.root, self._options) as store:
            self.erased_again = tuple(erase_again(store, known, taken, self._remembered))

    def check(self) -> int:
        """Open the store as a server would and hold everything in it against everything else; gives its revision.

        Raises:
            CorruptStore: it contradicts itself.
        """
        self._watch(1.0, "checking")
        with Store.open(self._layout.root, self._options) as store, store.view() as view:
            found = view.check()
            revision = view.revision
        if found:
            raise CorruptStore(
                f"the store made of snapshot {self._manifest.name} contradicts itself, nothing was replaced: "
                f"{'; '.join(found[:3])}",
                reason="SNAPSHOT_DAMAGED",
            )
        for folder in sorted(path for path in self._layout.root.rglob("*") if path.is_dir()):
            sync_folder(folder)
        sync_folder(self._layout.root)
        return revision


def _require_whole(records: RecordReader, file: VectorFile, first: int, raw: bytes) -> None:
    rows = np.frombuffer(raw, dtype=file.dtype).reshape(-1, file.dimension)
    prefix = keys.encode_gallery(file.gallery_number)
    start = keys.encode_numbered(file.gallery_number, first)
    chunk = next(records.reading.chunks(Database.FACES, prefix, rows.shape[0], start), [])
    places = keys.decode_trailing_numbers([key for key, _ in chunk]).astype(np.int64) - first
    is_here = places < rows.shape[0]
    if not is_here.any():
        return
    found, values = zip(*chunk, strict=True)
    expected = decode_face_headers(values, found)["vector_checksum"][is_here]
    is_damaged = row_checksums(rows[places[is_here]]) != expected
    if is_damaged.any():
        raise vector_damaged(file, first + int(places[is_here][int(is_damaged.argmax())]))


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)
