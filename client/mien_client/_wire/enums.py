"""Enum values between the contract's numbers and the client's names."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from mien.v1 import gallery_service_pb2 as galleries_v1
from mien.v1 import operations_service_pb2 as operations_v1
from mien.v1 import types_pb2 as types_v1
from mien_client._types import enums

__all__ = ["enum_name", "enum_value"]

_Value = TypeVar("_Value", bound=StrEnum)

# The contract's enum of each of ours, and the prefix of its names.
_CONTRACT: dict[type[StrEnum], tuple[EnumTypeWrapper, str]] = {
    enums.Decision: (types_v1.Decision, "DECISION_"),
    enums.ImageStatus: (types_v1.ImageStatus, "IMAGE_STATUS_"),
    enums.QualityReason: (types_v1.QualityReason, "QUALITY_REASON_"),
    enums.IdentityScoring: (types_v1.IdentityScoring, "IDENTITY_SCORING_"),
    enums.DistanceMetric: (types_v1.DistanceMetric, "DISTANCE_METRIC_"),
    enums.MultipleFaces: (galleries_v1.MultipleFaces, "MULTIPLE_FACES_"),
    enums.Duplicates: (galleries_v1.Duplicates, "DUPLICATES_"),
    enums.QualityGate: (galleries_v1.QualityGate, "QUALITY_GATE_"),
    enums.VectorType: (galleries_v1.VectorType, "VECTOR_TYPE_"),
    enums.IndexCode: (galleries_v1.IndexCode, "INDEX_CODE_"),
    enums.IndexStateName: (galleries_v1.IndexState.State, "STATE_"),
    enums.ThresholdOrigin: (types_v1.Threshold.Origin, "ORIGIN_"),
    enums.ConditionSubject: (types_v1.Condition.Subject, "SUBJECT_"),
    enums.OperationKind: (operations_v1.OperationKind, "OPERATION_KIND_"),
    enums.OperationState: (operations_v1.OperationState, "OPERATION_STATE_"),
    enums.ErasureState: (operations_v1.ErasureState, "ERASURE_STATE_"),
}


_VALUE_BY_NUMBER: dict[type[StrEnum], dict[int, StrEnum]] = {
    kind: {number: kind(name.removeprefix(prefix)) for name, number in contract.items()}
    for kind, (contract, prefix) in _CONTRACT.items()
}


def enum_value(kind: type[_Value], number: int) -> _Value:
    """The client's value of a number; UNSPECIFIED for one that this client is too old to know."""
    return kind(_VALUE_BY_NUMBER[kind].get(number, "UNSPECIFIED"))


def enum_name(value: StrEnum) -> str:
    """The contract's name of a value, which a message's constructor takes as well as the number."""
    return _CONTRACT[type(value)][1] + value
