"""Work on single identities and faces of a gallery, collected as changes: what all verbs but enrolment share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mien_server.errors import CorruptStore, NotFound
from mien_server.records.store_pb2 import (
    DeletedFaces,
    DeleteIdentity,
    IdentityRecord,
    JournalOperation,
    MovedFaces,
    PutIdentity,
)
from mien_server.storage import keys
from mien_server.storage.changes import Changes, MovedRows
from mien_server.storage.commands.base import Planning
from mien_server.storage.commands.checks import require_identity_id
from mien_server.storage.commands.derived import put_identity_ids, put_identity_labels
from mien_server.storage.commands.stand_ins import Reference, face_stand_ins, id_of, identity_stand_in, ordinals_of
from mien_server.storage.databases import Database, corrupt
from mien_server.storage.expiry import has_expired
from mien_server.storage.layout import REPAIR_ADVICE
from mien_server.storage.values import FaceValue, encode_face

__all__ = ["GalleryWork", "identity_not_found"]


def identity_not_found(gallery: str, identity_id: str) -> NotFound:
    """The error for an identity that is not there."""
    return NotFound(
        f"gallery {gallery!r} has no identity {identity_id!r}; check the id",
        reason="IDENTITY_NOT_FOUND",
        metadata={"gallery": gallery, "identity_id": identity_id},
    )


class GalleryWork:
    """Changes of one command to one gallery. Identities are held in memory until `finish` puts them.

    Raises:
        NotFound: GALLERY_NOT_FOUND.
    """

    def __init__(self, planning: Planning, gallery: str) -> None:
        self._planning = planning
        self._gallery = gallery
        self.number: int = planning.records.gallery(gallery).number
        self._counts = planning.records.counts(self.number)
        self._changes = Changes()
        # By id; those that are deleted are taken out again.
        self._identities: dict[str, IdentityRecord] = {}
        self._ids: dict[int, str] = {}
        self._deleted: list[int] = []
        self._moved: list[int] = []
        self._removed_identities: list[int] = []
        self._target_number = 0
        # What goes with damaged identities, by id, and with damaged faces, by ordinal.
        self._identity_references: dict[str, list[Reference]] = {}
        self._face_references: dict[int, list[Reference]] = {}
        # Identity numbers whose records are damaged: their counts of faces are not kept.
        self._damaged_owners: set[int] = set()

    def identity(self, identity_id: str) -> IdentityRecord | None:
        """The identity, to be changed in place."""
        if identity_id not in self._identities:
            record = self._planning.records.identity(self.number, identity_id)
            if record is None:
                return None
            self._hold(identity_id, record)
        return self._identities[identity_id]

    def identity_to_delete(self, identity_id: str) -> IdentityRecord | None:
        """As `identity`; where the rest is served, what others say of one whose own record is damaged.

        Raises:
            CorruptStore: it is damaged, and the rest is not served, or nothing whole says which number it has.
        """
        records = self._planning.records
        try:
            return self.identity(identity_id)
        except CorruptStore as damage:
            if not records.serves_damaged:
                raise
            stand_in = identity_stand_in(records, self.number, identity_id)
            if stand_in is None:
                raise CorruptStore(
                    f"identity {identity_id!r}: cannot be deleted, for nothing that is whole says which number it has; "
                    f"{REPAIR_ADVICE}",
                    reason=damage.reason,
                    metadata=damage.metadata,
                ) from damage
        self._identity_references[identity_id] = stand_in.references
        self._hold(identity_id, stand_in.record)
        return stand_in.record

    def make_identity(self, identity_id: str) -> IdentityRecord:
        """A new identity without faces, to be filled in place. Raises InvalidArgument for an id that can be none."""
        require_identity_id(identity_id)
        record = IdentityRecord(
            number=self._counts.next_identity_number,
            create_time_us=self._planning.now_us,
            update_time_us=self._planning.now_us,
            version=self._planning.revision,
        )
        self._counts.next_identity_number += 1
        self._counts.identity_count += 1
        put_identity_ids(self._changes, self.number, record.number, [identity_id])
        self._hold(identity_id, record)
        return record

    def set_expire_time(self, record: IdentityRecord, expire_time_us: int) -> None:
        """Have an identity expire at another time; 0: never."""
        if record.expire_time_us:
            gone = keys.encode_expiry(self.number, record.expire_time_us, keys.EXPIRY_IDENTITY, record.number)
            self._changes.delete(Database.EXPIRY, gone)
        if expire_time_us:
            added = keys.encode_expiry(self.number, expire_time_us, keys.EXPIRY_IDENTITY, record.number)
            self._changes.put(Database.EXPIRY, added, b"")
        record.expire_time_us = expire_time_us

    def replace_labels(self, record: IdentityRecord, labels: Mapping[str, str]) -> None:
        """Give an identity these labels instead of those it has."""
        for key, value in record.labels.items():
            gone = keys.encode_labelled(self.number, key, value, record.number)
            self._changes.delete(Database.IDENTITY_LABEL_INDEX, gone)
        put_identity_labels(self._changes, self.number, record.number, labels)
        record.labels.clear()
        record.labels.update(labels)

    def journal_identity(self, identity_id: str, record: IdentityRecord) -> None:
        """Have the journal keep the identity as it is now."""
        put = PutIdentity(gallery_number=self.number, identity_id=identity_id, identity=record)
        self._changes.journal.append(JournalOperation(put_identity=put))

    def face_ordinals(self, face_ids: Sequence[str], *, allow_missing: bool, is_deleting: bool = False) -> list[int]:
        """Ordinals of the faces, ascending, each once.

        Args:
            is_deleting: where the rest is served, those whose ids' records are damaged are found by their own.

        Raises:
            NotFound: FACE_NOT_FOUND, unless missing ones are allowed.
        """
        records = self._planning.records
        try:
            found = records.face_ordinals(self.number, face_ids)
        except CorruptStore:
            if not (is_deleting and records.serves_damaged):
                raise
            found = records.whole_face_ordinals(self.number, face_ids)
            found |= ordinals_of(records, self.number, set(face_ids) - found.keys())
        if not allow_missing:
            for face_id in face_ids:
                if face_id not in found:
                    raise NotFound(
                        f"gallery {self._gallery!r} has no face {face_id!r}; nothing was changed",
                        reason="FACE_NOT_FOUND",
                        metadata={"gallery": self._gallery, "face_id": face_id},
                    )
        return sorted(found.values())

    def load_owners(self, faces: Iterable[FaceValue], *, is_deleting: bool = False) -> None:
        """Read the identities that have these faces.

        Args:
            is_deleting: the faces are deleted; where the rest is served, their identities may be damaged.

        Raises:
            CorruptStore: one is missing, or damaged.
        """
        missing = sorted({face.identity_number for face in faces} - self._ids.keys() - self._damaged_owners)
        passes_damaged = is_deleting and self._planning.records.serves_damaged
        ids = (
            self.identity_ids(missing) if passes_damaged else self._planning.records.identity_ids(self.number, missing)
        )
        for number, identity_id in zip(missing, ids, strict=True):
            try:
                record = self.identity(identity_id)
            except CorruptStore:
                if not passes_damaged:
                    raise
                self._damaged_owners.add(number)
                continue
            if record is None or record.number != number:
                key = keys.encode_text(self.number, identity_id)
                raise corrupt(Database.IDENTITIES, key, "faces name an identity that has no record")

    def identity_ids(self, numbers: Sequence[int]) -> list[str]:
        """The id of each identity number; where the rest is served, by its own record if need be.

        Raises:
            CorruptStore: nothing whole says which one it is.
        """
        records = self._planning.records
        try:
            return records.identity_ids(self.number, numbers)
        except CorruptStore:
            if not records.serves_damaged:
                raise
        ids = []
        for number in numbers:
            try:
                ids += records.identity_ids(self.number, [number])
            except CorruptStore:
                found = id_of(records, self.number, number)
                if found is None:
                    raise
                ids.append(found)
        return ids

    def faces_to_delete(self, ordinals: Sequence[int]) -> list[FaceValue]:
        """The faces of these rows; where the rest is served, of damaged ones what others say of them.

        Raises:
            CorruptStore: one is not there; or it is damaged, and the rest is not served.
        """
        records = self._planning.records
        if not records.serves_damaged:
            return records.faces(self.number, ordinals)
        found = face_stand_ins(records, self.number, ordinals)
        self._face_references |= found.references
        return found.faces

    def remove_faces_of(self, identity: IdentityRecord, ordinals: Sequence[int]) -> list[FaceValue]:
        """Delete faces of an identity that was read; answers with what they were.

        Raises:
            CorruptStore: one is somebody else's.
        """
        faces = self.faces_to_delete(ordinals)
        for ordinal, face in zip(ordinals, faces, strict=True):
            if face.identity_number != identity.number:
                key = keys.encode_pair(self.number, identity.number, ordinal)
                raise corrupt(Database.IDENTITY_FACES, key, "gives an identity a face of another", "RECORDS_DISAGREE")
            self.remove_face(ordinal, face)
        return faces

    def remove_face(self, ordinal: int, face: FaceValue) -> None:
        """Delete a face; its identity must have been read."""
        key = keys.encode_numbered(self.number, ordinal)
        changes = self._changes
        changes.delete(Database.FACES, key)
        changes.delete(Database.FACE_IDS, keys.encode_text(self.number, face.face_id))
        self._leave_identity(ordinal, face)
        if face.expire_time_us:
            expiry = keys.encode_expiry(self.number, face.expire_time_us, keys.EXPIRY_FACE, ordinal)
            changes.delete(Database.EXPIRY, expiry)
        for label, value in face.message(key).labels.items():
            changes.delete(Database.FACE_LABEL_INDEX, keys.encode_labelled(self.number, label, value, ordinal))
        for database, reference in self._face_references.pop(ordinal, ()):
            changes.delete(database, reference)
        self._counts.face_count -= 1
        self._deleted.append(ordinal)

    def remove_expired_faces(self, ordinals: Sequence[int], now_us: int) -> int:
        """Delete those of the faces that have expired, by themselves or with their identities; how many."""
        values = self.faces_to_delete(ordinals)
        self.load_owners(values, is_deleting=True)
        expired = []
        for ordinal, face in zip(ordinals, values, strict=True):
            is_owner_whole = face.identity_number not in self._damaged_owners
            owner_us = self._identities[self._ids[face.identity_number]].expire_time_us if is_owner_whole else 0
            if has_expired(face.expire_time_us, now_us) or has_expired(owner_us, now_us):
                expired.append((ordinal, face))
        for ordinal, face in expired:
            self.remove_face(ordinal, face)
        return len(expired)

    def remove_with_faces(self, identity_ids: Sequence[str], faces_max: int | None = None) -> tuple[int, int]:
        """Delete identities that are there with their faces, but no more than so many faces, so that the last may stay.

        Answers with the numbers of faces and of identities deleted.
        """
        face_count = 0
        gone = set(self._deleted)
        for position, identity_id in enumerate(identity_ids):
            record = self.identity_to_delete(identity_id)
            assert record is not None
            limit = None if faces_max is None else faces_max - face_count + len(gone) + 1
            found = self._planning.records.faces_of(self.number, record.number, limit=limit).tolist()
            ordinals = [ordinal for ordinal in found if ordinal not in gone]
            taken = ordinals if faces_max is None else ordinals[: faces_max - face_count]
            self.remove_faces_of(record, taken)
            face_count += len(taken)
            if len(taken) < len(ordinals):
                return face_count, position
            self.remove_identity(identity_id)
        return face_count, len(identity_ids)

    def move_face(self, ordinal: int, face: FaceValue, target_id: str) -> None:
        """Give a face to another identity; both must have been read."""
        target = self._identities[target_id]
        changes = self._changes
        self._leave_identity(ordinal, face)
        moved = replace(face, identity_number=target.number)
        changes.put(Database.FACES, keys.encode_numbered(self.number, ordinal), encode_face(moved))
        changes.put(Database.IDENTITY_FACES, keys.encode_pair(self.number, target.number, ordinal), b"")
        digest_key = keys.encode_digest_key(self.number, target.number, face.digest)
        changes.put(Database.FACE_DIGESTS, digest_key, keys.encode_number(ordinal))
        target.face_count += 1
        self._target_number = target.number
        self._moved.append(ordinal)

    def emptied_identities(self, *, delete: bool) -> list[str]:
        """Ids of the identities read here that are left without faces, in byte order; deletes them when asked."""
        emptied = sorted((i for i, record in self._identities.items() if not record.face_count), key=str.encode)
        if delete:
            for identity_id in emptied:
                self.remove_identity(identity_id)
        return emptied

    def remove_identity(self, identity_id: str) -> None:
        """Delete an identity; its faces are gone already."""
        record = self._identities.pop(identity_id)
        self.replace_labels(record, {})
        self.set_expire_time(record, 0)
        self._changes.delete(Database.IDENTITIES, keys.encode_text(self.number, identity_id))
        self._changes.delete(Database.IDENTITY_IDS, keys.encode_numbered(self.number, record.number))
        for database, reference in self._identity_references.pop(identity_id, ()):
            self._changes.delete(database, reference)
        self._counts.identity_count -= 1
        self._removed_identities.append(record.number)

    def finish(self) -> Changes:
        """Put what is held, and answer with everything."""
        changes = self._changes
        for identity_id, record in self._identities.items():
            key = keys.encode_text(self.number, identity_id)
            changes.put(Database.IDENTITIES, key, record.SerializeToString())
        change = changes.change(self.number)
        if self._moved:
            moved = MovedFaces(
                gallery_number=self.number, ordinals=self._moved, target_identity_number=self._target_number
            )
            changes.journal.append(JournalOperation(move_faces=moved))
            change.moved = MovedRows(np.array(self._moved, dtype=np.int64), self._target_number)
        if self._deleted:
            deleted = DeletedFaces(gallery_number=self.number, ordinals=self._deleted)
            changes.journal.append(JournalOperation(delete_faces=deleted))
            change.deleted_ordinals = np.array(self._deleted, dtype=np.int64)
        for number in self._removed_identities:
            gone = DeleteIdentity(gallery_number=self.number, identity_number=number)
            changes.journal.append(JournalOperation(delete_identity=gone))
        changes.put_counts(self.number, self._counts)
        return changes

    def _hold(self, identity_id: str, record: IdentityRecord) -> None:
        self._identities[identity_id] = record
        self._ids[record.number] = identity_id

    def _leave_identity(self, ordinal: int, face: FaceValue) -> None:
        changes = self._changes
        number = face.identity_number
        changes.delete(Database.IDENTITY_FACES, keys.encode_pair(self.number, number, ordinal))
        digest_key = keys.encode_digest_key(self.number, number, face.digest)
        changes.pair_deletes[Database.FACE_DIGESTS].append((digest_key, keys.encode_number(ordinal)))
        if number not in self._damaged_owners:
            self._identities[self._ids[number]].face_count -= 1
