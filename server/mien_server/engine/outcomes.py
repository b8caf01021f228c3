"""The first outcome of a write, kept under its request id and given again when the request comes again."""

from __future__ import annotations

from collections.abc import Sequence

import mien_server.errors as errors_module
from mien_server.engine.types import EnrollRowsOutcome
from mien_server.errors import InternalError, InvalidArgument, MienError
from mien_server.records.store_pb2 import CountOutcomeRecord, EnrolledFace, EnrollRowsOutcomeRecord

__all__ = [
    "counts_of",
    "encode_counts",
    "encode_rows_outcome",
    "error_of",
    "refused_item",
    "rows_outcome_of",
]


def encode_counts(identity_count: int, face_count: int, identity_ids: Sequence[str] = ()) -> bytes:
    """For deletions and moves."""
    return CountOutcomeRecord(
        identity_count=identity_count, face_count=face_count, identity_ids=identity_ids
    ).SerializeToString()


def counts_of(outcome: bytes) -> CountOutcomeRecord:
    """What `encode_counts` made."""
    return CountOutcomeRecord.FromString(outcome)


def refused_item(item: int, error: MienError) -> EnrolledFace:
    """The record of an item that was refused."""
    return EnrolledFace(
        item=item,
        error_class=type(error).__name__,
        error_reason=error.reason,
        error_message=error.message,
        error_field=error.field if isinstance(error, InvalidArgument) else "",
        error_metadata=error.metadata,
    )


def error_of(record: EnrolledFace) -> MienError | None:
    """The error that a record keeps, or None."""
    if not record.error_class:
        return None
    kind = getattr(errors_module, record.error_class, InternalError)
    if not (isinstance(kind, type) and issubclass(kind, MienError)):
        return InternalError(record.error_message)
    further = {"field": record.error_field} if issubclass(kind, InvalidArgument) else {}
    return kind(record.error_message, reason=record.error_reason, metadata=dict(record.error_metadata), **further)


def encode_rows_outcome(outcome: EnrollRowsOutcome) -> bytes:
    """For enrolment in columns."""
    return EnrollRowsOutcomeRecord(
        face_ids=outcome.face_ids,
        errors=[refused_item(row, error) for row, error in outcome.errors.items()],
        enrolled_count=outcome.enrolled_count,
        duplicate_count=outcome.duplicate_count,
    ).SerializeToString()


def rows_outcome_of(outcome: bytes, revision: int) -> EnrollRowsOutcome:
    """What `encode_rows_outcome` made."""
    record = EnrollRowsOutcomeRecord.FromString(outcome)
    errors = {row.item: error for row in record.errors if (error := error_of(row)) is not None}
    return EnrollRowsOutcome(list(record.face_ids), errors, record.enrolled_count, record.duplicate_count, revision)
