"""Taking a snapshot of a store that goes on being written to.

A view pins one revision while the records are copied; then it is let go, so that LMDB can use its pages again. Rows
that are committed are never written again, and the vector files stay open from the moment of the view on: a gallery
that is deleted meanwhile is still read. Whoever overwrites rows of the past keeps snapshots away (`engine.snapshots`).
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from mien_server.errors import InvalidArgument, MienError, Unavailable
from mien_server.storage.backup.listing import list_snapshots
from mien_server.storage.backup.manifest import (
    CHECKSUM_FILE_NAME,
    MANIFEST_FILE_NAME,
    META_FILE_NAME,
    SnapshotFile,
    SnapshotGallery,
    SnapshotManifest,
    checksum_line,
    name_suffix,
    read_manifest,
    snapshot_name,
)
from mien_server.storage.backup.places import Place, is_inside
from mien_server.storage.backup.vectors import PinnedVectors, part_path, part_ranges, part_rows_of
from mien_server.storage.databases import LARGE_RECORDS, Database, checked_databases
from mien_server.storage.layout import Layout, folder_name
from mien_server.storage.steps import reached
from mien_server.storage.store import Store
from mien_server.storage.views import StoreView

__all__ = ["BLOCK_BYTES", "GenerationFiles", "SnapshotTaken", "Watch", "take_snapshot"]

log = logging.getLogger(__name__)

BLOCK_BYTES = 4 << 20
"""Read and written at once."""
# Records verified at once: bounds the memory that takes.
_VERIFIED_RECORDS = 4096
_VERIFIED_LARGE_RECORDS = 2
_PUBLISHING = 0.99
"""Of the progress: all but the manifest is written."""

Watch: TypeAlias = Callable[[float, str], None]
"""Told the fraction done and the stage, several times a second; raises Cancelled to stop."""
Blocks: TypeAlias = Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class GenerationFiles:
    """A generation of the index to take along: its folder is kept until the snapshot is taken.

    Attributes:
        name: of the generation, which is its folder's too.
        file_names: of the files that belong to it.
    """

    name: str
    folder: Path
    file_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """A snapshot that was published.

    Attributes:
        new_bytes: written for it; the rest is shared with the snapshot before.
    """

    manifest: SnapshotManifest
    new_bytes: int
    duration_s: float


def take_snapshot(
    store: Store,
    place: Place,
    generations: Mapping[int, GenerationFiles],
    library_versions: Mapping[str, str],
    watch: Watch,
    *,
    is_full: bool = False,
) -> SnapshotTaken:
    """Copy the store at its newest revision to the place, and publish the copy when all of it is durable.

    Args:
        generations: by gallery number, none newer than the store is when this is called; one that cannot be read is
            left out, and built anew after a restore.
        is_full: write everything; otherwise files that the newest snapshot of the store there has too are shared.

    Raises:
        InvalidArgument: SNAPSHOT_DESTINATION_INVALID, the place is inside of the store.
        CorruptStore: a vector or a record is damaged; nothing was published.
        Cancelled: by `watch`.
        Unavailable: the place, or the store's disk, refuses.
    """
    if is_inside(place.uri, store.path):
        raise InvalidArgument(
            f"{place.uri} is inside of the store; give a folder outside of it, on another disk if there is one",
            field="destination_uri",
            reason="SNAPSHOT_DESTINATION_INVALID",
        )
    started_s = time.monotonic()
    watch(0.0, "looking at what is there")
    place.remove_leftovers(name_suffix(store.store_id), CHECKSUM_FILE_NAME)
    previous = None if is_full else _newest_of(place, store.store_id)
    with ExitStack() as opened:
        taking = _Taking(store, place, previous, watch)
        with store.view(shows_expired=True) as view:
            pinned = [opened.enter_context(PinnedVectors(gallery)) for gallery in view.galleries()]
            opened.callback(taking.abandon)
            taking.begin(view, pinned, generations)
            reached("snapshot.begun")
            taking.require_whole(view)
            taking.copy_records(view)
        reached("snapshot.records_copied")
        for vectors in pinned:
            taking.copy_vectors(vectors)
        reached("snapshot.vectors_copied")
        names = {number: taking.copy_generation(number, files) for number, files in generations.items()}
        reached("snapshot.index_copied")
        manifest = taking.publish(library_versions, [_gallery_of(one, names.get(one.number, "")) for one in pinned])
    return SnapshotTaken(manifest, taking.new_bytes, time.monotonic() - started_s)


def _gallery_of(vectors: PinnedVectors, generation: str) -> SnapshotGallery:
    return SnapshotGallery(
        number=vectors.number,
        name=vectors.name,
        row_count=vectors.row_count,
        face_count=vectors.face_count,
        part_rows=part_rows_of(vectors.file),
        generation=generation,
    )


def _newest_of(place: Place, store_id: str) -> SnapshotManifest | None:
    """The newest whole snapshot of the store in the place."""
    infos = [info for info in list_snapshots(place) if info.store_id == store_id and not info.damage]
    if not infos:
        return None
    try:
        return read_manifest(place, infos[-1].name)
    except MienError as error:
        log.warning("everything is written anew: %s", error)
        return None


class _Taking:
    """One snapshot on its way."""

    def __init__(self, store: Store, place: Place, previous: SnapshotManifest | None, watch: Watch) -> None:
        self._store = store
        self._layout = Layout(store.path)
        self._place = place
        self._watch = watch
        self._previous_name = "" if previous is None else previous.name
        self._previous = {} if previous is None else {file.path: file for file in previous.files}
        self._files: list[SnapshotFile] = []
        self._folder: str | None = None
        self._done_bytes = 0
        self.new_bytes = 0

    def begin(self, view: StoreView, pinned: list[PinnedVectors], generations: Mapping[int, GenerationFiles]) -> None:
        self._revision = view.revision
        self._time_us = time.time_ns() // 1000
        time_text = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self._time_us // 1_000_000))
        self._name = snapshot_name(self._time_us, time_text, self._revision, self._store.store_id)
        expected = self._layout.records_file.stat().st_size
        expected += sum(vectors.size_bytes for vectors in pinned)
        expected += sum(_size_of(files) for files in generations.values())
        self._expected_bytes = max(1, expected)
        self._folder = self._place.begin(self._name)
        raw = self._layout.format_file.read_bytes()
        self._put("FORMAT", len(raw), lambda: iter([raw]), "copying records")

    def require_whole(self, view: StoreView) -> None:
        """Refuse what no restore would accept: a damaged record. Faces were read with what is known of their vectors.

        Raises:
            CorruptStore: RECORD_DAMAGED.
        """
        for database in checked_databases():
            if database is not Database.FACES:
                count = _VERIFIED_LARGE_RECORDS if database in LARGE_RECORDS else _VERIFIED_RECORDS
                for _ in view.records.reading.chunks(database, b"", count):
                    self._watch(0.0, "verifying records")

    def copy_records(self, view: StoreView) -> None:
        """LMDB's file, without the pages that are free; the gaps of the others may hold what was deleted."""
        readable, writable = os.pipe()
        failures: list[Exception] = []

        def copy() -> None:
            try:
                view.copy_records(writable)
            except MienError as error:
                failures.append(error)
            finally:
                os.close(writable)

        thread = threading.Thread(target=copy, name="mien-snapshot-records")
        thread.start()
        try:
            with os.fdopen(readable, "rb", buffering=0) as pipe:
                self._write(META_FILE_NAME, iter(lambda: pipe.read(BLOCK_BYTES), b""), "copying records")
        finally:
            # The pipe is closed: whoever writes to it ends.
            thread.join()
        if failures:
            raise failures[0]

    def copy_vectors(self, vectors: PinnedVectors) -> None:
        for first, last in part_ranges(vectors.row_count, part_rows_of(vectors.file)):
            size = (last - first) * vectors.file.row_bytes
            blocks = partial(vectors.blocks, first, last, BLOCK_BYTES)
            self._put(part_path(vectors.number, first, last), size, blocks, "copying vectors")

    def copy_generation(self, number: int, generation: GenerationFiles) -> str:
        """Answers with the generation's name, or "" where it cannot be read: it is built anew after a restore."""
        folder = f"index/{folder_name(number)}"
        paths = [generation.folder / name for name in generation.file_names]
        try:
            sizes = [sum(map(len, _blocks_of(path))) for path in paths]
        except Unavailable as error:
            log.warning("the index of gallery %d is not in the snapshot: %s", number, error)
            return ""
        for path, size in zip(paths, sizes, strict=True):
            name = f"{folder}/{generation.name}/{path.name}"
            self._put(name, size, partial(_blocks_of, path), "copying the index")
        raw = f"{generation.name}\n".encode()
        self._put(f"{folder}/CURRENT", len(raw), lambda: iter([raw]), "copying the index")
        return generation.name

    def publish(self, library_versions: Mapping[str, str], galleries: list[SnapshotGallery]) -> SnapshotManifest:
        assert self._folder is not None
        self._watch(_PUBLISHING, "publishing")
        manifest = SnapshotManifest(
            name=self._name,
            store_id=self._store.store_id,
            format_version=self._store.format_version,
            revision=self._revision,
            time_us=self._time_us,
            library_versions=dict(library_versions),
            galleries=tuple(galleries),
            files=tuple(self._files),
        )
        raw = manifest.to_json()
        self._write_small(MANIFEST_FILE_NAME, raw)
        reached("snapshot.manifest_written")
        self._write_small(CHECKSUM_FILE_NAME, checksum_line(raw))
        reached("snapshot.checksum_written")
        self._place.publish(self._folder, self._name)
        self._folder = None
        reached("snapshot.published")
        return manifest

    def abandon(self) -> None:
        """Leave nothing of a snapshot that was not published."""
        if self._folder is not None:
            self._place.abandon(self._folder)

    def _put(self, path: str, size: int, blocks: Blocks, stage: str) -> None:
        """Have a file in the snapshot: shared with the one before where its bytes are the same, written otherwise."""
        known = self._previous.get(path)
        if known is None or known.size_bytes != size or not self._share(path, known, blocks(), stage):
            self._write(path, blocks(), stage)

    def _share(self, path: str, known: SnapshotFile, blocks: Iterator[bytes], stage: str) -> bool:
        sha256 = hashlib.sha256()
        for block in blocks:
            self._advance(len(block), stage)
            sha256.update(block)
        is_same = sha256.hexdigest() == known.sha256
        if not is_same or not self._place.copy(f"{self._previous_name}/{path}", f"{self._folder}/{path}"):
            self._done_bytes -= known.size_bytes
            return False
        self._files.append(known)
        return True

    def _write(self, path: str, blocks: Iterator[bytes], stage: str) -> None:
        sha256 = hashlib.sha256()
        size_bytes = 0
        with self._place.write(f"{self._folder}/{path}") as file:
            for block in blocks:
                self._advance(len(block), stage)
                sha256.update(block)
                file.write(block)
                size_bytes += len(block)
        self._files.append(SnapshotFile(path, size_bytes, sha256.hexdigest()))
        self.new_bytes += size_bytes

    def _write_small(self, path: str, content: bytes) -> None:
        with self._place.write(f"{self._folder}/{path}") as file:
            file.write(content)
        self.new_bytes += len(content)

    def _advance(self, count: int, stage: str) -> None:
        self._done_bytes += count
        self._watch(min(_PUBLISHING, self._done_bytes / self._expected_bytes), stage)


def _size_of(generation: GenerationFiles) -> int:
    """Bytes of the files that are there; only the progress depends on it."""
    paths = [generation.folder / name for name in generation.file_names]
    return sum(path.stat().st_size for path in paths if path.exists())


def _blocks_of(path: Path) -> Iterator[bytes]:
    """The bytes of a file of the store. Raises Unavailable (STORAGE_READ_FAILED)."""
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise Unavailable(f"{path}: cannot be read: {error}", reason="STORAGE_READ_FAILED") from error
