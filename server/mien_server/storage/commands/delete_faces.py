"""Delete faces by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.expired import expired_among
from mien_server.storage.commands.identities import GalleryWork

__all__ = ["DeleteFaces", "DeletedFacesResult"]


@dataclass(frozen=True, slots=True)
class DeletedFacesResult:
    """Faces deleted, and the identities that are left without any, in byte order."""

    deleted_count: int
    emptied_identity_ids: list[str]


@dataclass(frozen=True)
class DeleteFaces(Command[DeletedFacesResult]):
    """Delete faces. All of them or none, unless missing ones are allowed.

    Attributes:
        allow_missing: pass over ids that are not there.
        delete_emptied_identities: delete identities that are left without faces.

    Raises:
        NotFound: GALLERY_NOT_FOUND; FACE_NOT_FOUND with the metadata `face_id`.
    """

    gallery: str
    face_ids: Sequence[str]
    allow_missing: bool = False
    delete_emptied_identities: bool = False

    def expired(self, planning: Planning) -> Changes | None:
        """What goes before; see `Command.expired`."""
        return expired_among(planning, self.gallery, face_ids=self.face_ids, empties_owners=True)

    def plan(self, planning: Planning) -> Plan[DeletedFacesResult]:
        """Decide what to write; see `Command.plan`."""
        work = GalleryWork(planning, self.gallery)
        ordinals = work.face_ordinals(self.face_ids, allow_missing=self.allow_missing, is_deleting=True)
        if not ordinals:
            return Plan(DeletedFacesResult(0, []), Changes())
        faces = work.faces_to_delete(ordinals)
        work.load_owners(faces, is_deleting=True)
        for ordinal, face in zip(ordinals, faces, strict=True):
            work.remove_face(ordinal, face)
        emptied = work.emptied_identities(delete=self.delete_emptied_identities)
        return Plan(DeletedFacesResult(len(ordinals), emptied), work.finish())
