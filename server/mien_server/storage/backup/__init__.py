"""Snapshots of a whole store at another place: taking, listing, verifying, removing and restoring them.

A snapshot is a folder of parts that never change once it is published: the records, the vectors in parts, generations
of the index, and a manifest with the SHA-256 of each. Only `places` knows folders from object storage, and only it
imports fsspec. Nothing here may import the index: whoever takes a snapshot says which files of it to take along.
"""

from mien_server.storage.backup.erasing_again import ErasedAgain
from mien_server.storage.backup.listing import SnapshotInfo, list_snapshots, remove_snapshot
from mien_server.storage.backup.manifest import (
    SnapshotManifest,
    check_snapshot_name,
    is_snapshot_folder,
    name_suffix,
    snapshot_named,
    snapshot_record,
)
from mien_server.storage.backup.places import Place, canonical_uri, is_inside, open_place
from mien_server.storage.backup.restoring import Restored, RestoreRequest, restore
from mien_server.storage.backup.taking import GenerationFiles, SnapshotTaken, take_snapshot
from mien_server.storage.backup.verifying import SnapshotVerified, verify_snapshot

__all__ = [
    "ErasedAgain",
    "GenerationFiles",
    "Place",
    "RestoreRequest",
    "Restored",
    "SnapshotInfo",
    "SnapshotManifest",
    "SnapshotTaken",
    "SnapshotVerified",
    "canonical_uri",
    "check_snapshot_name",
    "is_inside",
    "is_snapshot_folder",
    "list_snapshots",
    "name_suffix",
    "open_place",
    "remove_snapshot",
    "restore",
    "snapshot_named",
    "snapshot_record",
    "take_snapshot",
    "verify_snapshot",
]
