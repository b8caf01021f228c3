"""Putting a folder in the place of another, which is kept; also where that was cut off between two renames."""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mien_server.errors import PreconditionFailed, Unavailable
from mien_server.storage.layout import Layout, sync_folder
from mien_server.storage.steps import reached

__all__ = ["finish_exchange", "put_in_place", "require_exchanged"]

log = logging.getLogger(__name__)

# From linux/fs.h and fcntl.h.
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_KEPT = ".before-restore-"
_ASIDE = ".old"


class _Unfinished(NamedTuple):
    """Where the store that was there is while names cannot be exchanged at once, and where it is to be kept."""

    aside: Path
    kept: Path


@dataclass(slots=True)
class _Places:
    """Where the restored store is now, and the one before it."""

    restored: Path
    before: Path | None

    def move(self, folder: Path, path: Path) -> None:
        """Rename either of them."""
        folder.rename(path)
        if folder == self.restored:
            self.restored = path
        else:
            self.before = path


def put_in_place(work: Path, target: Path, *, is_replacing: bool) -> Path | None:
    """Move the folder `work` to `target`, durably; answers with where what was there is now.

    Where the system can exchange two names at once there is a whole store at `target` at every moment. Where it
    cannot there is none for a moment; cut off then, `finish_exchange` goes on.

    Raises:
        OSError: the disk refuses; nothing was moved.
        Unavailable: STORAGE_WRITE_FAILED, the disk refuses when something was; it says where both folders are.
    """
    places = _Places(work, target if is_replacing else None)
    try:
        _exchange_places(places, target)
        sync_folder(target.parent)
    except OSError as error:
        if places.restored == work:
            raise
        before = "" if places.before is None else f", the one before it {places.before}"
        raise Unavailable(
            f"{target}: the restored store is whole and checked, but could not be put in place durably: {error}; it is "
            f"{places.restored}{before}",
            reason="STORAGE_WRITE_FAILED",
            metadata={"restored": str(places.restored), "before": str(places.before or "")},
        ) from error
    reached("restore.kept")
    return places.before


def _exchange_places(places: _Places, target: Path) -> None:
    if places.before is None:
        places.move(places.restored, target)
        reached("restore.exchanged")
        return
    name = f"{target.name}{_KEPT}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    kept = next(path for path in map(target.with_name, names) if not path.exists())
    # Under this name no later restore takes it for a leftover: it may be the old store by then.
    places.move(places.restored, kept)
    if _exchange(kept, target):
        places.restored, places.before = target, kept
    else:
        aside = kept.with_name(f"{kept.name}{_ASIDE}")
        places.move(target, aside)
        reached("restore.aside")
        places.move(kept, target)
        reached("restore.in_place")
        places.move(aside, kept)
    reached("restore.exchanged")


def finish_exchange(target: Path) -> None:
    """Go on where a restore to `target` was cut off between two renames: the restored store, which was checked wholly,
    comes to its place, and the one before it to where it is kept. Of several the newest is gone on with.

    Raises:
        OSError: the disk refuses.
    """
    target = Path(os.path.realpath(target))
    for aside, kept in _unfinished(target):
        if not target.exists():
            log.warning("%s: a restore was cut off before it was in place; going on with it from %s", target, kept)
            kept.rename(target)
        if not kept.exists():
            aside.rename(kept)
            log.warning("%s: the store that was there before a restore is %s", target, kept)
        sync_folder(target.parent)


def require_exchanged(target: Path) -> None:
    """For who only looks: refuse a place where no store is because a restore was cut off between two renames.

    Raises:
        PreconditionFailed: RESTORE_UNFINISHED.
    """
    target = Path(os.path.realpath(target))
    if target.exists():
        return
    for aside, kept in _unfinished(target):
        move = shlex.join(["mv", str(kept), str(target)])
        raise PreconditionFailed(
            f"{target}: a restore was cut off before it was in place: the restored store is {kept}, the one before it "
            f"{aside}; start the server or run mien-index restore to have it go on, or do it with: {move}",
            reason="RESTORE_UNFINISHED",
            metadata={"restored": str(kept), "before": str(aside)},
        )


def _unfinished(target: Path) -> list[_Unfinished]:
    """Of a target that is missing: what is to take its place, too, is there. The newest first."""
    start = f"{target.name}{_KEPT}"
    try:
        names = [path.name for path in target.parent.iterdir() if path.name.startswith(start)]
    except OSError:
        # Who may not look there has not restored there either.
        return []
    found = []
    for kept_name in sorted((name.removesuffix(_ASIDE) for name in names if name.endswith(_ASIDE)), reverse=True):
        kept = target.with_name(kept_name)
        aside = target.with_name(f"{kept_name}{_ASIDE}")
        is_next = not target.exists() and Layout(kept).format_file.is_file()
        if is_next or (target.exists() and not kept.exists()):
            found.append(_Unfinished(aside, kept))
    return found


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
