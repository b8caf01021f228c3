"""Checksums of a store verified a few records at a time, while it is served."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from mien_server.errors import MienError
from mien_server.storage import keys
from mien_server.storage.checksums import row_checksums
from mien_server.storage.databases import Database, stored_value
from mien_server.storage.doubts import Doubt
from mien_server.storage.reading import RecordReader
from mien_server.storage.snapshots import SnapshotContent
from mien_server.storage.values import decode_face_headers
from mien_server.storage.vector_file import vector_damaged

__all__ = ["PatrolChunk", "patrol_chunk"]


@dataclass(frozen=True, slots=True)
class PatrolChunk:
    """What was verified.

    Attributes:
        read_bytes: of records and vectors.
        next_start: where to go on; None at the end of the database.
        doubts: what is damaged.
    """

    read_bytes: int
    next_start: bytes | None
    doubts: list[Doubt]


class _Face(NamedTuple):
    key: bytes
    value: bytes


def patrol_chunk(
    records: RecordReader, content: SnapshotContent, database: Database, start: bytes, count: int
) -> PatrolChunk:
    """Verify up to `count` records of a database from the key `start` on; of faces their vectors too."""
    chunk = next(records.reading.raw_chunks(database, b"", count, start), [])
    doubts: list[Doubt] = []
    whole: list[_Face] = []
    read_bytes = 0
    for key, raw in chunk:
        read_bytes += len(key) + len(raw)
        try:
            whole.append(_Face(key, stored_value(database, key, raw)))
        except MienError as error:
            doubts.append(_doubt(error))
    if database is Database.FACES:
        for number, faces in groupby(whole, lambda face: keys.decode_gallery(face.key)):
            vector_bytes, damaged = _check_vectors(content, number, list(faces))
            read_bytes += vector_bytes
            doubts += damaged
    return PatrolChunk(read_bytes, chunk[-1][0] + b"\0" if len(chunk) == count else None, doubts)


def _check_vectors(content: SnapshotContent, number: int, faces: list[_Face]) -> tuple[int, list[Doubt]]:
    if number not in content.galleries:
        # Deleted, and its records wait to be taken out.
        return 0, []
    found = [face.key for face in faces]
    expected = decode_face_headers([face.value for face in faces], found)["vector_checksum"]
    ordinals = keys.decode_trailing_numbers(found).astype(np.int64)
    file = content.galleries[number].mapping.file
    vectors = content.rows(number).vectors
    is_there = ordinals < vectors.shape[0]
    ordinals, expected = ordinals[is_there], expected[is_there]
    damaged = ordinals[row_checksums(vectors[ordinals]) != expected]
    return ordinals.shape[0] * file.row_bytes, [_doubt(vector_damaged(file, one)) for one in damaged.tolist()]


def _doubt(error: MienError) -> Doubt:
    return Doubt(error.reason, error.message, error.metadata)
