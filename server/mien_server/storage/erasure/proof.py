"""The search of a store's whole folder for what was erased, and what of it is somebody else's as well."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path

from mien_server.errors import CorruptStore
from mien_server.records.rows import GalleryRows
from mien_server.records.store_pb2 import ErasureScanRecord, JournalEntry
from mien_server.storage.databases import Database, stored_value
from mien_server.storage.erasure.people import ById, Erased
from mien_server.storage.erasure.reading import raw_record_lists
from mien_server.storage.erasure.scanning import Finder, Hit, is_telling, scan_folder
from mien_server.storage.store import Store
from mien_server.storage.values import decode_message
from mien_server.storage.views import StoreView

__all__ = ["Proof", "prove"]

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


@dataclass(frozen=True, slots=True)
class Proof:
    """What was searched for of somebody and found.

    Attributes:
        places: files in which something was that is nobody else's.
    """

    scan: ErasureScanRecord
    places: tuple[str, ...]


def prove(
    store: Store, wanted: Sequence[Collection[bytes]], people: Iterable[Erased], check: Callable[[], None]
) -> list[Proof]:
    """Search every file for what was erased of several people; answers for each of them.

    Args:
        wanted: of each, what is to be found nowhere.
        people: those whose ids the journal must not hold as their own, whoever else has them there.
        check: called between blocks; what it raises ends the search.

    Raises:
        OSError: a file cannot be read.
    """
    everybody = list(people)
    finder = Finder({pattern for patterns in wanted for pattern in patterns if is_telling(pattern)})
    scan = scan_folder(store.path, finder, check)
    with store.view(shows_expired=True) as view:
        shared = _of_others(view, scan.hits, everybody, check)
    places: dict[bytes, set[Path]] = {}
    for hit in scan.hits:
        places.setdefault(hit.pattern, set()).add(hit.path)
    if places:
        in_journal, own = _in_journal(store, Finder(places), everybody, check)
        shared = (shared | in_journal) - own
    found = places.keys() - shared
    proofs = []
    for patterns in wanted:
        searched = set(filter(is_telling, patterns))
        record = ErasureScanRecord(
            file_count=scan.file_count,
            byte_count=scan.byte_count,
            pattern_count=len(searched),
            shared_count=len(searched & shared),
            short_count=len(set(patterns)) - len(searched),
            found_count=len(searched & found),
        )
        files = {path.relative_to(store.path).as_posix() for one in searched & found for path in places[one]}
        proofs.append(Proof(record, tuple(sorted(files))))
    return proofs


def _of_others(view: StoreView, hits: Sequence[Hit], people: Iterable[Erased], check: Callable[[], None]) -> set[bytes]:
    """Those of the patterns found that are also of somebody else: in a row of others, or in a live record."""
    theirs: dict[int, set[int]] = {}
    for one in people:
        theirs.setdefault(one.gallery_number, set()).update(one.ordinals)
    rows = {
        gallery.rows.location.path: (gallery.rows, theirs.get(gallery.number, set())) for gallery in view.galleries()
    }
    shared = {hit.pattern for hit in hits if hit.path in rows and _is_of_others(*rows[hit.path], hit.offset)}
    if left := {hit.pattern for hit in hits} - shared:
        shared |= _in_records(view, Finder(left), check)
    return shared


def _in_journal(
    store: Store, finder: Finder, people: Iterable[Erased], check: Callable[[], None]
) -> tuple[set[bytes], set[bytes]]:
    """Those of the patterns that stand in the journal; and those that it still holds of the people themselves.

    What stands in a damaged entry is taken for theirs: nobody can tell, and an erasure removes such entries.
    """
    by_id = ById(people)
    found: set[bytes] = set()
    own: set[bytes] = set()
    for records in raw_record_lists(store, Database.JOURNAL):
        check()
        starts = list(accumulate((len(raw) + 1 for _, raw in records), initial=0))
        in_entries: dict[int, set[bytes]] = {}
        for place, pattern in finder.places(b"\0".join([raw for _, raw in records])):
            in_entries.setdefault(bisect_right(starts, place) - 1, set()).add(pattern)
        for number, here in in_entries.items():
            found |= here
            key, raw = records[number]
            try:
                value = stored_value(Database.JOURNAL, key, raw)
                named = by_id.named(decode_message(JournalEntry, value, Database.JOURNAL, key))
            except CorruptStore:
                own |= here
                continue
            own |= here & {one.identity_id.encode() for one in named}
    return found, own


def _is_of_others(rows: GalleryRows, theirs: Collection[int], offset: int) -> bool:
    """Whether this place of a vector file belongs to a face, or to the history of others: a face that was deleted."""
    row_bytes = rows.vectors.dtype.itemsize * rows.dimension
    ordinal = (offset - rows.location.offset) // row_bytes
    if not 0 <= ordinal < rows.row_count:
        return False
    return ordinal not in theirs or bool(rows.live[ordinal >> 3] >> (ordinal & 7) & 1)


def _in_records(view: StoreView, finder: Finder, check: Callable[[], None]) -> set[bytes]:
    found: set[bytes] = set()
    for database in _PEOPLE:
        for chunk in view.records.reading.raw_chunks(database, b"", _READ_RECORDS):
            check()
            joined = b"\0".join([key + b"\0" + raw for key, raw in chunk])
            found.update(pattern for _, pattern in finder.places(joined))
    # A caller chooses request ids; they are forgotten within a day.
    request_ids = view.records.reading.keys(Database.REQUESTS, b"")
    while chunk_ids := list(islice(request_ids, _READ_RECORDS)):
        found.update(pattern for _, pattern in finder.places(b"\0".join(chunk_ids)))
    return found
