"""Messages -> types: erasures and their receipts."""

from __future__ import annotations

from dataclasses import fields

from mien.v1 import operations_service_pb2 as operations_v1
from mien_client._types import enums, erasures
from mien_client._wire.decode_faces import moment
from mien_client._wire.enums import enum_value

__all__ = ["erasure", "receipt", "verification"]


def erasure(message: operations_v1.Erasure) -> erasures.Erasure:
    """An erasure as it stands."""
    return erasures.Erasure(
        name=message.name,
        gallery=message.gallery,
        state=enum_value(enums.ErasureState, message.state),
        operation=message.operation,
        create_time=moment(message.create_time),
        is_overdue=message.is_overdue,
        receipt=receipt(message.receipt) if message.HasField("receipt") else None,
        trouble=message.trouble,
    )


def receipt(message: operations_v1.ErasureReceipt) -> erasures.ErasureReceipt:
    """A receipt, with itself as bytes."""
    scan = erasures.ErasureScan(**{one.name: getattr(message.scan, one.name) for one in fields(erasures.ErasureScan)})
    return erasures.ErasureReceipt(
        erasure=message.erasure,
        store_id=message.store_id,
        gallery=message.gallery,
        identity_hash=message.identity_hash,
        revision=message.revision,
        request_time=moment(message.request_time),
        complete_time=moment(message.complete_time),
        face_count=message.face_count,
        row_count=message.row_count,
        journal_entry_count=message.journal_entry_count,
        request_count=message.request_count,
        index_rewritten=message.index_rewritten,
        live_page_count=message.live_page_count,
        free_page_count=message.free_page_count,
        scan=scan,
        snapshots=tuple(erasures.HeldSnapshot(one.name, one.revision) for one in message.snapshots),
        damaged_record_count=message.damaged_record_count,
        token=message.SerializeToString(deterministic=True),
    )


def verification(message: operations_v1.VerifyErasureResponse) -> erasures.ErasureVerification:
    """Whether a receipt holds."""
    return erasures.ErasureVerification(
        is_valid=message.is_valid,
        checks=tuple(erasures.ErasureCheck(one.name, one.passed, one.detail) for one in message.checks),
    )
