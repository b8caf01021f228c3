"""What the command line names: stores and snapshots, looked at before anything is opened."""

from __future__ import annotations

from pathlib import Path

from mien_index_tools.cli.exits import UsageFailure
from mien_server.errors import InvalidArgument
from mien_server.storage.backup import Place, check_snapshot_name, is_snapshot_folder, open_place
from mien_server.storage.layout import Layout

__all__ = ["place_and_name", "snapshots_folder", "store_folder"]


def store_folder(path: Path) -> Path:
    """A folder that holds a store, whole or not. Raises UsageFailure."""
    if not path.exists():
        raise UsageFailure(f"{path}: there is no such folder; give a store's folder")
    if not path.is_dir():
        raise UsageFailure(f"{path}: is a file; give a store's folder")
    if is_snapshot_folder(path):
        raise UsageFailure(
            f"{path}: is a snapshot; `mien-index verify-snapshot {path}` verifies it, `mien-index restore` makes a "
            "store of it"
        )
    layout = Layout(path)
    if not layout.format_file.exists() and not layout.records_file.exists():
        raise UsageFailure(f"{path}: is no store, for it has no FORMAT and no records; give a store's folder")
    return path


def snapshots_folder(destination: str) -> str:
    """A place that holds snapshots, or will: a folder or a URL. Raises UsageFailure."""
    if "://" not in destination and Path(destination).exists() and not Path(destination).is_dir():
        raise UsageFailure(f"{destination}: is a file; give a folder")
    return destination


def place_and_name(snapshot: str) -> tuple[Place, str]:
    """Where a snapshot lies and what it is called, of DESTINATION/NAME. Raises UsageFailure."""
    destination, slash, name = snapshot.rstrip("/").rpartition("/")
    try:
        check_snapshot_name(name)
    except InvalidArgument as error:
        listed = snapshot if "://" not in snapshot and Path(snapshot).is_dir() else destination or "DESTINATION"
        raise UsageFailure(
            f"{snapshot!r} names no snapshot; give DESTINATION/NAME as `mien-index snapshots {listed}` lists it"
        ) from error
    return open_place(destination or ("/" if slash else ".")), name
