"""The file of LMDB read by its published layout, without LMDB: for finding damage that would crash it, and for salvage.

LMDB trusts the numbers in its pages: a page number or a length that was changed on disk makes it read beyond its
mapping, which ends the process. Here each number is compared with the file before it is followed. `lmdb_format` says
how the file is laid out.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from mien_server.storage.lmdb_format import (
    BIG,
    BRANCH,
    DEPTH_MAX,
    HEAD,
    KINDS,
    LEAF,
    MAGIC,
    META,
    META_HEAD,
    META_PAGES,
    NO_PAGE,
    NODE,
    OVERFLOW,
    SUBTREE,
    TREE,
    VERSION,
)

__all__ = ["Leaf", "Meta", "PageFault", "PageFile", "Tree"]

Numbers: TypeAlias = npt.NDArray[np.int64]

_PAGE_BYTES_MIN = 256
_number = struct.Struct("<Q")


class PageFault(Exception):
    """A page contradicts the file; the message names its offset."""

    def __init__(self, page: int, page_bytes: int, what: str) -> None:
        super().__init__(f"page {page} at offset {page * page_bytes}: {what}")
        self.offset = page * page_bytes


class UndoneMeta(PageFault):
    """A meta page whose commit LMDB undid because it could not be written: the numbers of an older commit, and trees
    beyond its last page. LMDB never reads it while the other one is newer, and writes over it with the next commit.
    """

    def __init__(self, page: int, page_bytes: int, what: str, transaction: int) -> None:
        super().__init__(page, page_bytes, what)
        self.transaction = transaction


class Tree(NamedTuple):
    """One B-tree as its record describes it."""

    flags: int
    depth: int
    entries: int
    root: int

    @property
    def is_empty(self) -> bool:
        """Whether it has no page."""
        return self.root == NO_PAGE


@dataclass(frozen=True, slots=True)
class Meta:
    """One of the two pages that say where everything is.

    Attributes:
        last_page: the last one that may be used, within the file.
        is_short: the file ends before the last one that was allocated.
    """

    page: int
    transaction: int
    last_page: int
    free: Tree
    main: Tree
    is_short: bool = False


class Leaf(NamedTuple):
    """One node of a leaf page; a value on overflow pages has been read, the trees of several values have not."""

    key: bytes
    value: bytes
    flags: int


def _tree_of(raw: bytes, offset: int) -> Tree:
    _, flags, depth, _, _, _, entries, root = TREE.unpack_from(raw, offset)
    return Tree(flags, depth, entries, root)


class PageFile:
    """`data.mdb`, mapped as long as this object lives. Nothing is written.

    Raises:
        PageFault: neither meta page can be read, or the file is shorter than both.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < META_PAGES * _PAGE_BYTES_MIN:
                raise PageFault(0, 0, f"the file has {size} bytes, too few for its first pages")
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.file_bytes = size
        self.page_bytes = self._find_page_bytes()
        self.page_count = size // self.page_bytes
        flat = np.frombuffer(self._mapped, dtype=np.uint8, count=self.page_count * self.page_bytes)
        self.pages = flat.reshape(self.page_count, self.page_bytes)
        self.faults: list[PageFault] = []
        self.reached = np.zeros(self.page_count, dtype=np.bool_)
        self.metas = self._read_metas()
        if not self.metas:
            raise self.faults[0]

    def _find_page_bytes(self) -> int:
        """From the meta on page 0, or where that is damaged from the place of the other one."""
        sizes = [1 << power for power in range(8, 17)]
        (stated,) = struct.unpack_from("<I", self._mapped, HEAD.size + META_HEAD.size)
        for size in [stated, 4096, *sizes]:
            if size in sizes and self.file_bytes >= META_PAGES * size:
                (magic,) = struct.unpack_from("<I", self._mapped, size + HEAD.size)
                if magic == MAGIC:
                    return int(size)
        if stated in sizes and self.file_bytes >= META_PAGES * stated:
            return int(stated)
        raise PageFault(0, 4096, "neither of the first two pages is one that describes a database")

    def _read_metas(self) -> list[Meta]:
        """Those that can be read, the newest first."""
        found: list[Meta] = []
        undone: list[UndoneMeta] = []
        for page in range(META_PAGES):
            try:
                found.append(self._read_meta(page))
            except UndoneMeta as fault:
                undone.append(fault)
            except PageFault as fault:
                self.faults.append(fault)
        newest = max((meta.transaction for meta in found), default=-1)
        self.faults += [fault for fault in undone if fault.transaction > newest]
        return sorted(found, key=lambda meta: meta.transaction, reverse=True)

    def _read_meta(self, page: int) -> Meta:
        raw = self.raw(page)
        number, _, flags, _, _ = HEAD.unpack_from(raw)
        if number != page or not flags & META:
            raise self._fault(page, "this is no page that describes the database")
        magic, version, _, _ = META_HEAD.unpack_from(raw, HEAD.size)
        if magic != MAGIC or version & 0xFFFF != VERSION:
            raise self._fault(page, f"the magic number is {magic:#x} and the version {version}")
        start = HEAD.size + META_HEAD.size
        (page_bytes,) = struct.unpack_from("<I", raw, start)
        if page_bytes != self.page_bytes:
            raise self._fault(page, f"names pages of {page_bytes} bytes, and they have {self.page_bytes}")
        free, main = _tree_of(raw, start), _tree_of(raw, start + TREE.size)
        last_page, transaction = struct.unpack_from("<QQ", raw, start + 2 * TREE.size)
        # LMDB does not write pages at the end that one transaction allocated and freed. Whether the file was cut off
        # shows where a tree names a page that is not there.
        is_short = last_page >= self.page_count
        last_page = min(last_page, self.page_count - 1)
        for tree in (free, main):
            if not tree.is_empty and last_page < tree.root < self.page_count:
                what = f"names page {tree.root}, beyond the last one ({last_page}) of transaction {transaction}"
                raise UndoneMeta(page, self.page_bytes, what, transaction)
            if not tree.is_empty and not (META_PAGES <= tree.root <= last_page and 0 < tree.depth <= DEPTH_MAX):
                raise self._fault(page, f"names page {tree.root} as the root of a tree of depth {tree.depth}")
        return Meta(page, transaction, last_page, free, main, is_short)

    def _fault(self, page: int, what: str) -> PageFault:
        return PageFault(page, self.page_bytes, what)

    def raw(self, page: int) -> bytes:
        """A copy of one page."""
        return bytes(self._mapped[page * self.page_bytes : (page + 1) * self.page_bytes])

    # --- reading ------------------------------------------------------------------------------------------------

    def databases(self, meta: Meta) -> dict[str, Tree]:
        """The named databases; those that cannot be reached are left out."""
        found = {}
        for node in self.leaves(meta, meta.main):
            if node.flags & SUBTREE and len(node.value) == TREE.size:
                found[node.key.decode("utf-8", "replace")] = _tree_of(node.value, 0)
        return found

    def leaves(self, meta: Meta, tree: Tree) -> Iterator[Leaf]:
        """The nodes of a tree in the order of its pages. What cannot be read is left out and added to `faults`."""
        if tree.is_empty:
            return
        yield from self._walk(meta, tree.root, tree.depth, set())

    def _walk(self, meta: Meta, page: int, depth: int, seen: set[int]) -> Iterator[Leaf]:
        try:
            if not META_PAGES <= page <= meta.last_page or page in seen or depth < 1:
                raise self._fault(page, "is not a page that a tree can have")
            seen.add(page)
            if depth == 1:
                found = self.nodes(page, meta.last_page)
                self.reached[page] = True
                yield from found
                return
            children = self.children(page)
        except PageFault as fault:
            self.faults.append(fault)
            return
        self.reached[page] = True
        for child in children:
            yield from self._walk(meta, child, depth - 1, seen)

    def children(self, page: int) -> list[int]:
        """The pages below a branch page. Raises PageFault."""
        raw, offsets = self._opened(page, BRANCH)
        parts = [NODE.unpack_from(raw, offset) for offset in offsets]
        return [low | high << 16 | flags << 32 for low, high, flags, _ in parts]

    def branch_keys(self, page: int) -> list[bytes]:
        """The least key of each page below a branch page; the first is empty. Raises PageFault."""
        raw, offsets = self._opened(page, BRANCH)
        found = []
        for offset in offsets:
            start = offset + NODE.size
            size = NODE.unpack_from(raw, offset)[3]
            if start + size > self.page_bytes:
                raise self._fault(page, "a key of it reaches beyond its end")
            found.append(raw[start : start + size])
        return found

    @staticmethod
    def tree_of(raw: bytes) -> Tree:
        """The tree that 48 bytes describe."""
        return _tree_of(raw, 0)

    def nodes(self, page: int, last_page: int) -> list[Leaf]:
        """The nodes of a leaf page; one that does not fit is left out and added to `faults`. Raises PageFault."""
        raw, offsets = self._opened(page, LEAF)
        found = []
        for offset in offsets:
            low, high, flags, key_bytes = NODE.unpack_from(raw, offset)
            start, size = offset + NODE.size + key_bytes, low | high << 16
            key = raw[offset + NODE.size : start]
            try:
                if flags & BIG and start + _number.size <= len(raw):
                    value = self._overflow(_number.unpack_from(raw, start)[0], size, last_page)
                elif not flags & BIG and start + size <= len(raw):
                    value = raw[start : start + size]
                else:
                    raise self._fault(page, f"a record at byte {offset} of it reaches beyond its end")
                found.append(Leaf(key, value, flags))
            except PageFault as fault:
                self.faults.append(fault)
        return found

    def _overflow(self, page: int, size: int, last_page: int) -> bytes:
        self.overflow_pages(page, size, last_page)
        start = page * self.page_bytes + HEAD.size
        return bytes(self._mapped[start : start + size])

    def overflow_pages(self, page: int, size: int, last_page: int) -> int:
        """How many pages a long value takes from this one on. Raises PageFault where it cannot be there."""
        if not META_PAGES <= page <= last_page:
            raise self._fault(page, "named for a long value, and beyond the file")
        number, _, flags, low, high = HEAD.unpack_from(self.pages[page, : HEAD.size].tobytes())
        count = low | high << 16
        needed = -(-(HEAD.size + size) // self.page_bytes)
        if number != page or not flags & OVERFLOW or count < needed or page + needed - 1 > last_page:
            raise self._fault(page, f"holds no value of {size} bytes")
        return count if page + count - 1 <= last_page else needed

    def _opened(self, page: int, kind: int) -> tuple[bytes, tuple[int, ...]]:
        """A page of that kind and the places of its nodes, each within it. Raises PageFault."""
        raw = self.raw(page)
        number, _, flags, lower, upper = HEAD.unpack_from(raw)
        if number != page:
            raise self._fault(page, f"says that it is page {number}")
        if flags & KINDS != kind:
            raise self._fault(page, f"is of kind {flags & KINDS:#x}, where {kind:#x} must be")
        if not HEAD.size <= lower <= upper <= self.page_bytes or lower % 2:
            raise self._fault(page, f"its bounds are {lower} and {upper}")
        offsets = struct.unpack_from(f"<{(lower - HEAD.size) // 2}H", raw, HEAD.size)
        if any(offset < upper or offset + NODE.size > self.page_bytes for offset in offsets):
            raise self._fault(page, "a record of it begins outside")
        return raw, offsets

    def loose_nodes(self, page: int, last_page: int) -> list[Leaf]:
        """What may be nodes of a leaf page, whatever number and kind it says; for who knows their checksums.

        Behind the last node may lie the rest of one that was deleted: none is taken whose key does not ascend.
        """
        raw = self.raw(page)
        _, _, _, lower, upper = HEAD.unpack_from(raw)
        found: list[Leaf] = []
        if not HEAD.size < lower <= upper <= self.page_bytes:
            return found
        last_key = b""
        for offset in struct.unpack_from(f"<{(lower - HEAD.size) // 2}H", raw, HEAD.size):
            if not upper <= offset <= self.page_bytes - NODE.size:
                continue
            low, high, flags, key_bytes = NODE.unpack_from(raw, offset)
            start, size = offset + NODE.size + key_bytes, low | high << 16
            key = raw[offset + NODE.size : start]
            if key <= last_key:
                continue
            last_key = key
            if flags & BIG and start + _number.size <= len(raw):
                try:
                    found.append(Leaf(key, self._overflow(_number.unpack_from(raw, start)[0], size, last_page), flags))
                except PageFault:
                    continue
            elif start + size <= len(raw):
                found.append(Leaf(key, raw[start : start + size], flags))
        return found

    def first_and_last_key(self, page: int) -> tuple[bytes, bytes]:
        """The keys at the ends of a leaf page that was found to be sound."""
        raw = self.pages[page]
        lower = int(raw[12]) | int(raw[13]) << 8
        ends = []
        for place in (HEAD.size, lower - 2):
            offset = int(raw[place]) | int(raw[place + 1]) << 8
            size = int(raw[offset + 6]) | int(raw[offset + 7]) << 8
            ends.append(raw[offset + NODE.size : offset + NODE.size + size].tobytes())
        return ends[0], ends[1]
