"""Keep how far erasures are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien_server.records.store_pb2 import ErasureRecord
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.databases import Database
from mien_server.storage.erasure.notes import erasure_key

__all__ = ["PutErasures"]


@dataclass(frozen=True)
class PutErasures(Command[None]):
    """Put the records under their names. Advances no revision and is not journalled."""

    records: Sequence[ErasureRecord]

    def plan(self, planning: Planning) -> Plan[None]:  # noqa: ARG002 - the records need nothing that is there
        """Decide what to write; see `Command.plan`."""
        changes = Changes()
        for record in self.records:
            changes.put(Database.ERASURES, erasure_key(record.name), record.SerializeToString())
        return Plan(None, changes)
