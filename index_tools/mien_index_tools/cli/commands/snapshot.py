"""`mien-index snapshot|snapshots|verify-snapshot|delete-snapshot`: copies of a whole store."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
from pathlib import Path
from typing import Any

from mien_index_tools.cli import exits
from mien_index_tools.cli.output import Cell, Output, counted, size_words
from mien_index_tools.cli.paths import place_and_name, snapshots_folder, store_folder
from mien_index_tools.generations import published_generations
from mien_server.storage import PutSnapshot, Store
from mien_server.storage.backup import (
    SnapshotInfo,
    list_snapshots,
    open_place,
    remove_snapshot,
    snapshot_record,
    take_snapshot,
    verify_snapshot,
)

__all__ = ["add_snapshots"]

_LIBRARIES = ("mien", "faiss-cpu", "lmdb", "numpy")


def add_snapshots(commands: argparse._SubParsersAction[Any]) -> None:
    """The arguments."""
    take = _command(commands, "snapshot", "copy a store to a folder or URL, at its revision")
    take.add_argument("store", type=Path, metavar="STORE", help="the store's folder")
    take.add_argument("destination", metavar="DESTINATION", help="a folder, or a URL that fsspec knows (s3://...)")
    take.add_argument("--full", action="store_true", help="write everything, sharing nothing with the snapshot before")
    take.add_argument("--verify", action="store_true", help="read it back and compare every file's SHA-256")
    take.set_defaults(run=_take)
    listing = _command(commands, "snapshots", "list the snapshots of a folder or URL, the oldest first")
    listing.add_argument("destination", metavar="DESTINATION", help="a folder or URL that snapshots were taken to")
    listing.set_defaults(run=_list)
    verify = _command(commands, "verify-snapshot", "read a snapshot and compare every file's SHA-256")
    verify.add_argument("snapshot", metavar="SNAPSHOT", help="DESTINATION/NAME")
    verify.set_defaults(run=_verify)
    delete = _command(commands, "delete-snapshot", "remove a snapshot; what others share with it stays theirs")
    delete.add_argument("snapshot", metavar="SNAPSHOT", help="DESTINATION/NAME")
    delete.set_defaults(run=_delete)


def _command(commands: argparse._SubParsersAction[Any], name: str, what: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what, description=f"{what[:1].upper()}{what[1:]}.")
    return parser


def _take(arguments: argparse.Namespace, output: Output) -> int:
    store_folder(arguments.store)
    place = open_place(snapshots_folder(arguments.destination))
    with Store.open(arguments.store) as store, output.progress("Taking a snapshot") as watch:
        generations = published_generations(store)
        taken = take_snapshot(store, place, generations, _library_versions(), watch, is_full=arguments.full)
        name = taken.manifest.name
        # Receipts of later erasures name it.
        record = snapshot_record(taken.manifest, place.uri, new_bytes=taken.new_bytes, duration_s=taken.duration_s)
        store.write(PutSnapshot(record))
        if arguments.verify:
            verify_snapshot(place, name, watch)
    document = {
        "name": name,
        "destination": place.uri,
        "revision": taken.manifest.revision,
        "size_bytes": taken.manifest.size_bytes,
        "new_bytes": taken.new_bytes,
        "file_count": len(taken.manifest.files),
        "duration_s": taken.duration_s,
        "is_verified": arguments.verify,
    }
    output.document(document)
    output.say(
        f"{place.uri}/{name}: revision {taken.manifest.revision}, {size_words(taken.manifest.size_bytes)} in "
        f"{counted(len(taken.manifest.files), 'file')}, {size_words(taken.new_bytes)} of them written in "
        f"{taken.duration_s:.1f} s{', verified' if arguments.verify else ''}."
    )
    return exits.DONE


def _library_versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _list(arguments: argparse.Namespace, output: Output) -> int:
    destination = snapshots_folder(arguments.destination)
    if "://" not in destination and not Path(destination).is_dir():
        raise exits.UsageFailure(f"{destination}: there is no such folder; check the name")
    infos = list_snapshots(open_place(destination))
    output.document({"snapshots": infos})
    if not infos:
        output.say(f"No snapshots in {destination}.")
        return exits.DONE
    output.table(("Snapshot", "Revision", "Taken (UTC)", "Size", "Faces", "Verified (UTC)"), map(_row, infos))
    return exits.DOUBT if any(info.damage for info in infos) else exits.DONE


def _row(info: SnapshotInfo) -> tuple[Cell, ...]:
    if info.damage:
        return (info.name, None, "", "", None, f"DAMAGED: {info.damage}")
    verified = _time_words(info.verified_time_us) if info.verified_time_us else "never"
    faces = sum(info.face_counts.values())
    return (info.name, info.revision, _time_words(info.time_us), size_words(info.size_bytes), faces, verified)


def _time_words(time_us: int) -> str:
    return datetime.datetime.fromtimestamp(time_us // 1_000_000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _verify(arguments: argparse.Namespace, output: Output) -> int:
    place, name = place_and_name(arguments.snapshot)
    with output.progress("Verifying") as watch:
        verified = verify_snapshot(place, name, watch)
    manifest = verified.manifest
    document = {
        "name": name,
        "revision": manifest.revision,
        "size_bytes": manifest.size_bytes,
        "file_count": len(manifest.files),
        "duration_s": verified.duration_s,
    }
    output.document(document)
    output.say(
        f"{name} is whole: {counted(len(manifest.files), 'file')}, {size_words(manifest.size_bytes)}, revision "
        f"{manifest.revision}, read in {verified.duration_s:.1f} s."
    )
    return exits.DONE


def _delete(arguments: argparse.Namespace, output: Output) -> int:
    place, name = place_and_name(arguments.snapshot)
    remove_snapshot(place, name)
    output.document({"name": name, "destination": place.uri})
    output.say(f"Removed {name}.")
    return exits.DONE
