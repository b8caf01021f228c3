"""Delete an identity that is to be erased, some faces at a time, and note what is to be done after."""

from __future__ import annotations

from dataclasses import dataclass

from mien_server.records.store_pb2 import ErasureRecord, ErasureWork, IdentityRecord, OperationRecord
from mien_server.storage import keys
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.identities import GalleryWork, identity_not_found
from mien_server.storage.databases import Database
from mien_server.storage.erasure.notes import (
    ErasureState,
    erasure_key,
    identity_hash,
    new_secret,
    put_work,
    work_of,
)
from mien_server.storage.erasure.redaction import face_texts, identity_texts

__all__ = ["ERASED_FACES_MAX", "EraseFaces"]

ERASED_FACES_MAX = 1024
"""Faces that one commit deletes: a person of many faces must not hold up who writes meanwhile."""


@dataclass(frozen=True)
class EraseFaces(Command[bool]):
    """Delete the next faces of an identity, with the last ones the identity; answers whether it is gone.

    The first of an erasure makes its record and puts the operation that reports it; the following find the record by
    its name, and are done when somebody else has deleted the identity meanwhile.

    Raises:
        NotFound: GALLERY_NOT_FOUND, IDENTITY_NOT_FOUND.
    """

    gallery: str
    identity_id: str
    erasure: str
    operation: OperationRecord | None = None

    def plan(self, planning: Planning) -> Plan[bool]:
        """Decide what to write; see `Command.plan`."""
        work = GalleryWork(planning, self.gallery)
        identity = work.identity_to_delete(self.identity_id)
        record = planning.records.erasure(self.erasure)
        notes = ErasureWork() if record is None else work_of(record)
        if record is None and identity is None:
            raise identity_not_found(self.gallery, self.identity_id)
        is_another = record is not None and (record.gallery_number, notes.identity_number) != (
            work.number,
            identity and identity.number,
        )
        if identity is None or is_another:
            assert record is not None
            changes = Changes()
            if record.state == ErasureState.DELETING:
                record.state = ErasureState.DELETED
                changes.put(Database.ERASURES, erasure_key(self.erasure), record.SerializeToString())
            return Plan(result=True, changes=changes)
        changes = Changes()
        if record is None:
            record = self._begun(planning, changes, work.number)
            notes.identity_number, notes.identity_id = identity.number, self.identity_id
            notes.create_times_us[identity.number] = identity.create_time_us
            # All of them now: others may delete some before their turn comes, and their rows are to be overwritten too.
            record.ordinals.extend(planning.records.faces_of(work.number, identity.number).tolist())
        is_gone = self._delete(planning, work, identity, record, notes)
        record.revision = planning.revision
        record.state = ErasureState.DELETED if is_gone else ErasureState.DELETING
        put_work(record, notes)
        deletion = work.finish()
        for database, items in changes.puts.items():
            deletion.puts[database] += items
        deletion.put(Database.ERASURES, erasure_key(self.erasure), record.SerializeToString())
        return Plan(is_gone, deletion)

    def _begun(self, planning: Planning, changes: Changes, gallery_number: int) -> ErasureRecord:
        secret = planning.records.erasure_secret()
        if secret is None:
            secret = new_secret()
            changes.put(Database.META, keys.META_ERASURE_SECRET, secret)
        assert self.operation is not None
        name = keys.encode_name(self.operation.name, "operation name")
        changes.put(Database.OPERATIONS, name, self.operation.SerializeToString())
        return ErasureRecord(
            name=self.erasure,
            operation=self.operation.name,
            gallery_number=gallery_number,
            gallery_name=self.gallery,
            create_time_us=planning.now_us,
            identity_hash=identity_hash(secret, gallery_number, self.identity_id),
        )

    def _delete(
        self, planning: Planning, work: GalleryWork, identity: IdentityRecord, record: ErasureRecord, notes: ErasureWork
    ) -> bool:
        found = planning.records.faces_of(work.number, identity.number, limit=ERASED_FACES_MAX + 1).tolist()
        ordinals = found[:ERASED_FACES_MAX]
        texts = {*notes.texts, *identity_texts(identity)}
        for face in work.remove_faces_of(identity, ordinals):
            texts.update(face_texts(face))
            notes.face_ids.append(face.face_id)
        notes.texts[:] = sorted(texts)
        record.ordinals.extend(set(ordinals) - set(record.ordinals))
        record.face_count += len(ordinals)
        if len(found) > ERASED_FACES_MAX:
            return False
        work.remove_identity(self.identity_id)
        return True
