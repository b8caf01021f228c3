"""Exit codes, and which error ends with which."""

from __future__ import annotations

from mien_server.errors import CorruptStore, InternalError, InvalidArgument, MienError, Unavailable

__all__ = [
    "DONE",
    "DOUBT",
    "EXIT_CODES",
    "FAILED",
    "INTERRUPTED",
    "REFUSED",
    "USAGE",
    "UsageFailure",
    "exit_code",
    "hint",
]

DONE = 0
DOUBT = 1
USAGE = 2
REFUSED = 4
FAILED = 5
INTERRUPTED = 130

EXIT_CODES = """\
exit codes:
  0    done, and nothing is wrong
  1    something of the store or the snapshot is damaged or contradicts itself
  2    the command line, or a file or folder it names, is wrong
  4    refused: no such snapshot, another format, a place that is not empty, ...
  5    failed: the store is held by a server, the disk is full, ...
  130  interrupted
"""


class UsageFailure(Exception):
    """The command line, or a file it names, is wrong; the message says what to do."""


def exit_code(error: MienError) -> int:
    """The code that an error ends the command with."""
    match error:
        case CorruptStore():
            return DOUBT
        case Unavailable() | InternalError():
            return FAILED
        case InvalidArgument():
            return USAGE
        case _:
            return REFUSED


_HINTS = {
    "STORE_LOCKED": "Beside a running server, `mien snapshot create` takes a snapshot of its store.",
    "SNAPSHOT_NOT_FOUND": "`mien-index snapshots DESTINATION` lists which there are.",
    "SNAPSHOT_DAMAGED": "`mien-index snapshots DESTINATION` lists others.",
    "REVISION_NOT_REACHABLE": "`mien-index snapshots DESTINATION` lists at which revision each snapshot is.",
    "JOURNAL_NEEDED": "Give --journal STORE_OR_SNAPSHOT.",
}


def hint(error: MienError) -> str:
    """What to do next, as commands; empty where the message is all there is to say."""
    return _HINTS.get(error.reason, "")
