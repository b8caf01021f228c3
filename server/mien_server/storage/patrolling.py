"""Checksums of a store verified a few records at a time, while it is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mien_server.errors import CorruptStore
from mien_server.storage import keys
from mien_server.storage.checksums import row_checksums
from mien_server.storage.databases import LARGE_RECORDS, Database, corrupt, stored_value
from mien_server.storage.doubts import Doubts
from mien_server.storage.layout import Layout
from mien_server.storage.reading import RecordReader
from mien_server.storage.snapshots import SnapshotContent
from mien_server.storage.values import decode_face_headers
from mien_server.storage.vector_file import readable_rows, vector_damaged

__all__ = ["PatrolChunk", "is_damaged", "missing_files", "patrol_chunk"]

_LARGE_RECORDS_MAX = 2


@dataclass(frozen=True, slots=True)
class PatrolChunk:
    """What was verified.

    Attributes:
        read_bytes: of records and vectors.
        next_start: where to go on; None at the end of the database.
        damages: what is damaged.
    """

    read_bytes: int
    next_start: bytes | None
    damages: Doubts


class _Face(NamedTuple):
    key: bytes
    value: bytes


def patrol_chunk(
    records: RecordReader, content: SnapshotContent, database: Database, start: bytes, count: int
) -> PatrolChunk:
    """Verify up to `count` records of a database from the key `start` on; of faces their vectors too."""
    count = min(count, _LARGE_RECORDS_MAX) if database in LARGE_RECORDS else count
    chunk = next(records.reading.raw_chunks(database, b"", count, start), [])
    doubts = Doubts()
    whole: list[_Face] = []
    read_bytes = 0
    if any(one >= other for (one, _), (other, _) in pairwise(chunk)):
        doubts.add_error(corrupt(database, chunk[0][0], "the keys from here on do not ascend", "RECORDS_DAMAGED"))
    for key, raw in chunk:
        read_bytes += len(key) + len(raw)
        try:
            whole.append(_Face(key, stored_value(database, key, raw)))
        except CorruptStore as error:
            doubts.add_error(error)
    if database is Database.FACES:
        for number, faces in groupby(whole, lambda face: keys.decode_gallery(face.key)):
            read_bytes += _check_vectors(content, number, list(faces), doubts)
    return PatrolChunk(read_bytes, chunk[-1][0] + b"\0" if len(chunk) == count else None, doubts)


def missing_files(layout: Layout, content: SnapshotContent) -> Doubts:
    """Files that were removed while the store is served; those of galleries stay as long as a view shows these."""
    doubts = Doubts()
    files = [state.mapping.file.path for state in content.galleries.values()]
    for path in (layout.format_file, layout.records_file, *files):
        if not path.exists():
            doubts.add_error(_missing(path))
    return doubts


def _missing(path: Path) -> CorruptStore:
    return CorruptStore(
        f"{path}: was removed while the store is served: what was in it, and what is written now, goes when the "
        "server ends; restore the store from a copy",
        reason="FILE_MISSING",
        metadata={"file": str(path)},
    )


def is_damaged(records: RecordReader, content: SnapshotContent, place: Mapping[str, str]) -> bool:
    """Whether what was found in a place, which a damage of a record or of a vector names, is there and damaged."""
    if "database" in place:
        database, key = Database(place["database"]), bytes.fromhex(place["key"])
        raw = records.reading.raw(database, key)
        if raw is None:
            return False
        try:
            stored_value(database, key, raw)
        except CorruptStore:
            return True
        return False
    if "ordinal" not in place:
        return not Path(place["file"]).exists()
    for number, state in content.galleries.items():
        if str(state.mapping.file.path) == place["file"]:
            key = keys.encode_numbered(number, int(place["ordinal"]))
            doubts = Doubts()
            raw = records.reading.raw(Database.FACES, key)
            if raw is not None:
                _check_vectors(content, number, [_Face(key, raw)], doubts)
            return bool(doubts.count)
    return False


def _check_vectors(content: SnapshotContent, number: int, faces: list[_Face], doubts: Doubts) -> int:
    if number not in content.galleries:
        # Deleted, and its records wait to be taken out.
        return 0
    found = [face.key for face in faces]
    expected = decode_face_headers([face.value for face in faces], found)["vector_checksum"]
    ordinals = keys.decode_trailing_numbers(found).astype(np.int64)
    file = content.galleries[number].mapping.file
    is_there = ordinals < content.galleries[number].counts.row_count
    ordinals, expected = ordinals[is_there], expected[is_there]
    try:
        readable, vectors = readable_rows(file, ordinals, doubts.add_error)
    except FileNotFoundError:
        doubts.add_error(_missing(file.path))
        return 0
    wrong = row_checksums(vectors) != expected[np.isin(ordinals, readable)]
    for ordinal in readable[wrong].tolist():
        doubts.add_error(vector_damaged(file, ordinal))
    return int(ordinals.shape[0]) * file.row_bytes
