"""Who is served when several callers want the same: pure, without clock, thread or search."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Line"]

Item = TypeVar("Item")


class Line(Generic[Item]):
    """Callers who want the same service, of whom few groups at a time are served.

    Who arrives while fewer are, is served at once and alone. Others wait, and all who wait are the next group.

    Args:
        groups_max: groups served at a time.
    """

    __slots__ = ("_groups", "_groups_max", "_waiting")

    def __init__(self, groups_max: int) -> None:
        self._groups = 0
        self._groups_max = groups_max
        self._waiting: list[Item] = []

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits and nobody is served."""
        return self._groups == 0

    @property
    def waiting_count(self) -> int:
        """Those who wait now."""
        return len(self._waiting)

    def arrive(self, item: Item) -> bool:
        """Whether the item is served at once; otherwise it waits."""
        if self._groups == self._groups_max:
            self._waiting.append(item)
            return False
        self._groups += 1
        return True

    def leave(self, item: Item) -> bool:
        """Whether the item was still waiting; it no longer does."""
        if item not in self._waiting:
            return False
        self._waiting.remove(item)
        return True

    def next_group(self, count_max: int) -> list[Item]:
        """A group was served: those who are served in its place, in the order they arrived; none when nobody waits."""
        group, self._waiting = self._waiting[:count_max], self._waiting[count_max:]
        if not group:
            self._groups -= 1
        return group
