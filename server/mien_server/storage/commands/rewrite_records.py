"""Delete records and put them again as they were, so that LMDB lays them out anew."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.scrubbing import Range

__all__ = ["RewriteRecords"]


@dataclass(frozen=True)
class RewriteRecords(Command[int]):
    """Rewrite a range; answers with the records in it. Advances no revision."""

    range: Range

    def plan(self, planning: Planning) -> Plan[int]:
        """Decide what to write; see `Command.plan`."""
        database, first, end = self.range
        every = planning.records.reading.items(database, b"", first)
        found = list(takewhile(lambda item: end is None or item[0] < end, every))
        changes = Changes()
        if found:
            changes.deletes[database] = sorted({key for key, _ in found})
            changes.puts[database] = found
        return Plan(len(found), changes)
