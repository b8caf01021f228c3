"""Policies of a gallery and choices of a request, as closed types. Numbers are those of mien.v1."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = [
    "RECALL_TARGET_DEFAULT",
    "DecisionPolicy",
    "DistanceMetric",
    "Duplicates",
    "EnrollmentPolicy",
    "IdentityScoring",
    "IndexCode",
    "IndexPolicy",
    "MultipleFaces",
    "QualityGate",
    "VectorType",
]

RECALL_TARGET_DEFAULT = 0.999
"""Rank-1 agreement with exact search wanted where nobody says otherwise."""


class IdentityScoring(enum.IntEnum):
    """How an identity with several faces is scored."""

    BEST_FACE = 1
    TEMPLATE_MEAN = 2


class DistanceMetric(enum.IntEnum):
    """How similarities are also given as distances."""

    UNSPECIFIED = 0
    COSINE = 1
    SQUARED_L2 = 2
    EUCLIDEAN = 3


class MultipleFaces(enum.IntEnum):
    """What happens to a photograph with more than one face."""

    REFUSE = 1
    LARGEST = 2
    ALL = 3


class Duplicates(enum.IntEnum):
    """What happens to a face that is there already."""

    SKIP = 1
    REFUSE = 2
    ALLOW = 3


class QualityGate(enum.IntEnum):
    """What happens to a face of low quality."""

    WARN = 1
    REFUSE = 2
    ACCEPT = 3


class IndexCode(enum.IntEnum):
    """How rows are coded in a generation."""

    AUTOMATIC = 0
    FLAT = 1
    PQ_FASTSCAN = 2
    SCALAR_8BIT = 3


class VectorType(enum.IntEnum):
    """How vectors are kept."""

    FLOAT32 = 1
    FLOAT16 = 2


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """How a decision is taken; at most one of the three thresholds is set.

    Attributes:
        similarity: cosine at or above which a candidate matches, [-1, 1].
        target_fpir: false positive identification rate wanted, (0, 1).
        target_fmr: false match rate wanted of one comparison, (0, 1).
    """

    similarity: float | None = None
    target_fpir: float | None = None
    target_fmr: float | None = None
    scoring: IdentityScoring = IdentityScoring.BEST_FACE
    metric: DistanceMetric = DistanceMetric.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class EnrollmentPolicy:
    """What happens to a photograph that is not simply one good face. `minimum_quality` 0 means the recipe's."""

    multiple_faces: MultipleFaces = MultipleFaces.REFUSE
    duplicates: Duplicates = Duplicates.SKIP
    quality_gate: QualityGate = QualityGate.WARN
    minimum_quality: float = 0.0


@dataclass(frozen=True, slots=True)
class IndexPolicy:
    """How a gallery is indexed."""

    default_recall_target: float = RECALL_TARGET_DEFAULT
    code: IndexCode = IndexCode.AUTOMATIC
    manual_rebuild: bool = False
