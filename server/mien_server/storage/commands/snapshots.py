"""Keep what is known of a snapshot that was taken, and forget it."""

from __future__ import annotations

from dataclasses import dataclass

from mien_server.records.store_pb2 import SnapshotRecord
from mien_server.storage import keys
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.databases import Database

__all__ = ["ForgetSnapshot", "PutSnapshot"]


@dataclass(frozen=True)
class PutSnapshot(Command[None]):
    """Put the record under its name. Advances no revision and is not journalled."""

    record: SnapshotRecord

    def plan(self, planning: Planning) -> Plan[None]:  # noqa: ARG002 - the record needs nothing that is there
        """Decide what to write; see `Command.plan`."""
        changes = Changes()
        key = keys.encode_name(self.record.name, "snapshot name")
        changes.put(Database.SNAPSHOTS, key, self.record.SerializeToString())
        return Plan(None, changes)


@dataclass(frozen=True)
class ForgetSnapshot(Command[None]):
    """Delete the record of that name, where there is one of that destination. Advances no revision and is not
    journalled.
    """

    name: str
    destination: str

    def plan(self, planning: Planning) -> Plan[None]:
        """Decide what to write; see `Command.plan`."""
        changes = Changes()
        if any((one.name, one.destination) == (self.name, self.destination) for one in planning.records.snapshots()):
            changes.delete(Database.SNAPSHOTS, keys.encode_name(self.name, "snapshot name"))
        return Plan(None, changes)
