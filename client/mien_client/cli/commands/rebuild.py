"""`mien rebuild GALLERY`: train and build the index anew."""

from __future__ import annotations

from mien_client import Operation, OperationState
from mien_client.cli import exits
from mien_client.cli.output import counted
from mien_client.cli.session import Arguments, Session
from mien_client.cli.subcommands import Subcommands

__all__ = ["add"]


def add(commands: Subcommands) -> None:
    """The arguments."""
    parser = commands.add("rebuild", _run, "build a new generation of a gallery's index beside the one that serves")
    parser.add_argument("gallery", metavar="GALLERY")
    parser.add_argument("--wait", action="store_true", help="wait until it is done, and say how it went")


def _run(arguments: Arguments, session: Session) -> int:
    operation = session.client.rebuild_index(arguments.gallery)
    if arguments.wait:
        with session.output.fraction(f"Rebuilding {arguments.gallery}") as show:
            operation = session.client.wait_operation(
                operation.name, on_progress=lambda now: show(now.progress, now.stage)
            )
    session.output.document(operation)
    session.output.say(_words(operation))
    failed = operation.state in {OperationState.FAILED, OperationState.CANCELLED}
    return exits.SERVER_FAILED if failed else exits.DONE


def _words(operation: Operation) -> str:
    if not operation.is_done:
        return f"Started {operation.name} for {operation.gallery}; `mien gallery show {operation.gallery}` tells when."
    if operation.error is not None:
        return f"{operation.name} ended {operation.state}: {operation.error}"
    result = operation.rebuild_index
    if result is None:
        return f"{operation.name} ended {operation.state}."
    name = result.generation or "no generation: so few rows are compared one by one"
    return f"Rebuilt {operation.gallery} in {result.duration_s:.1f} s: {counted(result.rows, 'row')}, {name}."
