"""Reading a snapshot wholly, and comparing each file with the SHA-256 that was written down for it."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mien_server.errors import CorruptStore, NotFound, Unavailable
from mien_server.storage.backup.manifest import (
    VERIFIED_FILE_NAME,
    SnapshotFile,
    SnapshotManifest,
    checksum_line,
    damaged,
    snapshot_named,
)
from mien_server.storage.backup.places import Place

__all__ = ["SnapshotVerified", "verified_blocks", "verified_time_us", "verify_snapshot"]

log = logging.getLogger(__name__)

_BLOCK_BYTES = 4 << 20
_VERIFIED_BYTES_MAX = 4096
_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class SnapshotVerified:
    """A snapshot that was read and found whole."""

    manifest: SnapshotManifest
    duration_s: float


def verified_blocks(place: Place, name: str, file: SnapshotFile) -> Iterator[bytes]:
    """The bytes of a file of the snapshot, in blocks; raises after the last one when they are not what was written.

    Raises:
        CorruptStore: SNAPSHOT_DAMAGED.
        Unavailable: the place refuses.
    """
    path = f"{name}/{file.path}"
    sha256 = hashlib.sha256()
    size_bytes = 0
    try:
        with place.read(path) as opened:
            while block := opened.read(_BLOCK_BYTES):
                size_bytes += len(block)
                if size_bytes > file.size_bytes:
                    break
                sha256.update(block)
                yield block
    except NotFound as error:
        raise damaged(place, path, "is missing") from error
    if size_bytes != file.size_bytes:
        raise damaged(place, path, f"has not the {file.size_bytes} bytes that were written")
    if sha256.hexdigest() != file.sha256:
        raise damaged(place, path, "its SHA-256 is wrong")


def verify_snapshot(place: Place, name: str, watch: Callable[[float, str], None]) -> SnapshotVerified:
    """Read all of a snapshot, and note beside it that it was found whole.

    Raises:
        CorruptStore: SNAPSHOT_DAMAGED, naming the files; a note of an earlier time is taken away.
        NotFound: SNAPSHOT_NOT_FOUND.
        Cancelled: by `watch`.
    """
    started_s = time.monotonic()
    manifest = snapshot_named(place, name)
    total_bytes = max(1, manifest.size_bytes)
    done_bytes = 0
    failures: list[CorruptStore] = []
    for file in manifest.files:
        try:
            for block in verified_blocks(place, name, file):
                done_bytes += len(block)
                watch(min(1.0, done_bytes / total_bytes), "verifying")
        except CorruptStore as error:
            failures.append(error)
    note = {"manifest": checksum_line(manifest.to_json()).decode().split()[0], "time_us": time.time_ns() // 1000}
    if failures:
        note = {}
    try:
        with place.write(f"{name}/{VERIFIED_FILE_NAME}") as opened:
            opened.write(json.dumps(note).encode() + b"\n")
    except Unavailable as error:
        log.warning("when snapshot %s was verified could not be noted: %s", name, error)
    if failures:
        shown = "; ".join(error.message for error in failures[:_SHOWN_MAX])
        raise CorruptStore(
            f"{len(failures)} of {len(manifest.files)} files are damaged: {shown}",
            reason="SNAPSHOT_DAMAGED",
            metadata={"snapshot": name, "damaged_files": str(len(failures))},
        )
    return SnapshotVerified(manifest, time.monotonic() - started_s)


def verified_time_us(place: Place, manifest: SnapshotManifest) -> int:
    """When the snapshot was last found whole, microseconds since 1970 UTC; 0: never, or damaged since."""
    try:
        note = json.loads(place.read_small(f"{manifest.name}/{VERIFIED_FILE_NAME}", _VERIFIED_BYTES_MAX))
        is_of_it = note["manifest"] == checksum_line(manifest.to_json()).decode().split()[0]
        return int(note["time_us"]) if is_of_it else 0
    except (NotFound, ValueError, TypeError, KeyError):
        return 0
