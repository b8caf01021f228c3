"""Give faces to another identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.expired import expired_among
from mien_server.storage.commands.identities import GalleryWork

__all__ = ["MoveFaces", "MovedFacesResult"]


@dataclass(frozen=True, slots=True)
class MovedFacesResult:
    """`moved_count` leaves out faces that were the target's already; `emptied_identity_ids` in byte order."""

    moved_count: int
    emptied_identity_ids: list[str]


@dataclass(frozen=True)
class MoveFaces(Command[MovedFacesResult]):
    """Give faces to `target_identity_id`, which is made when missing. All of them or none.

    Attributes:
        delete_emptied_identities: delete identities that the move leaves without faces.

    Raises:
        NotFound: GALLERY_NOT_FOUND; FACE_NOT_FOUND with the metadata `face_id`.
    """

    gallery: str
    face_ids: Sequence[str]
    target_identity_id: str
    delete_emptied_identities: bool = False

    def expired(self, planning: Planning) -> Changes | None:
        """What goes before; see `Command.expired`."""
        return expired_among(
            planning,
            self.gallery,
            identity_ids=[self.target_identity_id],
            face_ids=self.face_ids,
            empties_owners=True,
        )

    def plan(self, planning: Planning) -> Plan[MovedFacesResult]:
        """Decide what to write; see `Command.plan`."""
        work = GalleryWork(planning, self.gallery)
        ordinals = work.face_ordinals(self.face_ids, allow_missing=False)
        faces = planning.records.faces(work.number, ordinals)
        target = work.identity(self.target_identity_id)
        moved = [
            (ordinal, face)
            for ordinal, face in zip(ordinals, faces, strict=True)
            if target is None or face.identity_number != target.number
        ]
        if not moved:
            return Plan(MovedFacesResult(0, []), Changes())
        if target is not None:
            # Rows of somebody who cannot be named would fail every search that finds them.
            planning.records.identity_ids(work.number, [target.number])
        else:
            target = work.make_identity(self.target_identity_id)
            work.journal_identity(self.target_identity_id, target)
        work.load_owners(face for _, face in moved)
        for ordinal, face in moved:
            work.move_face(ordinal, face, self.target_identity_id)
        emptied = work.emptied_identities(delete=self.delete_emptied_identities)
        return Plan(MovedFacesResult(len(moved), emptied), work.finish())
