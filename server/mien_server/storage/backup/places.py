"""Where snapshots lie: a folder, or a URL that fsspec knows. Paths in a place are relative, with slashes.

A folder publishes by rename. Object storage has no rename: there a snapshot is whole once its last object, the
manifest's checksum, is written, and what has none is a leftover.
"""

from __future__ import annotations

import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import unquote

import fsspec

from mien_server.errors import InvalidArgument, MienError, NotFound, PreconditionFailed, Unavailable
from mien_server.storage.layout import sync_folder

__all__ = ["Place", "canonical_uri", "is_inside", "open_place"]

_WORK_PREFIX = ".taking-"
_REMOVED_PREFIX = ".removing-"
_SCHEME = "://"
_FILE_SCHEME = "file://"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Place(ABC):
    """One destination of snapshots.

    Every method raises Unavailable (SNAPSHOT_PLACE_FAILED, SNAPSHOT_PLACE_FULL) when the place refuses, and NotFound
    (SNAPSHOT_FILE_MISSING) when what is read is not there.

    Attributes:
        uri: what it is called: an absolute path, or a URL.
    """

    uri: str

    @abstractmethod
    def names(self) -> list[str]:
        """Names of the folders in it, ascending, those of snapshots under way left out; none when it is not there."""

    @abstractmethod
    def begin(self, name: str) -> str:
        """Make room for a snapshot of that name; answers with the folder to write it to."""

    @abstractmethod
    def publish(self, folder: str, name: str) -> None:
        """Make what was written to `folder` the snapshot `name`, durably."""

    @abstractmethod
    def abandon(self, folder: str) -> None:
        """Remove what was written to `folder`; raises nothing."""

    @abstractmethod
    def remove_leftovers(self, suffix: str, last: str) -> None:
        """Remove folders of snapshots that were never finished and whose names end so; `last` is in finished ones."""

    @abstractmethod
    def remove(self, name: str, last: str) -> None:
        """Remove a snapshot: what is left when that is cut off does not look whole. Its file `last` goes first."""

    @abstractmethod
    def read(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file to be read from its start."""

    @abstractmethod
    def write(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file to be written; it is durable at the block's end."""

    @abstractmethod
    def copy(self, source: str, path: str) -> bool:
        """Have the file `source`, which never changes, at `path` too without sending its bytes; whether that went."""

    def read_small(self, path: str, bytes_max: int) -> bytes:
        """A whole file, one byte more than `bytes_max` at most."""
        with self.read(path) as file:
            return file.read(bytes_max + 1)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except MienError:
            raise
        except FileNotFoundError as error:
            raise NotFound(
                f"{self.uri}: {error.filename or error} is not there; check the name, or take another snapshot",
                reason="SNAPSHOT_FILE_MISSING",
            ) from error
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise Unavailable(
                    f"{self.uri}: no room left: {error}; free some and start again", reason="SNAPSHOT_PLACE_FULL"
                ) from error
            raise _refused(self.uri, error) from error


def _refused(uri: str, error: Exception) -> Unavailable:
    return Unavailable(
        f"{uri}: refused: {error}; check the path and its permissions, then start again",
        reason="SNAPSHOT_PLACE_FAILED",
    )


class _Folder(Place):
    """A folder of this machine. Unchanged parts are hard links, which no removal of another snapshot takes away."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.uri = str(root)

    def names(self) -> list[str]:
        if not self._root.is_dir():
            return []
        with self._translated():
            entries = [entry for entry in self._root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        return sorted(entry.name for entry in entries)

    def begin(self, name: str) -> str:
        folder = _WORK_PREFIX + name
        with self._translated():
            self._root.mkdir(parents=True, exist_ok=True)
            (self._root / folder).mkdir()
        return folder

    def publish(self, folder: str, name: str) -> None:
        path = self._root / folder
        with self._translated():
            for parent, _, _ in os.walk(path, topdown=False):
                sync_folder(Path(parent))
            path.rename(self._root / name)
            sync_folder(self._root)

    def abandon(self, folder: str) -> None:
        shutil.rmtree(self._root / folder, ignore_errors=True)

    def remove_leftovers(self, suffix: str, last: str) -> None:  # noqa: ARG002 - a folder's name tells already
        if not self._root.is_dir():
            return
        with self._translated():
            leftovers = [
                entry
                for entry in self._root.iterdir()
                if entry.name.startswith((_WORK_PREFIX, _REMOVED_PREFIX)) and entry.name.endswith(suffix)
            ]
            for entry in leftovers:
                shutil.rmtree(entry)

    def remove(self, name: str, last: str) -> None:  # noqa: ARG002 - the rename takes all of it away at once
        removed = self._root / (_REMOVED_PREFIX + name)
        with self._translated():
            (self._root / name).rename(removed)
            sync_folder(self._root)
            shutil.rmtree(removed)

    @contextmanager
    def read(self, path: str) -> Iterator[IO[bytes]]:
        with self._translated(), (self._root / path).open("rb") as file:
            yield file

    @contextmanager
    def write(self, path: str) -> Iterator[IO[bytes]]:
        target = self._root / path
        with self._translated():
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                # What was copied is not read again soon: it must not push out what searches read.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def copy(self, source: str, path: str) -> bool:
        target = self._root / path
        with self._translated():
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(self._root / source)
        except OSError:
            return False
        return True


class _ObjectStorage(Place):
    """A URL of fsspec. Unchanged parts are copied by the storage itself."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        try:
            self._system, self._root = fsspec.core.url_to_fs(self.uri)
        except (ImportError, ValueError) as error:
            raise PreconditionFailed(
                f"{uri}: {error}; install what fsspec needs for this kind of URL, or give a folder",
                reason="SNAPSHOT_PLACE_UNKNOWN",
            ) from error

    def names(self) -> list[str]:
        with self._translated():
            self._system.invalidate_cache()
            if not self._system.exists(self._root):
                return []
            entries = self._system.ls(self._root, detail=True)
        return sorted(
            str(entry["name"]).rstrip("/").rpartition("/")[2] for entry in entries if entry["type"] == "directory"
        )

    def begin(self, name: str) -> str:
        return name

    def publish(self, folder: str, name: str) -> None:
        assert folder == name

    def abandon(self, folder: str) -> None:
        # What is left is not whole, and the next snapshot removes it.
        with suppress(Exception):
            self._system.rm(self._at(folder), recursive=True)

    def remove_leftovers(self, suffix: str, last: str) -> None:
        for name in self.names():
            if name.endswith(suffix):
                with self._translated():
                    if not self._system.exists(self._at(f"{name}/{last}")):
                        self._system.rm(self._at(name), recursive=True)

    def remove(self, name: str, last: str) -> None:
        with self._translated():
            self._system.rm_file(self._at(f"{name}/{last}"))
            self._system.rm(self._at(name), recursive=True)

    @contextmanager
    def read(self, path: str) -> Iterator[IO[bytes]]:
        with self._translated(), self._system.open(self._at(path), "rb") as file:
            yield file

    @contextmanager
    def write(self, path: str) -> Iterator[IO[bytes]]:
        with self._translated():
            target = self._at(path)
            self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
            with self._system.open(target, "wb") as file:
                yield file

    def copy(self, source: str, path: str) -> bool:
        target = self._at(path)
        try:
            self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._system.cp_file(self._at(source), target)
        except Exception:  # noqa: BLE001 - whatever it is, the bytes are sent instead
            return False
        return True

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with super()._translated():
            try:
                yield
            except (MienError, OSError):
                raise
            except Exception as error:  # each storage raises what its own library does
                raise _refused(self.uri, error) from error


def canonical_uri(uri: str) -> str:
    """The one name of a place: an absolute path without links for a folder, a URL without a slash at its end.

    Raises:
        InvalidArgument: SNAPSHOT_DESTINATION_INVALID.
    """
    scheme, found, rest = uri.partition(_SCHEME)
    if "\0" in uri or "::" in uri or not uri:
        raise _invalid(uri)
    if uri.startswith(_FILE_SCHEME):
        return str(_resolved(unquote(uri.removeprefix(_FILE_SCHEME)), uri))
    if not found:
        return str(_resolved(uri, uri))
    if not scheme.replace("+", "").isalnum() or {".", ".."} & set(rest.split("/")):
        raise _invalid(uri)
    return f"{scheme.lower()}{_SCHEME}{rest.rstrip('/')}"


def is_inside(canonical: str, folder: Path) -> bool:
    """Whether the place of that one name is a folder, or lies below it."""
    return _SCHEME not in canonical and Path(canonical).is_relative_to(folder.resolve())


def _resolved(path: str, uri: str) -> Path:
    try:
        return Path(path).absolute().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise _invalid(uri) from error


def _invalid(uri: str) -> InvalidArgument:
    return InvalidArgument(
        f"{uri[:200]!r} is no destination: give a folder, or one URL such as s3://bucket/folder",
        field="destination_uri",
        reason="SNAPSHOT_DESTINATION_INVALID",
    )


def open_place(uri: str) -> Place:
    """The place of that path or URL; nothing is made or looked at yet.

    Raises:
        InvalidArgument: SNAPSHOT_DESTINATION_INVALID.
        PreconditionFailed: SNAPSHOT_PLACE_UNKNOWN, fsspec knows no such URL or lacks a package for it.
    """
    canonical = canonical_uri(uri)
    return _ObjectStorage(canonical) if _SCHEME in canonical else _Folder(Path(canonical))
