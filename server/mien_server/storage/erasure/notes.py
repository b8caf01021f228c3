"""What ERASURES holds: what is still to be done about somebody, masked, and receipts with their seals."""

from __future__ import annotations

import enum
import hashlib
import hmac
import secrets

from mien_server.records.store_pb2 import ErasureReceiptRecord, ErasureRecord, ErasureWork
from mien_server.storage import keys

__all__ = [
    "ErasureState",
    "erasure_key",
    "identity_hash",
    "is_pending",
    "is_sealed",
    "new_secret",
    "put_work",
    "seal",
    "work_of",
]

_SECRET_BYTES = 32


class ErasureState(enum.IntEnum):
    """How far an erasure is."""

    DELETING = 1
    """Faces are left."""
    DELETED = 2
    """Nobody finds the identity; what it left is there."""
    RECEIPTED = 3
    """What it left is gone, but for the list of it."""
    DONE = 4


def is_pending(record: ErasureRecord) -> bool:
    """Whether something is left to be done."""
    return record.state != ErasureState.DONE


def new_secret() -> bytes:
    """A store's key for hashes and seals."""
    return secrets.token_bytes(_SECRET_BYTES)


def erasure_key(name: str) -> bytes:
    """Key of `erasures`."""
    return keys.encode_name(name, "erasure name")


def identity_hash(secret: bytes, gallery_number: int, identity_id: str) -> bytes:
    """What a receipt names an identity by: nobody who lacks the store's key can try ids against it."""
    return hmac.digest(secret, b"identity\0" + keys.encode_text(gallery_number, identity_id), "sha256")


def seal(secret: bytes, receipt: ErasureReceiptRecord) -> None:
    """Fill in the receipt's seal."""
    receipt.seal = _seal(secret, receipt)


def is_sealed(secret: bytes, receipt: ErasureReceiptRecord) -> bool:
    """Whether this store made the receipt, and nobody changed it since."""
    return hmac.compare_digest(receipt.seal, _seal(secret, receipt))


def _seal(secret: bytes, receipt: ErasureReceiptRecord) -> bytes:
    plain = ErasureReceiptRecord()
    plain.CopyFrom(receipt)
    plain.ClearField("seal")
    return hmac.digest(secret, b"receipt\0" + plain.SerializeToString(deterministic=True), "sha256")


def put_work(record: ErasureRecord, work: ErasureWork) -> None:
    """Keep what is to be searched for so that a search does not find it here."""
    if not record.mask:
        record.mask = secrets.token_bytes(_SECRET_BYTES)
    record.masked_work = _masked(record.mask, work.SerializeToString())


def work_of(record: ErasureRecord) -> ErasureWork:
    """Inverse of `put_work`."""
    return ErasureWork.FromString(_masked(record.mask, record.masked_work))


def _masked(mask: bytes, raw: bytes) -> bytes:
    stream = hashlib.shake_256(mask).digest(len(raw))
    return (int.from_bytes(raw, "little") ^ int.from_bytes(stream, "little")).to_bytes(len(raw), "little")
