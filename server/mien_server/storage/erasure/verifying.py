"""Whether a receipt is the store's, and whether what it says still holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import ErasureReceiptRecord, ErasureRecord, JournalEntry
from mien_server.storage.databases import Database, stored_value
from mien_server.storage.erasure.notes import ErasureState, identity_hash, is_sealed
from mien_server.storage.erasure.people import ById, Erased
from mien_server.storage.erasure.proof import prove
from mien_server.storage.erasure.reading import raw_records
from mien_server.storage.erasure.redaction import EntryRedactor
from mien_server.storage.erasure.scanning import is_telling
from mien_server.storage.store import Store
from mien_server.storage.values import decode_message
from mien_server.storage.views import StoreView

__all__ = ["ReceiptCheck", "check_receipt"]

_CHUNK_ROWS = 4096
_SHOWN_MAX = 10


class ReceiptCheck(NamedTuple):
    """One thing that must hold."""

    name: str
    passed: bool
    detail: str


def check_receipt(
    store: Store, receipt: ErasureReceiptRecord, identity_id: str, check: Callable[[], None] = lambda: None
) -> list[ReceiptCheck]:
    """Check a receipt against the store as it is; with the identity's id, that it is theirs, and that they are gone.

    Args:
        check: called between blocks of what is read; what it raises ends the work.

    Raises:
        OSError: a file cannot be read.
    """
    with store.view(shows_expired=True) as view:
        secret = view.records.erasure_secret()
        is_ours = secret is not None and is_sealed(secret, receipt)
        if secret is None or not is_ours:
            return [ReceiptCheck("seal", passed=False, detail="not sealed by this store, or changed since")]
        checks = [ReceiptCheck("seal", passed=True, detail="made by this store, and unchanged")]
        record = view.erasure(receipt.erasure)
        checks.append(_check_record(record, receipt))
        if record is not None:
            checks.append(_check_vectors(view, record))
        if not identity_id:
            return checks
        is_theirs = identity_hash(secret, receipt.gallery_number, identity_id) == receipt.identity_hash
        said = "the receipt is about this identity" if is_theirs else "the receipt is about somebody else"
        checks.append(ReceiptCheck("identity", is_theirs, said))
        checks.append(_check_absence(view, receipt, identity_id))
    # Of somebody else's id the store's record does not say whose it is: there may be such a person.
    people = [_erased(record, identity_id)] if is_theirs and record is not None and record.identity_number else []
    checks.append(_check_journal(store, people, check))
    checks += _search(store, identity_id, people, check)
    return checks


def _check_record(record: ErasureRecord | None, receipt: ErasureReceiptRecord) -> ReceiptCheck:
    kept = [] if record is None else [record.receipt, *record.earlier_receipts]
    if record is None or receipt not in kept:
        return ReceiptCheck("record", passed=False, detail="the store keeps no such receipt")
    if record.state != ErasureState.DONE:
        said = "the store was restored to a time before, and what came back is not erased yet"
        return ReceiptCheck("record", passed=False, detail=said)
    said = "the store keeps the same receipt"
    if receipt != record.receipt:
        said += "; it was restored to a time before since, and what came back was erased"
    return ReceiptCheck("record", passed=True, detail=said)


def _erased(record: ErasureRecord, identity_id: str) -> Erased:
    """Whom a record is about, as far as it says so when the erasure is done."""
    return Erased(record.gallery_number, record.identity_number, identity_id, ordinals=set(record.ordinals))


def _check_vectors(view: StoreView, record: ErasureRecord) -> ReceiptCheck:
    gallery = view.gallery_by_number(record.gallery_number)
    if gallery is None:
        return ReceiptCheck("vectors", passed=True, detail="the gallery was deleted, with its file of vectors")
    rows = gallery.rows
    ordinals = np.array(record.ordinals, dtype=np.int64)
    left = 0
    for start in range(0, ordinals.size, _CHUNK_ROWS):
        chunk = ordinals[start : start + _CHUNK_ROWS]
        left += int(np.count_nonzero(rows.vectors[chunk].any(axis=1)))
    said = f"{ordinals.size} rows hold zeros" if not left else f"{left} of {ordinals.size} rows hold something"
    return ReceiptCheck("vectors", not left, said)


def _check_absence(view: StoreView, receipt: ErasureReceiptRecord, identity_id: str) -> ReceiptCheck:
    gallery = view.gallery_by_number(receipt.gallery_number)
    identity = None if gallery is None else gallery.identity(identity_id)
    if identity is None:
        return ReceiptCheck("absence", passed=True, detail="the gallery has no identity of this id")
    is_new = identity.create_time_us >= receipt.request_time_us
    said = "somebody of this id was enrolled since" if is_new else "the gallery has the identity"
    return ReceiptCheck("absence", is_new, said)


def _check_journal(store: Store, people: Sequence[Erased], check: Callable[[], None]) -> ReceiptCheck:
    """Whether an erasure would find anything of theirs to take out of the journal, by their numbers and rows."""
    if not people:
        said = "not looked for: the store does not know by which number the journal knew them"
        return ReceiptCheck("journal", passed=True, detail=said)
    by_id = ById(people)
    redactor = EntryRedactor(people)
    left, damaged_count = [], 0
    for key, raw in raw_records(store, Database.JOURNAL):
        check()
        try:
            entry = decode_message(JournalEntry, stored_value(Database.JOURNAL, key, raw), Database.JOURNAL, key)
            if by_id.take_numbers(entry):
                redactor = EntryRedactor(people)
            # What is changed here is a copy.
            if redactor.redact(entry):
                left.append(str(entry.revision))
        except CorruptStore:
            damaged_count += 1
    said = f"entries of revisions {', '.join(left[:_SHOWN_MAX])} hold something of theirs" if left else "it holds none"
    if damaged_count:
        # An erasure removes those that are damaged.
        said += f"; {damaged_count} entries were damaged since, and held nothing of theirs before"
    return ReceiptCheck("journal", not left, said)


def _search(
    store: Store, identity_id: str, people: Sequence[Erased], check: Callable[[], None]
) -> Iterator[ReceiptCheck]:
    raw = identity_id.encode()
    if not is_telling(raw):
        return
    (proof,) = prove(store, [{raw}], people, check)
    scan = proof.scan
    searched = f"searched {scan.byte_count} bytes in {scan.file_count} files for the id"
    if proof.places:
        yield ReceiptCheck("search", passed=False, detail=f"{searched}: it stands in {', '.join(proof.places)}")
    elif scan.shared_count and not people:
        said = f"{searched}: it stands in what the store holds of others, or in the journal, of whom is not known"
        yield ReceiptCheck("search", passed=True, detail=said)
    elif scan.shared_count:
        yield ReceiptCheck("search", passed=True, detail=f"{searched}: it stands in what the store holds of others")
    else:
        yield ReceiptCheck("search", passed=True, detail=f"{searched}: it stands nowhere")
