"""Erasures: how far they are, what they ended with, and whether that holds."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mien_server.records.store_pb2 import ErasureReceiptRecord

__all__ = ["ErasureCheck", "ErasureInfo", "ErasureListing", "ErasureStateKind"]


class ErasureStateKind(enum.IntEnum):
    """Numbers of mien.v1.ErasureState."""

    DELETING = 1
    DELETED = 2
    RECEIPTED = 3
    DONE = 4


@dataclass(frozen=True, slots=True)
class ErasureInfo:
    """An erasure as it stands.

    Attributes:
        is_overdue: it takes longer than erasures may.
        receipt: as the store keeps it and its seal covers it, once the erasure is done.
        trouble: what holds it up, or what it last failed by; empty while it is on its way.
    """

    name: str
    gallery: str
    state: ErasureStateKind
    operation: str
    create_time_us: int
    is_overdue: bool
    receipt: ErasureReceiptRecord | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class ErasureListing:
    """A page of erasures, and after which one the next page starts; empty at the end."""

    erasures: tuple[ErasureInfo, ...]
    next_after: str


@dataclass(frozen=True, slots=True)
class ErasureCheck:
    """One thing that a receipt says, and whether it holds."""

    name: str
    passed: bool
    detail: str
