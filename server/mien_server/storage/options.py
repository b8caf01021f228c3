"""The settings of a store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["StoreOptions"]


def _wall_clock_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a store is opened. Every number is a bound; none is taken as memory in advance.

    Attributes:
        map_size_bytes: address space reserved for LMDB at first; doubled when the records fill it. Costs no disk.
        group_rows_max: rows that one commit takes at most, one command larger than that excepted.
        group_commands_max: commands that one commit takes at most.
        queue_rows_max: rows waiting for the writer before further writes are refused (WRITE_QUEUE_FULL). A command
            that writes no rows counts as one.
        queue_bytes_max: bytes of their vectors and records, likewise.
        journal_revisions_max, journal_bytes_max: journal entries kept, and bytes they may take; older ones go, a few
            with each commit.
        request_age_max_s: how long a request id is remembered, in seconds.
        reader_count_max: LMDB read transactions that can be open at once, over all views.
        ready_reader_count_max: read transactions that the writer opens ahead for the views of a new snapshot.
        serve_damaged: open a store some of whose faces or identities are damaged, without them; everything is read
            first. Otherwise damage is refused where it is met.
        close_wait_s_max: how long `Store.close` waits for open views, in seconds.
        clock_us: the wall clock, microseconds since 1970 UTC.
    """

    map_size_bytes: int = 1 << 40
    group_rows_max: int = 8_192
    group_commands_max: int = 1_024
    queue_rows_max: int = 65_536
    queue_bytes_max: int = 256 * 1024 * 1024
    journal_revisions_max: int = 100_000
    journal_bytes_max: int = 1 << 30
    request_age_max_s: int = 86_400
    reader_count_max: int = 8_192
    ready_reader_count_max: int = 64
    serve_damaged: bool = False
    close_wait_s_max: float = 10.0
    clock_us: Callable[[], int] = _wall_clock_us
