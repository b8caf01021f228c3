"""Change what may change of a gallery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mien_server.records.store_pb2 import (
    DecisionPolicyRecord,
    EnrollmentPolicyRecord,
    GalleryRecord,
    IndexPolicyRecord,
)
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.checks import require_version

__all__ = ["UpdateGallery"]


@dataclass(frozen=True)
class UpdateGallery(Command[GalleryRecord]):
    """Replace the fields given (None: keep); answers with the new record.

    Attributes:
        expected_version: the version last read, or None not to ask.
        update_time_us: 0: the time of the commit.
        default_time_to_live_us: of faces enrolled from now on; 0: they are kept.

    Raises:
        NotFound: GALLERY_NOT_FOUND.
        Conflict: ETAG_MISMATCH.
    """

    name: str
    display_name: str | None = None
    labels: Mapping[str, str] | None = None
    decision_policy: DecisionPolicyRecord | None = None
    enrollment_policy: EnrollmentPolicyRecord | None = None
    index_policy: IndexPolicyRecord | None = None
    expected_version: int | None = None
    update_time_us: int = 0
    default_time_to_live_us: int | None = None

    def plan(self, planning: Planning) -> Plan[GalleryRecord]:
        """Decide what to write; see `Command.plan`."""
        record = planning.records.gallery(self.name)
        require_version(self.expected_version, record.version, f"gallery {self.name!r}")
        if self.display_name is not None:
            record.display_name = self.display_name
        if self.labels is not None:
            record.labels.clear()
            record.labels.update(self.labels)
        if self.decision_policy is not None:
            record.decision_policy.CopyFrom(self.decision_policy)
        if self.enrollment_policy is not None:
            record.enrollment_policy.CopyFrom(self.enrollment_policy)
        if self.index_policy is not None:
            record.index_policy.CopyFrom(self.index_policy)
        if self.default_time_to_live_us is not None:
            record.default_time_to_live_us = self.default_time_to_live_us
        record.update_time_us = self.update_time_us or planning.now_us
        record.version = planning.revision
        changes = Changes()
        changes.put_gallery(record, is_created=False)
        return Plan(record, changes)
