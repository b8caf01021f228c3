"""Exit codes, and which error ends with which."""

from __future__ import annotations

from mien_client import DeadlineExceeded, MienClientError, ServerFailure, Unavailable

__all__ = [
    "DONE",
    "EXIT_CODES",
    "INTERRUPTED",
    "NOT_ALL",
    "REFUSED",
    "SERVER_FAILED",
    "UNREACHABLE",
    "USAGE",
    "UsageFailure",
    "exit_code",
    "hint",
]

DONE = 0
NOT_ALL = 1
USAGE = 2
UNREACHABLE = 3
REFUSED = 4
SERVER_FAILED = 5
INTERRUPTED = 130

EXIT_CODES = """\
exit codes:
  0    done (for `verify`: the same person; for `verify-receipt`: the receipt holds)
  1    done, but not everything: a file was refused or cannot be read (for `verify`: different people; for
       `verify-receipt`: the receipt does not hold; for `snapshot list`: one is damaged)
  2    the command line, or a file it names, is wrong
  3    no server answers, or it does not answer in time
  4    the server refused the request: no such gallery, a name that is taken, no face in the photograph, ...
  5    the server failed; its log says why
  130  interrupted
"""


class UsageFailure(Exception):
    """The command line, or a file it names, is wrong; the message says what to do."""


def exit_code(error: MienClientError) -> int:
    """The code that a failed call ends the command with."""
    match error:
        # With a reason it comes from Mien itself: the server is there, and cannot do this.
        case Unavailable() if not error.reason:
            return UNREACHABLE
        case DeadlineExceeded():
            return UNREACHABLE
        case ServerFailure():
            return SERVER_FAILED
        case _:
            return REFUSED


_HINTS = {
    "GALLERY_NOT_FOUND": "`mien gallery list` shows what there is; `mien gallery create NAME` makes one.",
    "GALLERY_NOT_EMPTY": "`mien gallery delete NAME --force` deletes the people in it too.",
    "IDENTITY_NOT_FOUND": "`mien list identities --gallery NAME` shows who is there.",
    "EMBEDDING_NOT_UNIT_NORM": "`mien search --normalize` divides each embedding by its norm.",
    "SNAPSHOT_NAME_INVALID": "`mien snapshot list` shows which there are.",
    "SNAPSHOT_NOT_FOUND": "`mien snapshot list` shows which there are.",
    "ERASURE_NOT_FOUND": "`mien erasures` shows which there are.",
    "FACE_NOT_FOUND": "`mien list faces --gallery NAME` shows which are there.",
}


def hint(error: MienClientError) -> str:
    """What to do next, as commands; empty where the server's message is all there is to say."""
    if exit_code(error) == UNREACHABLE:
        return "Start one with `mien-server --data DIR`, or name yours with --server HOST:PORT or MIEN_SERVER."
    return _HINTS.get(error.reason, "")
