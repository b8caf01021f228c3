"""Places at which a test may kill the process, to prove that what is on disk stays one generation or the other."""

from __future__ import annotations

import os
import signal

__all__ = ["CRASH_AT_VARIABLE", "crash_point"]

CRASH_AT_VARIABLE = "MIEN_CRASH_AT"


def crash_point(name: str) -> None:
    """Kill this process here, as power loss would, when the environment variable MIEN_CRASH_AT names this point."""
    if os.environ.get(CRASH_AT_VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
