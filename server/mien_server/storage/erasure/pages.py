"""Having nothing of people who were erased left in the records' file beside live records."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from mien_server.records.store_pb2 import ErasureRecord
from mien_server.storage import keys
from mien_server.storage.commands.rewrite_records import RewriteRecords
from mien_server.storage.databases import Database
from mien_server.storage.erasure.cases import put_erasures
from mien_server.storage.steps import reached
from mien_server.storage.store import Store

__all__ = ["Pages", "await_until", "done", "rewrite_parted", "scrub"]

R = TypeVar("R")

WAIT_SLICE_S = 0.02
WAIT_WORK_S = 0.5
"""How often whoever waits looks whether the store is closing."""
REWRITES_MAX = 4
TEXT_KEYED = (
    Database.IDENTITIES,
    Database.FACE_IDS,
    Database.FACE_DIGESTS,
    Database.IDENTITY_LABEL_INDEX,
    Database.FACE_LABEL_INDEX,
)
"""Databases whose keys say something of somebody."""


@dataclass(slots=True)
class Pages:
    """What a scrub overwrote: pages read for their gaps, and freed pages."""

    live_count: int = 0
    free_count: int = 0


def rewrite_parted(store: Store, wanted: Collection[bytes], check: Callable[[], None]) -> None:
    """Have none of the texts left as a key in the branches of trees."""
    for database in TEXT_KEYED:
        for _ in range(REWRITES_MAX):
            check()
            stale = store.scrubber.stale_separators(database, partial(_is_of, wanted, database))
            # Queued together, so that few commits do it.
            written = [store.submit(RewriteRecords(one), is_internal=True) for one in stale]
            for one in written:
                done(one, check)
            if not stale:
                break


def scrub(store: Store, record: ErasureRecord, check: Callable[[], None]) -> Pages:
    """Overwrite what the records' file holds beside live records.

    Args:
        record: of any erasure, as it is to be kept: put again, since one more commit has to follow.
    """
    scrubber = store.scrubber
    pages = Pages()
    done(store.between_commits(scrubber.wipe_buffers), check)
    reached("erasure_buffers_wiped")
    cleaned, pages.live_count = scrubber.clean_gaps(check)
    reached("erasure_gaps_cleaned")
    # LMDB spares what its newest commit set free: one more has to follow the one that was cleaned.
    put_erasures(store, [record])
    await_until(lambda: scrubber.oldest_reader() > cleaned, check)
    after: int | None = 0
    while after is not None:
        check()
        after, count = done(store.between_commits(partial(scrubber.clean_free, after)), check)
        pages.free_count += count
    scrubber.sync()
    reached("erasure_free_cleaned")
    return pages


def done(future: Future[R], check: Callable[[], None]) -> R:
    """What the writer thread's work gave."""
    while True:
        check()
        with suppress(TimeoutError):
            return future.result(WAIT_WORK_S)


def await_until(has_come: Callable[[], bool], check: Callable[[], None]) -> None:
    """Wait until something has come that no thread tells of."""
    while not has_come():
        check()
        time.sleep(WAIT_SLICE_S)


def _is_of(texts: Collection[bytes], database: Database, key: bytes) -> bool:
    return _text_in(database, key) in texts


def _text_in(database: Database, key: bytes) -> bytes:
    """What a key of one of TEXT_KEYED says of somebody."""
    match database:
        case Database.FACE_DIGESTS:
            return keys.decode_digest_key(key)[2]
        case Database.IDENTITY_LABEL_INDEX | Database.FACE_LABEL_INDEX:
            return keys.decode_label(key[: -keys.NUMBER_BYTES])[2].encode()
        case _:
            return key[keys.GALLERY_BYTES :]
