"""The search of a store's whole folder for what was erased, and what of it is somebody else's as well."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice

from mien_server.records.rows import GalleryRows
from mien_server.records.store_pb2 import ErasureScanRecord, JournalEntry
from mien_server.storage.databases import Database, stored_value
from mien_server.storage.erasure.reading import raw_records
from mien_server.storage.erasure.redaction import Erased, has_id
from mien_server.storage.erasure.scanning import Hit, is_telling, scan_folder
from mien_server.storage.store import Store
from mien_server.storage.values import decode_message
from mien_server.storage.views import StoreView

__all__ = ["prove"]

_READ_RECORDS = 4096
# Where keys and values are of people who are there. The history of others is read apart: its records are large. Answers
# that are kept are nobody's: who was erased must not stand in them.
_PEOPLE = frozenset(Database) - {
    Database.META,
    Database.JOURNAL,
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
    hit_patterns = {hit.pattern for hit in scan.hits}
    if hit_patterns:
        in_journal, own_ids = _in_journal(store, hit_patterns, people)
        shared = (shared | in_journal) - own_ids
    found = hit_patterns - shared
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


def _in_journal(store: Store, patterns: set[bytes], people: Sequence[Erased]) -> tuple[set[bytes], set[bytes]]:
    """Those of the patterns that stand in the journal; and those by which it still calls the people themselves."""
    ids = {one.identity_id.encode() for one in people}
    found: set[bytes] = set()
    own: set[bytes] = set()
    for key, raw in raw_records(store, Database.JOURNAL):
        # One that is in it already may be searched for again: it may be theirs here.
        here = {pattern for pattern in patterns if (pattern not in found or pattern in ids) and pattern in raw}
        found |= here
        if here & ids:
            entry = decode_message(JournalEntry, stored_value(Database.JOURNAL, key, raw), Database.JOURNAL, key)
            own.update(one.identity_id.encode() for one in people if has_id(entry, one))
    return found, own & patterns


def _is_live(rows: GalleryRows | None, offset: int) -> bool:
    """Whether this place of a vector file belongs to a face."""
    if rows is None:
        return False
    row_bytes = rows.vectors.dtype.itemsize * rows.dimension
    ordinal = (offset - rows.location.offset) // row_bytes
    return 0 <= ordinal < rows.row_count and bool(rows.live[ordinal >> 3] >> (ordinal & 7) & 1)


def _in_records(view: StoreView, patterns: set[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for database in _PEOPLE:
        for chunk in view.records.reading.raw_chunks(database, b"", _READ_RECORDS):
            joined = b"\0".join([key + b"\0" + raw for key, raw in chunk])
            found.update(pattern for pattern in patterns - found if pattern in joined)
    # A caller chooses request ids; they are forgotten within a day.
    request_ids = view.records.reading.keys(Database.REQUESTS, b"")
    while chunk_ids := list(islice(request_ids, _READ_RECORDS)):
        joined = b"\0".join(chunk_ids)
        found.update(pattern for pattern in patterns - found if pattern in joined)
    return found
