"""A gallery's vectors in a snapshot: parts of rows [first, last), each row verified as it is read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Self

import numpy as np

from mien_server.errors import CorruptStore, Unavailable
from mien_server.storage.checksums import row_checksums
from mien_server.storage.gallery_view import GalleryView
from mien_server.storage.layout import folder_name
from mien_server.storage.vector_file import VectorFile, vector_damaged

__all__ = ["PinnedVectors", "part_path", "part_ranges", "part_rows_of"]

PART_BYTES = 64 << 20
"""Of a part, about: whole rows. Parts that are full never change, so that the next snapshot shares them."""


def part_rows_of(file: VectorFile) -> int:
    """Rows of a part."""
    return max(1, PART_BYTES // file.row_bytes)


def part_ranges(row_count: int, part_rows: int) -> list[tuple[int, int]]:
    """The rows [first, last) of each part."""
    return [(first, min(first + part_rows, row_count)) for first in range(0, row_count, part_rows)]


def part_path(gallery_number: int, first: int, last: int) -> str:
    """The part's path in a snapshot."""
    return f"vectors/{folder_name(gallery_number)}/rows-{first:012d}-{last:012d}"


class PinnedVectors:
    """The rows of a gallery as a view shows them, readable after the view's end: a context manager.

    Raises:
        CorruptStore: the file cannot be opened, or a face's record is damaged.
    """

    def __init__(self, gallery: GalleryView) -> None:
        self.number = gallery.number
        self.name = gallery.name
        self.row_count = int(gallery.counts.row_count)
        self.face_count = int(gallery.counts.face_count)
        self.file = gallery.vector_file
        self._checksums = gallery.vector_checksums()
        # Whether there is a face, served or not: one checksum in 2^64 is zero.
        self._has_face = self._checksums != 0

    def __enter__(self) -> Self:
        try:
            self._descriptor = os.open(self.file.path, os.O_RDONLY)
        except OSError as error:
            raise CorruptStore(f"{self.file.path}: cannot be opened: {error}; restore the store from a copy") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        os.close(self._descriptor)

    @property
    def size_bytes(self) -> int:
        """Of all rows."""
        return self.row_count * self.file.row_bytes

    def blocks(self, first: int, last: int, block_bytes: int) -> Iterator[bytes]:
        """The bytes of rows [first, last), in blocks of whole rows of about that size.

        Raises:
            CorruptStore: VECTOR_DAMAGED, the row of a face is not what was enrolled; the file is shorter than its rows.
            Unavailable: STORAGE_READ_FAILED.
        """
        step = max(1, block_bytes // self.file.row_bytes)
        for start in range(first, last, step):
            end = min(start + step, last)
            raw = self._read(start, end)
            rows = np.frombuffer(raw, dtype=self.file.dtype).reshape(end - start, self.file.dimension)
            is_damaged = self._has_face[start:end] & (row_checksums(rows) != self._checksums[start:end])
            if is_damaged.any():
                raise vector_damaged(self.file, start + int(is_damaged.argmax()))
            yield raw

    def _read(self, start: int, end: int) -> bytes:
        size, offset = (end - start) * self.file.row_bytes, self.file.file_bytes(start)
        try:
            raw = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise Unavailable(f"{self.file.path}: cannot be read: {error}", reason="STORAGE_READ_FAILED") from error
        if len(raw) < size:
            raise CorruptStore(f"{self.file.path}: ends before row {end}; restore the store from a copy")
        return raw
