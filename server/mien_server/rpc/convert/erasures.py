"""Erasures and their receipts."""

from __future__ import annotations

from collections.abc import Sequence

from mien.v1 import operations_service_pb2 as pb
from mien_server.engine.types import ErasureCheck, ErasureInfo
from mien_server.records.store_pb2 import ErasureReceiptRecord, ErasureScanRecord, HeldSnapshotRecord
from mien_server.rpc.convert.values import enum_number, microseconds, timestamp

__all__ = ["erasure_message", "receipt_record", "verification_message"]

_SAME = (
    "erasure",
    "store_id",
    "gallery_number",
    "identity_hash",
    "revision",
    "face_count",
    "row_count",
    "journal_entry_count",
    "request_count",
    "damaged_record_count",
    "live_page_count",
    "free_page_count",
    "seal",
)
_SCAN = ("file_count", "byte_count", "pattern_count", "shared_count", "short_count", "found_count")


def erasure_message(erasure: ErasureInfo) -> pb.Erasure:
    """An erasure as a message."""
    return pb.Erasure(
        name=erasure.name,
        gallery=erasure.gallery,
        state=enum_number(erasure.state),
        operation=erasure.operation,
        create_time=timestamp(erasure.create_time_us),
        is_overdue=erasure.is_overdue,
        receipt=None if erasure.receipt is None else _receipt_message(erasure.receipt),
        trouble=erasure.trouble,
    )


def _receipt_message(receipt: ErasureReceiptRecord) -> pb.ErasureReceipt:
    return pb.ErasureReceipt(
        **{name: getattr(receipt, name) for name in _SAME},
        gallery=receipt.gallery_name,
        request_time=timestamp(receipt.request_time_us),
        complete_time=timestamp(receipt.complete_time_us),
        index_rewritten=receipt.is_index_rewritten,
        scan=pb.ErasureScan(**{name: getattr(receipt.scan, name) for name in _SCAN}),
        snapshots=[pb.HeldSnapshot(name=one.name, revision=one.revision) for one in receipt.snapshots],
    )


def receipt_record(message: pb.ErasureReceipt) -> ErasureReceiptRecord:
    """A receipt that a caller gives, as the seal covers it.

    Raises:
        InvalidArgument: a time is out of range.
    """
    return ErasureReceiptRecord(
        **{name: getattr(message, name) for name in _SAME},
        gallery_name=message.gallery,
        request_time_us=microseconds(message.request_time, "receipt.request_time"),
        complete_time_us=microseconds(message.complete_time, "receipt.complete_time"),
        is_index_rewritten=message.index_rewritten,
        scan=ErasureScanRecord(**{name: getattr(message.scan, name) for name in _SCAN}),
        snapshots=[HeldSnapshotRecord(name=one.name, revision=one.revision) for one in message.snapshots],
    )


def verification_message(checks: Sequence[ErasureCheck]) -> pb.VerifyErasureResponse:
    """What was checked, as a message."""
    return pb.VerifyErasureResponse(
        is_valid=all(check.passed for check in checks),
        checks=[pb.ErasureCheck(name=one.name, passed=one.passed, detail=one.detail) for one in checks],
    )
