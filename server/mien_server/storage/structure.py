"""Whether LMDB can be let at its file: every page that its newest transaction can reach, compared with the file.

The pages of a level are looked at together, in arrays, so that a million take seconds. What holds afterwards: each
page says its own number and kind, each record lies within its page, each number of a page leads into the file and comes
from one place only, and the keys of each page are those that its parent says. LMDB then reads no byte that is not
there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mien_server.errors import CorruptStore
from mien_server.storage.layout import READ_ADVICE
from mien_server.storage.lmdb_format import META_PAGES, NO_PAGE
from mien_server.storage.page_file import Meta, PageFault, PageFile, Tree

__all__ = ["StructureReport", "check_structure", "require_readable", "require_sound_structure"]

Numbers: TypeAlias = npt.NDArray[np.int64]

# Pages looked at together: bounds the memory that takes.
_CHUNK_PAGES = 2048
_READ_BYTES = 1 << 20
_BLOCK_BYTES = 4096
_FAULTS_MAX = 100
# Of each key, for a look at their order: a gallery's number, and twenty more.
_COMPARED_BYTES = 24
_HEAD_BYTES, _NODE_BYTES, _TREE_BYTES = 16, 8, 48
_BRANCH, _LEAF, _OVERFLOW, _LEAF2 = 0x01, 0x02, 0x04, 0x20
_KINDS = 0x2F
_BIG, _SUBTREE, _DUPLICATES = 0x01, 0x02, 0x04


@dataclass(slots=True)
class StructureReport:
    """What was found.

    Attributes:
        pages: pages that were looked at.
        reachable: bool [pages of the file], those that a tree has.
        faults: each with the place; at most a hundred.
    """

    pages: int = 0
    reachable: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    faults: list[PageFault] = field(default_factory=list)


def require_sound_structure(path: Path, *, leaves: bool = True) -> None:
    """Refuse a file that LMDB could not read without harm; one that is not there is none.

    Args:
        path: of `data.mdb`.
        leaves: False looks at everything above the pages of records, a hundredth of the file.

    Raises:
        CorruptStore: RECORDS_DAMAGED, RECORDS_UNREADABLE, with file and offset.
        OSError: it cannot be opened.
    """
    try:
        if not path.exists() or path.stat().st_size == 0:
            return
        if leaves:
            require_readable(path)
        file = PageFile(path)
        faults = [*file.faults, *check_structure(file, file.metas[0], leaves=leaves).faults]
    except PageFault as fault:
        faults = [fault]
    if faults:
        raise CorruptStore(
            f"{path}: {faults[0]}; LMDB is not let at it. Save what can be saved with: mien-index verify "
            f"{path.parent.parent} --repair NEW_STORE, or restore the store from a copy",
            reason="RECORDS_DAMAGED",
            metadata={"file": str(path), "offset": str(faults[0].offset)},
        )


def require_readable(path: Path) -> None:
    """Have the system read a file once, so that what is mapped of it afterwards is there: a disk that fails then ends
    the process.

    Raises:
        CorruptStore: RECORDS_UNREADABLE, with file and offset.
        OSError: it cannot be opened.
    """
    with path.open("rb", buffering=0) as file:
        offset, size = 0, _READ_BYTES
        while True:
            try:
                raw = os.pread(file.fileno(), size, offset)
            except OSError as error:
                if size > _BLOCK_BYTES:
                    # Which of its blocks it is.
                    size = _BLOCK_BYTES
                    continue
                raise CorruptStore(
                    f"{path}: bytes {offset} to {offset + size} cannot be read: {error.strerror}; {READ_ADVICE}",
                    reason="RECORDS_UNREADABLE",
                    metadata={"file": str(path), "offset": str(offset)},
                ) from error
            if not raw:
                return
            offset += len(raw)


def check_structure(file: PageFile, meta: Meta, *, leaves: bool = True) -> StructureReport:
    """Look at every page that the transaction of this meta page can reach. Never raises for what it finds."""
    # What a file that was cut off lacks may be values, which only the leaves name.
    check = _Check(file, meta, leaves=leaves or meta.is_short)
    for tree in (meta.free, meta.main):
        check.tree(tree)
    return check.report


class _Check:
    """One walk over all trees."""

    def __init__(self, file: PageFile, meta: Meta, *, leaves: bool) -> None:
        self._file = file
        self._meta = meta
        self._leaves = leaves
        self._is_ordered = True
        self.report = StructureReport(reachable=np.zeros(file.page_count, dtype=np.bool_))
        self.report.reachable[:META_PAGES] = True

    def tree(self, tree: Tree) -> None:
        """Look at one tree, and at those that its records hold."""
        if tree.is_empty:
            return
        if tree.root > self._meta.last_page:
            self._fault(tree.root, "is named as the root of a tree, and lies beyond the last page")
            return
        # The keys of the tree of free pages are numbers in the machine's order, and there are few.
        self._is_ordered = tree is not self._meta.free
        level = np.array([tree.root], dtype=np.int64)
        bounds: list[tuple[bytes, bytes | None]] = [(b"", None)]
        for depth in range(tree.depth, 0, -1):
            level, bounds = self._taken(level, bounds)
            if depth > 1:
                level, bounds = self._branches(level, bounds)
        if self._leaves or tree is self._meta.main:
            for inner in self._leaf_level(level, bounds):
                self.tree(inner)

    def _fault(self, page: int, what: str) -> None:
        if len(self.report.faults) < _FAULTS_MAX:
            self.report.faults.append(PageFault(page, self._file.page_bytes, what))

    def _taken(
        self, level: Numbers, bounds: list[tuple[bytes, bytes | None]]
    ) -> tuple[Numbers, list[tuple[bytes, bytes | None]]]:
        """Those pages of a level that lie within the file and that no other place names."""
        is_good = (level >= META_PAGES) & (level <= self._meta.last_page)
        for page in level[~is_good].tolist():
            self._fault(page, "is named by a tree, and lies beyond the last page")
        good = level[is_good]
        distinct, first = np.unique(good, return_index=True)
        is_new = np.zeros(good.shape[0], dtype=np.bool_)
        is_new[first] = ~self.report.reachable[distinct]
        for page in good[~is_new].tolist():
            self._fault(page, "is named by two places")
        self.report.reachable[good] = True
        kept = np.flatnonzero(is_good)[is_new]
        self.report.pages += kept.shape[0]
        return level[kept], [bounds[place] for place in kept.tolist()]

    def _branches(
        self, level: Numbers, bounds: list[tuple[bytes, bytes | None]]
    ) -> tuple[Numbers, list[tuple[bytes, bytes | None]]]:
        """The pages below branch pages, and between which keys each one's lie."""
        children: list[int] = []
        inner: list[tuple[bytes, bytes | None]] = []
        for page, (low, high) in zip(level.tolist(), bounds, strict=True):
            try:
                found = self._file.children(page)
                keys = self._file.branch_keys(page)
            except PageFault as fault:
                self._fault(page, str(fault).partition(": ")[2])
                continue
            starts = [low, *keys[1:]]
            if self._is_ordered and (
                any(one >= other for one, other in pairwise(starts)) or (high is not None and starts[-1] >= high)
            ):
                self._fault(page, "its keys do not ascend")
                continue
            children += found
            inner += zip(starts, [*starts[1:], high], strict=True)
        return np.array(children, dtype=np.int64), inner

    def _leaf_level(self, level: Numbers, bounds: list[tuple[bytes, bytes | None]]) -> Iterator[Tree]:
        for start in range(0, level.shape[0], _CHUNK_PAGES):
            some = level[start : start + _CHUNK_PAGES]
            is_sound, inner = self._leaf_pages(some)
            for page, (low, high), sound in zip(
                some.tolist(), bounds[start : start + _CHUNK_PAGES], is_sound.tolist(), strict=True
            ):
                if sound and self._is_ordered:
                    first, last = self._file.first_and_last_key(page)
                    if first < low or (high is not None and last >= high):
                        self._fault(page, "its keys are not those that the page above it says")
            yield from inner

    def _leaf_pages(self, level: Numbers) -> tuple[npt.NDArray[np.bool_], list[Tree]]:
        """Which of these pages are sound and hold records with keys, and the trees in them."""
        pages = self._file.pages[level]
        page_bytes = self._file.page_bytes
        words = pages.view("<u2")
        flags, lower, upper = (words[:, place].astype(np.int64) for place in (5, 6, 7))
        kinds = flags & _KINDS
        is_sound = (pages[:, :8].copy().view("<u8")[:, 0].astype(np.int64) == level) & (lower >= _HEAD_BYTES)
        is_sound &= (lower % 2 == 0) & (lower <= upper) & (upper <= page_bytes)
        is_packed = kinds == (_LEAF | _LEAF2)
        is_sound &= (kinds == _LEAF) | is_packed
        counts = (lower - _HEAD_BYTES) // 2
        key_bytes = words[:, 4].astype(np.int64)
        is_sound &= ~is_packed | (_HEAD_BYTES + counts * key_bytes <= page_bytes)
        for page in level[~is_sound].tolist():
            self._fault(page, "is no page of records, or its bounds are wrong")
        is_plain = is_sound & ~is_packed
        counts = np.where(is_plain, counts, 0)
        rows = np.repeat(np.arange(level.shape[0]), counts)
        slots = np.arange(rows.shape[0]) - np.repeat(np.cumsum(counts) - counts, counts)
        offsets = words[rows, _HEAD_BYTES // 2 + slots].astype(np.int64)
        begins_well = (offsets >= upper[rows]) & (offsets % 2 == 0) & (offsets + _NODE_BYTES <= page_bytes)
        places = np.where(begins_well, offsets, _HEAD_BYTES) // 2
        sizes = words[rows, places].astype(np.int64) | words[rows, places + 1].astype(np.int64) << 16
        node_flags = words[rows, places + 2]
        values = offsets + _NODE_BYTES + words[rows, places + 3]
        is_big = (node_flags & _BIG) != 0
        fits = begins_well & (values + np.where(is_big, 8, sizes) <= page_bytes)
        for row in np.unique(rows[~fits]).tolist():
            self._fault(int(level[row]), "a record of it reaches outside")
            is_plain[row] = False
        if self._is_ordered:
            is_later = _ascends(pages, rows, values - words[rows, places + 3], words[rows, places + 3].astype(np.int64))
            for row in np.unique(rows[1:][~is_later & (rows[1:] == rows[:-1]) & is_plain[rows[1:]]]).tolist():
                self._fault(int(level[row]), "its keys do not ascend")
                is_plain[row] = False
        special = np.flatnonzero(fits & ((node_flags & (_BIG | _SUBTREE | _DUPLICATES)) != 0))
        trees = []
        for node in special.tolist():
            page = int(level[rows[node]])
            start, size, kind = int(values[node]), int(sizes[node]), int(node_flags[node])
            raw = pages[rows[node], start : start + (8 if kind & _BIG else size)].tobytes()
            if (tree := self._special(page, raw, size, kind)) is not None:
                trees.append(tree)
        is_plain &= counts > 0
        return is_plain, trees

    def _special(self, page: int, raw: bytes, size: int, kind: int) -> Tree | None:
        """Look at a value that is elsewhere, at several values in one node, or give the tree that a node holds."""
        if kind & _BIG:
            number = int.from_bytes(raw, "little")
            try:
                count = self._file.overflow_pages(number, size, self._meta.last_page)
            except PageFault as fault:
                self._fault(number, str(fault).partition(": ")[2])
                return None
            if self.report.reachable[number : number + count].any():
                self._fault(number, "is named by two places")
            self.report.reachable[number : number + count] = True
            self.report.pages += count
        elif kind & _SUBTREE:
            if size != _TREE_BYTES:
                self._fault(page, f"names a tree in {size} bytes")
                return None
            tree = self._file.tree_of(raw)
            if tree.root != NO_PAGE and not 0 < tree.depth < 32:
                self._fault(page, f"names a tree of depth {tree.depth}")
                return None
            return tree
        elif kind & _DUPLICATES:
            lower, key_bytes = int.from_bytes(raw[12:14], "little"), int.from_bytes(raw[8:10], "little")
            count = (lower - _HEAD_BYTES) // 2
            if size < _HEAD_BYTES or count < 1 or _HEAD_BYTES + count * key_bytes > size:
                self._fault(page, "several values of one key reach outside")
        return None


def _ascends(pages: npt.NDArray[np.uint8], rows: Numbers, starts: Numbers, sizes: Numbers) -> npt.NDArray[np.bool_]:
    """Whether each key but the first comes behind the one before it, as far as its first bytes tell.

    Args:
        rows: int64 [n]: the page of each key; starts and sizes: where in it the key is.
    """
    flat = pages.reshape(-1)
    places = np.arange(_COMPARED_BYTES)
    is_within = places < sizes[:, np.newaxis]
    where = (rows * pages.shape[1] + starts)[:, np.newaxis] + places
    found = np.where(is_within, flat[np.minimum(where, flat.shape[0] - 1)], 0).astype(np.uint8)
    words = found.view(">u8").astype(np.uint64)
    before, after = words[:-1], words[1:]
    is_equal = before == after
    is_less = before < after
    result = np.ones(before.shape[0], dtype=np.bool_)
    for place in range(words.shape[1] - 1, -1, -1):
        result = is_less[:, place] | (is_equal[:, place] & result)
    is_whole = (sizes[:-1] == sizes[1:]) & (sizes[1:] <= _COMPARED_BYTES)
    is_same: npt.NDArray[np.bool_] = is_equal.all(axis=1) & is_whole
    return result & ~is_same
