"""`mien snapshot create|list|delete`: copies of the whole store, taken while it is served."""

from __future__ import annotations

import datetime

from mien_client import Operation, OperationState, Snapshot
from mien_client.cli import exits
from mien_client.cli.output import Cell, counted
from mien_client.cli.session import Arguments, Session
from mien_client.cli.subcommands import Subcommands

__all__ = ["add"]

_UNIT = 1024
_DESTINATION_HELP = (
    "a folder of the server's machine or a URL that its configuration allows; default: the first it does"
)


def add(commands: Subcommands) -> None:
    """The arguments."""
    group = commands.add_group("snapshot", "take, list and delete copies of the whole store")
    create = group.add("create", _create, "copy the whole store at its revision, while it is served")
    create.add_argument("destination", nargs="?", default="", metavar="DESTINATION", help=_DESTINATION_HELP)
    create.add_argument("--verify", action="store_true", help="read it back and compare every file's SHA-256")
    create.add_argument("--full", action="store_true", help="write everything, sharing nothing with the one before")
    create.add_argument("--wait", action="store_true", help="wait until it is done, and say how it went")
    listing = group.add("list", _list, "list snapshots, the newest first")
    listing.add_argument("destination", nargs="?", default="", metavar="DESTINATION", help="only of this place")
    delete = group.add("delete", _delete, "delete a snapshot; what others share with it stays theirs")
    delete.add_argument("name", metavar="NAME", help="as `mien snapshot list` shows it")
    delete.add_argument("destination", nargs="?", default="", metavar="DESTINATION", help=_DESTINATION_HELP)


def _create(arguments: Arguments, session: Session) -> int:
    operation = session.client.create_snapshot(arguments.destination, verify=arguments.verify, full=arguments.full)
    if arguments.wait:
        try:
            with session.output.fraction("Taking a snapshot") as show:
                operation = session.client.wait_operation(
                    operation.name, on_progress=lambda now: show(now.progress, now.stage)
                )
        except KeyboardInterrupt:
            session.output.note("The server goes on with it; `mien snapshot list` shows it when it is done.")
            raise
    session.output.document(operation)
    session.output.say(_words(operation))
    failed = operation.state in {OperationState.FAILED, OperationState.CANCELLED}
    return exits.SERVER_FAILED if failed else exits.DONE


def _words(operation: Operation) -> str:
    if not operation.is_done:
        return f"Started {operation.name}; `mien snapshot list` shows it when it is done."
    if operation.error is not None:
        return f"{operation.name} ended {operation.state}: {operation.error}"
    result = operation.create_snapshot
    if result is None:
        return f"{operation.name} ended {operation.state}."
    return (
        f"{result.destination_uri}/{result.name}: revision {result.revision}, {_size(result.size_bytes)} in "
        f"{counted(result.file_count, 'file')}, {_size(result.new_bytes)} of them written in {result.duration_s:.1f} s."
    )


def _list(arguments: Arguments, session: Session) -> int:
    snapshots = list(session.client.list_snapshots(arguments.destination))
    session.output.document({"snapshots": snapshots})
    if not snapshots:
        session.output.say("No snapshots yet. Take one: mien snapshot create")
        return exits.DONE
    session.output.table(
        [
            "Snapshot",
            "Destination",
            ("Revision", "right"),
            "Taken (UTC)",
            ("Size", "right"),
            ("Faces", "right"),
            "Verified (UTC)",
        ],
        map(_row, snapshots),
    )
    return exits.NOT_ALL if any(one.damage for one in snapshots) else exits.DONE


def _row(snapshot: Snapshot) -> tuple[Cell, ...]:
    if snapshot.damage:
        return (snapshot.name, snapshot.destination_uri, "", "", "", "", f"DAMAGED: {snapshot.damage}")
    return (
        snapshot.name,
        snapshot.destination_uri,
        snapshot.revision,
        _moment(snapshot.create_time),
        _size(snapshot.size_bytes),
        snapshot.face_count,
        _moment(snapshot.verify_time) or "never",
    )


def _delete(arguments: Arguments, session: Session) -> int:
    session.client.delete_snapshot(arguments.name, arguments.destination)
    session.output.document({"name": arguments.name})
    session.output.say(f"Deleted snapshot {arguments.name}.")
    return exits.DONE


def _moment(time: datetime.datetime | None) -> str:
    return "" if time is None else f"{time.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}"


def _size(size_bytes: int) -> str:
    size, units = float(size_bytes), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= _UNIT and len(units) > 1:
        size /= _UNIT
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
