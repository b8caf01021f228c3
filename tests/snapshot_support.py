"""What the tests of snapshots share: taking one, restoring it, and every record of a store to be compared."""

from __future__ import annotations

from pathlib import Path

from mien_server.records.store_pb2 import GalleryCounts, GalleryRecord, IdentityRecord, JournalEntry
from mien_server.storage import Store, keys
from mien_server.storage.backup import Place, RestoreRequest, SnapshotTaken, open_place, restore, take_snapshot
from mien_server.storage.databases import GALLERY_KEYED, Database
from tests.storage_support import OPTIONS, open_store

# What belongs to requests and operations, not to a revision.
_NOT_OF_A_REVISION = {
    Database.REQUESTS,
    Database.REQUEST_TIMES,
    Database.OPERATIONS,
    Database.SNAPSHOTS,
    Database.ERASURES,
}
_MESSAGES = {
    Database.GALLERIES: GalleryRecord,
    Database.GALLERY_COUNTS: GalleryCounts,
    Database.IDENTITIES: IdentityRecord,
    Database.JOURNAL: JournalEntry,
}


def unwatched(_fraction: float, _stage: str) -> None:
    """Nobody looks at the progress."""


def take(store: Store, place: Place | Path, *, is_full: bool = False) -> SnapshotTaken:
    """A snapshot without index."""
    where = open_place(str(place)) if isinstance(place, Path) else place
    return take_snapshot(store, where, {}, {"lmdb": "3"}, unwatched, is_full=is_full)


def restored_state(place: Path, name: str, target: Path, to_revision: int | None = None, journal: str = "") -> dict:
    """Restore and give every record of it."""
    restore(RestoreRequest(open_place(str(place)), name, target, to_revision, journal, OPTIONS), unwatched)
    with open_store(target) as store:
        return state_of(store)


def state_of(store: Store) -> dict:
    """Everything that a store is at its revision: each record of what is not deleted, decoded, and each live vector."""
    state: dict = {}
    with store.view(shows_expired=True) as view:
        assert view.check() == []
        reading = view._reader().reading
        living = {gallery.number for gallery in view.galleries()}
        for database in set(Database) - _NOT_OF_A_REVISION:
            message = _MESSAGES.get(database)
            for key, value in reading.items(database, b""):
                if database in GALLERY_KEYED and keys.decode_gallery(key) not in living:
                    # Taken out little by little.
                    continue
                if database is Database.META and key.startswith(keys.META_PURGE_PREFIX):
                    continue
                shown = value if message is None else str(message.FromString(value))
                state.setdefault(database.value, []).append((key, shown))
        for gallery in view.galleries():
            live = gallery.live_ordinals(-1, 1 << 20)
            state[gallery.name] = (gallery.rows.row_count, live.tolist(), gallery.vectors(live).tobytes())
            state[f"{gallery.name} rows"] = gallery.rows.vectors.tobytes()
    return state
