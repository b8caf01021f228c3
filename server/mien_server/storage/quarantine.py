"""Opening a damaged store without what is damaged: which rows are left out, and the list of what was found.

A face is left out when its record or its vector is damaged, or when its person cannot be named. What a gallery itself
rests on, its record, its counts, its vector file, must be whole: without it nothing of the gallery can be trusted. What
the disk does not read cannot be left out: searches look at every row of a mapping, where that ends the process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import GalleryRecord
from mien_server.storage import keys
from mien_server.storage.check import FacesFound, StoreCheck
from mien_server.storage.databases import Database
from mien_server.storage.doubts import Doubts
from mien_server.storage.reading import RecordReader
from mien_server.storage.vector_file import VectorFile

__all__ = ["find_quarantine"]

RowsOfGallery: TypeAlias = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]


def find_quarantine(
    records: RecordReader, file_of: Callable[[GalleryRecord], VectorFile], damage: Doubts
) -> dict[int, RowsOfGallery]:
    """Read everything; for each gallery the identity number of each row, and the bitmap of those that are served.

    Args:
        damage: is given what is wrong.

    Raises:
        CorruptStore: VECTOR_UNREADABLE.
    """
    check = StoreCheck(records, file_of)
    for checked in check.run():
        for doubt, sentence in zip(checked.doubts.listed, checked.sentences(), strict=True):
            # What names no file, or no whole key, is of one gallery and does not say so.
            is_placed = doubt.reason not in {"CONTRADICTION", "RECORDS_DISAGREE"}
            damage.add_doubt(doubt if is_placed else replace(doubt, message=sentence))
        damage.count += checked.doubts.count - len(checked.doubts.listed)
    for found in check.found.values():
        if found.unreadable is not None:
            raise found.unreadable
    return {number: _rows_of(records, number, found) for number, found in check.found.items()}


def _rows_of(records: RecordReader, number: int, found: FacesFound) -> RowsOfGallery:
    """What is served must also be found when it is looked up: a damaged key leads lookups of others astray."""
    is_served = found.is_live.copy()
    is_served[found.damaged_rows] = False
    for ordinal in np.flatnonzero(is_served).tolist():
        is_served[ordinal] = _value(records, Database.FACES, keys.encode_numbered(number, ordinal)) is not None
    is_named = found.is_known.copy()
    for identity_number in np.unique(found.owners[is_served]).tolist():
        raw_id = _value(records, Database.IDENTITY_IDS, keys.encode_numbered(number, identity_number))
        key = keys.encode_gallery(number) + (raw_id or b"")
        is_named[identity_number] &= raw_id is not None and _value(records, Database.IDENTITIES, key) is not None
    if is_named.shape[0]:
        is_served &= is_named[found.owners]
    return found.owners, np.packbits(is_served, bitorder="little")


def _value(records: RecordReader, database: Database, key: bytes) -> bytes | None:
    try:
        return records.reading.get(database, key)
    except CorruptStore:
        return None
