"""Making a later revision out of an earlier one: entries of the journal become changes, as the commands made them.

An entry holds every choice, so that nothing is decided here; what follows from a face or an identity is derived by the
code that commands use. Vectors are not in the journal: whoever replays brings the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import (
    EnrolledRows,
    FaceRecord,
    GalleryRecord,
    IdentityRecord,
    JournalEntry,
    JournalOperation,
    PutIdentity,
)
from mien_server.storage import keys
from mien_server.storage.applying import apply_changes
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Planning
from mien_server.storage.commands.derived import (
    gallery_created,
    gallery_deleted,
    put_face_expiries,
    put_face_labels,
    put_faces,
    put_identity_ids,
    put_identity_labels,
)
from mien_server.storage.commands.identities import GalleryWork
from mien_server.storage.databases import Database, Handles, Reading, Transaction, corrupt, put
from mien_server.storage.erasure.redaction import PLACEHOLDER_IDENTITY, is_placeholder_face, is_placeholder_identity
from mien_server.storage.reading import RecordReader
from mien_server.storage.values import decode_face, decode_message

__all__ = ["Replay", "stand_ins"]

_SCANNED_FACES = 4096
# Taken out at once: bounds the memory that takes.
_DROPPED_FACES = 1024


class Replay:
    """Applies entries, one after the other, within one write transaction."""

    def __init__(self, transaction: Transaction, handles: Handles) -> None:
        self._transaction = transaction
        self._handles = handles
        self._records = RecordReader(Reading(transaction, handles))
        self._revision = self._records.revision()

    def apply(self, raw: bytes) -> None:
        """Apply the next entry, as the journal holds it.

        Raises:
            CorruptStore: REPLAY_DIVERGED, it does not follow from what is there.
            lmdb.Error: it cannot be written.
        """
        key = keys.encode_number(self._revision + 1)
        entry = decode_message(JournalEntry, raw, Database.JOURNAL, key)
        if entry.revision != self._revision + 1:
            raise _diverged(self._revision + 1, f"the entry is of revision {entry.revision}")
        planning = Planning(self._records, entry.revision, entry.time_us)
        for operation in entry.operations:
            apply_changes(self._transaction, self._handles, self._changes(operation, planning))
        journal_bytes = self._records.journal_bytes() + len(raw)
        self._put(Database.JOURNAL, key, raw)
        self._put(Database.META, keys.META_REVISION, key)
        self._put(Database.META, keys.META_TIME, keys.encode_number(entry.time_us))
        self._put(Database.META, keys.META_JOURNAL_BYTES, keys.encode_number(journal_bytes))
        self._revision = entry.revision

    def drop_erased(self, first_ordinals: Mapping[int, int]) -> int:
        """Take out what stands for people who were erased since; answers with how many faces. The revision stays.

        Args:
            first_ordinals: by gallery number, the first row that was replayed; galleries that are not there were made.
        """
        count = 0
        for gallery in self._records.galleries():
            first = keys.encode_numbered(gallery.number, first_ordinals.get(gallery.number, 0))
            prefix = keys.encode_gallery(gallery.number)
            # All are found before the first is taken out: a cursor does not outlast a write.
            dead = [
                ordinal
                for chunk in self._records.reading.chunks(Database.FACES, prefix, _SCANNED_FACES, first)
                for key, raw in chunk
                if is_placeholder_face(ordinal := keys.decode_numbered(key)[1], decode_face(key, raw))
            ]
            for start in range(0, len(dead), _DROPPED_FACES):
                count += self._drop(gallery, dead[start : start + _DROPPED_FACES])
            self._drop_stand_ins(gallery)
        return count

    def _drop(self, gallery: GalleryRecord, ordinals: list[int]) -> int:
        work = self._work(gallery.number, Planning(self._records, self._revision, 0))
        faces = self._records.faces(gallery.number, ordinals)
        work.load_owners(faces)
        for ordinal, face in zip(ordinals, faces, strict=True):
            work.remove_face(ordinal, face)
        apply_changes(self._transaction, self._handles, work.finish())
        return len(ordinals)

    def _drop_stand_ins(self, gallery: GalleryRecord) -> None:
        dead = [identity_id for identity_id, one in stand_ins(self._records, gallery.number) if not one.face_count]
        for start in range(0, len(dead), _DROPPED_FACES):
            work = self._work(gallery.number, Planning(self._records, self._revision, 0))
            for identity_id in dead[start : start + _DROPPED_FACES]:
                work.identity(identity_id)
                work.remove_identity(identity_id)
            apply_changes(self._transaction, self._handles, work.finish())

    def _put(self, database: Database, key: bytes, value: bytes) -> None:
        put(self._transaction, self._handles, database, key, value)

    def _changes(self, operation: JournalOperation, planning: Planning) -> Changes:
        match operation.WhichOneof("operation"):
            case "put_gallery":
                changes = self._put_gallery(operation)
            case "delete_gallery":
                record = self._records.gallery_by_number(operation.delete_gallery)
                if record is None:
                    raise _diverged(planning.revision, f"there is no gallery {operation.delete_gallery} to delete")
                changes = gallery_deleted(record)
            case "enroll":
                return self._enroll(operation.enroll, planning)
            case "put_identity":
                changes = self._put_identity(operation.put_identity, planning)
            case "delete_identity":
                deleted = operation.delete_identity
                work = self._work(deleted.gallery_number, planning)
                work.remove_identity(self._held(work, deleted.identity_number))
                changes = work.finish()
            case "move_faces":
                moved = operation.move_faces
                work = self._work(moved.gallery_number, planning)
                target_id = self._held(work, moved.target_identity_number)
                faces = self._records.faces(work.number, moved.ordinals)
                work.load_owners(faces)
                for ordinal, face in zip(moved.ordinals, faces, strict=True):
                    work.move_face(ordinal, face, target_id)
                changes = work.finish()
            case "delete_faces":
                work = self._work(operation.delete_faces.gallery_number, planning)
                ordinals = operation.delete_faces.ordinals
                faces = self._records.faces(work.number, ordinals)
                work.load_owners(faces)
                for ordinal, face in zip(ordinals, faces, strict=True):
                    work.remove_face(ordinal, face)
                changes = work.finish()
            case _:
                raise _diverged(planning.revision, "the entry has an operation that this release does not know")
        if changes.journal != [operation]:
            raise _diverged(planning.revision, "what was replayed is not what the journal says")
        return changes

    def _put_gallery(self, operation: JournalOperation) -> Changes:
        record = operation.put_gallery
        if self._records.gallery_by_number(record.number) is None:
            return gallery_created(record)
        changes = Changes()
        changes.put_gallery(record, is_created=False)
        return changes

    def _put_identity(self, put_identity: PutIdentity, planning: Planning) -> Changes:
        work = self._work(put_identity.gallery_number, planning)
        found = work.identity(put_identity.identity_id)
        record = work.make_identity(put_identity.identity_id) if found is None else found
        if record.number != put_identity.identity.number:
            raise _diverged(planning.revision, f"an identity has number {record.number}, and another in the journal")
        work.replace_labels(record, put_identity.identity.labels)
        work.set_expire_time(record, put_identity.identity.expire_time_us)
        record.CopyFrom(put_identity.identity)
        work.journal_identity(put_identity.identity_id, record)
        return work.finish()

    def _enroll(self, rows: EnrolledRows, planning: Planning) -> Changes:
        number = rows.gallery_number
        if self._records.gallery_by_number(number) is None:
            raise _diverged(planning.revision, f"there is no gallery {number} to enrol into")
        counts = self._records.counts(number)
        places = (counts.row_count, counts.next_identity_number)
        if places != (rows.first_ordinal, rows.first_new_identity_number):
            raise _diverged(planning.revision, f"the next row and identity are {places}, others in the journal")
        changes = Changes()
        ordinals = range(rows.first_ordinal, rows.first_ordinal + len(rows.face_values))
        face_keys = keys.encode_numbered_many(number, ordinals)
        faces = [decode_face(key, raw) for key, raw in zip(face_keys, rows.face_values, strict=True)]
        owners = [face.identity_number for face in faces]
        ids = [face.face_id.encode() for face in faces]
        put_faces(changes, number, rows.first_ordinal, owners, ids, [face.digest for face in faces], rows.face_values)
        put_face_expiries(changes, number, rows.first_ordinal, [face.expire_time_us for face in faces])
        for ordinal, key, face in zip(ordinals, face_keys, faces, strict=True):
            put_face_labels(
                changes, number, ordinal, decode_message(FaceRecord, face.record, Database.FACES, key).labels
            )
        self._put_owners(changes, rows, Counter(owners))
        counts.row_count += len(faces)
        counts.face_count += len(faces)
        counts.identity_count += len(rows.new_identity_ids)
        counts.next_identity_number += len(rows.new_identity_ids)
        changes.put_counts(number, counts)
        return changes

    def _put_owners(self, changes: Changes, rows: EnrolledRows, face_counts: Counter[int]) -> None:
        """Put the identities of enrolled faces: those there with more faces, new ones as the journal holds them."""
        number, first_new = rows.gallery_number, rows.first_new_identity_number
        prefix = keys.encode_gallery(number)
        known = sorted(one for one in face_counts if one < first_new)
        people = self._records.people(number, known)
        for identity_id, record in zip(people.identity_ids, people.records, strict=True):
            record.face_count += face_counts[record.number]
            changes.put(Database.IDENTITIES, prefix + identity_id.encode(), record.SerializeToString())
        for identity_id, raw in zip(rows.new_identity_ids, rows.new_identity_records, strict=True):
            key = prefix + identity_id.encode()
            changes.put(Database.IDENTITIES, key, raw)
            made = decode_message(IdentityRecord, raw, Database.IDENTITIES, key)
            put_identity_labels(changes, number, made.number, made.labels)
        put_identity_ids(changes, number, first_new, rows.new_identity_ids)

    def _work(self, gallery_number: int, planning: Planning) -> GalleryWork:
        record = self._records.gallery_by_number(gallery_number)
        if record is None:
            raise _diverged(planning.revision, f"there is no gallery {gallery_number} to change")
        return GalleryWork(planning, record.name)

    def _held(self, work: GalleryWork, identity_number: int) -> str:
        """The id of an identity, which is read to be changed."""
        (identity_id,) = self._records.identity_ids(work.number, [identity_number])
        if work.identity(identity_id) is None:
            key = keys.encode_text(work.number, identity_id)
            raise corrupt(Database.IDENTITIES, key, "the journal changes an identity that has no record")
        return identity_id


def stand_ins(records: RecordReader, gallery_number: int) -> Iterator[tuple[str, IdentityRecord]]:
    """Ids and records of identities that stand for people who were erased. To be consumed at once."""
    prefix = keys.encode_gallery(gallery_number) + PLACEHOLDER_IDENTITY.encode()
    for key, raw in records.reading.items(Database.IDENTITIES, prefix):
        identity_id = keys.decode_text(key)[1]
        identity = decode_message(IdentityRecord, raw, Database.IDENTITIES, key)
        if is_placeholder_identity(identity_id, identity):
            yield identity_id, identity


def _diverged(revision: int, what: str) -> CorruptStore:
    return CorruptStore(
        f"the journal's entry of revision {revision} does not follow from the revision before: {what}; restore to an "
        "earlier revision, or from a later snapshot",
        reason="REPLAY_DIVERGED",
        metadata={"revision": str(revision)},
    )
