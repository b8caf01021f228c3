"""What a snapshot says about itself: manifest.json and the checksum of it, written last and read first."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from mien_server.errors import CorruptStore, InvalidArgument, NotFound, PreconditionFailed
from mien_server.records.store_pb2 import SnapshotRecord
from mien_server.storage.backup.places import Place
from mien_server.storage.layout import FORMAT_VERSION
from mien_server.storage.lmdb_format import DATA_FILE_NAME

__all__ = [
    "CHECKSUM_FILE_NAME",
    "MANIFEST_FILE_NAME",
    "META_FILE_NAME",
    "VERIFIED_FILE_NAME",
    "SnapshotFile",
    "SnapshotGallery",
    "SnapshotManifest",
    "check_snapshot_name",
    "damaged",
    "is_snapshot_folder",
    "name_suffix",
    "named_revision",
    "read_manifest",
    "require_format",
    "snapshot_name",
    "snapshot_named",
    "snapshot_record",
]

MANIFEST_FILE_NAME = "manifest.json"
CHECKSUM_FILE_NAME = "manifest.sha256"
"""As `sha256sum --check` reads it. A folder without one is no snapshot."""
VERIFIED_FILE_NAME = "VERIFIED"
"""When all files were last read and found whole; beside the snapshot, not part of it."""
META_FILE_NAME = f"meta/{DATA_FILE_NAME}"

_MANIFEST_VERSION = 1
_MANIFEST_BYTES_MAX = 64 << 20
_CHECKSUM_BYTES_MAX = 256
_NAME = re.compile(r"[0-9]{8}T[0-9]{12}Z-r([0-9]{1,20})-[0-9a-f]{8}")
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """One file: its path in the snapshot, and SHA-256 (hex) of its bytes."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SnapshotGallery:
    """A gallery that the snapshot holds.

    Attributes:
        part_rows: rows of each part of its vectors, the last one excepted.
        generation: of the index, "" where none was taken along.
    """

    number: int
    name: str
    row_count: int
    face_count: int
    part_rows: int
    generation: str


@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    """Where a snapshot comes from and what it holds.

    Attributes:
        revision: of the store that it shows, and no other.
        time_us: when it was begun, microseconds since 1970 UTC.
        library_versions: of what wrote it, by distribution.
        files: everything but the manifest itself.
    """

    name: str
    store_id: str
    format_version: int
    revision: int
    time_us: int
    library_versions: Mapping[str, str]
    galleries: tuple[SnapshotGallery, ...]
    files: tuple[SnapshotFile, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files, those shared with other snapshots included."""
        return sum(file.size_bytes for file in self.files)

    def to_json(self) -> bytes:
        """The bytes of manifest.json."""
        content = {"manifest_version": _MANIFEST_VERSION, **asdict(self)}
        return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"


def snapshot_name(time_us: int, time_text: str, revision: int, store_id: str) -> str:
    """Ascends with time; no two of a store are the same."""
    return f"{time_text}{time_us % 1_000_000:06d}Z-r{revision}{name_suffix(store_id)}"


def name_suffix(store_id: str) -> str:
    """What the names of all snapshots of a store end with."""
    return f"-{store_id[:8]}"


def named_revision(name: str) -> int | None:
    """The revision in a snapshot's name; None when it is no such name."""
    found = _NAME.fullmatch(name)
    return None if found is None else int(found[1])


def check_snapshot_name(name: str) -> None:
    """Refuse what can be no snapshot's name. Raises InvalidArgument (SNAPSHOT_NAME_INVALID)."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{name[:100]!r} is no name of a snapshot; give one as the list of snapshots says it",
            field="name",
            reason="SNAPSHOT_NAME_INVALID",
        )


def is_snapshot_folder(path: Path) -> bool:
    """Whether a folder of this machine is a snapshot."""
    return (path / CHECKSUM_FILE_NAME).is_file()


def snapshot_record(
    manifest: SnapshotManifest, destination: str, *, new_bytes: int = 0, duration_s: float = 0.0
) -> SnapshotRecord:
    """What a store keeps of a snapshot that was taken of it."""
    return SnapshotRecord(
        name=manifest.name,
        destination=destination,
        revision=manifest.revision,
        time_us=manifest.time_us,
        size_bytes=manifest.size_bytes,
        new_bytes=new_bytes,
        file_count=len(manifest.files),
        duration_us=int(duration_s * 1e6),
    )


def checksum_line(manifest: bytes) -> bytes:
    """The content of manifest.sha256."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST_FILE_NAME}\n".encode()


def damaged(place: Place, path: str, what: str) -> CorruptStore:
    """The error for a file of a snapshot that is not what was written."""
    return CorruptStore(
        f"{place.uri}/{path}: {what}; restore from another snapshot",
        reason="SNAPSHOT_DAMAGED",
        metadata={"file": path},
    )


def snapshot_named(place: Place, name: str) -> SnapshotManifest:
    """The manifest of a snapshot that is there.

    Raises:
        InvalidArgument: SNAPSHOT_NAME_INVALID.
        NotFound: SNAPSHOT_NOT_FOUND.
        CorruptStore: SNAPSHOT_DAMAGED.
        PreconditionFailed: SNAPSHOT_FORMAT_TOO_NEW.
    """
    check_snapshot_name(name)
    return read_manifest(place, name)


def read_manifest(place: Place, name: str) -> SnapshotManifest:
    """As `snapshot_named`, whatever the folder is called."""
    try:
        line = place.read_small(f"{name}/{CHECKSUM_FILE_NAME}", _CHECKSUM_BYTES_MAX)
    except NotFound as error:
        raise NotFound(
            f"{place.uri} has no snapshot {name!r}; list those there are, an unfinished one is none",
            reason="SNAPSHOT_NOT_FOUND",
            metadata={"snapshot": name},
        ) from error
    path = f"{name}/{MANIFEST_FILE_NAME}"
    try:
        raw = place.read_small(path, _MANIFEST_BYTES_MAX)
    except NotFound as error:
        raise damaged(place, path, "is missing") from error
    if line != checksum_line(raw):
        raise damaged(place, path, "its checksum is wrong")
    try:
        return _manifest_of(json.loads(raw))
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(place, path, f"is no manifest that this release reads ({error!r})") from error


def require_format(manifest: SnapshotManifest, where: str) -> None:
    """Refuse a store of another format. Raises PreconditionFailed (SNAPSHOT_FORMAT_TOO_NEW, SNAPSHOT_FORMAT_OLD)."""
    version = manifest.format_version
    if version > FORMAT_VERSION:
        raise _too_new(where, f"a store of format {version}, this release reads up to {FORMAT_VERSION}", version)
    if version < FORMAT_VERSION:
        raise PreconditionFailed(
            f"{where}: holds a store of format {version}, this release needs {FORMAT_VERSION}; restore it with a "
            f"release of format {version} and migrate the store then",
            reason="SNAPSHOT_FORMAT_OLD",
            metadata={"format_version": str(version)},
        )


def _too_new(where: str, what: str, version: int) -> PreconditionFailed:
    return PreconditionFailed(
        f"{where}: holds {what}; use a release that reads format {version}",
        reason="SNAPSHOT_FORMAT_TOO_NEW",
        metadata={"format_version": str(version)},
    )


def _manifest_of(fields: object) -> SnapshotManifest:
    """The manifest of parsed JSON; raises ValueError, TypeError or KeyError when it is none."""
    if not isinstance(fields, dict):
        raise TypeError("not a JSON object")
    values = cast("dict[str, Any]", dict(fields))
    version = values.pop("manifest_version")
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"manifest version {version!r}")
    if version > _MANIFEST_VERSION:
        what = f"a manifest of version {version}, this release reads up to {_MANIFEST_VERSION}"
        raise _too_new(str(values["name"]), what, int(values["format_version"]))
    values["galleries"] = tuple(SnapshotGallery(**gallery) for gallery in values["galleries"])
    values["files"] = tuple(SnapshotFile(**file) for file in values["files"])
    manifest = SnapshotManifest(**values)
    if min(manifest.revision, manifest.time_us, manifest.format_version) < 0:
        raise ValueError("a number below zero")
    for file in manifest.files:
        # A path leads out of the snapshot, or a file is read in one piece, only if nobody looks here.
        if not _PATH.fullmatch(file.path) or not _DIGEST.fullmatch(file.sha256) or file.size_bytes < 0:
            raise ValueError(f"file {file}")
    if len({file.path for file in manifest.files}) != len(manifest.files):
        raise ValueError("a file is named twice")
    for gallery in manifest.galleries:
        if gallery.part_rows < 1 or gallery.row_count < 0 or not 0 < gallery.number < 1 << 32:
            raise ValueError(f"gallery {gallery}")
    return manifest
