"""The named steps of a commit, a snapshot, a restore and an erasure, at which a test can have the process killed.

Set MIEN_CRASH_AT to the name of a step, and the process kills itself with SIGKILL when it gets there, which is as
near to a crash as a program can get; `NAME:3` lets it pass twice. Without the variable nothing happens.
"""

from __future__ import annotations

import os
import signal

__all__ = ["ERASURE_STEPS", "RENAME_STEPS", "RESTORE_STEPS", "SNAPSHOT_STEPS", "STEPS", "reached"]

# In the order of a commit.
STEPS = ("records_put", "vectors_written", "vectors_synced", "committed", "published")

SNAPSHOT_STEPS = (
    "snapshot.begun",
    "snapshot.records_copied",
    "snapshot.vectors_copied",
    "snapshot.index_copied",
    "snapshot.manifest_written",
    "snapshot.checksum_written",
    "snapshot.published",
)

RESTORE_STEPS = (
    "restore.begun",
    "restore.copied",
    "restore.replayed",
    "restore.erased",
    "restore.checked",
    "restore.exchanged",
    "restore.kept",
)

# Where two names cannot be exchanged at once.
RENAME_STEPS = ("restore.aside", "restore.in_place")

# In the order of an erasure, after its commits.
ERASURE_STEPS = (
    "erasure_index_dropped",
    "erasure_redacted",
    "erasure_vectors_overwritten",
    "erasure_buffers_wiped",
    "erasure_gaps_cleaned",
    "erasure_free_cleaned",
    "erasure_scanned",
    "erasure_receipted",
    "erasure_done",
)

_step, _, _count = os.environ.get("MIEN_CRASH_AT", "").partition(":")
_passes_left = int(_count or 1)


def reached(step: str) -> None:
    """`step` is done."""
    global _passes_left  # noqa: PLW0603 - the process has one count, and it is about to end
    if step == _step:
        _passes_left -= 1
        if _passes_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
