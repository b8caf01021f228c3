"""Delete an identity with all its faces."""

from __future__ import annotations

from dataclasses import dataclass

from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.checks import require_version
from mien_server.storage.commands.expired import expired_among
from mien_server.storage.commands.identities import GalleryWork, identity_not_found
from mien_server.storage.expiry import has_expired

__all__ = ["DeleteIdentity"]


@dataclass(frozen=True)
class DeleteIdentity(Command[int]):
    """Delete an identity and its faces; answers with how many there were to be seen.

    Where the rest of a damaged store is served, a damaged one too, unless its version is asked for.

    Attributes:
        expected_version: the version last read, or None not to ask.
        allow_missing: answer 0 when there is none.

    Raises:
        NotFound: GALLERY_NOT_FOUND, IDENTITY_NOT_FOUND.
        Conflict: ETAG_MISMATCH.
    """

    gallery: str
    identity_id: str
    expected_version: int | None = None
    allow_missing: bool = False

    def expired(self, planning: Planning) -> Changes | None:
        """What goes before; see `Command.expired`."""
        return expired_among(planning, self.gallery, identity_ids=[self.identity_id])

    def plan(self, planning: Planning) -> Plan[int]:
        """Decide what to write; see `Command.plan`."""
        work = GalleryWork(planning, self.gallery)
        record = (
            work.identity_to_delete(self.identity_id)
            if self.expected_version is None
            else work.identity(self.identity_id)
        )
        if record is None:
            if not self.allow_missing:
                raise identity_not_found(self.gallery, self.identity_id)
            return Plan(0, Changes())
        require_version(self.expected_version, record.version, f"identity {self.identity_id!r}")
        ordinals = planning.records.faces_of(work.number, record.number).tolist()
        faces = work.remove_faces_of(record, ordinals)
        work.remove_identity(self.identity_id)
        seen_count = sum(not has_expired(face.expire_time_us, planning.now_us) for face in faces)
        return Plan(seen_count, work.finish())
