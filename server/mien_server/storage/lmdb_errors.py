"""What LMDB and the operating system raise, as errors of Mien: the one place that knows."""

from __future__ import annotations

import errno
from pathlib import Path

import lmdb

from mien_server.errors import CorruptStore, MienError, Unavailable

__all__ = ["translated_open_error", "translated_read_error", "translated_write_error"]

_CORRUPTION = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.IncompatibleError)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_WRITING = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def translated_read_error(error: lmdb.Error, database: str) -> MienError:
    """What a read of `database` that lmdb refused raises."""
    if isinstance(error, _CORRUPTION):
        return CorruptStore(
            f"meta/: LMDB cannot read the database {database}: {error}; restore the store from a copy",
            metadata={"database": str(database)},
        )
    return Unavailable(
        f"meta/: reading the database {database} failed: {error}; try again, and restart the server if it goes on",
        reason="STORAGE_READ_FAILED",
        metadata={"database": str(database)},
    )


def translated_write_error(error: OSError | lmdb.Error, path: Path) -> MienError:
    """What every write of a group raises when the group could not be committed. Nothing of it was written."""
    code = error.errno if isinstance(error, OSError) else error.code
    nothing = "nothing of this write was kept"
    if isinstance(error, lmdb.MapFullError):
        return Unavailable(
            f"{path}: the records have reached map_size_bytes; restart with a larger one ({nothing})",
            reason="STORAGE_FULL",
        )
    if code in _NO_ROOM:
        return Unavailable(
            f"{path}: no room left: {error}; free some and send it again ({nothing})", reason="STORAGE_FULL"
        )
    if code in _NO_WRITING or isinstance(error, lmdb.ReadonlyError):
        return Unavailable(
            f"{path}: cannot be written: {error}; make it writable and send it again ({nothing})",
            reason="STORAGE_READ_ONLY",
        )
    if isinstance(error, _CORRUPTION):
        return CorruptStore(f"{path}: LMDB found its file damaged: {error}; restore the store from a copy")
    return Unavailable(f"{path}: writing failed: {error}; {nothing}", reason="STORAGE_WRITE_FAILED")


def translated_open_error(error: lmdb.Error, path: Path, map_size_bytes: int) -> MienError:
    """What opening the environment in `path` raises."""
    if isinstance(error, lmdb.MemoryError) or error.code == errno.ENOMEM:
        return Unavailable(
            f"{path}: the system does not lend {map_size_bytes} bytes of address space; lower map_size_bytes, or raise "
            "the limit (ulimit -v)",
            reason="STORAGE_MAP_REFUSED",
        )
    if isinstance(error, (*_CORRUPTION, lmdb.VersionMismatchError)):
        return CorruptStore(f"{path}: this is no LMDB environment that can be read: {error}; restore it from a copy")
    return Unavailable(f"{path}: cannot be opened: {error}", reason="STORAGE_OPEN_FAILED")
