"""What filters found out, kept from call to call, for every gallery of a store.

Nothing kept is ever changed, and each thing says of which snapshot it was made. A snapshot uses it where LabelFacts
says that it holds there; what was written since is read and added. So a cache cannot make a filter allow a row that
does not match: at worst something is found out anew.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien_server.engine.row_sets import RowSet
from mien_server.storage import LabelFacts

__all__ = ["CACHE_BYTES_MAX", "Column", "Depends", "FilterCache", "Found"]

CACHE_BYTES_MAX = 256 * 1024 * 1024
"""What all filters of a store may keep in memory; the longest unused goes first."""

ENTRY_BYTES = 1024
"""Counted for each thing kept beside its arrays and the texts of its key."""

TEXT_BYTES = 64
"""Counted for each text of a key beside its characters, which take up to four bytes each."""

Block = tuple[npt.NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class Column:
    """Values by number in blocks that follow each other, each a tuple of arrays [n] of one length; never changed."""

    blocks: tuple[Block, ...] = ()

    @property
    def nbytes(self) -> int:
        """Memory of its arrays."""
        return sum(array.nbytes for block in self.blocks for array in block)

    @property
    def extent(self) -> int:
        """Numbers that have a place."""
        return sum(len(block[0]) for block in self.blocks)

    def extended(self, block: Block) -> Column:
        """With a further block. Blocks no longer than those after them are joined, so there are never many."""
        blocks = list(self.blocks)
        while blocks and len(blocks[-1][0]) <= len(block[0]):
            pairs = zip(blocks.pop(), block, strict=True)
            block = tuple(np.concatenate(pair) for pair in pairs)
        return Column((*blocks, block))

    def blocks_from(self, first: int, extent: int) -> list[Block]:
        """The values of the numbers [first, extent)."""
        found = []
        start = 0
        for block in self.blocks:
            end = start + len(block[0])
            if end > first and start < extent:
                found.append(tuple(array[max(first - start, 0) : extent - start] for array in block))
            start = end
        return found


@dataclass(frozen=True, slots=True)
class Depends:
    """What something that was found out rests on, and what may change under it.

    Attributes:
        labels: the labels of identities.
        owners: whose rows are whose.
        ids: who has an id: it may be deleted, and made anew as someone else.
    """

    labels: bool = False
    owners: bool = False
    ids: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Something found out in a snapshot.

    Attributes:
        facts: of that snapshot.
        extent: it is about numbers below this one.
    """

    facts: LabelFacts
    extent: int
    value: RowSet | Column

    def holds_in(self, facts: LabelFacts, depends: Depends) -> bool:
        """Whether it holds in the snapshot of these facts, as far as it goes."""
        mine = self.facts
        return (
            mine.deleted <= facts.deleted
            and (not depends.labels or mine.relabelled == facts.relabelled)
            and (not depends.owners or mine.moved == facts.moved)
            and (not depends.ids or mine.deleted == facts.deleted)
        )

    @property
    def age(self) -> tuple[int, int, int, int]:
        """Larger in later snapshots."""
        return self.facts.relabelled, self.facts.moved, self.facts.deleted, self.extent


class FilterCache:
    """The most recently used of what was found out, within a bound of bytes. Safe for many threads."""

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[Found, int]] = OrderedDict()
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """What is kept now; never more than the bound."""
        return self._nbytes

    def get(self, key: Hashable) -> Found | None:
        """What was found out under this key last."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, found: Found, texts: Iterable[str] = ()) -> None:
        """Keep it, unless something of a later snapshot is kept, or it alone outgrows the bound.

        Args:
            texts: what the key holds of them, for they take memory too.
        """
        size = ENTRY_BYTES + found.value.nbytes + sum(TEXT_BYTES + 4 * len(text) for text in texts)
        with self._lock:
            old = self._entries.get(key)
            if size > self._bytes_max or (old is not None and old[0].age > found.age):
                return
            if old is not None:
                self._forget(key)
            self._entries[key] = found, size
            self._nbytes += size
            while self._nbytes > self._bytes_max:
                self._forget(next(iter(self._entries)))

    def _forget(self, key: Hashable) -> None:
        self._nbytes -= self._entries.pop(key)[1]
