"""The pages of an LMDB file: which are live, which are free, and which bytes of a live page hold nothing.

LMDB writes no zeros where it deletes: a freed page keeps its content, and within a page a deleted record stays in the
gap between the offsets of the nodes and the nodes. Nothing but the file's format (`lmdb_format`) tells them from what
is live. Whatever does not add up raises: nothing may rest on a guess here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from mien_server.storage.lmdb_format import (
    BIG,
    BRANCH,
    DEPTH_MAX,
    DUPLICATES,
    HEAD,
    KINDS,
    LEAF,
    LEAF2,
    MAGIC,
    META_HEAD,
    META_PAGES,
    NO_PAGE,
    NODE,
    OVERFLOW,
    SUBTREE,
    TREE,
    VERSION,
)

__all__ = [
    "Gaps",
    "Meta",
    "PageMap",
    "PagesNotUnderstood",
    "Tree",
    "free_pages",
    "map_pages",
    "read_meta",
    "separators",
]

Bytes: TypeAlias = npt.NDArray[np.uint8]
Numbers: TypeAlias = npt.NDArray[np.int64]

_meta_tail = struct.Struct("<QQ")
_META_END = HEAD.size + META_HEAD.size + 2 * TREE.size + _meta_tail.size

# Pages looked at together: bounds the memory that takes.
_CHUNK_PAGES = 1024


class PagesNotUnderstood(Exception):
    """The file is not as this module says, or not as LMDB says; nothing may be done to it."""


class Tree(NamedTuple):
    """A B-tree as its record describes it."""

    pad: int
    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int


class Meta(NamedTuple):
    """One commit."""

    page_bytes: int
    free: Tree
    main: Tree
    last_page: int
    transaction_id: int


@dataclass(frozen=True, slots=True)
class Gaps:
    """Bytes that hold nothing, [starts, stops) of the file: int64 [n] each."""

    starts: Numbers
    stops: Numbers


@dataclass(slots=True)
class PageMap:
    """Everything that one commit uses.

    Attributes:
        use: uint8 [last_page + 1]: how many trees, or meta pages, use the page; 1 or 0.
        trees: by name, those of the main tree.
    """

    meta: Meta
    use: npt.NDArray[np.uint8]
    gaps: list[Gaps] = field(default_factory=list)
    trees: dict[bytes, Tree] = field(default_factory=dict)

    @property
    def live_count(self) -> int:
        """Pages in use."""
        return int(np.count_nonzero(self.use))

    def every_gap(self) -> Gaps:
        """The gaps of all live pages, ascending."""
        starts = np.concatenate([gaps.starts for gaps in self.gaps])
        order = np.argsort(starts)
        return Gaps(starts[order], np.concatenate([gaps.stops for gaps in self.gaps])[order])


def read_meta(file: Bytes, transaction_id: int | None = None) -> Meta:
    """The meta page of a commit, or of the newest one.

    Args:
        file: the whole file, uint8 [n].

    Raises:
        PagesNotUnderstood: there is none, or it is of another format.
    """
    first = _meta_at(file, 0)
    found = [first, _meta_at(file, first.page_bytes)]
    if transaction_id is None:
        return max(found, key=lambda meta: meta.transaction_id)
    for meta in found:
        if meta.transaction_id == transaction_id:
            return meta
    raise PagesNotUnderstood(f"no meta page is of transaction {transaction_id}")


def _meta_at(file: Bytes, offset: int) -> Meta:
    raw = file[offset : offset + _META_END].tobytes()
    if len(raw) < _META_END:
        raise PagesNotUnderstood(f"the file ends within the meta page at {offset}")
    magic, version, _, _ = META_HEAD.unpack_from(raw, HEAD.size)
    if (magic, version) != (MAGIC, VERSION):
        raise PagesNotUnderstood(f"magic {magic:#x}, version {version} at {offset}: not a file of LMDB 0.9")
    trees = [Tree(*TREE.unpack_from(raw, HEAD.size + META_HEAD.size + number * TREE.size)) for number in range(2)]
    last_page, transaction_id = _meta_tail.unpack_from(raw, _META_END - _meta_tail.size)
    page_bytes = trees[0].pad
    if page_bytes < 512 or page_bytes & (page_bytes - 1):
        raise PagesNotUnderstood(f"pages of {page_bytes} bytes")
    return Meta(page_bytes, trees[0], trees[1], last_page, transaction_id)


def free_pages(file: Bytes, meta: Meta, before: int) -> Numbers:
    """Numbers of the pages that commits before transaction `before` set free, ascending, int64 [n].

    Raises:
        PagesNotUnderstood: the tree of free pages cannot be read.
    """
    walk = _Walk(file, meta)
    lists = [values for transaction_id, values in walk.free_lists() if transaction_id < before]
    return np.sort(np.concatenate(lists)) if lists else np.zeros(0, np.int64)


def separators(file: Bytes, meta: Meta, name: bytes) -> list[tuple[int, bytes]]:
    """The keys in the branches of a named tree, each with its height: 1 just above the leaves. Unordered.

    LMDB copies a key there when a page is split, and leaves it there when the record is deleted.

    Raises:
        PagesNotUnderstood: the tree cannot be read.
    """
    walk = _Walk(file, meta)
    tree = dict(walk.named_trees())[name]
    return list(walk.branch_keys(tree))


def map_pages(file: Bytes, meta: Meta, check: Callable[[], None] = lambda: None) -> PageMap:
    """Walk every tree of a commit, which a read transaction must pin meanwhile.

    Args:
        check: called between pages; what it raises ends the walk.

    Raises:
        PagesNotUnderstood: a page is not what its parent says, or the pages do not add up: every page of the file
            must be live or free, and none both.
    """
    walk = _Walk(file, meta, check)
    walk.tree(meta.free)
    for name, tree in walk.named_trees():
        walk.map.trees[name] = tree
        walk.tree(tree)
    use = walk.map.use
    free = free_pages(file, meta, NO_PAGE)
    if free.size and (int(free[0]) < META_PAGES or int(free[-1]) > meta.last_page):
        raise PagesNotUnderstood("a free page lies outside the file")
    np.add.at(use, free, 1)
    if not (use == 1).all():
        wrong = int(np.flatnonzero(use != 1)[0])
        raise PagesNotUnderstood(f"page {wrong} of {meta.last_page} is used or free {int(use[wrong])} times, not once")
    use[free] = 0
    return walk.map


class _Nodes(NamedTuple):
    """Nodes of some leaf pages: where each one's data begins, its length and its flags; int64 [n] each."""

    pages: Numbers
    keys: Numbers
    data: Numbers
    lengths: Numbers
    flags: Numbers


class _Walk:
    """Reads the trees of one commit and notes what they use."""

    def __init__(self, file: Bytes, meta: Meta, check: Callable[[], None] = lambda: None) -> None:
        self._file = file
        self._check = check
        self._meta = meta
        self._size = meta.page_bytes
        use = np.zeros(meta.last_page + 1, dtype=np.uint8)
        use[:META_PAGES] = 1
        self.map = PageMap(meta, use)

    def free_lists(self) -> Iterator[tuple[int, Numbers]]:
        """Of each transaction that set pages free, their numbers."""
        for leaves in self._levels(self._meta.free):
            for nodes in self._leaf_nodes(leaves):
                for page, key, data, length, flags in zip(*(column.tolist() for column in nodes), strict=True):
                    base = page * self._size
                    raw = self._long_value(base + data, length) if flags & BIG else self._bytes(base + data, length)
                    numbers = np.frombuffer(raw, "<u8")
                    if not numbers.size or int(numbers[0]) >= numbers.size:
                        raise PagesNotUnderstood(f"a list of free pages on page {page} is cut off")
                    (transaction_id,) = struct.unpack("<Q", self._bytes(base + key, 8))
                    yield transaction_id, numbers[1 : 1 + int(numbers[0])].astype(np.int64)

    def named_trees(self) -> Iterator[tuple[bytes, Tree]]:
        """The trees that the main tree names, itself noted first."""
        found: list[tuple[bytes, Tree]] = []
        self.tree(self._meta.main, found)
        yield from found

    def branch_keys(self, tree: Tree) -> Iterator[tuple[int, bytes]]:
        """Keys of a tree's branches with their height. The first child of each branch has none."""
        if tree.root == NO_PAGE:
            return
        level = np.array([tree.root], dtype=np.int64)
        for height in range(tree.depth - 1, 0, -1):
            below = []
            for part in _parts(level):
                rows = self._pages(part, BRANCH)
                places, offsets = self._offsets(rows)
                lengths = rows.view("<u2")[places, (offsets >> 1) + 3].astype(np.int64)
                for place, offset, length in zip(places.tolist(), offsets.tolist(), lengths.tolist(), strict=True):
                    if length:
                        start = offset + NODE.size
                        yield height, rows[place, start : start + length].tobytes()
                below.append(self._children(part))
            level = np.concatenate(below)

    def tree(self, tree: Tree, named: list[tuple[bytes, Tree]] | None = None) -> Numbers:
        """Note what a tree uses, and answer with its branch, leaf and overflow pages, those of the trees in it counted.

        Args:
            named: takes the trees that the main tree names, and they are not walked.
        """
        counts = np.zeros(3, dtype=np.int64)
        entries = 0
        has_duplicates = False
        for leaves in self._levels(tree, counts):
            entries += self._leaf_entries(leaves)
            for nodes in self._leaf_nodes(leaves):
                counts[2] += self._overflow(nodes)
                has_duplicates |= bool((nodes.flags & DUPLICATES).any())
                for name, subtree in self._subtrees(nodes):
                    if named is not None:
                        named.append((name, subtree))
                    else:
                        counts += self.tree(subtree)
        expected = (tree.branch_pages, tree.leaf_pages, tree.overflow_pages)
        if tuple(counts.tolist()) != expected:
            raise PagesNotUnderstood(f"a tree says it has pages {expected}, and {tuple(counts.tolist())} were found")
        if not has_duplicates and entries != tree.entries:
            raise PagesNotUnderstood(f"a tree says it has {tree.entries} entries, and {entries} were found")
        return counts

    def _levels(self, tree: Tree, counts: Numbers | None = None) -> Iterator[Numbers]:
        """The leaf pages of a tree, some at a time; notes all pages where they are to be counted."""
        if tree.root == NO_PAGE:
            return
        if not 0 < tree.depth <= DEPTH_MAX:
            raise PagesNotUnderstood(f"a tree of depth {tree.depth}")
        level = np.array([tree.root], dtype=np.int64)
        for left in range(tree.depth - 1, -1, -1):
            if counts is not None:
                self._note(level)
                counts[0 if left else 1] += level.size
            if not left:
                break
            level = np.concatenate([self._children(part) for part in _parts(level)])
        yield from _parts(level)

    def _note(self, pages: Numbers) -> None:
        self._require(pages)
        np.add.at(self.map.use, pages, 1)

    def _require(self, pages: Numbers) -> None:
        if pages.size and not (int(pages.min()) >= META_PAGES and int(pages.max()) <= self._meta.last_page):
            raise PagesNotUnderstood("a tree names a page outside the file")

    def _pages(self, pages: Numbers, kind: int) -> Bytes:
        """Copies of pages of one kind, uint8 [n, page_bytes]."""
        self._check()
        self._require(pages)
        size = self._size
        if (int(pages.max()) + 1) * size > self._file.size:
            raise PagesNotUnderstood("a tree names a page behind the end of the file")
        rows = self._file[: self._file.size // size * size].reshape(-1, size)[pages]
        words = rows.view("<u2")
        if not (rows[:, :8].copy().view("<u8")[:, 0] == pages).all():
            raise PagesNotUnderstood("a page does not have its own number")
        found = words[:, 5] & KINDS
        if not (found & ~np.uint16(LEAF2) == kind).all():
            raise PagesNotUnderstood(f"a page has flags {int(found[0]):#x}, and {kind:#x} is expected")
        return rows

    def _offsets(self, rows: Bytes) -> tuple[Numbers, Numbers]:
        """Of each node, the place of its page among `rows` and its offset in the page."""
        words = rows.view("<u2")
        lower, upper = words[:, 6].astype(np.int64), words[:, 7].astype(np.int64)
        if not ((lower >= HEAD.size) & (lower <= upper) & (upper <= self._size)).all():
            raise PagesNotUnderstood("a page's bounds do not fit it")
        counts = (lower - HEAD.size) >> 1
        places = np.repeat(np.arange(rows.shape[0]), counts)
        within = np.arange(places.size) - np.repeat(np.cumsum(counts) - counts, counts)
        offsets = words[places, (HEAD.size >> 1) + within].astype(np.int64)
        if not ((offsets >= upper[places]) & (offsets + NODE.size <= self._size) & (offsets & 1 == 0)).all():
            raise PagesNotUnderstood("a node lies outside its page")
        return places, offsets

    def _children(self, pages: Numbers) -> Numbers:
        rows = self._pages(pages, BRANCH)
        self._note_gaps(pages, rows)
        words = rows.view("<u2")
        places, offsets = self._offsets(rows)
        low, high, flags = (words[places, (offsets >> 1) + word].astype(np.int64) for word in range(3))
        children: Numbers = low | high << 16 | flags << 32
        return children

    def _note_gaps(self, pages: Numbers, rows: Bytes) -> None:
        words = rows.view("<u2").astype(np.int64)
        lower, upper = words[:, 6], words[:, 7]
        is_fixed = (words[:, 5] & LEAF2) != 0
        # Without offsets the keys stand where offsets would, and the gap is at the end.
        used = HEAD.size + (lower - HEAD.size >> 1) * words[:, 4]
        base = pages * self._size
        self.map.gaps.append(Gaps(base + np.where(is_fixed, used, lower), base + np.where(is_fixed, self._size, upper)))

    def _leaf_entries(self, pages: Numbers) -> int:
        rows = self._pages(pages, LEAF)
        self._note_gaps(pages, rows)
        return int(((rows.view("<u2")[:, 6].astype(np.int64) - HEAD.size) >> 1).sum())

    def _leaf_nodes(self, pages: Numbers) -> Iterator[_Nodes]:
        """The nodes of leaf pages; LEAF2 pages have none."""
        rows = self._pages(pages, LEAF)
        has_nodes = (rows.view("<u2")[:, 5] & LEAF2) == 0
        rows, pages = rows[has_nodes], pages[has_nodes]
        if not pages.size:
            return
        words = rows.view("<u2")
        places, offsets = self._offsets(rows)
        low, high, flags, key_length = (words[places, (offsets >> 1) + word].astype(np.int64) for word in range(4))
        keys = offsets + NODE.size
        data, lengths = keys + key_length, low | high << 16
        held = np.where(flags & BIG, 8, lengths)
        if not (data + held <= self._size).all():
            raise PagesNotUnderstood("a record lies outside its page")
        yield _Nodes(pages[places], keys, data, lengths, flags)

    def _subtrees(self, nodes: _Nodes) -> Iterator[tuple[bytes, Tree]]:
        for index in np.flatnonzero(nodes.flags & SUBTREE).tolist():
            base = int(nodes.pages[index]) * self._size
            key, data = int(nodes.keys[index]), int(nodes.data[index])
            if int(nodes.lengths[index]) != TREE.size:
                raise PagesNotUnderstood("the record of a tree has another length")
            name = self._bytes(base + key, data - key)
            yield name, Tree(*TREE.unpack(self._bytes(base + data, TREE.size)))

    def _overflow(self, nodes: _Nodes) -> int:
        """Note the overflow pages that nodes name; answers how many."""
        is_big = (nodes.flags & BIG) != 0
        starts, stops, count = [], [], 0
        columns = (nodes.pages[is_big], nodes.data[is_big], nodes.lengths[is_big])
        for page, data, length in zip(*(column.tolist() for column in columns), strict=True):
            first, pages = self._overflow_at(page * self._size + data, length)
            self._note(np.arange(first, first + pages, dtype=np.int64))
            starts.append(first * self._size + HEAD.size + length)
            stops.append((first + pages) * self._size)
            count += pages
        if starts:
            self.map.gaps.append(Gaps(np.array(starts, dtype=np.int64), np.array(stops, dtype=np.int64)))
        return count

    def _overflow_at(self, offset: int, length: int) -> tuple[int, int]:
        """First page and count of pages of the long value that a node's data names."""
        (first,) = struct.unpack("<Q", self._bytes(offset, 8))
        pages = (HEAD.size - 1 + length) // self._size + 1
        if not META_PAGES <= first <= self._meta.last_page + 1 - pages:
            raise PagesNotUnderstood("a long value lies outside the file")
        number, _, flags, count = struct.unpack("<QHHI", self._bytes(first * self._size, HEAD.size))
        # One that was shortened in place keeps its pages.
        if number != first or flags & KINDS != OVERFLOW or not pages <= count <= self._meta.last_page + 1 - first:
            raise PagesNotUnderstood(f"page {first} does not begin the long value that it should")
        return first, count

    def _long_value(self, offset: int, length: int) -> bytes:
        first, _ = self._overflow_at(offset, length)
        return self._bytes(first * self._size + HEAD.size, length)

    def _bytes(self, offset: int, length: int) -> bytes:
        raw = self._file[offset : offset + length].tobytes()
        if len(raw) != length:
            raise PagesNotUnderstood("the file ends within a record")
        return raw


def _parts(pages: Numbers) -> Iterable[Numbers]:
    return (pages[start : start + _CHUNK_PAGES] for start in range(0, pages.size, _CHUNK_PAGES))
