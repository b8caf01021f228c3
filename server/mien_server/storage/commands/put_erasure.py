"""Keep how far an erasure is."""

from __future__ import annotations

from dataclasses import dataclass

from mien_server.records.store_pb2 import ErasureRecord
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.databases import Database
from mien_server.storage.erasure.notes import erasure_key

__all__ = ["PutErasure"]


@dataclass(frozen=True)
class PutErasure(Command[None]):
    """Put the record under its name. Advances no revision and is not journalled."""

    record: ErasureRecord

    def plan(self, planning: Planning) -> Plan[None]:  # noqa: ARG002 - the record needs nothing that is there
        """Decide what to write; see `Command.plan`."""
        changes = Changes()
        changes.put(Database.ERASURES, erasure_key(self.record.name), self.record.SerializeToString())
        return Plan(None, changes)
