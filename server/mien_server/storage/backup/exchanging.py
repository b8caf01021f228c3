"""Putting a folder in the place of another, which is kept."""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import time
from pathlib import Path

from mien_server.storage.layout import sync_folder
from mien_server.storage.steps import reached

__all__ = ["put_in_place"]

log = logging.getLogger(__name__)

# From linux/fs.h and fcntl.h.
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def put_in_place(work: Path, target: Path, *, is_replacing: bool) -> Path | None:
    """Move the folder `work` to `target`, durably; answers with where what was there is now.

    Where the system can exchange two names at once there is a whole store at `target` at every moment.

    Raises:
        OSError: the disk refuses; both folders are there, under one name or the other.
    """
    if not is_replacing:
        work.rename(target)
        reached("restore.exchanged")
        sync_folder(target.parent)
        reached("restore.kept")
        return None
    name = f"{target.name}.before-restore-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    kept = next(path for path in map(target.with_name, names) if not path.exists())
    # Under this name no later restore takes it for a leftover: it may be the old store by then.
    work.rename(kept)
    if not _exchange(kept, target):
        aside = kept.with_name(f"{kept.name}.old")
        target.rename(aside)
        kept.rename(target)
        aside.rename(kept)
    reached("restore.exchanged")
    sync_folder(target.parent)
    reached("restore.kept")
    return kept


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names at once; False where system or disk cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    arguments = (_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    if renameat2(*arguments) == 0:
        return True
    log.info("%s: names cannot be exchanged at once: %s", second, os.strerror(ctypes.get_errno()))
    return False
