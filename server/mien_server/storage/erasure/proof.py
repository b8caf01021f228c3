"""The search of a store's whole folder for what was erased, and what of it is somebody else's as well."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mien_server.records.rows import GalleryRows
from mien_server.records.store_pb2 import ErasureScanRecord, JournalEntry
from mien_server.storage.databases import Database
from mien_server.storage.erasure.redaction import Erased, has_id
from mien_server.storage.erasure.scanning import Hit, is_telling, scan_folder
from mien_server.storage.store import Store
from mien_server.storage.views import StoreView

__all__ = ["prove"]

_READ_RECORDS = 4096
# Where keys and values are of people who are there, or of the history of others. Answers that are kept are not: who was
# erased must not stand in them.
_PEOPLE = frozenset(Database) - {
    Database.META,
    Database.REQUESTS,
    Database.OPERATIONS,
    Database.ERASURES,
}


def prove(
    store: Store, wanted: Sequence[Collection[bytes]], people: Sequence[Erased] = ()
) -> tuple[list[ErasureScanRecord], list[str]]:
    """Search every file for what was erased of several people.

    Args:
        wanted: of each, what is to be found nowhere.
        people: those whose ids the journal must not hold as their own, whoever else has them there.

    Returns:
        What was searched and found for each; and in which files something was that is nobody else's.

    Raises:
        OSError: a file cannot be read.
    """
    every = {pattern for patterns in wanted for pattern in patterns if is_telling(pattern)}
    scan = scan_folder(store.path, every)
    with store.view(shows_expired=True) as view:
        shared = _of_others(view, scan.hits)
        shared -= {one.identity_id.encode() for one in people if _is_in_journal(view, one, shared)}
    found = {hit.pattern for hit in scan.hits} - shared
    places = sorted({hit.path.relative_to(store.path).as_posix() for hit in scan.hits if hit.pattern in found})
    records = []
    for patterns in wanted:
        searched = set(filter(is_telling, patterns))
        records.append(
            ErasureScanRecord(
                file_count=scan.file_count,
                byte_count=scan.byte_count,
                pattern_count=len(searched),
                shared_count=len(searched & shared),
                short_count=len(set(patterns)) - len(searched),
                found_count=len(searched & found),
            )
        )
    return records, places


def _of_others(view: StoreView, hits: Sequence[Hit]) -> set[bytes]:
    """Those of the patterns found that are also of somebody who is there: in a live row, or in a live record."""
    rows = {gallery.rows.location.path: gallery.rows for gallery in view.galleries()}
    shared = {hit.pattern for hit in hits if _is_live(rows.get(hit.path), hit.offset)}
    if left := {hit.pattern for hit in hits} - shared:
        shared |= _in_records(view, left)
    return shared


def _is_in_journal(view: StoreView, one: Erased, shared: set[bytes]) -> bool:
    """Whether the journal still calls them by their id, which others have too."""
    identity_id = one.identity_id.encode()
    if identity_id not in shared:
        return False
    return any(
        identity_id in raw and has_id(JournalEntry.FromString(raw), one)
        for _, raw in view.records.reading.items(Database.JOURNAL, b"")
    )


def _is_live(rows: GalleryRows | None, offset: int) -> bool:
    """Whether this place of a vector file belongs to a face."""
    if rows is None:
        return False
    row_bytes = rows.vectors.dtype.itemsize * rows.dimension
    ordinal = (offset - rows.location.offset) // row_bytes
    return 0 <= ordinal < rows.row_count and bool(rows.live[ordinal >> 3] >> (ordinal & 7) & 1)


def _in_records(view: StoreView, patterns: set[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for database in Database:
        # A caller chooses request ids; they are forgotten within a day.
        keys_count_alone = database is Database.REQUESTS
        if database not in _PEOPLE and not keys_count_alone:
            continue
        for chunk in view.records.reading.raw_chunks(database, b"", _READ_RECORDS):
            parts = [key if keys_count_alone else key + b"\0" + raw for key, raw in chunk]
            joined = b"\0".join(parts)
            found.update(pattern for pattern in patterns - found if pattern in joined)
    return found
