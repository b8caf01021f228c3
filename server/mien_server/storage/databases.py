"""The LMDB environment and the databases in it, and reading from them."""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice, takewhile
from pathlib import Path
from typing import TypeAlias

import lmdb

from mien_server.errors import CorruptStore, InternalError
from mien_server.storage.checksums import (
    CHECKSUM_BYTES,
    WHOLE_CRC,
    is_record_whole,
    record_with_checksum,
    records_with_checksum,
)
from mien_server.storage.layout import DAMAGE_ADVICE
from mien_server.storage.lmdb_errors import translated_read_error
from mien_server.storage.options import StoreOptions

__all__ = [
    "GALLERY_KEYED",
    "LARGE_RECORDS",
    "Database",
    "Handles",
    "Reading",
    "Transaction",
    "checked_databases",
    "corrupt",
    "open_databases",
    "open_environment",
    "open_for_reading",
    "put",
    "put_many",
    "stored_value",
]

Transaction: TypeAlias = "lmdb.Transaction[bytes]"


class Database(enum.StrEnum):
    """Every database of the environment; `keys` says what their keys are."""

    META = "meta"
    GALLERIES = "galleries"
    GALLERY_NAMES = "gallery_names"
    GALLERY_COUNTS = "gallery_counts"
    IDENTITIES = "identities"
    IDENTITY_IDS = "identity_ids"
    FACES = "faces"
    FACE_IDS = "face_ids"
    IDENTITY_FACES = "identity_faces"
    FACE_DIGESTS = "face_digests"
    IDENTITY_LABEL_INDEX = "identity_label_index"
    FACE_LABEL_INDEX = "face_label_index"
    JOURNAL = "journal"
    REQUESTS = "requests"
    REQUEST_TIMES = "request_times"
    OPERATIONS = "operations"
    EXPIRY = "expiry"
    ERASURES = "erasures"
    SNAPSHOTS = "snapshots"


# Databases whose keys start with a gallery number and that grow with its identities and faces.
GALLERY_KEYED = (
    Database.IDENTITIES,
    Database.IDENTITY_IDS,
    Database.FACES,
    Database.FACE_IDS,
    Database.IDENTITY_FACES,
    Database.FACE_DIGESTS,
    Database.IDENTITY_LABEL_INDEX,
    Database.FACE_LABEL_INDEX,
    Database.EXPIRY,
)

# Databases whose records may have megabytes: few of them are read at once.
LARGE_RECORDS = frozenset({Database.JOURNAL, Database.REQUESTS})

# Databases whose values have a checksum. The others hold keys alone, or numbers that follow from `faces`.
_CHECKED = frozenset(Database) - {
    Database.IDENTITY_FACES,
    Database.FACE_DIGESTS,
    Database.IDENTITY_LABEL_INDEX,
    Database.FACE_LABEL_INDEX,
    Database.REQUEST_TIMES,
    Database.EXPIRY,
}
_SEEDS: Mapping[Database, int] = {database: zlib.crc32(database.value.encode()) for database in _CHECKED}

# One digest has several ordinals when the duplicate was allowed.
_SEVERAL_VALUES = frozenset({Database.FACE_DIGESTS})

Handles: TypeAlias = "Mapping[Database, lmdb._Database]"  # noqa: SLF001 - lmdb gives its handles no public name


def open_environment(path: Path, options: StoreOptions, map_size_bytes: int | None = None) -> lmdb.Environment:
    """Open or make the environment in the folder `path`. Raises lmdb.Error.

    Commits are synced wholly (sync, metasync): an answered write must survive a loss of power.
    """
    return lmdb.open(
        str(path),
        map_size=map_size_bytes or options.map_size_bytes,
        max_dbs=len(Database),
        max_readers=options.reader_count_max,
        max_spare_txns=options.ready_reader_count_max,
        subdir=True,
        readahead=False,
        writemap=False,
        map_async=False,
        sync=True,
        metasync=True,
        lock=True,
    )


def open_for_reading(path: Path, options: StoreOptions) -> tuple[lmdb.Environment, Handles]:
    """Open the environment in a folder that nobody writes to, leaving everything as it is. Raises lmdb.Error."""
    environment = lmdb.open(
        str(path),
        map_size=options.map_size_bytes,
        max_dbs=len(Database),
        subdir=True,
        create=False,
        readonly=True,
        readahead=False,
        lock=False,
    )
    try:
        # Each in a transaction of its own: handles opened in one for reading end with it.
        handles = {
            name: environment.open_db(
                name.value.encode(),
                create=False,
                dupsort=name in _SEVERAL_VALUES,
                dupfixed=name in _SEVERAL_VALUES,
            )
            for name in Database
        }
    except lmdb.Error:
        environment.close()
        raise
    return environment, handles


def open_databases(environment: lmdb.Environment) -> Handles:
    """Open every database, making those that are missing in one commit. Raises lmdb.Error."""
    with environment.begin(write=True) as transaction:
        return {
            name: environment.open_db(
                name.value.encode(),
                txn=transaction,
                dupsort=name in _SEVERAL_VALUES,
                dupfixed=name in _SEVERAL_VALUES,
            )
            for name in Database
        }


def corrupt(database: Database, key: bytes, what: str, reason: str | None = None) -> CorruptStore:
    """The error for a record that contradicts the rest: names the database and the key."""
    return CorruptStore(
        f"meta/: database {database}, key {key.hex()}: {what}; {DAMAGE_ADVICE}",
        reason=reason,
        metadata={"database": database.value, "key": key.hex()},
    )


def checked_databases() -> tuple[Database, ...]:
    """Databases whose values have a checksum."""
    return tuple(_SEEDS)


def stored_value(database: Database, key: bytes, raw: bytes) -> bytes:
    """The value in the bytes that LMDB has for a key.

    Raises:
        CorruptStore: RECORD_DAMAGED, its checksum is wrong.
    """
    seed = _SEEDS.get(database)
    if seed is None:
        return raw
    if not is_record_whole(seed, key, raw):
        raise corrupt(database, key, "the record's checksum is wrong", "RECORD_DAMAGED")
    return raw[:-CHECKSUM_BYTES]


def put(transaction: Transaction, handles: Handles, database: Database, key: bytes, value: bytes) -> None:
    """Put one record, with its checksum where the database has them. Raises lmdb.Error."""
    seed = _SEEDS.get(database)
    transaction.put(key, value if seed is None else record_with_checksum(seed, key, value), db=handles[database])


def put_many(transaction: Transaction, handles: Handles, database: Database, items: list[tuple[bytes, bytes]]) -> None:
    """`put` of many, in ascending order of keys the fastest. Raises lmdb.Error."""
    seed = _SEEDS.get(database)
    with transaction.cursor(handles[database]) as cursor:
        cursor.putmulti(items if seed is None else records_with_checksum(seed, items))


class Reading:
    """Reads of one transaction, checksums verified, lmdb's errors translated. What it returns are copies.

    One thread at a time. After `end` every read raises InternalError; a damaged record raises CorruptStore
    (RECORD_DAMAGED).
    """

    __slots__ = ("_handles", "_transaction")

    def __init__(self, transaction: Transaction, handles: Handles) -> None:
        self._transaction: Transaction | None = transaction
        self._handles = handles

    def end(self) -> None:
        """Nothing may be read from here on; the transaction goes back to whoever lent it."""
        self._transaction = None

    def _open(self) -> Transaction:
        if self._transaction is None:
            raise InternalError("a view was used after its end; keep what it returns, not the view")
        return self._transaction

    def entry_count(self, database: Database) -> int:
        """How many records a database says that it has, of all galleries."""
        transaction = self._open()
        try:
            return int(transaction.stat(self._handles[database])["entries"])
        except lmdb.Error as error:
            raise translated_read_error(error, database) from error

    def get(self, database: Database, key: bytes) -> bytes | None:
        """The value of a key (its first one where there can be several), or None."""
        transaction = self._open()
        try:
            raw = transaction.get(key, db=self._handles[database])
        except lmdb.Error as error:
            raise translated_read_error(error, database) from error
        return None if raw is None else stored_value(database, key, raw)

    def get_many(self, database: Database, keys: Iterable[bytes]) -> list[bytes | None]:
        """The value of each key (its first one where there can be several), or None; ascending keys are read fastest.

        One get a key takes half as long as lmdb's `getmulti`, which builds pairs and looks up some keys twice.
        """
        transaction = self._open()
        get, handle = transaction.get, self._handles[database]
        wanted = list(keys)
        try:
            found = [get(key, None, handle) for key in wanted]
        except lmdb.Error as error:
            raise translated_read_error(error, database) from error
        seed = _SEEDS.get(database)
        if seed is None:
            return found
        # As `stored_value` for each, in a third of its time.
        crc32 = zlib.crc32
        there = [(key, raw) for key, raw in zip(wanted, found, strict=True) if raw is not None]
        crcs = [crc32(raw, crc32(key, seed)) for key, raw in there]
        if crcs.count(WHOLE_CRC) != len(crcs):
            for key, raw in there:
                stored_value(database, key, raw)
        return [raw and raw[:-CHECKSUM_BYTES] for raw in found]

    def last_key(self, database: Database, prefix: bytes) -> bytes | None:
        """The last key that has the prefix, whose bytes are not all 255; None when there is none."""
        transaction = self._open()
        beyond = (int.from_bytes(prefix) + 1).to_bytes(len(prefix))
        try:
            with transaction.cursor(self._handles[database]) as cursor:
                found = cursor.prev() if cursor.set_range(beyond) else cursor.last()
                key = cursor.key() if found else b""
        except lmdb.Error as error:
            raise translated_read_error(error, database) from error
        return key if key.startswith(prefix) else None

    def items(self, database: Database, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Key and value of every key that has the prefix, ascending, from `start` on. To be consumed at once."""
        transaction = self._open()
        try:
            with transaction.cursor(self._handles[database]) as cursor:
                found = cursor.set_range(start or prefix) if start or prefix else cursor.first()
                if found:
                    for key, raw in takewhile(lambda item: item[0].startswith(prefix), cursor.iternext()):
                        yield key, stored_value(database, key, raw)
        except lmdb.Error as error:
            raise translated_read_error(error, database) from error

    def items_before(self, database: Database, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of every key before `end`, descending; all where it is empty. To be consumed at once."""
        transaction = self._open()
        try:
            with transaction.cursor(self._handles[database]) as cursor:
                # Without a key from there on the last one is the first before it.
                found = cursor.prev() if end and cursor.set_range(end) else cursor.last()
                if found:
                    for key, raw in cursor.iterprev():
                        yield key, stored_value(database, key, raw)
        except lmdb.Error as error:
            raise translated_read_error(error, database) from error

    def chunks(
        self, database: Database, prefix: bytes, size: int, start: bytes = b""
    ) -> Iterator[list[tuple[bytes, bytes]]]:
        """As `items`, in lists of up to `size`, several times faster; none is empty."""
        for chunk in self.raw_chunks(database, prefix, size, start):
            yield [(key, stored_value(database, key, raw)) for key, raw in chunk]

    def whole_chunks(
        self,
        database: Database,
        prefix: bytes,
        size: int,
        on_damage: Callable[[CorruptStore], None],
        start: bytes = b"",
    ) -> Iterator[list[tuple[bytes, bytes]]]:
        """As `chunks`, without the records that are damaged, which `on_damage` is told; a list may be empty."""
        for chunk in self.raw_chunks(database, prefix, size, start):
            whole = []
            for key, raw in chunk:
                try:
                    whole.append((key, stored_value(database, key, raw)))
                except CorruptStore as error:
                    on_damage(error)
            yield whole

    def raw(self, database: Database, key: bytes) -> bytes | None:
        """What LMDB has for a key, with its checksum and unverified."""
        transaction = self._open()
        try:
            return transaction.get(key, db=self._handles[database])
        except lmdb.Error as error:
            raise translated_read_error(error, database) from error

    def raw_chunks(
        self, database: Database, prefix: bytes, size: int, start: bytes = b""
    ) -> Iterator[list[tuple[bytes, bytes]]]:
        """As `chunks`, the values as LMDB has them, with their checksums and unverified."""
        transaction = self._open()
        try:
            with transaction.cursor(self._handles[database]) as cursor:
                found = cursor.set_range(start or prefix) if start or prefix else cursor.first()
                items = cursor.iternext() if found else iter(())
                while chunk := list(islice(items, size)):
                    # Keys ascend: when the last one has the prefix, all have.
                    if not chunk[-1][0].startswith(prefix):
                        chunk = list(takewhile(lambda item: item[0].startswith(prefix), chunk))
                        if chunk:
                            yield chunk
                        return
                    yield chunk
        except lmdb.Error as error:
            raise translated_read_error(error, database) from error

    def keys(self, database: Database, prefix: bytes, start: bytes = b"") -> Iterator[bytes]:
        """As `items`, the keys alone."""
        transaction = self._open()
        try:
            with transaction.cursor(self._handles[database]) as cursor:
                found = cursor.set_range(start or prefix) if start or prefix else cursor.first()
                if found:
                    yield from takewhile(lambda key: key.startswith(prefix), cursor.iternext(values=False))
        except lmdb.Error as error:
            raise translated_read_error(error, database) from error
