"""What the writer does between groups of writes: work that others gave it, vector files whose sync failed, and what
deleted galleries leave behind.

A gallery is gone once its record is; the rest only takes room, for its number is never used again. Records go a few at
a time, files when no view looks: deleting a million faces in one transaction would hold up every write behind it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from functools import partial

from mien_server.storage import keys
from mien_server.storage.committing import OutcomeUnknown, commit_and_publish
from mien_server.storage.databases import GALLERY_KEYED, Database, Reading, Transaction
from mien_server.storage.opening import OpenedStore
from mien_server.storage.snapshots import SnapshotContent
from mien_server.storage.vector_writer import VectorWriter

__all__ = ["Chores"]

log = logging.getLogger(__name__)

# With each group of writes, and while nobody waits.
_PURGED_KEYS_BUSY = 2_000
_PURGED_KEYS_IDLE = 20_000


class Chores:
    """Belongs to the writer thread."""

    def __init__(self, opened: OpenedStore, vectors: VectorWriter) -> None:
        self._opened = opened
        self._vectors = vectors
        self._files: dict[int, int] = {}
        with opened.environment.begin() as transaction:
            reading = Reading(transaction, opened.handles)
            self._purges = [keys.decode_purge(key) for key in reading.keys(Database.META, keys.META_PURGE_PREFIX)]

    def galleries_deleted(self, numbers: Iterable[int], transaction_id: int) -> None:
        """These galleries are gone as of that commit."""
        for number in numbers:
            self._purges.append(number)
            self._files[number] = transaction_id

    def do_some(self, *, is_idle: bool) -> bool:
        """Do a piece; answers whether there is more to do at once.

        Raises:
            OSError, lmdb.Error: it was not done.
            OutcomeUnknown: it may have been done, and is not shown.
        """
        self._mend_vectors()
        is_more_given = self._opened.upkeep.do_one()
        self._remove_files()
        if self._purges:
            self._purge(self._purges[0], _PURGED_KEYS_IDLE if is_idle else _PURGED_KEYS_BUSY)
        return is_more_given or bool(self._purges)

    def _mend_vectors(self) -> None:
        galleries = self._opened.snapshots.current.galleries
        for file in list(self._vectors.unsynced):
            state = galleries.get(file.gallery_number)
            if state is None:
                self._vectors.unsynced.discard(file)
            else:
                self._vectors.mend(file, state.counts.row_count)
                log.warning("%s: synced again after a failure", file.path)

    def _remove_files(self) -> None:
        if not self._files:
            return
        oldest = self._opened.snapshots.oldest_transaction_id()
        layout = self._opened.layout
        for number, transaction_id in list(self._files.items()):
            if oldest < transaction_id:
                continue
            del self._files[number]
            self._vectors.close_path(layout.vector_file(number))
            for folder in (layout.vector_file(number).parent, layout.index_folder(number)):
                try:
                    shutil.rmtree(folder)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    log.warning("%s: not removed, the next opening tries again: %s", folder, error)

    def _purge(self, number: int, keys_max: int) -> None:
        environment, handles, snapshots = self._opened.environment, self._opened.handles, self._opened.snapshots
        snapshots.keep_readers()
        transaction = environment.begin(write=True)
        try:
            is_done = self._delete_some(transaction, number, keys_max)
            if is_done:
                transaction.delete(keys.encode_purge(number), db=handles[Database.META])
            transaction_id = transaction.id()
        except BaseException:
            transaction.abort()
            raise
        self._opened.upkeep.note_commit(keys_max)
        current = snapshots.current
        carried = {number: known for number in current.galleries if (known := current.to_carry(number)) is not None}
        content = SnapshotContent(current.revision, transaction_id, current.galleries, current.numbers, carried)
        try:
            commit_and_publish(environment, transaction, snapshots, content)
        except OutcomeUnknown as unknown:
            if is_done:
                unknown.on_kept = partial(self._purges.remove, number)
            raise
        if is_done:
            self._purges.remove(number)

    def _delete_some(self, transaction: Transaction, number: int, keys_max: int) -> bool:
        """Delete up to `keys_max` records of the gallery; answers whether none is left."""
        prefix = keys.encode_gallery(number)
        left = keys_max
        for database in GALLERY_KEYED:
            with transaction.cursor(self._opened.handles[database]) as cursor:
                found = cursor.set_range(prefix)
                while found and cursor.key().startswith(prefix):
                    if left == 0:
                        return False
                    # Deletes one value; the cursor then stands on the next.
                    found = cursor.delete() and bool(cursor.key())
                    left -= 1
        return True
