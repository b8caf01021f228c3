"""Erasures to be found by ids: each is known by the hash of an id, under the key of whoever erased it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from mien_server.records.store_pb2 import ErasureRecord
from mien_server.storage.erasure.notes import identity_hash

__all__ = ["Hashes"]

T = TypeVar("T")


class Hashes(Generic[T]):
    """What belongs to the erasures of a gallery."""

    def __init__(self) -> None:
        self._values: dict[tuple[bytes, int], dict[bytes, list[T]]] = {}

    def add(self, secret: bytes, erasure: ErasureRecord, value: T) -> None:
        """Have the value be found by the id of who was erased; `secret` is the key that hashed it."""
        by_hash = self._values.setdefault((secret, erasure.gallery_number), {})
        by_hash.setdefault(erasure.identity_hash, []).append(value)

    def of(self, identity_id: str) -> Iterator[T]:
        """What belongs to erasures of an identity of this id."""
        for (secret, number), by_hash in self._values.items():
            yield from by_hash.get(identity_hash(secret, number, identity_id), ())
