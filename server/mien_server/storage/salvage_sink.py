"""The records of a store that is being made from another's, in commits of bounded size."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import lmdb

from mien_server.errors import Unavailable
from mien_server.storage.databases import Database, open_databases, open_environment, put_many
from mien_server.storage.options import StoreOptions

__all__ = ["NewRecords"]

_COMMIT_RECORDS = 50_000


class NewRecords:
    """A new LMDB environment; what was put is durable when the block has ended.

    Raises:
        Unavailable: STORAGE_WRITE_FAILED, the disk refuses.
    """

    def __init__(self, meta: Path) -> None:
        self._meta = meta
        self._environment = open_environment(meta, StoreOptions())
        self._handles = open_databases(self._environment)
        self._waiting: dict[Database, list[tuple[bytes, bytes]]] = {}
        self._count = 0

    def put(self, database: Database, key: bytes, value: bytes) -> None:
        """Put one record, soon."""
        self._waiting.setdefault(database, []).append((key, value))
        self._count += 1
        if self._count >= _COMMIT_RECORDS:
            self._commit()

    def _commit(self) -> None:
        try:
            with self._environment.begin(write=True) as transaction:
                for database, items in self._waiting.items():
                    items.sort()
                    put_many(transaction, self._handles, database, items)
        except lmdb.Error as error:
            raise Unavailable(f"{self._meta}: cannot be written: {error}", reason="STORAGE_WRITE_FAILED") from error
        self._waiting.clear()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._commit()
        finally:
            self._environment.close()
