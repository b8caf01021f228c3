"""When a piece of work must stop: the caller's deadline and whether the caller went away."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mien_server.errors import Cancelled, DeadlineExceeded

__all__ = ["Deadline"]


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time (`time.monotonic()` seconds, None for never) and a test of cancellation."""

    at_s: float | None = None
    is_cancelled: Callable[[], bool] = _never

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """A deadline that many seconds from now; None never comes."""
        return cls(None if seconds is None else time.monotonic() + seconds)

    def remaining_s(self, longest_s: float = 3600.0) -> float:
        """Seconds left, at least 0 and at most `longest_s`."""
        if self.at_s is None:
            return longest_s
        return min(longest_s, max(0.0, self.at_s - time.monotonic()))

    def check(self) -> None:
        """Stop here when there is nobody to work for.

        Raises:
            Cancelled: the caller went away.
            DeadlineExceeded: the time is up.
        """
        if self.is_cancelled():
            raise Cancelled("the caller cancelled the request")
        if self.at_s is not None and time.monotonic() >= self.at_s:
            raise DeadlineExceeded("the caller's deadline passed before the work was done")
