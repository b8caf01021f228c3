"""Who is served when several callers want the same: pure, without clock, thread or search."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Line"]

Item = TypeVar("Item")


class Line(Generic[Item]):
    """Callers who want the same service, of whom one group at a time is served.

    The first to arrive is served at once and alone. Who arrives meanwhile waits, and all who wait are the next group.
    """

    __slots__ = ("_is_busy", "_waiting")

    def __init__(self) -> None:
        self._is_busy = False
        self._waiting: list[Item] = []

    @property
    def waiting_count(self) -> int:
        """Those who wait now."""
        return len(self._waiting)

    def arrive(self, item: Item) -> bool:
        """Whether the item is served at once; otherwise it waits."""
        if self._is_busy:
            self._waiting.append(item)
            return False
        self._is_busy = True
        return True

    def leave(self, item: Item) -> bool:
        """Whether the item was still waiting; it no longer does."""
        if item not in self._waiting:
            return False
        self._waiting.remove(item)
        return True

    def next_group(self, count_max: int) -> list[Item]:
        """A group was served: those who come next, in the order they arrived. None: nobody waits and none is served."""
        group, self._waiting = self._waiting[:count_max], self._waiting[count_max:]
        self._is_busy = bool(group)
        return group
