"""The layout of LMDB's file, as far as others than LMDB read it: numbers and structures, no reading.

Of LMDB 0.9 (`MDB_page`, `MDB_node`, `MDB_db`, `MDB_meta`) with 64-bit numbers, little-endian:

    page    number u64, pad u16, flags u16, lower u16, upper u16 (or count of overflow pages u32); offsets of nodes u16
            up to `lower`, nodes from `upper` on
    LEAF2   keys of `pad` bytes each, one behind the other, without offsets
    node    size of the value u32, or the low bits of a child's number; flags u16, or its high bits; size of the key
            u16; key; value
    long    the node's value is the number of the first of its overflow pages
    tree    pad u32, flags u16, depth u16, branch, leaf and overflow pages u64, entries u64, root u64
    meta    page 0 or 1, by the transaction's parity: magic u32, version u32, address and size of the map u64, tree of
            free pages, main tree, last page u64, transaction u64
"""

from __future__ import annotations

import struct

__all__ = [
    "BIG",
    "BRANCH",
    "DATA_FILE_NAME",
    "DEPTH_MAX",
    "DUPLICATES",
    "HEAD",
    "KINDS",
    "LEAF",
    "LEAF2",
    "MAGIC",
    "META",
    "META_HEAD",
    "META_PAGES",
    "NODE",
    "NO_PAGE",
    "OVERFLOW",
    "SUBTREE",
    "TREE",
    "VERSION",
]

DATA_FILE_NAME = "data.mdb"
META_PAGES = 2
MAGIC, VERSION = 0xBEEFC0DE, 1
NO_PAGE = (1 << 64) - 1
DEPTH_MAX = 32

BRANCH, LEAF, OVERFLOW, META, LEAF2 = 0x01, 0x02, 0x04, 0x08, 0x20
"""Flags of a page."""
KINDS = BRANCH | LEAF | OVERFLOW | META | LEAF2
BIG, SUBTREE, DUPLICATES = 0x01, 0x02, 0x04
"""Flags of a node in a leaf."""

HEAD = struct.Struct("<QHHHH")
NODE = struct.Struct("<HHHH")
TREE = struct.Struct("<IHHQQQQQ")
META_HEAD = struct.Struct("<IIQQ")
