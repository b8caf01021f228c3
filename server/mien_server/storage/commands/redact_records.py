"""Put records again without somebody who was erased."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien_server.storage import keys
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.databases import Database

__all__ = ["RedactRecords", "Redaction"]


@dataclass(frozen=True, slots=True)
class Redaction:
    """A record of `journal` or `requests` as it was read, and as it is to be."""

    database: Database
    key: bytes
    before: bytes
    after: bytes


@dataclass(frozen=True)
class RedactRecords(Command[int]):
    """Replace those records that are still as they were read; answers how many. Advances no revision."""

    redactions: Sequence[Redaction]

    def plan(self, planning: Planning) -> Plan[int]:
        """Decide what to write; see `Command.plan`."""
        changes = Changes()
        journal_bytes = planning.records.journal_bytes()
        count = 0
        for one in self.redactions:
            # Trimmed meanwhile; or a request id that was forgotten and used again.
            if planning.records.reading.get(one.database, one.key) != one.before:
                continue
            changes.put(one.database, one.key, one.after)
            count += 1
            if one.database is Database.JOURNAL:
                journal_bytes += len(one.after) - len(one.before)
        if count:
            changes.put(Database.META, keys.META_JOURNAL_BYTES, keys.encode_number(journal_bytes))
        return Plan(count, changes)
