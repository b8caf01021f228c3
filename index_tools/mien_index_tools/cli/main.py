"""The `mien-index` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mien_index_tools.cli import exits
from mien_index_tools.cli.commands.migrate import add_migrate
from mien_index_tools.cli.commands.restore import add_restore
from mien_index_tools.cli.commands.snapshot import add_snapshots
from mien_index_tools.cli.commands.verify import add_verify
from mien_index_tools.cli.output import Output
from mien_server import __version__
from mien_server.errors import MienError

__all__ = ["main"]

_SIGPIPE_EXIT = 141
_INTERRUPTED = "interrupted; what was there is as it was, and the command can be run again"
_COMMANDS: tuple[Callable[[argparse._SubParsersAction[Any]], None], ...] = (
    add_migrate,
    add_verify,
    add_snapshots,
    add_restore,
)


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="mien-index",
        description="Offline tools for a Mien store: they work on its folder, while no server has it open.",
        epilog=exits.EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mien-index {__version__}")
    parser.add_argument("--json", action="store_true", help="print one JSON document, for machines")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in _COMMANDS:
        add(commands)
    for command in commands.choices.values():
        command.allow_abbrev = False
        # Before the command's name or after it; a default here would undo what was given before.
        command.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON document, for machines"
        )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and answer with its exit code; see `mien-index --help` for the codes.

    Args:
        arguments: what follows the command's name; None takes the process's own.
    """
    parsed = build_parser().parse_args(arguments)
    output = Output(is_json=parsed.json)
    try:
        code: int = parsed.run(parsed, output)
        sys.stdout.flush()
    except MienError as error:
        output.document({"error": {"reason": error.reason, "message": error.message}})
        output.note(f"mien-index: {error.message}", style="red")
        if hint := exits.hint(error):
            output.note(hint)
        return exits.exit_code(error)
    except exits.UsageFailure as error:
        output.document({"error": {"reason": "USAGE", "message": str(error)}})
        output.note(f"mien-index: {error}", style="red")
        return exits.USAGE
    except KeyboardInterrupt:
        output.document({"error": {"reason": "INTERRUPTED", "message": _INTERRUPTED}})
        output.note(f"mien-index: {_INTERRUPTED}")
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGPIPE_EXIT
    except OSError as error:
        message = f"{error.filename or parsed.command}: {error.strerror or error}; see to it, and run the command again"
        output.document({"error": {"reason": "SYSTEM", "message": message}})
        output.note(f"mien-index: {message}", style="red")
        return exits.FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
