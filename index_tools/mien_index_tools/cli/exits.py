"""Exit codes, and which error ends with which."""

from __future__ import annotations

from mien_server.errors import CorruptStore, InternalError, MienError, Unavailable

__all__ = ["DONE", "DOUBT", "EXIT_CODES", "FAILED", "INTERRUPTED", "REFUSED", "USAGE", "UsageFailure", "exit_code"]

DONE = 0
DOUBT = 1
USAGE = 2
REFUSED = 4
FAILED = 5
INTERRUPTED = 130

EXIT_CODES = """\
exit codes:
  0    done, and nothing is wrong
  1    something of the store is damaged or contradicts itself
  2    the command line, or a file it names, is wrong
  4    refused: no such gallery, another format, a place that is not empty, ...
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
        case _:
            return REFUSED
