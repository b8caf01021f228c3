"""Where things lie in a store's folder, and its FORMAT file."""

from __future__ import annotations

import json
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from mien_server.errors import CorruptStore, PreconditionFailed
from mien_server.storage.lmdb_format import DATA_FILE_NAME

__all__ = [
    "DAMAGE_ADVICE",
    "FORMAT_VERSION",
    "READ_ADVICE",
    "REPAIR_ADVICE",
    "Layout",
    "StoreFormat",
    "folder_name",
    "read_or_make_format",
    "sync_folder",
]

FORMAT_VERSION = 2
DAMAGE_ADVICE = (
    "see all that is damaged with mien-index verify, restore the store from a copy, or serve the rest, and delete what "
    "is damaged, with mien-server --serve-damaged"
)
"""What the message of damage ends with that was met in a store."""
REPAIR_ADVICE = (
    "see all that is damaged with mien-index verify, restore the store from a copy, or save what is whole "
    "with mien-index verify STORE --repair NEW_STORE"
)
"""The same for damage without which nothing of a gallery or of the store can be served."""
READ_ADVICE = (
    "the disk fails: restore the store from a copy, or copy what the disk still reads to another one and save what is "
    "whole there with mien-index verify COPY --repair NEW_STORE"
)
"""What the message of something ends with that the system cannot read."""
_FORMAT_NAME = "mien-store"
_FORMAT_BYTES_MAX = 4096
_STORE_ID = re.compile("[0-9a-f]{32}")
# What making a store leaves when it is cut off before there is a FORMAT.
_UNFINISHED = frozenset({"LOCK", "FORMAT.new", "lost+found"})


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of the store in `root`."""

    root: Path

    @property
    def format_file(self) -> Path:
        """Version and store id, JSON."""
        return self.root / "FORMAT"

    @property
    def lock_file(self) -> Path:
        """Locked while a process has the store open."""
        return self.root / "LOCK"

    @property
    def meta(self) -> Path:
        """The LMDB environment."""
        return self.root / "meta"

    @property
    def records_file(self) -> Path:
        """The file of the LMDB environment that holds everything."""
        return self.meta / DATA_FILE_NAME

    @property
    def vectors(self) -> Path:
        """One folder for each gallery."""
        return self.root / "vectors"

    @property
    def index(self) -> Path:
        """One folder for each gallery."""
        return self.root / "index"

    def vector_file(self, gallery_number: int) -> Path:
        """The gallery's vectors."""
        return self.vectors / folder_name(gallery_number) / "rows.vec"

    def index_folder(self, gallery_number: int) -> Path:
        """The gallery's generations."""
        return self.index / folder_name(gallery_number)


@dataclass(frozen=True, slots=True)
class StoreFormat:
    """What FORMAT says; `is_migrating`: a migration to this version has begun to replace what was there."""

    version: int
    store_id: str
    is_migrating: bool = False


def folder_name(gallery_number: int) -> str:
    """The name of a gallery's folders: eight hexadecimal digits, for a name may be given to another gallery later."""
    return f"{gallery_number:08x}"


def sync_folder(path: Path) -> None:
    """Make the entries of a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_or_make_format(layout: Layout) -> StoreFormat:
    """Read FORMAT, or write one where the folder is empty. The caller holds the lock.

    Raises:
        PreconditionFailed: NOT_A_STORE, a folder with other things in it; STORE_FORMAT_TOO_NEW; STORE_FORMAT_OLD.
        CorruptStore: a FORMAT that cannot be read.
    """
    if not layout.format_file.exists():
        return _make_format(layout)
    store_format = read_format(layout)
    require_format(layout, store_format)
    return store_format


def read_format(layout: Layout) -> StoreFormat:
    """What FORMAT says, whatever the version.

    Raises:
        PreconditionFailed: NOT_A_STORE, there is none.
        CorruptStore: FORMAT_DAMAGED, it cannot be read.
    """
    try:
        with layout.format_file.open("rb") as file:
            raw = file.read(_FORMAT_BYTES_MAX)
    except FileNotFoundError as error:
        repair = f"mien-index verify {layout.root} --repair NEW_STORE"
        way = f", restore FORMAT, or save the store with: {repair}" if layout.meta.exists() else ""
        raise PreconditionFailed(
            f"{layout.root}: there is no FORMAT, so this is no store; check the path{way}", reason="NOT_A_STORE"
        ) from error
    try:
        content = json.loads(raw)
        if content["format"] != _FORMAT_NAME:
            raise ValueError(f"the format is called {content['format']!r}")
        version, store_id = content["version"], content["store_id"]
        if type(version) is not int or version < 1:
            raise ValueError(f"the version is {version!r}")
        if not (isinstance(store_id, str) and _STORE_ID.fullmatch(store_id)):
            raise ValueError(f"the store id is {store_id!r}")
        return StoreFormat(version, store_id, is_migrating=bool(content.get("migrating", False)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptStore(
            f"{layout.format_file}: not the FORMAT of a store ({error}); restore it from a copy, or save the "
            f"store with: mien-index verify {layout.root} --repair NEW_STORE",
            reason="FORMAT_DAMAGED",
            metadata={"file": str(layout.format_file), "offset": "0"},
        ) from error


def require_format(layout: Layout, store_format: StoreFormat) -> None:
    """Refuse a store of another format than this release's.

    Raises:
        PreconditionFailed: STORE_FORMAT_TOO_NEW; STORE_FORMAT_OLD, it is to be migrated, or was not wholly.
    """
    if store_format.version > FORMAT_VERSION:
        raise PreconditionFailed(
            f"{layout.root}: the store has format {store_format.version}, this release reads up to {FORMAT_VERSION}; "
            f"use a release that reads format {store_format.version}",
            reason="STORE_FORMAT_TOO_NEW",
            metadata={"format_version": str(store_format.version)},
        )
    if store_format.version < FORMAT_VERSION or store_format.is_migrating:
        state = "a migration that was cut off" if store_format.is_migrating else f"format {store_format.version}"
        raise PreconditionFailed(
            f"{layout.root}: the store has {state}, this release needs format {FORMAT_VERSION}; bring it up with: "
            f"mien-index migrate {layout.root}",
            reason="STORE_FORMAT_OLD",
            metadata={"format_version": str(store_format.version)},
        )


def write_format(layout: Layout, store_format: StoreFormat) -> None:
    """Replace FORMAT, whole or not at all, durably. Raises OSError."""
    content: dict[str, object] = {
        "format": _FORMAT_NAME,
        "version": store_format.version,
        "store_id": store_format.store_id,
    }
    if store_format.is_migrating:
        content["migrating"] = True
    new = layout.root / "FORMAT.new"
    with new.open("w") as file:
        json.dump(content, file)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(layout.format_file)
    sync_folder(layout.root)


def _make_format(layout: Layout) -> StoreFormat:
    others = sorted({entry.name for entry in layout.root.iterdir()} - _UNFINISHED)
    if {"meta", "vectors"} & set(others):
        raise PreconditionFailed(
            f"{layout.root}: holds records or vectors of a store but no FORMAT; restore it from a copy, or save the "
            f"store with: mien-index verify {layout.root} --repair NEW_STORE",
            reason="NOT_A_STORE",
        )
    if others:
        raise PreconditionFailed(
            f"{layout.root}: the folder holds other things ({', '.join(others[:5])}); give an empty folder",
            reason="NOT_A_STORE",
        )
    store_format = StoreFormat(FORMAT_VERSION, uuid.uuid4().hex)
    write_format(layout, store_format)
    return store_format
