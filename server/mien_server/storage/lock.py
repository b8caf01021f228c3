"""The lock that gives a store to one process."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from mien_server.errors import Unavailable

__all__ = ["StoreLock", "lock_folder"]

_PID_BYTES_MAX = 32
# What a file system says that locks no folders.
_NOT_LOCKED = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP)


class StoreLock:
    """An exclusive lock on the file LOCK, the holder's process id in it; the system drops it when the process ends.

    The folder is locked too: a LOCK that was removed is made anew by the next process, and then is another file.

    Raises:
        Unavailable: STORE_LOCKED, with the holder's process id in the metadata `pid`.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, _PID_BYTES_MAX, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise Unavailable(
                f"{path.parent}: process {holder} has the store open; stop it, or use another folder",
                reason="STORE_LOCKED",
                metadata={"pid": holder},
            ) from error
        try:
            self._folder = lock_folder(path.parent)
        except Unavailable:
            os.close(self._descriptor)
            raise
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others open the store."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._folder)
        os.close(self._descriptor)


def lock_folder(folder: Path) -> int:
    """A descriptor of the folder; until it is closed no other process gets one.

    Raises:
        Unavailable: STORE_LOCKED.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NOT_LOCKED:
            return descriptor
        os.close(descriptor)
        raise Unavailable(
            f"{folder}: a process has the store open, but its LOCK was removed; stop it, or use another folder",
            reason="STORE_LOCKED",
            metadata={"pid": "unknown"},
        ) from error
    return descriptor
