"""Overwriting the rows of people who were erased."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from mien_server.records.rows import GalleryRows
from mien_server.storage import keys
from mien_server.storage.databases import Database
from mien_server.storage.erasure.cases import Case, keep
from mien_server.storage.erasure.people import Erased
from mien_server.storage.reading import RecordReader
from mien_server.storage.scrubbing import write_zeros
from mien_server.storage.store import Store

__all__ = ["leave_to_others", "overwrite_vectors"]

Ordinals = npt.NDArray[np.int64]

_PART_BYTES = 32
_PART_VALUES_MIN = 8
_CHUNK_ROWS = 4096


def leave_to_others(store: Store, gallery_number: int, people: Sequence[Erased]) -> None:
    """Take rows out that somebody has: faces moved away between two commits of the deletion."""
    rows, kept = _rows_and_kept(store, gallery_number)
    if rows is not None:
        for erased in people:
            erased.ordinals = set(_dead(rows, _ascending(erased), kept).tolist())


def overwrite_vectors(store: Store, gallery_number: int, cases: Sequence[Case], first_ordinal: int | None) -> None:
    """Overwrite the rows of the people of one gallery, durably.

    Args:
        first_ordinal: the oldest row of which the journal has all; None: there is none.

    Raises:
        OSError: the disk refuses.
    """
    rows, kept = _rows_and_kept(store, gallery_number)
    if rows is None:
        # Deleted: its files are gone, or about to be.
        return
    gone = [_dead(rows, _ascending(case.erased), kept) for case in cases]
    for case, ordinals in zip(cases, gone, strict=True):
        case.work.vector_parts[:] = sorted({*case.work.vector_parts, *_parts(rows, ordinals)})
        case.row_count = ordinals.size
    keep(store, cases)
    # Whose the older ones were, the journal knows no more; nor can it bring them back.
    first = rows.row_count if first_ordinal is None else first_ordinal
    older = _dead(rows, np.arange(first, dtype=np.int64), kept)
    with suppress(FileNotFoundError):
        _overwrite(rows, np.unique(np.concatenate([*gone, older])))


def _rows_and_kept(store: Store, gallery_number: int) -> tuple[GalleryRows | None, Ordinals]:
    """A gallery's rows as they are now; and those, ascending, that are damaged and not served, yet somebody's.

    These count as deleted in the bitmap, and are to be saved one day.
    """
    with store.view(shows_expired=True) as view:
        gallery = view.gallery_by_number(gallery_number)
        if gallery is None:
            return None, np.zeros(0, dtype=np.int64)
        kept = _kept(view.records, gallery_number) if store.damage.count else np.zeros(0, dtype=np.int64)
        return gallery.rows, kept


def _ascending(erased: Erased) -> Ordinals:
    return np.array(sorted(erased.ordinals), dtype=np.int64)


def _kept(records: RecordReader, gallery_number: int) -> Ordinals:
    """The rows, ascending, that have a face's record, whole or damaged."""
    found = records.reading.keys(Database.FACES, keys.encode_gallery(gallery_number))
    return np.fromiter((keys.decode_numbered(key)[1] for key in found), dtype=np.int64)


def _dead(rows: GalleryRows, ordinals: Ordinals, kept: Ordinals) -> Ordinals:
    """Those of the rows, ascending, that no face has: not live, and none of `kept`."""
    ordinals = ordinals[ordinals < rows.row_count]
    is_dead = (rows.live[ordinals >> 3] >> (ordinals & 7).astype(np.uint8)) & 1 == 0
    if kept.size:
        is_dead &= ~np.isin(ordinals, kept)
    dead: Ordinals = ordinals[is_dead]
    return dead


def _parts(rows: GalleryRows, ordinals: Ordinals) -> Iterator[bytes]:
    """What to search for of each row: parts of it as stored, but for those that could be anybody's."""
    for start in range(0, ordinals.size, _CHUNK_ROWS):
        raw = rows.vectors[ordinals[start : start + _CHUNK_ROWS]]
        for row in raw.reshape(raw.shape[0], -1).view(np.uint8):
            for first in {0, row.size // 2, max(0, row.size - _PART_BYTES)}:
                part = row[first : first + _PART_BYTES].tobytes()
                if len(set(part)) >= _PART_VALUES_MIN:
                    yield part


def _overwrite(rows: GalleryRows, ordinals: Ordinals) -> None:
    """Overwrite rows of the vector file, ascending, durably. Raises OSError."""
    location = rows.location
    row_bytes = rows.vectors.dtype.itemsize * location.dimension
    descriptor = os.open(location.path, os.O_RDWR)
    try:
        for start in range(0, ordinals.size, _CHUNK_ROWS):
            chunk = ordinals[start : start + _CHUNK_ROWS]
            for ordinal in chunk[rows.vectors[chunk].any(axis=1)].tolist():
                write_zeros(descriptor, location.offset + ordinal * row_bytes, row_bytes)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
