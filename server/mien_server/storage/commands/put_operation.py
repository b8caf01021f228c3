"""Keep the state of a long-running operation."""

from __future__ import annotations

from dataclasses import dataclass

from mien_server.records.store_pb2 import OperationRecord
from mien_server.storage import keys
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.databases import Database

__all__ = ["PutOperation"]


@dataclass(frozen=True)
class PutOperation(Command[None]):
    """Put the record under its name. Advances no revision and is not journalled."""

    record: OperationRecord

    def plan(self, planning: Planning) -> Plan[None]:  # noqa: ARG002 - the record needs nothing that is there
        """Decide what to write; see `Command.plan`."""
        changes = Changes()
        key = keys.encode_name(self.record.name, "operation name")
        changes.put(Database.OPERATIONS, key, self.record.SerializeToString())
        return Plan(None, changes)
