"""The lock that gives a store to one process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from mien_server.errors import Unavailable

__all__ = ["StoreLock"]

_PID_BYTES_MAX = 32


class StoreLock:
    """An exclusive lock on the file LOCK, the holder's process id in it; the system drops it when the process ends.

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
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others open the store."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
