"""Writing rows of vectors to their files, in the background where that is worth it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Container, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np

from mien_server.storage.changes import AppendedRows
from mien_server.storage.vector_file import VectorFile, naming, write_at

__all__ = ["VectorWriter"]


class VectorWriter:
    """Writes rows to many files, keeping the last few open. Belongs to the writer thread. Raises OSError."""

    _OPEN_FILES_MAX = 64

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}
        self.unsynced: set[VectorFile] = set()
        """Files whose last sync failed."""
        self._ahead: ThreadPoolExecutor | None = None
        self._begun: list[tuple[VectorFile, Future[None]]] = []

    def extend(self, file: VectorFile, capacity: int) -> None:
        """Make the file long enough for that many rows; never shorter than it is."""
        descriptor = self._open(file)
        size = file.file_bytes(capacity)
        with naming(file.path):
            if os.fstat(descriptor).st_size < size:
                os.ftruncate(descriptor, size)

    def write(self, file: VectorFile, blocks: Iterable[AppendedRows]) -> None:
        """Write blocks in the order of their ordinals, those that follow each other at once."""
        descriptor = self._open(file)
        run: list[AppendedRows] = []
        for block in blocks:
            if run and block.first_ordinal != run[-1].first_ordinal + len(run[-1].vectors):
                _write_run(descriptor, file, run)
                run = []
            run.append(block)
        if run:
            _write_run(descriptor, file, run)

    def write_ahead(self, file: VectorFile, block: AppendedRows) -> None:
        """Begin to write a block in another thread, so that the caller can go on; `finish_writes` says how it went."""
        descriptor = self._open(file)
        if self._ahead is None:
            self._ahead = ThreadPoolExecutor(1, "mien-vector-writer")
        try:
            self._begun.append((file, self._ahead.submit(_write_run, descriptor, file, [block])))
        except RuntimeError:
            # No thread is to be had now. What was queued for it must not be written by the next one either.
            self._ahead.shutdown(cancel_futures=True)
            self._ahead = None
            _write_run(descriptor, file, [block])

    def finish_writes(self, files: Container[VectorFile]) -> None:
        """Wait for all that `write_ahead` began. Raises the first OSError of one of the files, after the last write."""
        begun, self._begun = self._begun, []
        wait([future for _, future in begun])
        for file, future in begun:
            if file in files:
                future.result()

    def abandon_writes(self) -> None:
        """Wait for what `write_ahead` began, and forget how it went."""
        self.finish_writes(())

    def sync(self, file: VectorFile) -> None:
        """Make the rows durable."""
        with naming(file.path):
            try:
                os.fdatasync(self._open(file))
            except OSError:
                self.unsynced.add(file)
                raise
        self.unsynced.discard(file)

    def mend(self, file: VectorFile, row_count: int) -> None:
        """After a failed sync, make the last committed rows durable once more.

        They may share a block with rows of the write that failed, and the system calls such a block clean although the
        disk may have got it in part. What is written again, as the rows of a repeated write are, is known to be there.
        """
        descriptor = self._open(file)
        with naming(file.path):
            end = file.file_bytes(row_count)
            first = (end - 1) - (end - 1) % max(os.fstat(descriptor).st_blksize, mmap.PAGESIZE)
            write_at(descriptor, memoryview(os.pread(descriptor, end - first, first)), first)
        self.sync(file)

    def close(self) -> None:
        """Close all files."""
        if self._ahead is not None:
            self._ahead.shutdown()
        for path in list(self._descriptors):
            self.close_path(path)

    def close_path(self, path: Path) -> None:
        """Close one file: it is about to go."""
        wait([future for _, future in self._begun])
        descriptor = self._descriptors.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)

    def _open(self, file: VectorFile) -> int:
        descriptor = self._descriptors.pop(file.path, None)
        if descriptor is None:
            while len(self._descriptors) >= self._OPEN_FILES_MAX:
                self.close_path(next(iter(self._descriptors)))
            descriptor = os.open(file.path, os.O_RDWR)
        # The last one opened goes to the end: the first is the one longest unused.
        self._descriptors[file.path] = descriptor
        return descriptor


def _write_run(descriptor: int, file: VectorFile, blocks: Sequence[AppendedRows]) -> None:
    """Write blocks that follow each other."""
    rows = blocks[0].vectors if len(blocks) == 1 else np.concatenate([block.vectors for block in blocks])
    raw = np.ascontiguousarray(rows, dtype=file.dtype).reshape(-1).view(np.uint8).data
    with naming(file.path):
        write_at(descriptor, raw, file.file_bytes(blocks[0].first_ordinal))
