"""Which of the waiting writes one commit takes. Pure: no clock, no thread."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["choose_group"]


def choose_group(row_counts: Iterable[int], rows_max: int, commands_max: int) -> int:
    """How many of the waiting commands the next commit takes, from the front.

    As many as fit both limits, in order; at least one where any waits, however large, for it must be written some day.

    Args:
        row_counts: rows of each waiting command, the oldest first.
        rows_max: rows of one commit.
        commands_max: commands of one commit.
    """
    taken = 0
    rows = 0
    for row_count in row_counts:
        rows += row_count
        if taken == commands_max or (taken > 0 and rows > rows_max):
            break
        taken += 1
    return taken
