"""When work that failed for a gallery is tried again: soon at first, then after ever longer times."""

from __future__ import annotations

import time

__all__ = ["Resting"]

REST_S_MIN, REST_S_MAX = 1.0, 60.0
"""After the first failure, and the most; each time is twice the one before."""


class Resting:
    """By gallery number. Belongs to one thread."""

    def __init__(self) -> None:
        self._rests: dict[int, tuple[float, float]] = {}

    def begin(self, number: int) -> None:
        """Work for the gallery failed: leave it alone for a while."""
        _, last_s = self._rests.get(number, (0.0, REST_S_MIN / 2))
        rest_s = min(2 * last_s, REST_S_MAX)
        self._rests[number] = time.monotonic() + rest_s, rest_s

    def end(self, number: int) -> None:
        """Work for the gallery succeeded, or the gallery has gone."""
        self._rests.pop(number, None)

    def awake(self, numbers: set[int]) -> set[int]:
        """Those of these galleries that need not be left alone now."""
        now_s = time.monotonic()
        return {number for number in numbers if self._rests.get(number, (0.0, 0.0))[0] <= now_s}
