"""The least that durable enrolment can be: append the vectors, `fdatasync`, put the records into LMDB, commit.

For each row two puts: the face's record under its ordinal (as many bytes as a real one) and the face's id. No checks,
no identities, no duplicates, no journal.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import lmdb

from benchmarks.raw_faiss import Float32Array

__all__ = ["write_durably"]

MAP_SIZE_BYTES = 8 << 30
RECORD = bytes(range(72))
"""About what a face's record takes: its header, its id and its digest."""


def write_durably(folder: Path, vectors: Float32Array, rows_per_batch: int) -> None:
    """Write every batch so that it survives a power cut before the next one begins."""
    folder.mkdir(parents=True)
    environment = lmdb.open(str(folder / "meta"), map_size=MAP_SIZE_BYTES, max_dbs=2)
    faces, ids = environment.open_db(b"faces"), environment.open_db(b"face_ids")
    with (folder / "rows.vec").open("wb", buffering=0) as file:
        for first in range(0, len(vectors), rows_per_batch):
            batch = vectors[first : first + rows_per_batch]
            file.write(batch.data)
            os.fdatasync(file.fileno())
            with environment.begin(write=True) as transaction:
                for ordinal in range(first, first + len(batch)):
                    key = struct.pack(">IQ", 1, ordinal)
                    transaction.put(key, RECORD, db=faces, append=True)
                    transaction.put(b"\0\0\0\1" + os.urandom(16), key, db=ids)
    environment.close()
