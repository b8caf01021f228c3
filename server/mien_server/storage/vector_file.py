r"""The file of a gallery's vectors: a header, then rows by ordinal; written at the end only, read through a mapping.

    0     magic "MIENVEC\0"
    8     version u32, dimension u32, vector type u32 (mien.store.v1.VectorType), gallery number u32
    24    store id, 32 characters
    56    CRC-32 of bytes 0 to 56, u32; zeros up to 4096
    4096  row 0, row 1, ...

All little-endian. How many rows are committed is known to LMDB alone; what lies beyond is room or the rest of a
write that was never answered, and the next write goes over it.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mien_server.errors import CorruptStore
from mien_server.records.policies import VectorType
from mien_server.records.rows import VectorFileLocation
from mien_server.storage.layout import DAMAGE_ADVICE, READ_ADVICE, REPAIR_ADVICE, sync_folder

__all__ = [
    "VECTORS_OFFSET",
    "VectorFile",
    "VectorMapping",
    "check_vector_file",
    "grown_capacity",
    "inspect_vector_file",
    "make_vector_file",
    "naming",
    "readable_rows",
    "trim_vector_file",
    "vector_damaged",
    "vector_dtype",
    "write_at",
]

VectorArray: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float16]

VECTORS_OFFSET = 4096
VECTOR_FILE_VERSION = 1
_MAGIC = b"MIENVEC\0"
_header = struct.Struct("<8sIIII32s")
_GROWTH_BYTES_MIN = 8 << 20
_GROWTH_BYTES_MAX = 1 << 30
_DTYPES: dict[VectorType, np.dtype[np.float32] | np.dtype[np.float16]] = {
    VectorType.FLOAT32: np.dtype("<f4"),
    VectorType.FLOAT16: np.dtype("<f2"),
}


def vector_dtype(vector_type: VectorType) -> np.dtype[np.float32] | np.dtype[np.float16]:
    """Of a stored component."""
    return _DTYPES[vector_type]


@dataclass(frozen=True, slots=True)
class VectorFile:
    """Which file, and what its rows are."""

    path: Path
    store_id: str
    gallery_number: int
    dimension: int
    vector_type: VectorType

    @property
    def dtype(self) -> np.dtype[np.float32] | np.dtype[np.float16]:
        """Of a stored component."""
        return vector_dtype(self.vector_type)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dimension * self.dtype.itemsize

    @property
    def location(self) -> VectorFileLocation:
        """The file as other processes find it."""
        return VectorFileLocation(self.path, VECTORS_OFFSET, self.dimension, self.vector_type)

    def file_bytes(self, row_count: int) -> int:
        """Length of a file of that many rows."""
        return VECTORS_OFFSET + row_count * self.row_bytes

    def header(self) -> bytes:
        """The first 4096 bytes."""
        fields = _header.pack(
            _MAGIC,
            VECTOR_FILE_VERSION,
            self.dimension,
            int(self.vector_type),
            self.gallery_number,
            self.store_id.encode(),
        )
        return (fields + struct.pack("<I", zlib.crc32(fields))).ljust(VECTORS_OFFSET, b"\0")


def grown_capacity(file: VectorFile, capacity: int, needed: int) -> int:
    """Rows to make room for when `needed` do not fit into `capacity`: a quarter more, within bounds.

    Room costs address space, not disk: the file has a hole there.
    """
    growth_bytes = min(max(capacity * file.row_bytes // 4, _GROWTH_BYTES_MIN), _GROWTH_BYTES_MAX)
    return needed + growth_bytes // file.row_bytes


def make_vector_file(file: VectorFile) -> None:
    """Write a file without rows, durable with its folders. One left by a failed commit is written over.

    Raises:
        OSError: it cannot be written.
    """
    file.path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        with naming(file.path):
            write_at(descriptor, memoryview(file.header()), 0)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(file.path.parent)
    sync_folder(file.path.parent.parent)


def check_vector_file(file: VectorFile, row_count: int) -> None:
    """`inspect_vector_file`, and cut off what was never committed.

    Raises:
        CorruptStore: the file is missing, is another one's, or is shorter than the committed rows.
    """
    inspect_vector_file(file, row_count)
    committed = file.file_bytes(row_count)
    if file.path.stat().st_size > committed:
        os.truncate(file.path, committed)


def inspect_vector_file(file: VectorFile, row_count: int) -> None:
    """Check header and length against what LMDB says.

    Raises:
        CorruptStore: the file is missing, is another one's, or is shorter than the committed rows.
    """
    try:
        with file.path.open("rb") as opened:
            found = opened.read(VECTORS_OFFSET)
            size = os.fstat(opened.fileno()).st_size
    except FileNotFoundError as error:
        raise _unusable(file, f"missing, and {row_count} rows of it are committed") from error
    expected = file.header()
    if found != expected:
        raise _unusable(file, _difference(found, expected), offset="0")
    committed = file.file_bytes(row_count)
    if size < committed:
        raise _unusable(
            file,
            f"has {size} bytes, and its {row_count} committed rows take {committed}",
            offset=str(size),
            file_bytes=str(size),
            committed_bytes=str(committed),
        )


def _unusable(file: VectorFile, what: str, **metadata: str) -> CorruptStore:
    return CorruptStore(
        f"{file.path}: {what}; {REPAIR_ADVICE}",
        reason="VECTORS_DAMAGED",
        metadata={"file": str(file.path), **metadata},
    )


def vector_damaged(file: VectorFile, ordinal: int) -> CorruptStore:
    """The error for a row whose checksum is wrong: names the file and the place."""
    offset = file.file_bytes(ordinal)
    return CorruptStore(
        f"{file.path}: row {ordinal}, bytes {offset} to {offset + file.row_bytes}, is not what was enrolled; "
        f"{DAMAGE_ADVICE}",
        reason="VECTOR_DAMAGED",
        metadata={"file": str(file.path), "offset": str(offset), "ordinal": str(ordinal)},
    )


def vector_unreadable(file: VectorFile, ordinal: int, error: OSError) -> CorruptStore:
    """The error for a row that the disk does not read."""
    offset = file.file_bytes(ordinal)
    return CorruptStore(
        f"{file.path}: row {ordinal}, bytes {offset} to {offset + file.row_bytes}, cannot be read: {error.strerror}; "
        f"{READ_ADVICE}",
        reason="VECTOR_UNREADABLE",
        metadata={"file": str(file.path), "offset": str(offset), "ordinal": str(ordinal)},
    )


def read_rows(file: VectorFile, ordinals: npt.NDArray[np.int64]) -> VectorArray:
    """Committed rows, [n, dimension], of n ascending ordinals, not through a mapping: there a disk that cannot read
    ends the process.

    Raises:
        OSError: they cannot be read.
    """
    buffer = bytearray(ordinals.shape[0] * file.row_bytes)
    raw = memoryview(buffer)
    ends = np.flatnonzero(np.diff(ordinals) != 1) + 1
    with file.path.open("rb", buffering=0) as opened:
        for run in np.split(np.arange(ordinals.shape[0]), ends) if ordinals.shape[0] else ():
            part = raw[int(run[0]) * file.row_bytes : (int(run[-1]) + 1) * file.row_bytes]
            offset = file.file_bytes(int(ordinals[run[0]]))
            while part:
                count = os.preadv(opened.fileno(), [part], offset)
                if not count:
                    raise OSError(errno.EIO, "the file ends before it", str(file.path))
                part, offset = part[count:], offset + count
    return _rows_in(buffer, file, ordinals.shape[0], 0)


def readable_rows(
    file: VectorFile, ordinals: npt.NDArray[np.int64], on_unreadable: Callable[[CorruptStore], None]
) -> tuple[npt.NDArray[np.int64], VectorArray]:
    """Those of the ordinals whose rows the disk reads, and the rows; `on_unreadable` is told of the others.

    Raises:
        FileNotFoundError: there is no such file any more.
    """
    try:
        return ordinals, read_rows(file, ordinals)
    except FileNotFoundError:
        raise
    except OSError:
        # Which of them it is.
        pass
    found: list[VectorArray] = []
    readable: list[int] = []
    for ordinal in ordinals.tolist():
        try:
            found.append(read_rows(file, np.array([ordinal], dtype=np.int64)))
            readable.append(ordinal)
        except OSError as error:
            on_unreadable(vector_unreadable(file, ordinal, error))
    rows: VectorArray = np.concatenate([np.empty((0, file.dimension), dtype=file.dtype), *found])
    return np.array(readable, dtype=np.int64), rows


def _difference(found: bytes, expected: bytes) -> str:
    if len(found) < VECTORS_OFFSET:
        return f"has {len(found)} bytes, less than its header of {VECTORS_OFFSET}"
    if not found.startswith(_MAGIC):
        return "does not begin as a vector file"
    (checksum,) = struct.unpack_from("<I", found, _header.size)
    if checksum != zlib.crc32(found[: _header.size]):
        return "the header's checksum is wrong"
    names = ("magic", "version", "dimension", "vector type", "gallery number", "store id")
    pairs = zip(names, _header.unpack_from(found), _header.unpack_from(expected), strict=True)
    wrong = [f"{name} is {here!r} and should be {there!r}" for name, here, there in pairs if here != there]
    return ", ".join(wrong) or "the header is followed by bytes that are not zero"


def _rows_in(buffer: bytearray | mmap.mmap, file: VectorFile, row_count: int, offset: int) -> VectorArray:
    count = row_count * file.dimension
    flat: VectorArray
    if file.vector_type == VectorType.FLOAT32:
        flat = np.frombuffer(buffer, dtype=np.float32, count=count, offset=offset)
    else:
        flat = np.frombuffer(buffer, dtype=np.float16, count=count, offset=offset)
    return flat.reshape(row_count, file.dimension)


class VectorMapping:
    """A mapping of a vector file with room for `capacity` rows, made when first looked at, shared by snapshots.

    The file must be at least that long; it stays mapped while an array of it lives, also after it is deleted.
    """

    def __init__(self, file: VectorFile, capacity: int) -> None:
        self.file = file
        self.capacity = capacity
        self._lock = threading.Lock()
        self._rows: VectorArray | None = None

    @property
    def is_mapped(self) -> bool:
        """Whether somebody looked at it."""
        return self._rows is not None

    def rows(self, row_count: int) -> VectorArray:
        """The first rows, [row_count, dimension], read only.

        Raises:
            OSError: the file cannot be mapped.
        """
        if self._rows is None:
            with self._lock:
                if self._rows is None:
                    self._rows = self._map()
        return self._rows[:row_count]

    def _map(self) -> VectorArray:
        file = self.file
        if self.capacity == 0:
            return np.zeros((0, file.dimension), dtype=file.dtype)
        with file.path.open("rb") as opened:
            mapped = mmap.mmap(opened.fileno(), file.file_bytes(self.capacity), access=mmap.ACCESS_READ)
        return _rows_in(mapped, file, self.capacity, VECTORS_OFFSET)


def write_at(descriptor: int, raw: memoryview, offset: int) -> None:
    """Write all of it. Raises OSError."""
    while raw:
        # One call takes at most 2 GiB, and a full disk may cut it short before it fails.
        written = os.pwrite(descriptor, raw, offset)
        raw = raw[written:]
        offset += written


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError say which file it is about."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def trim_vector_file(file: VectorFile, row_count: int) -> None:
    """Cut off the room behind the committed rows. Raises OSError."""
    os.truncate(file.path, file.file_bytes(row_count))
