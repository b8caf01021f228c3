"""Messages -> types: galleries, identities, what writes answer."""

from __future__ import annotations

from mien.v1 import gallery_service_pb2 as galleries_v1
from mien.v1 import types_pb2 as types_v1
from mien_client._rpc.failures import optional_error
from mien_client._types import enums, galleries, requests
from mien_client._wire.decode_faces import detected_face, face, moment
from mien_client._wire.enums import enum_value

__all__ = ["enroll_ack", "enroll_answer", "gallery", "identity", "index_state"]


def gallery(message: galleries_v1.Gallery, revision: int) -> galleries.Gallery:
    """A gallery as of a revision."""
    return galleries.Gallery(
        name=message.name,
        display_name=message.display_name,
        labels=dict(message.labels),
        model=galleries.EmbeddingModel(
            recipe=message.model.recipe,
            precomputed=message.model.precomputed.name,
            dimension=message.model.dimension or message.model.precomputed.dimension,
            fingerprint=message.model.fingerprint,
        ),
        decision_policy=_decision_policy(message.decision_policy),
        enrollment_policy=requests.EnrollmentPolicy(
            multiple_faces=enum_value(enums.MultipleFaces, message.enrollment_policy.multiple_faces),
            duplicates=enum_value(enums.Duplicates, message.enrollment_policy.duplicates),
            quality_gate=enum_value(enums.QualityGate, message.enrollment_policy.quality_gate),
            minimum_quality=message.enrollment_policy.minimum_quality,
        ),
        index_policy=requests.IndexPolicy(
            default_recall_target=message.index_policy.default_recall_target,
            code=enum_value(enums.IndexCode, message.index_policy.code),
            manual_rebuild=message.index_policy.manual_rebuild,
        ),
        identity_count=message.identity_count,
        face_count=message.face_count,
        index_state=index_state(message.index_state),
        vector_type=enum_value(enums.VectorType, message.vector_type),
        create_time=moment(message.create_time),
        update_time=moment(message.update_time),
        etag=message.etag,
        revision=revision,
        default_time_to_live=message.default_time_to_live.ToTimedelta() or None,
    )


def _decision_policy(message: types_v1.DecisionPolicy) -> requests.DecisionPolicy:
    which = message.WhichOneof("threshold")
    return requests.DecisionPolicy(
        similarity=message.similarity if which == "similarity" else None,
        target_fpir=message.target_fpir if which == "target_fpir" else None,
        target_fmr=message.target_fmr if which == "target_fmr" else None,
        scoring=enum_value(enums.IdentityScoring, message.scoring),
        metric=enum_value(enums.DistanceMetric, message.metric),
    )


def index_state(message: galleries_v1.IndexState) -> galleries.IndexState:
    """How a gallery is searched now."""
    return galleries.IndexState(
        state=enum_value(enums.IndexStateName, message.state),
        detail=message.detail,
        generation=message.generation,
        indexed_rows=message.indexed_rows,
        tail_rows=message.tail_rows,
        tombstones=message.tombstones,
        lists=message.lists,
        code=message.code,
        ladder=tuple(
            galleries.EffortStep(
                step=step.step,
                lists=step.lists,
                rescored=step.rescored,
                rank1_agreement=step.rank1_agreement,
                recall_at_10=step.recall_at_10,
                milliseconds=step.milliseconds,
            )
            for step in message.ladder
        ),
        build_time=moment(message.build_time),
        segment_count=message.segment_count,
        list_imbalance=message.list_imbalance,
        trained_rows=message.trained_rows,
        measured_rows=message.measured_rows,
        measure_time=moment(message.measure_time),
        drift=message.drift if message.HasField("drift") else None,
        default_agreement=message.default_agreement,
    )


def identity(message: galleries_v1.Identity, revision: int) -> galleries.Identity:
    """An identity as of a revision."""
    return galleries.Identity(
        id=message.id,
        display_name=message.display_name,
        labels=dict(message.labels),
        face_count=message.face_count,
        create_time=moment(message.create_time),
        update_time=moment(message.update_time),
        etag=message.etag,
        revision=revision,
        expire_time=moment(message.expire_time),
    )


def _outcome(message: galleries_v1.EnrollOutcome) -> galleries.EnrollOutcome:
    return galleries.EnrollOutcome(
        error=optional_error(message.status),
        faces=tuple(face(enrolled) for enrolled in message.faces),
        duplicate=message.duplicate,
        identity_created=message.identity_created,
        image_status=enum_value(enums.ImageStatus, message.image_status),
        detected_faces=tuple(detected_face(found) for found in message.detected_faces),
        warnings=tuple(enum_value(enums.QualityReason, reason) for reason in message.warnings),
    )


def enroll_answer(message: galleries_v1.EnrollFacesResponse) -> galleries.EnrollAnswer:
    """What became of each item."""
    return galleries.EnrollAnswer(
        outcomes=tuple(_outcome(outcome) for outcome in message.outcomes),
        revision=message.revision,
        model_fingerprint=message.model_fingerprint,
    )


def enroll_ack(message: galleries_v1.StreamEnrollResponse, batch: int) -> galleries.EnrollAck:
    """The acknowledgement of batch number `batch`."""
    row_errors = ((refused.row, optional_error(refused.status)) for refused in message.row_errors)
    return galleries.EnrollAck(
        batch=batch,
        revision=message.revision,
        error=optional_error(message.error),
        enrolled_count=message.enrolled_count,
        duplicate_count=message.duplicate_count,
        face_ids=tuple(message.face_ids),
        row_errors={row: error for row, error in row_errors if error is not None},
        outcomes=tuple(_outcome(outcome) for outcome in message.outcomes),
    )
