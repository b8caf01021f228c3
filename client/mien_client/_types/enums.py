"""The contract's enums. A value is its name there without the enum's prefix, and is what `--json` prints.

UNSPECIFIED also stands for a value that this client is too old to know.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "ConditionSubject",
    "Decision",
    "DistanceMetric",
    "Duplicates",
    "IdentityScoring",
    "ImageStatus",
    "IndexCode",
    "IndexStateName",
    "MultipleFaces",
    "OperationKind",
    "OperationState",
    "QualityGate",
    "QualityReason",
    "ThresholdOrigin",
    "VectorType",
]


class Decision(StrEnum):
    """MATCH or UNKNOWN in identification, SAME or DIFFERENT in verification."""

    UNSPECIFIED = "UNSPECIFIED"
    MATCH = "MATCH"
    UNKNOWN = "UNKNOWN"
    SAME = "SAME"
    DIFFERENT = "DIFFERENT"


class ImageStatus(StrEnum):
    """What a picture turned out to be."""

    UNSPECIFIED = "UNSPECIFIED"
    OK = "OK"
    NO_FACE = "NO_FACE"
    EMPTY = "EMPTY"
    UNSUPPORTED_TYPE = "UNSUPPORTED_TYPE"
    TRUNCATED = "TRUNCATED"
    CORRUPT = "CORRUPT"
    TOO_MANY_BYTES = "TOO_MANY_BYTES"
    TOO_MANY_PIXELS = "TOO_MANY_PIXELS"
    TOO_SMALL = "TOO_SMALL"
    WORKER_CRASHED = "WORKER_CRASHED"


class QualityReason(StrEnum):
    """Why a face is less fit for recognition."""

    UNSPECIFIED = "UNSPECIFIED"
    TOO_SMALL = "TOO_SMALL"
    BLURRED = "BLURRED"
    TOO_DARK = "TOO_DARK"
    TOO_BRIGHT = "TOO_BRIGHT"
    LOW_CONTRAST = "LOW_CONTRAST"
    TURNED_AWAY = "TURNED_AWAY"
    LOW_DETECTOR_SCORE = "LOW_DETECTOR_SCORE"
    OCCLUDED = "OCCLUDED"
    CUT_OFF = "CUT_OFF"


class IdentityScoring(StrEnum):
    """How an identity with several faces is scored."""

    UNSPECIFIED = "UNSPECIFIED"
    BEST_FACE = "BEST_FACE"
    TEMPLATE_MEAN = "TEMPLATE_MEAN"


class DistanceMetric(StrEnum):
    """How embeddings are compared."""

    UNSPECIFIED = "UNSPECIFIED"
    COSINE = "COSINE"
    SQUARED_L2 = "SQUARED_L2"
    EUCLIDEAN = "EUCLIDEAN"


class MultipleFaces(StrEnum):
    """What enrolment does with a photograph of several faces. The server's default is REFUSE."""

    UNSPECIFIED = "UNSPECIFIED"
    REFUSE = "REFUSE"
    LARGEST = "LARGEST"
    ALL = "ALL"


class Duplicates(StrEnum):
    """What enrolment does with a face that is there already. The server's default is SKIP."""

    UNSPECIFIED = "UNSPECIFIED"
    SKIP = "SKIP"
    REFUSE = "REFUSE"
    ALLOW = "ALLOW"


class QualityGate(StrEnum):
    """What enrolment does with a face of low quality. The server's default is WARN."""

    UNSPECIFIED = "UNSPECIFIED"
    WARN = "WARN"
    REFUSE = "REFUSE"
    ACCEPT = "ACCEPT"


class VectorType(StrEnum):
    """How stored vectors are kept. The server's default is FLOAT32."""

    UNSPECIFIED = "UNSPECIFIED"
    FLOAT32 = "FLOAT32"
    FLOAT16 = "FLOAT16"


class IndexCode(StrEnum):
    """How a generation codes its rows; UNSPECIFIED lets the server measure and choose."""

    UNSPECIFIED = "UNSPECIFIED"
    FLAT = "FLAT"
    PQ_FASTSCAN = "PQ_FASTSCAN"
    SCALAR_8BIT = "SCALAR_8BIT"


class IndexStateName(StrEnum):
    """How a gallery is searched now."""

    UNSPECIFIED = "UNSPECIFIED"
    FLAT = "FLAT"
    READY = "READY"
    BUILDING = "BUILDING"
    DEGRADED = "DEGRADED"


class ThresholdOrigin(StrEnum):
    """Where a decision's threshold came from."""

    UNSPECIFIED = "UNSPECIFIED"
    REQUEST = "REQUEST"
    GALLERY_POLICY = "GALLERY_POLICY"
    RECIPE_DEFAULT = "RECIPE_DEFAULT"
    CALIBRATION = "CALIBRATION"


class ConditionSubject(StrEnum):
    """What a condition of a filter looks at."""

    UNSPECIFIED = "UNSPECIFIED"
    IDENTITY_LABEL = "IDENTITY_LABEL"
    FACE_LABEL = "FACE_LABEL"
    IDENTITY_CREATE_TIME = "IDENTITY_CREATE_TIME"
    FACE_CREATE_TIME = "FACE_CREATE_TIME"


class OperationKind(StrEnum):
    """What a long-running operation does."""

    UNSPECIFIED = "UNSPECIFIED"
    REBUILD_INDEX = "REBUILD_INDEX"
    IMPORT = "IMPORT"
    EXPORT = "EXPORT"
    SNAPSHOT = "SNAPSHOT"
    CALIBRATE = "CALIBRATE"
    EVALUATE = "EVALUATE"
    ERASE = "ERASE"


class OperationState(StrEnum):
    """How far an operation is."""

    UNSPECIFIED = "UNSPECIFIED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class ErasureState(StrEnum):
    """How far an erasure is; nobody finds the identity from DELETED on."""

    UNSPECIFIED = "UNSPECIFIED"
    DELETING = "DELETING"
    DELETED = "DELETED"
    RECEIPTED = "RECEIPTED"
    DONE = "DONE"
