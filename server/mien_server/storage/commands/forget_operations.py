"""Forget operations that ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien_server.storage import keys
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.databases import Database

__all__ = ["ForgetOperations"]


@dataclass(frozen=True)
class ForgetOperations(Command[None]):
    """Delete the records of these names, where they are. Advances no revision and is not journalled."""

    names: Sequence[str]

    def plan(self, planning: Planning) -> Plan[None]:  # noqa: ARG002 - what is not there needs no deleting
        """Decide what to write; see `Command.plan`."""
        changes = Changes()
        for name in self.names:
            changes.delete(Database.OPERATIONS, keys.encode_name(name, "operation name"))
        return Plan(None, changes)
