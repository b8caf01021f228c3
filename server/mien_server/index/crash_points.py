"""Places at which a test may kill the process, to prove that what is on disk stays one generation or the other."""

from __future__ import annotations

import os
import signal

__all__ = ["CRASH_AT_VARIABLE", "STEPS", "crash_point"]

CRASH_AT_VARIABLE = "MIEN_CRASH_AT"

# In the order of a build or a seal, its publication, and the removal of what it replaced.
STEPS = (
    "index.build.index_written",
    "index.build.manifest_written",
    "index.build.synced",
    "index.build.renamed",
    "index.build.done",
    "index.publish.written",
    "index.publish.synced",
    "index.publish.renamed",
    "index.publish.done",
    "index.prune.renamed",
)

_step, _, _count = os.environ.get(CRASH_AT_VARIABLE, "").partition(":")
_passes_left = int(_count or 1)


def crash_point(name: str) -> None:
    """Kill this process here, as power loss would, when the environment variable MIEN_CRASH_AT names this point;
    `NAME:3` lets it pass twice.
    """
    global _passes_left  # noqa: PLW0603 - the process has one count, and it is about to end
    if name == _step:
        _passes_left -= 1
        if _passes_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
