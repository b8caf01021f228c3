"""Erasures of identities, and their receipts."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from mien_client._types import enums

__all__ = [
    "Erasure",
    "ErasureCheck",
    "ErasureReceipt",
    "ErasureScan",
    "ErasureVerification",
    "HeldSnapshot",
    "StartedErasure",
]


@dataclass(frozen=True, slots=True)
class HeldSnapshot:
    """A snapshot taken before the files were overwritten: it may hold the identity until it is deleted."""

    name: str
    revision: int


@dataclass(frozen=True, slots=True)
class ErasureScan:
    """A search of every file of the store for what was erased.

    Attributes:
        shared_count: patterns that somebody else has too, such as a label's value.
        short_count: patterns too short to be told from chance, which were not looked for.
        found_count: patterns that were found otherwise: 0.
    """

    file_count: int
    byte_count: int
    pattern_count: int
    shared_count: int
    short_count: int
    found_count: int


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was erased and when; it names nobody.

    Attributes:
        identity_hash: HMAC-SHA256 of gallery and identity id, by a key that the store keeps.
        revision: of the newest commit that deleted something of the identity.
        face_count: faces that the identity had.
        row_count: vectors overwritten, of faces deleted before included.
        journal_entry_count: journal entries that the identity was taken out of.
        request_count: kept answers to requests that named it.
        index_rewritten: the index was made again without it.
        live_page_count, free_page_count: pages of the records' file read, and freed ones overwritten.
        damaged_record_count: damaged journal entries and kept answers removed: they may have been anybody's.
        token: the receipt as bytes: what `verify_erasure` takes, and what is worth keeping.
    """

    erasure: str
    store_id: str
    gallery: str
    identity_hash: bytes
    revision: int
    request_time: datetime.datetime | None
    complete_time: datetime.datetime | None
    face_count: int
    row_count: int
    journal_entry_count: int
    request_count: int
    index_rewritten: bool
    live_page_count: int
    free_page_count: int
    scan: ErasureScan
    snapshots: tuple[HeldSnapshot, ...]
    damaged_record_count: int
    token: bytes


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure as it stands.

    Attributes:
        receipt: there once it is done.
        trouble: what holds it up, or what it last failed by; empty while it is on its way.
    """

    name: str
    gallery: str
    state: enums.ErasureState
    operation: str
    create_time: datetime.datetime | None
    is_overdue: bool
    receipt: ErasureReceipt | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class StartedErasure:
    """An erasure that has begun: nobody finds the identity from `revision` on; `operation` ends when it is gone."""

    operation: str
    revision: int


@dataclass(frozen=True, slots=True)
class ErasureCheck:
    """One thing that a receipt says, and whether it holds."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ErasureVerification:
    """Whether a receipt holds, and what was checked."""

    is_valid: bool
    checks: tuple[ErasureCheck, ...]
