"""Delete a gallery."""

from __future__ import annotations

from dataclasses import dataclass

from mien_server.errors import PreconditionFailed
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.checks import require_version
from mien_server.storage.commands.derived import gallery_deleted
from mien_server.storage.commands.expired import counts_left

__all__ = ["DeleteGallery", "DeletedCounts"]


@dataclass(frozen=True, slots=True)
class DeletedCounts:
    """What went with a gallery."""

    identity_count: int
    face_count: int


@dataclass(frozen=True)
class DeleteGallery(Command[DeletedCounts]):
    """Delete a gallery with all its identities and faces.

    It is gone at once; its records are taken out of LMDB in small steps afterwards, and its files when no view
    holds them.

    Attributes:
        force: delete it although it has identities or faces.
        expected_version: the version last read, or None not to ask.

    Raises:
        NotFound: GALLERY_NOT_FOUND.
        PreconditionFailed: GALLERY_NOT_EMPTY.
        Conflict: ETAG_MISMATCH.
    """

    name: str
    force: bool = False
    expected_version: int | None = None

    def plan(self, planning: Planning) -> Plan[DeletedCounts]:
        """Decide what to write; see `Command.plan`."""
        record = planning.records.gallery(self.name)
        require_version(self.expected_version, record.version, f"gallery {self.name!r}")
        counts = counts_left(planning.records, record.number, planning.now_us)
        if not self.force and (counts.identity_count or counts.face_count):
            raise PreconditionFailed(
                f"the gallery {self.name!r} has {counts.identity_count} identities and {counts.face_count} faces; "
                "delete them first, or ask with force",
                reason="GALLERY_NOT_EMPTY",
                metadata={"gallery": self.name},
            )
        return Plan(DeletedCounts(counts.identity_count, counts.face_count), gallery_deleted(record))
