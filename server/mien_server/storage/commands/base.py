"""What every write has in common: it is planned from reads alone, and its plan is applied as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mien_server.storage.changes import Changes
from mien_server.storage.outcomes import RequestKey
from mien_server.storage.reading import RecordReader

__all__ = ["Command", "Plan", "Planning"]

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Planning:
    """What a command may look at while it is planned.

    Attributes:
        records: the store as the commands before this one leave it.
        revision: the revision that the group will have when it changes something.
        now_us: the time of the commit, microseconds since 1970 UTC.
    """

    records: RecordReader
    revision: int
    now_us: int


@dataclass(frozen=True)
class Plan(Generic[R]):
    """What a command will answer and what it will write, every choice made."""

    result: R
    changes: Changes


@dataclass(frozen=True)
class Command(ABC, Generic[R]):
    """One write. Arrays and sequences given to it belong to the store until it is answered.

    Attributes:
        request: makes the write idempotent; None: sent twice, written twice.
    """

    request: RequestKey[R] | None = field(default=None, kw_only=True)

    @property
    def row_count(self) -> int:
        """What the command counts for in the queue and in a group, at least 1."""
        return 1

    @property
    def byte_count(self) -> int:
        """What the command keeps in memory while it waits, of what grows with its rows."""
        return 0

    def expired(self, planning: Planning) -> Changes | None:  # noqa: ARG002 - for those that name faces or people
        """Deletes what the command names and what has expired; None when there is no such thing.

        Asked again until there is none, then the command is planned.
        """
        return None

    @abstractmethod
    def plan(self, planning: Planning) -> Plan[R]:
        """Decide what to write, from reads alone. A `MienError` raised here fails this command and no other."""
