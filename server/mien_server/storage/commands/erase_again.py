"""Keep an erasure that a later state of the store knows, and delete who came back with a restore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien_server.records.store_pb2 import ErasureRecord, ErasureWork
from mien_server.storage import keys
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.identities import GalleryWork
from mien_server.storage.databases import Database
from mien_server.storage.erasure.notes import ErasureState, erasure_key, put_work, work_of
from mien_server.storage.erasure.redaction import face_texts, identity_texts

__all__ = ["EraseAgain"]


@dataclass(frozen=True)
class EraseAgain(Command[None]):
    """Put an erasure's record, and delete faces, and then perhaps the identity. For a store that nobody else writes to.

    Of a record that is there already ordinals, count and texts are kept: faces may be deleted in several commits.

    Attributes:
        erasure: the record; without `work` it is put as it is.
        work: what is to be searched for, as far as it is known.
        ordinals: live rows of the erasure's gallery.
        identity_id: has no other faces; "": nobody is deleted.
        secret: the store's key, where the store has none.
    """

    erasure: ErasureRecord
    work: ErasureWork | None = None
    ordinals: Sequence[int] = ()
    identity_id: str = ""
    secret: bytes | None = None

    def plan(self, planning: Planning) -> Plan[None]:
        """Decide what to write; see `Command.plan`."""
        stored = planning.records.erasure(self.erasure.name)
        record = ErasureRecord()
        record.CopyFrom(self.erasure if stored is None else stored)
        changes = Changes()
        if self.work is not None:
            notes = ErasureWork()
            notes.CopyFrom(self.work if stored is None else work_of(stored))
            if self.ordinals or self.identity_id:
                changes = self._delete(planning, record, notes)
            record.state = ErasureState.DELETED
            put_work(record, notes)
        if self.secret is not None:
            changes.put(Database.META, keys.META_ERASURE_SECRET, self.secret)
        changes.put(Database.ERASURES, erasure_key(record.name), record.SerializeToString())
        return Plan(None, changes)

    def _delete(self, planning: Planning, record: ErasureRecord, notes: ErasureWork) -> Changes:
        work = GalleryWork(planning, record.gallery_name)
        faces = planning.records.faces(work.number, self.ordinals)
        work.load_owners(faces)
        texts = set(notes.texts)
        for ordinal, face in zip(self.ordinals, faces, strict=True):
            texts |= face_texts(face)
            notes.face_ids.append(face.face_id)
            work.remove_face(ordinal, face)
        if self.identity_id:
            identity = work.identity(self.identity_id)
            assert identity is not None
            texts |= identity_texts(identity)
            work.remove_identity(self.identity_id)
        notes.texts[:] = sorted(texts)
        record.ordinals[:] = sorted({*record.ordinals, *self.ordinals})
        record.face_count += len(self.ordinals)
        record.revision = planning.revision
        return work.finish()
