"""Which snapshots a place has, and removing one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mien_server.errors import CorruptStore, NotFound, PreconditionFailed
from mien_server.storage.backup.manifest import CHECKSUM_FILE_NAME, check_snapshot_name, read_manifest
from mien_server.storage.backup.places import Place
from mien_server.storage.backup.verifying import verified_time_us

__all__ = ["SnapshotInfo", "list_snapshots", "remove_snapshot"]


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot in short.

    Attributes:
        time_us: when it was begun, microseconds since 1970 UTC.
        size_bytes: of its files, those shared with other snapshots included.
        verified_time_us: when it was last read and found whole; 0: never.
        damage: why its manifest cannot be used; then name and destination are all that is known.
        face_counts: by the name of the gallery.
    """

    name: str
    destination: str
    store_id: str = ""
    format_version: int = 0
    revision: int = 0
    time_us: int = 0
    size_bytes: int = 0
    file_count: int = 0
    verified_time_us: int = 0
    damage: str = ""
    face_counts: Mapping[str, int] = field(default_factory=dict)


def list_snapshots(place: Place) -> list[SnapshotInfo]:
    """Every snapshot of the place, the oldest first. Raises Unavailable when the place cannot be read."""
    infos = []
    for name in place.names():
        try:
            manifest = read_manifest(place, name)
        except NotFound:
            # Not a snapshot, or one that was never finished.
            continue
        except (CorruptStore, PreconditionFailed) as error:
            infos.append(SnapshotInfo(name, place.uri, damage=error.message))
            continue
        infos.append(
            SnapshotInfo(
                name=name,
                destination=place.uri,
                store_id=manifest.store_id,
                format_version=manifest.format_version,
                revision=manifest.revision,
                time_us=manifest.time_us,
                size_bytes=manifest.size_bytes,
                file_count=len(manifest.files),
                verified_time_us=verified_time_us(place, manifest),
                face_counts={gallery.name: gallery.face_count for gallery in manifest.galleries},
            )
        )
    return infos


def remove_snapshot(place: Place, name: str) -> None:
    """Remove a snapshot; files that others share with it stay theirs.

    Raises:
        InvalidArgument: SNAPSHOT_NAME_INVALID.
        NotFound: SNAPSHOT_NOT_FOUND.
    """
    check_snapshot_name(name)
    if name not in place.names():
        raise NotFound(
            f"{place.uri} has no snapshot {name!r}; list those there are",
            reason="SNAPSHOT_NOT_FOUND",
            metadata={"snapshot": name},
        )
    place.remove(name, CHECKSUM_FILE_NAME)
