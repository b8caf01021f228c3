"""What LMDB and the operating system raise, as errors of Mien: the one place that knows."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import lmdb

from mien_server.errors import CorruptStore, MienError, Unavailable

__all__ = ["translated_open_error", "translated_read_error", "translated_write_error"]

_CORRUPTION = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.IncompatibleError)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_WRITING = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NO_FILES = frozenset({errno.EMFILE, errno.ENFILE})
# LMDB calls a write that was cut short an I/O error, as it is on a disk that has less room left than this.
_FULL_DISK_BYTES = 1 << 20


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
    if code in _NO_ROOM or (code == errno.EIO and _is_full(path)):
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
    if code in _NO_FILES:
        advice = "too many files are open: raise the limit (ulimit -n), or have fewer callers, and send it again"
    elif code == errno.EIO:
        advice = "the disk reports a failure: look after it, and send it again"
    else:
        advice = "send it again"
    return Unavailable(f"{path}: writing failed: {error}; {advice} ({nothing})", reason="STORAGE_WRITE_FAILED")


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path).free < _FULL_DISK_BYTES
    except OSError:
        return False


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
