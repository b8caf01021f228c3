"""A process that takes a snapshot, or restores one, and is killed on the way by MIEN_CRASH_AT.

Usage: snapshot_crash_worker.py take STORE PLACE | restore PLACE/NAME STORE REVISION | rename PLACE/NAME STORE REVISION

The last restores where the system cannot exchange two names at once.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mien_server.storage import exchanging
from mien_server.storage.backup import RestoreRequest, open_place, restore
from tests.snapshot_support import take, unwatched
from tests.storage_support import OPTIONS, open_store


def main() -> None:
    if sys.argv[1] == "take":
        with open_store(Path(sys.argv[2])) as store:
            take(store, Path(sys.argv[3]))
        return
    if sys.argv[1] == "rename":
        exchanging._exchange = lambda _first, _second: False
    place, _, name = sys.argv[2].rpartition("/")
    restore(
        RestoreRequest(open_place(place), name, Path(sys.argv[3]), int(sys.argv[4]), options=OPTIONS),
        unwatched,
    )


if __name__ == "__main__":
    main()
