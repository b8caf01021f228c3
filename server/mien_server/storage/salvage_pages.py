"""The whole records of a damaged LMDB file, by database, wherever in it they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mien_server.errors import CorruptStore
from mien_server.storage.databases import Database, checked_databases, stored_value
from mien_server.storage.lmdb_format import META_PAGES
from mien_server.storage.page_file import Leaf, Meta, PageFile
from mien_server.storage.structure import check_structure

__all__ = ["RecordsFound"]


class RecordsFound:
    """Reads the records that have checksums; those of no whole one are counted.

    Attributes:
        notes: what is to be known of how they were found.
        damaged: key and database of records that lie where they should, and whose checksum is wrong.
    """

    def __init__(self, file: PageFile) -> None:
        self._file = file
        self.notes: list[str] = []
        self.damaged: list[tuple[bytes, str]] = []
        self._told: set[tuple[bytes, str]] = set()
        self._meta = self._choose_meta()
        self._trees = file.databases(self._meta)
        if missing := sorted({one.value for one in checked_databases()} - self._trees.keys()):
            self.notes.append(f"the databases {', '.join(missing)} were not found by their names")
        faults = check_structure(file, self._meta).faults
        self._lost: dict[Database, dict[bytes, bytes]] = {}
        if faults:
            self.notes += [f"meta/data.mdb: {fault}" for fault in faults[:10]]
            self._look_for_lost()

    def _choose_meta(self) -> Meta:
        """The newer one, unless the other alone leads to the databases."""
        best = max(self._file.metas, key=lambda meta: (len(self._file.databases(meta)) > 1, meta.transaction))
        newest = max(meta.transaction for meta in self._file.metas)
        if len(self._file.metas) < 2 or best.transaction != newest:
            self.notes.append(
                f"one of the two first pages of meta/data.mdb is damaged; transaction {best.transaction} is read, and "
                "a later one may be lost"
            )
        return best

    def get(self, database: Database, key: bytes) -> bytes | None:
        """The value of a key; for small databases."""
        return next((raw for found, raw in self.items(database) if found == key), None)

    def items(self, database: Database, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Whole records whose keys have the prefix: those in their tree first, then those found elsewhere."""
        tree = self._trees.get(database.value)
        elsewhere = self._lost.get(database, {})
        in_tree = set()
        for leaf in self._file.leaves(self._meta, tree) if tree is not None else ():
            if not leaf.key.startswith(prefix):
                continue
            value = self._whole(database, leaf)
            if value is None:
                if (leaf.key, database.value) not in self._told:
                    self._told.add((leaf.key, database.value))
                    self.damaged.append((leaf.key, database.value))
                continue
            if leaf.key in elsewhere:
                in_tree.add(leaf.key)
            yield leaf.key, value
        for key in sorted(elsewhere.keys() - in_tree):
            if key.startswith(prefix):
                yield key, elsewhere[key]

    @staticmethod
    def _whole(database: Database, leaf: Leaf) -> bytes | None:
        try:
            return stored_value(database, leaf.key, leaf.value)
        except CorruptStore:
            return None

    def _look_for_lost(self) -> None:
        """Records of pages that no tree reaches and that are not free: those below a damaged page."""
        file, meta = self._file, self._meta
        for tree in self._trees.values():
            # Walking marks the pages that are reached and can be read.
            for _ in file.leaves(meta, tree):
                pass
        before = len(file.faults)
        is_known = np.zeros(file.page_count, dtype=np.bool_)
        is_known[:META_PAGES] = True
        is_known[meta.last_page + 1 :] = True
        for leaf in file.leaves(meta, meta.free):
            numbers = np.frombuffer(leaf.value[: len(leaf.value) // 8 * 8], dtype="<u8")[1:]
            numbers = numbers[numbers < file.page_count]
            is_known[numbers.astype(np.int64)] = True
        if len(file.faults) > before:
            self.notes.append(
                "the list of free pages is damaged: pages that no tree reaches are left alone, for they may hold "
                "what was deleted"
            )
            return
        found = 0
        for page in np.flatnonzero(~(is_known | file.reached)).tolist():
            for leaf in file.loose_nodes(page, meta.last_page):
                for database in checked_databases():
                    value = self._whole(database, leaf)
                    if value is not None:
                        self._lost.setdefault(database, {})[leaf.key] = value
                        found += 1
                        break
        if found:
            self.notes.append(f"{found} records were found on pages that no tree reaches any more")
