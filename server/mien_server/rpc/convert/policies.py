"""Policies of galleries and requests, both ways."""

from __future__ import annotations

from mien.v1 import gallery_service_pb2, types_pb2
from mien_server.engine.types import Threshold
from mien_server.records.policies import (
    DecisionPolicy,
    DistanceMetric,
    Duplicates,
    EnrollmentPolicy,
    IdentityScoring,
    IndexCode,
    IndexPolicy,
    MultipleFaces,
    QualityGate,
    VectorType,
)
from mien_server.rpc.convert.values import enum_number, enum_value

__all__ = [
    "decision_policy",
    "decision_policy_message",
    "enrollment_policy",
    "enrollment_policy_message",
    "index_policy",
    "index_policy_message",
    "threshold_message",
    "vector_type",
]


def decision_policy(message: types_pb2.DecisionPolicy, field: str) -> DecisionPolicy:
    """A decision policy; what is not said takes its default.

    Raises:
        InvalidArgument: ENUM_UNKNOWN.
    """
    chosen = message.WhichOneof("threshold")
    return DecisionPolicy(
        similarity=message.similarity if chosen == "similarity" else None,
        target_fpir=message.target_fpir if chosen == "target_fpir" else None,
        target_fmr=message.target_fmr if chosen == "target_fmr" else None,
        scoring=enum_value(message.scoring, IdentityScoring, IdentityScoring.BEST_FACE, f"{field}.scoring"),
        metric=enum_value(message.metric, DistanceMetric, DistanceMetric.UNSPECIFIED, f"{field}.metric"),
    )


def decision_policy_message(policy: DecisionPolicy) -> types_pb2.DecisionPolicy:
    """A decision policy as a message."""
    return types_pb2.DecisionPolicy(
        similarity=policy.similarity,
        target_fpir=policy.target_fpir,
        target_fmr=policy.target_fmr,
        scoring=enum_number(policy.scoring),
        metric=enum_number(policy.metric),
    )


def enrollment_policy(message: gallery_service_pb2.EnrollmentPolicy, field: str) -> EnrollmentPolicy:
    """An enrolment policy; what is not said takes its default.

    Raises:
        InvalidArgument: ENUM_UNKNOWN.
    """
    default = EnrollmentPolicy()
    return EnrollmentPolicy(
        multiple_faces=enum_value(
            message.multiple_faces, MultipleFaces, default.multiple_faces, f"{field}.multiple_faces"
        ),
        duplicates=enum_value(message.duplicates, Duplicates, default.duplicates, f"{field}.duplicates"),
        quality_gate=enum_value(message.quality_gate, QualityGate, default.quality_gate, f"{field}.quality_gate"),
        minimum_quality=message.minimum_quality,
    )


def enrollment_policy_message(policy: EnrollmentPolicy) -> gallery_service_pb2.EnrollmentPolicy:
    """An enrolment policy as a message."""
    return gallery_service_pb2.EnrollmentPolicy(
        multiple_faces=enum_number(policy.multiple_faces),
        duplicates=enum_number(policy.duplicates),
        quality_gate=enum_number(policy.quality_gate),
        minimum_quality=policy.minimum_quality,
    )


def index_policy(message: gallery_service_pb2.IndexPolicy, field: str) -> IndexPolicy:
    """An index policy; what is not said takes its default.

    Raises:
        InvalidArgument: ENUM_UNKNOWN.
    """
    return IndexPolicy(
        default_recall_target=message.default_recall_target or IndexPolicy().default_recall_target,
        code=enum_value(message.code, IndexCode, IndexCode.AUTOMATIC, f"{field}.code"),
        manual_rebuild=message.manual_rebuild,
    )


def index_policy_message(policy: IndexPolicy) -> gallery_service_pb2.IndexPolicy:
    """An index policy as a message."""
    return gallery_service_pb2.IndexPolicy(
        default_recall_target=policy.default_recall_target,
        code=enum_number(policy.code),
        manual_rebuild=policy.manual_rebuild,
    )


def vector_type(number: int, field: str) -> VectorType:
    """How a gallery keeps vectors; float32 when nothing is said.

    Raises:
        InvalidArgument: ENUM_UNKNOWN.
    """
    return enum_value(number, VectorType, VectorType.FLOAT32, field)


def threshold_message(threshold: Threshold) -> types_pb2.Threshold:
    """The threshold of a decision as a message."""
    return types_pb2.Threshold(
        similarity=threshold.similarity,
        origin=enum_number(threshold.origin),
        detail=threshold.detail,
        extrapolated=threshold.extrapolated,
    )
