"""Erasures to be found by ids: each is known by the hash of an id, under the key of whoever erased it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from mien_server.records.store_pb2 import ErasureRecord, IdentityRecord
from mien_server.storage import keys
from mien_server.storage.databases import Database
from mien_server.storage.erasure.notes import identity_hash
from mien_server.storage.reading import RecordReader

__all__ = ["Hashes", "is_about"]

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

    def people(self, records: RecordReader, gallery_number: int) -> Iterator[tuple[str, IdentityRecord, T]]:
        """Id and record of each identity of a gallery that has an id of theirs, with what belongs to the erasure.

        Raises:
            CorruptStore: a record cannot be read.
        """
        found: list[tuple[str, T]] = []
        for key in records.reading.keys(Database.IDENTITIES, keys.encode_gallery(gallery_number)):
            identity_id = keys.decode_text(key)[1]
            found += [(identity_id, value) for value in self.of(identity_id)]
        for identity_id, value in found:
            record = records.identity(gallery_number, identity_id)
            assert record is not None
            yield identity_id, record, value


def is_about(erasure: ErasureRecord, identity: IdentityRecord) -> bool:
    """Whether an identity of the id is who was erased: whoever was enrolled under it since is not.

    Revisions do not tell: others may have ended the deletion, or nobody has, and a restore brings later ones down.
    """
    return identity.create_time_us <= erasure.create_time_us
