"""Delete what has expired, a bounded piece at a time: the sweep."""

from __future__ import annotations

from dataclasses import dataclass

from mien_server.storage import keys
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.identities import GalleryWork
from mien_server.storage.expiry import due_entries

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
        identity_ids = work.identity_ids(people)
        owned_count, identity_count = work.remove_with_faces(identity_ids, self.rows_max - len(faces))
        is_more_due |= identity_count < len(people)
        return Plan(RemovedExpired(face_count + owned_count, identity_count, is_more_due), work.finish())

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
