"""Delete what has expired, a bounded piece at a time: the sweep."""

from __future__ import annotations

from dataclasses import dataclass

from mien_server.errors import CorruptStore
from mien_server.storage import keys
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.identities import GalleryWork
from mien_server.storage.databases import Database, corrupt
from mien_server.storage.expiry import due_entries, has_expired

__all__ = ["RemoveExpired", "RemovedExpired"]


@dataclass(frozen=True, slots=True)
class RemovedExpired:
    """What was deleted; `is_more_due` when the bound was met before the end."""

    face_count: int
    identity_count: int
    is_more_due: bool


@dataclass(frozen=True)
class RemoveExpired(Command[RemovedExpired]):
    """Delete faces that have expired, and identities that have with all their faces.

    The earliest go first. An identity with more faces than one command deletes goes with the last of them. The journal
    keeps ordinals and identity numbers, as of every deletion.

    Attributes:
        rows_max: faces, and identities without, that one command deletes at most.

    Raises:
        NotFound: GALLERY_NOT_FOUND.
        CorruptStore: nothing else has expired, and who an entry is about cannot be told, or is to stay.
    """

    gallery: str
    rows_max: int

    @property
    def row_count(self) -> int:
        """As many as it may delete."""
        return self.rows_max

    def plan(self, planning: Planning) -> Plan[RemovedExpired]:
        """Decide what to write; see `Command.plan`."""
        work = GalleryWork(planning, self.gallery)
        faces, people = self._due(planning, work.number)
        if not faces and not people:
            return Plan(RemovedExpired(0, 0, is_more_due=False), Changes())
        is_more_due = len(faces) + len(people) == self.rows_max
        face_count = work.remove_expired_faces(sorted(faces), planning.now_us)
        identity_ids, doubts = self._expired_people(work, people, planning)
        if doubts and not face_count and not identity_ids:
            # Nothing else is left to be deleted.
            raise doubts[0]
        owned_count, identity_count = work.remove_with_faces(identity_ids, self.rows_max - len(faces))
        is_more_due |= identity_count < len(identity_ids) or bool(doubts)
        return Plan(RemovedExpired(face_count + owned_count, identity_count, is_more_due), work.finish())

    def _expired_people(
        self, work: GalleryWork, numbers: list[int], planning: Planning
    ) -> tuple[list[str], list[CorruptStore]]:
        """Ids of those who have expired by their own record, and what is to be said of others.

        Keys have no checksum: one that was changed names somebody who is to stay.
        """
        found: list[str] = []
        doubts: list[CorruptStore] = []
        for number in numbers:
            try:
                (identity_id,) = work.identity_ids([number])
                record = work.identity_to_delete(identity_id)
            except CorruptStore as damage:
                doubts.append(damage)
                continue
            if record is not None and has_expired(record.expire_time_us, planning.now_us):
                found.append(identity_id)
                continue
            key = keys.encode_numbered(work.number, number)
            said = "`expiry` says that this identity has expired, and its record does not"
            doubts.append(corrupt(Database.IDENTITY_IDS, key, said, "RECORDS_DISAGREE"))
        return found, doubts

    def _due(self, planning: Planning, gallery_number: int) -> tuple[list[int], list[int]]:
        """Ordinals and identity numbers that have expired, as many as the bound allows."""
        faces: list[int] = []
        people: list[int] = []
        for entries in due_entries(planning.records.reading, gallery_number, 0, planning.now_us):
            room = self.rows_max - len(faces) - len(people)
            due = entries[entries["time_us"] <= planning.now_us][:room]
            is_face = due["kind"] == keys.EXPIRY_FACE
            faces += due["number"][is_face].tolist()
            people += due["number"][~is_face].tolist()
            if len(due) == room:
                break
        return faces, people
