"""A process that writes to a store until it is killed, and says on its standard output what was answered.

Usage: storage_crash_writer.py STORE ROUND. Each of its threads enrols batches, and takes every third one out again or
gives it to somebody else; the lines are `asked ID KIND` before a write and `answered ID KIND` after.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

from mien_server.errors import AlreadyExists
from mien_server.storage import DeleteFaces, MoveFaces, Store
from tests.storage_support import OPTIONS, create, rows

THREAD_COUNT = 3
BATCH_ROWS = 7
GALLERY = "people"


def face_ids(batch: str) -> list[str]:
    return [f"{batch}.{row}" for row in range(BATCH_ROWS)]


def seed_of(batch: str, row: int) -> int:
    """What the vector of a row is made of: anyone who knows the batch's name can tell."""
    return sum(int(part) * 10_000**place for place, part in enumerate(batch.split("-"))) * BATCH_ROWS + row


def say(line: str) -> None:
    # One write, so that a kill leaves whole lines.
    os.write(1, f"{line}\n".encode())


def write_batches(store: Store, name: str) -> None:
    with store.view() as view:
        gallery = view.gallery(GALLERY).record
    for number in range(1, 10_000):
        batch = f"{name}-{number}"
        faces = [(f"{batch}.owner", face_id, seed_of(batch, row)) for row, face_id in enumerate(face_ids(batch))]
        say(f"asked {batch} enrol")
        store.write(rows(gallery, faces))
        say(f"answered {batch} enrol")
        if number % 3 == 1:
            say(f"asked {batch} delete")
            store.write(DeleteFaces(GALLERY, face_ids(batch), delete_emptied_identities=True))
            say(f"answered {batch} delete")
        elif number % 3 == 2:
            say(f"asked {batch} move")
            store.write(MoveFaces(GALLERY, face_ids(batch), f"{batch}.receiver"))
            say(f"answered {batch} move")


def main() -> None:
    store = Store.open(Path(sys.argv[1]), OPTIONS)
    with contextlib.suppress(AlreadyExists):
        create(store, GALLERY)
    threads = [
        threading.Thread(target=write_batches, args=(store, f"{sys.argv[2]}-{thread}"))
        for thread in range(THREAD_COUNT)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
