"""Change an identity's display name, labels and time of expiry, or make it without faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mien_server.records.store_pb2 import IdentityRecord
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.checks import require_future, require_version
from mien_server.storage.commands.expired import expired_among
from mien_server.storage.commands.identities import GalleryWork, identity_not_found

__all__ = ["PutIdentity"]


@dataclass(frozen=True)
class PutIdentity(Command[IdentityRecord]):
    """Replace the fields given (None: keep); answers with the new record.

    Attributes:
        allow_missing: make the identity when there is none.
        expected_version: the version last read, or None not to ask.
        update_time_us: 0: the time of the commit.
        expire_time_us: when it expires with all its faces; 0: never.

    Raises:
        NotFound: GALLERY_NOT_FOUND, IDENTITY_NOT_FOUND (also when a version is expected of a missing one).
        InvalidArgument: EXPIRE_TIME_PAST.
        Conflict: ETAG_MISMATCH.
    """

    gallery: str
    identity_id: str
    display_name: str | None = None
    labels: Mapping[str, str] | None = None
    allow_missing: bool = False
    expected_version: int | None = None
    update_time_us: int = 0
    expire_time_us: int | None = None

    def expired(self, planning: Planning) -> Changes | None:
        """What goes before; see `Command.expired`."""
        return expired_among(planning, self.gallery, identity_ids=[self.identity_id])

    def plan(self, planning: Planning) -> Plan[IdentityRecord]:
        """Decide what to write; see `Command.plan`."""
        work = GalleryWork(planning, self.gallery)
        record = work.identity(self.identity_id)
        if record is None:
            if not self.allow_missing or self.expected_version is not None:
                raise identity_not_found(self.gallery, self.identity_id)
            record = work.make_identity(self.identity_id)
        require_version(self.expected_version, record.version, f"identity {self.identity_id!r}")
        if self.display_name is not None:
            record.display_name = self.display_name
        if self.labels is not None:
            work.replace_labels(record, self.labels)
        if self.expire_time_us is not None:
            require_future(self.expire_time_us, planning.now_us, "identity.expire_time")
            work.set_expire_time(record, self.expire_time_us)
        record.update_time_us = self.update_time_us or planning.now_us
        record.version = planning.revision
        work.journal_identity(self.identity_id, record)
        return Plan(record, work.finish())
