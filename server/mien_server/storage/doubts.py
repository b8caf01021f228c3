"""What a check has looked at, and what it doubts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from mien_server.errors import CorruptStore, MienError

__all__ = ["Checked", "Doubt", "Doubts", "Progress", "no_progress"]

# What is damaged alike is counted beyond this many, not listed.
_LISTED_MAX = 1000

Progress: TypeAlias = Callable[[float, str], None]
"""Is told the share that is done, [0, 1], and what is being looked at."""


def no_progress(_share: float, _what: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """One thing that is not as it should be.

    Attributes:
        reason: stable name for programs.
        place: where, as far as it has one place: file, offset, ordinal, database, key.
    """

    reason: str
    message: str
    place: Mapping[str, str]


class Doubts:
    """A list that stays short: the first thousand, and how many there are."""

    def __init__(self) -> None:
        self.listed: list[Doubt] = []
        self.count = 0

    def add(self, message: str, *, reason: str = "CONTRADICTION", **place: str) -> None:
        """Doubt something."""
        self.add_doubt(Doubt(reason, message, {name: str(value) for name, value in place.items()}))

    def add_error(self, error: MienError) -> None:
        """Doubt what an error tells."""
        self.add_doubt(Doubt(error.reason, error.message, error.metadata))

    def add_doubt(self, doubt: Doubt) -> None:
        """Take in a doubt."""
        self.count += 1
        if len(self.listed) < _LISTED_MAX:
            self.listed.append(doubt)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note damage that the block meets, and go on behind it."""
        try:
            yield
        except CorruptStore as error:
            self.add_error(error)
        except OSError as error:
            self.add(f"{error.filename or 'a file'}: cannot be read: {error}", reason="STORAGE_READ_FAILED")


@dataclass(slots=True)
class Checked:
    """One thing that was checked.

    Attributes:
        what: "gallery 'people': faces".
        count: how many records, rows or files were looked at.
    """

    what: str
    count: int = 0
    seconds: float = 0.0
    doubts: Doubts = field(default_factory=Doubts)

    def sentences(self) -> list[str]:
        """The doubts, for people; what belongs to one gallery names it."""
        gallery, separator, _ = self.what.partition("': ")
        prefix = gallery + separator if gallery.startswith("gallery '") else ""
        return [prefix + doubt.message for doubt in self.doubts.listed]
