"""Which generation a gallery serves: the file CURRENT, replaced atomically, and the folders beside it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from pathlib import Path

from mien_server.errors import InternalError
from mien_server.index.crash_points import crash_point
from mien_server.index.manifest import GenerationRefused

__all__ = [
    "CURRENT_FILE_NAME",
    "LOCK_FILE_NAME",
    "WORK_PREFIX",
    "current_generation",
    "current_or_none",
    "prune",
    "publish",
    "retire",
    "sync_file",
    "sync_folder",
    "unpublish",
]

CURRENT_FILE_NAME = "CURRENT"
WORK_PREFIX = ".building-"
"""Folders of builds under way start with this."""

LOCK_FILE_NAME = "lock"
"""In a build's folder: locked as long as the builder, or the process that starts it, lives."""

NAME_BYTES_MAX = 128
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def current_generation(index_directory: Path) -> str | None:
    """Name of the generation that is published; None when there is none.

    Raises:
        GenerationRefused: CURRENT is there but names nothing.
    """
    path = index_directory / CURRENT_FILE_NAME
    try:
        with path.open("rb") as file:
            text = file.read(NAME_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise GenerationRefused(f"{path} cannot be read: {error}; a generation is built anew") from error
    name = text.decode("utf-8", "replace").strip()
    if len(text) > NAME_BYTES_MAX or not NAME_PATTERN.fullmatch(name):
        raise GenerationRefused(f"{path} names no generation: {text[:40]!r}; a generation is built anew")
    return name


def publish(index_directory: Path, name: str) -> None:
    """Make `name` the current generation, whole or not at all, and durable when this returns.

    Raises:
        InternalError: there is no such generation.
        OSError: the disk refuses.
    """
    if not NAME_PATTERN.fullmatch(name) or not (index_directory / name).is_dir():
        raise InternalError(f"{index_directory} has no generation {name!r} to publish")
    written = index_directory / (CURRENT_FILE_NAME + ".new")
    with written.open("wb") as file:
        file.write(name.encode() + b"\n")
        crash_point("index.publish.written")
        file.flush()
        os.fsync(file.fileno())
    crash_point("index.publish.synced")
    written.rename(index_directory / CURRENT_FILE_NAME)
    crash_point("index.publish.renamed")
    sync_folder(index_directory)
    crash_point("index.publish.done")


def unpublish(index_directory: Path) -> None:
    """Have no current generation any more, durably, then remove all there are. Does nothing where there is no folder.

    Raises:
        OSError: the disk refuses.
    """
    if not index_directory.is_dir():
        return
    (index_directory / CURRENT_FILE_NAME).unlink(missing_ok=True)
    sync_folder(index_directory)
    prune(index_directory, set())


def prune(index_directory: Path, keep: set[str]) -> list[str]:
    """Remove every generation but the current one and those in `keep`, and leftovers of builds that died.

    Returns:
        The names removed.
    """
    if not index_directory.is_dir():
        return []
    kept = {CURRENT_FILE_NAME, current_or_none(index_directory)} | keep
    removed = []
    for path in sorted(index_directory.iterdir()):
        if path.name in kept or (path.name.startswith(WORK_PREFIX) and _is_locked(path)):
            continue
        if path.is_dir() and not path.is_symlink():
            _remove_folder(path)
        else:
            path.unlink(missing_ok=True)
        removed.append(path.name)
    return removed


def retire(index_directory: Path, name: str) -> None:
    """Remove one generation, which is not the current one; does nothing when it is not there.

    Raises:
        OSError: the disk refuses.
    """
    path = index_directory / name
    if path.is_dir():
        _remove_folder(path)


def _remove_folder(path: Path) -> None:
    # First out of the way in one step: a folder half removed must not look like a generation.
    doomed = path if path.name.startswith(WORK_PREFIX) else path.with_name(f"{WORK_PREFIX}{path.name}.removed")
    path.rename(doomed)
    crash_point("index.prune.renamed")
    shutil.rmtree(doomed, ignore_errors=True)


def current_or_none(index_directory: Path) -> str | None:
    """As current_generation; None too when CURRENT names nothing."""
    try:
        return current_generation(index_directory)
    except GenerationRefused:
        return None


def _is_locked(work_folder: Path) -> bool:
    """A living process is building in this folder."""
    try:
        with (work_folder / LOCK_FILE_NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def sync_file(path: Path) -> None:
    """Make the file's content durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make the folder's entries durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
