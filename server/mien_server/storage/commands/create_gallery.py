"""Make a gallery."""

from __future__ import annotations

from dataclasses import dataclass

from mien_server.errors import AlreadyExists, InvalidArgument, LimitExceeded
from mien_server.records.policies import VectorType
from mien_server.records.store_pb2 import GalleryRecord
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.derived import gallery_created

__all__ = ["CreateGallery"]


@dataclass(frozen=True)
class CreateGallery(Command[GalleryRecord]):
    """Make an empty gallery; answers with its record, number and version filled in.

    Attributes:
        record: `number` and `version` are ignored; `dimension` at least 1, `vector_type` set.
        galleries_max: the limit on galleries of a store.

    Raises:
        InvalidArgument: no dimension, no vector type, or a name that is empty.
        AlreadyExists: GALLERY_EXISTS.
        LimitExceeded: GALLERIES_MAX.
    """

    record: GalleryRecord
    galleries_max: int

    def plan(self, planning: Planning) -> Plan[GalleryRecord]:
        """Decide what to write; see `Command.plan`."""
        records = planning.records
        name = self.record.name
        if self.record.dimension < 1 or int(self.record.vector_type) not in {kind.value for kind in VectorType}:
            raise InvalidArgument(f"gallery {name!r} has no dimension or no vector type; give both", field="dimension")
        if records.gallery_number(name) is not None:
            raise AlreadyExists(
                f"there is a gallery {name!r} already; choose another name",
                reason="GALLERY_EXISTS",
                metadata={"gallery": name},
            )
        if records.gallery_count() >= self.galleries_max:
            raise LimitExceeded(
                f"the store has {self.galleries_max} galleries, the most it may; delete one first",
                reason="GALLERIES_MAX",
                metadata={"limit": "galleries_max", "maximum": str(self.galleries_max)},
            )
        number = records.next_gallery_number()
        record = GalleryRecord()
        record.CopyFrom(self.record)
        record.number = number
        record.version = planning.revision
        record.create_time_us = record.create_time_us or planning.now_us
        record.update_time_us = record.update_time_us or record.create_time_us
        return Plan(record, gallery_created(record))
