"""What is enrolled, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable

from mien.v1 import gallery_service_pb2 as pb
from mien_server.engine.types import (
    EnrolledFaces,
    EnrollItem,
    EnrollOutcome,
    EnrollRows,
    EnrollRowsOutcome,
    RequestToken,
)
from mien_server.records.policies import EnrollmentPolicy
from mien_server.rpc.convert.faces import detected_face_message, face_message
from mien_server.rpc.convert.policies import enrollment_policy
from mien_server.rpc.convert.values import enum_number, expiry_microseconds, image_input, packed_embeddings
from mien_server.rpc.errors import status_of

__all__ = ["enroll_items", "enroll_rows", "items_response", "optional_policy", "outcome_messages", "rows_response"]


def enroll_items(messages: Iterable[pb.EnrollItem]) -> list[EnrollItem]:
    """Items to enrol. One without a face has neither image nor embedding, and is the engine's to refuse."""
    return [_enroll_item(message) for message in messages]


def _enroll_item(message: pb.EnrollItem) -> EnrollItem:
    face = message.WhichOneof("face")
    return EnrollItem(
        identity_id=message.identity_id,
        identity_display_name=message.identity_display_name,
        identity_labels=dict(message.identity_labels),
        image=image_input(message.image) if face == "image" else None,
        embedding=packed_embeddings(message.embedding) if face == "embedding" else None,
        face_id=message.face_id,
        face_labels=dict(message.face_labels),
        source=message.source,
        expire_time_us=expiry_microseconds(message),
    )


def enroll_rows(
    gallery: str, message: pb.EnrollRows, policy: EnrollmentPolicy | None, request: RequestToken | None
) -> EnrollRows:
    """Rows in columns; the lists are handed on as they are."""
    return EnrollRows(
        gallery=gallery,
        embeddings=packed_embeddings(message.embeddings),
        identity_ids=list(message.identity_ids),
        face_ids=list(message.face_ids),
        sources=list(message.sources),
        expire_times_us=list(message.expire_times_us),
        policy=policy,
        request=request,
    )


def optional_policy(message: pb.EnrollFacesRequest | pb.StreamEnrollRequest) -> EnrollmentPolicy | None:
    """The policy of a request, None when it has none.

    Raises:
        InvalidArgument: ENUM_UNKNOWN.
    """
    return enrollment_policy(message.policy, "policy") if message.HasField("policy") else None


def outcome_messages(outcomes: Iterable[EnrollOutcome], items: Iterable[pb.EnrollItem]) -> list[pb.EnrollOutcome]:
    """What became of each item, in the order of the items."""
    return [_outcome_message(outcome, item) for outcome, item in zip(outcomes, items, strict=True)]


def _outcome_message(outcome: EnrollOutcome, item: pb.EnrollItem) -> pb.EnrollOutcome:
    """Status stays unset (code 0) for an item that is in the gallery."""
    image = outcome.image
    return pb.EnrollOutcome(
        status=None if outcome.error is None else status_of(outcome.error, item.image.source or item.source),
        faces=[face_message(face) for face in outcome.faces],
        duplicate=outcome.duplicate,
        identity_created=outcome.identity_created,
        image_status=None if image is None else enum_number(image.status),
        detected_faces=[] if image is None else [detected_face_message(face, None) for face in image.faces],
        warnings=[enum_number(reason) for reason in outcome.warnings],
    )


def items_response(sequence: int, enrolled: EnrolledFaces, items: Iterable[pb.EnrollItem]) -> pb.StreamEnrollResponse:
    """The acknowledgement of a batch of items. It counts faces: a photograph can hold several."""
    outcomes = enrolled.outcomes
    return pb.StreamEnrollResponse(
        sequence=sequence,
        revision=enrolled.revision,
        outcomes=outcome_messages(outcomes, items),
        enrolled_count=sum(len(outcome.faces) for outcome in outcomes if not outcome.duplicate),
        duplicate_count=sum(len(outcome.faces) for outcome in outcomes if outcome.duplicate),
    )


def rows_response(sequence: int, outcome: EnrollRowsOutcome) -> pb.StreamEnrollResponse:
    """The acknowledgement of a batch of rows."""
    return pb.StreamEnrollResponse(
        sequence=sequence,
        revision=outcome.revision,
        face_ids=outcome.face_ids,
        row_errors=[pb.RowError(row=row, status=status_of(error)) for row, error in outcome.errors.items()],
        enrolled_count=outcome.enrolled_count,
        duplicate_count=outcome.duplicate_count,
    )
