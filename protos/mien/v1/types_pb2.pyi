import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class QualityReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUALITY_REASON_UNSPECIFIED: _ClassVar[QualityReason]
    QUALITY_REASON_TOO_SMALL: _ClassVar[QualityReason]
    QUALITY_REASON_BLURRED: _ClassVar[QualityReason]
    QUALITY_REASON_TOO_DARK: _ClassVar[QualityReason]
    QUALITY_REASON_TOO_BRIGHT: _ClassVar[QualityReason]
    QUALITY_REASON_LOW_CONTRAST: _ClassVar[QualityReason]
    QUALITY_REASON_TURNED_AWAY: _ClassVar[QualityReason]
    QUALITY_REASON_LOW_DETECTOR_SCORE: _ClassVar[QualityReason]
    QUALITY_REASON_OCCLUDED: _ClassVar[QualityReason]
    QUALITY_REASON_CUT_OFF: _ClassVar[QualityReason]

class ImageStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_STATUS_UNSPECIFIED: _ClassVar[ImageStatus]
    IMAGE_STATUS_OK: _ClassVar[ImageStatus]
    IMAGE_STATUS_NO_FACE: _ClassVar[ImageStatus]
    IMAGE_STATUS_EMPTY: _ClassVar[ImageStatus]
    IMAGE_STATUS_UNSUPPORTED_TYPE: _ClassVar[ImageStatus]
    IMAGE_STATUS_TRUNCATED: _ClassVar[ImageStatus]
    IMAGE_STATUS_CORRUPT: _ClassVar[ImageStatus]
    IMAGE_STATUS_TOO_MANY_BYTES: _ClassVar[ImageStatus]
    IMAGE_STATUS_TOO_MANY_PIXELS: _ClassVar[ImageStatus]
    IMAGE_STATUS_TOO_SMALL: _ClassVar[ImageStatus]
    IMAGE_STATUS_WORKER_CRASHED: _ClassVar[ImageStatus]

class IdentityScoring(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IDENTITY_SCORING_UNSPECIFIED: _ClassVar[IdentityScoring]
    IDENTITY_SCORING_BEST_FACE: _ClassVar[IdentityScoring]
    IDENTITY_SCORING_TEMPLATE_MEAN: _ClassVar[IdentityScoring]

class DistanceMetric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISTANCE_METRIC_UNSPECIFIED: _ClassVar[DistanceMetric]
    DISTANCE_METRIC_COSINE: _ClassVar[DistanceMetric]
    DISTANCE_METRIC_SQUARED_L2: _ClassVar[DistanceMetric]
    DISTANCE_METRIC_EUCLIDEAN: _ClassVar[DistanceMetric]

class Decision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECISION_UNSPECIFIED: _ClassVar[Decision]
    DECISION_MATCH: _ClassVar[Decision]
    DECISION_UNKNOWN: _ClassVar[Decision]
    DECISION_SAME: _ClassVar[Decision]
    DECISION_DIFFERENT: _ClassVar[Decision]
QUALITY_REASON_UNSPECIFIED: QualityReason
QUALITY_REASON_TOO_SMALL: QualityReason
QUALITY_REASON_BLURRED: QualityReason
QUALITY_REASON_TOO_DARK: QualityReason
QUALITY_REASON_TOO_BRIGHT: QualityReason
QUALITY_REASON_LOW_CONTRAST: QualityReason
QUALITY_REASON_TURNED_AWAY: QualityReason
QUALITY_REASON_LOW_DETECTOR_SCORE: QualityReason
QUALITY_REASON_OCCLUDED: QualityReason
QUALITY_REASON_CUT_OFF: QualityReason
IMAGE_STATUS_UNSPECIFIED: ImageStatus
IMAGE_STATUS_OK: ImageStatus
IMAGE_STATUS_NO_FACE: ImageStatus
IMAGE_STATUS_EMPTY: ImageStatus
IMAGE_STATUS_UNSUPPORTED_TYPE: ImageStatus
IMAGE_STATUS_TRUNCATED: ImageStatus
IMAGE_STATUS_CORRUPT: ImageStatus
IMAGE_STATUS_TOO_MANY_BYTES: ImageStatus
IMAGE_STATUS_TOO_MANY_PIXELS: ImageStatus
IMAGE_STATUS_TOO_SMALL: ImageStatus
IMAGE_STATUS_WORKER_CRASHED: ImageStatus
IDENTITY_SCORING_UNSPECIFIED: IdentityScoring
IDENTITY_SCORING_BEST_FACE: IdentityScoring
IDENTITY_SCORING_TEMPLATE_MEAN: IdentityScoring
DISTANCE_METRIC_UNSPECIFIED: DistanceMetric
DISTANCE_METRIC_COSINE: DistanceMetric
DISTANCE_METRIC_SQUARED_L2: DistanceMetric
DISTANCE_METRIC_EUCLIDEAN: DistanceMetric
DECISION_UNSPECIFIED: Decision
DECISION_MATCH: Decision
DECISION_UNKNOWN: Decision
DECISION_SAME: Decision
DECISION_DIFFERENT: Decision

class Embeddings(_message.Message):
    __slots__ = ("data", "dimension", "count", "model", "normalize")
    DATA_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NORMALIZE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    dimension: int
    count: int
    model: str
    normalize: bool
    def __init__(self, data: _Optional[bytes] = ..., dimension: _Optional[int] = ..., count: _Optional[int] = ..., model: _Optional[str] = ..., normalize: _Optional[bool] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("content", "source")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    source: str
    def __init__(self, content: _Optional[bytes] = ..., source: _Optional[str] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class BoundingBox(_message.Message):
    __slots__ = ("left", "top", "width", "height")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    width: float
    height: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ...) -> None: ...

class Landmarks(_message.Message):
    __slots__ = ("five", "sixty_eight")
    FIVE_FIELD_NUMBER: _ClassVar[int]
    SIXTY_EIGHT_FIELD_NUMBER: _ClassVar[int]
    five: _containers.RepeatedCompositeFieldContainer[Point]
    sixty_eight: _containers.RepeatedCompositeFieldContainer[Point]
    def __init__(self, five: _Optional[_Iterable[_Union[Point, _Mapping]]] = ..., sixty_eight: _Optional[_Iterable[_Union[Point, _Mapping]]] = ...) -> None: ...

class Quality(_message.Message):
    __slots__ = ("score", "reasons", "face_size_px", "sharpness", "brightness", "contrast", "yaw", "roll_degrees")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    FACE_SIZE_PX_FIELD_NUMBER: _ClassVar[int]
    SHARPNESS_FIELD_NUMBER: _ClassVar[int]
    BRIGHTNESS_FIELD_NUMBER: _ClassVar[int]
    CONTRAST_FIELD_NUMBER: _ClassVar[int]
    YAW_FIELD_NUMBER: _ClassVar[int]
    ROLL_DEGREES_FIELD_NUMBER: _ClassVar[int]
    score: float
    reasons: _containers.RepeatedScalarFieldContainer[QualityReason]
    face_size_px: float
    sharpness: float
    brightness: float
    contrast: float
    yaw: float
    roll_degrees: float
    def __init__(self, score: _Optional[float] = ..., reasons: _Optional[_Iterable[_Union[QualityReason, str]]] = ..., face_size_px: _Optional[float] = ..., sharpness: _Optional[float] = ..., brightness: _Optional[float] = ..., contrast: _Optional[float] = ..., yaw: _Optional[float] = ..., roll_degrees: _Optional[float] = ...) -> None: ...

class DetectedFace(_message.Message):
    __slots__ = ("box", "landmarks", "detector_score", "quality", "aligned_png", "rotation_degrees", "embedding")
    BOX_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_SCORE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    ALIGNED_PNG_FIELD_NUMBER: _ClassVar[int]
    ROTATION_DEGREES_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    box: BoundingBox
    landmarks: Landmarks
    detector_score: float
    quality: Quality
    aligned_png: bytes
    rotation_degrees: int
    embedding: Embeddings
    def __init__(self, box: _Optional[_Union[BoundingBox, _Mapping]] = ..., landmarks: _Optional[_Union[Landmarks, _Mapping]] = ..., detector_score: _Optional[float] = ..., quality: _Optional[_Union[Quality, _Mapping]] = ..., aligned_png: _Optional[bytes] = ..., rotation_degrees: _Optional[int] = ..., embedding: _Optional[_Union[Embeddings, _Mapping]] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("identity_labels", "identity_ids", "excluded_identity_ids", "conditions")
    class IdentityLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    IDENTITY_LABELS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_IDS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_IDENTITY_IDS_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    identity_labels: _containers.ScalarMap[str, str]
    identity_ids: _containers.RepeatedScalarFieldContainer[str]
    excluded_identity_ids: _containers.RepeatedScalarFieldContainer[str]
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    def __init__(self, identity_labels: _Optional[_Mapping[str, str]] = ..., identity_ids: _Optional[_Iterable[str]] = ..., excluded_identity_ids: _Optional[_Iterable[str]] = ..., conditions: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("subject", "key", "one_of", "number_range", "time_range", "exists")
    class Subject(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SUBJECT_UNSPECIFIED: _ClassVar[Condition.Subject]
        SUBJECT_IDENTITY_LABEL: _ClassVar[Condition.Subject]
        SUBJECT_FACE_LABEL: _ClassVar[Condition.Subject]
        SUBJECT_IDENTITY_CREATE_TIME: _ClassVar[Condition.Subject]
        SUBJECT_FACE_CREATE_TIME: _ClassVar[Condition.Subject]
    SUBJECT_UNSPECIFIED: Condition.Subject
    SUBJECT_IDENTITY_LABEL: Condition.Subject
    SUBJECT_FACE_LABEL: Condition.Subject
    SUBJECT_IDENTITY_CREATE_TIME: Condition.Subject
    SUBJECT_FACE_CREATE_TIME: Condition.Subject
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ONE_OF_FIELD_NUMBER: _ClassVar[int]
    NUMBER_RANGE_FIELD_NUMBER: _ClassVar[int]
    TIME_RANGE_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    subject: Condition.Subject
    key: str
    one_of: StringSet
    number_range: NumberRange
    time_range: TimeRange
    exists: bool
    def __init__(self, subject: _Optional[_Union[Condition.Subject, str]] = ..., key: _Optional[str] = ..., one_of: _Optional[_Union[StringSet, _Mapping]] = ..., number_range: _Optional[_Union[NumberRange, _Mapping]] = ..., time_range: _Optional[_Union[TimeRange, _Mapping]] = ..., exists: _Optional[bool] = ...) -> None: ...

class StringSet(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class NumberRange(_message.Message):
    __slots__ = ("minimum", "maximum")
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    minimum: float
    maximum: float
    def __init__(self, minimum: _Optional[float] = ..., maximum: _Optional[float] = ...) -> None: ...

class TimeRange(_message.Message):
    __slots__ = ("to",)
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    to: _timestamp_pb2.Timestamp
    def __init__(self, to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., **kwargs) -> None: ...

class Effort(_message.Message):
    __slots__ = ("recall_target", "step", "exact")
    RECALL_TARGET_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    recall_target: float
    step: int
    exact: bool
    def __init__(self, recall_target: _Optional[float] = ..., step: _Optional[int] = ..., exact: _Optional[bool] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("plan", "lists_scanned", "lists_total", "rows_scanned", "rows_rescored", "recall_estimate", "generation", "tail_rows", "step", "timings", "matching_faces")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    LISTS_SCANNED_FIELD_NUMBER: _ClassVar[int]
    LISTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ROWS_SCANNED_FIELD_NUMBER: _ClassVar[int]
    ROWS_RESCORED_FIELD_NUMBER: _ClassVar[int]
    RECALL_ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TAIL_ROWS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    MATCHING_FACES_FIELD_NUMBER: _ClassVar[int]
    plan: str
    lists_scanned: int
    lists_total: int
    rows_scanned: int
    rows_rescored: int
    recall_estimate: float
    generation: str
    tail_rows: int
    step: int
    timings: _containers.RepeatedCompositeFieldContainer[StageTiming]
    matching_faces: int
    def __init__(self, plan: _Optional[str] = ..., lists_scanned: _Optional[int] = ..., lists_total: _Optional[int] = ..., rows_scanned: _Optional[int] = ..., rows_rescored: _Optional[int] = ..., recall_estimate: _Optional[float] = ..., generation: _Optional[str] = ..., tail_rows: _Optional[int] = ..., step: _Optional[int] = ..., timings: _Optional[_Iterable[_Union[StageTiming, _Mapping]]] = ..., matching_faces: _Optional[int] = ...) -> None: ...

class StageTiming(_message.Message):
    __slots__ = ("stage", "milliseconds")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    stage: str
    milliseconds: float
    def __init__(self, stage: _Optional[str] = ..., milliseconds: _Optional[float] = ...) -> None: ...

class DecisionPolicy(_message.Message):
    __slots__ = ("similarity", "target_fpir", "target_fmr", "scoring", "metric")
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    TARGET_FPIR_FIELD_NUMBER: _ClassVar[int]
    TARGET_FMR_FIELD_NUMBER: _ClassVar[int]
    SCORING_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    similarity: float
    target_fpir: float
    target_fmr: float
    scoring: IdentityScoring
    metric: DistanceMetric
    def __init__(self, similarity: _Optional[float] = ..., target_fpir: _Optional[float] = ..., target_fmr: _Optional[float] = ..., scoring: _Optional[_Union[IdentityScoring, str]] = ..., metric: _Optional[_Union[DistanceMetric, str]] = ...) -> None: ...

class Threshold(_message.Message):
    __slots__ = ("similarity", "origin", "detail", "extrapolated")
    class Origin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ORIGIN_UNSPECIFIED: _ClassVar[Threshold.Origin]
        ORIGIN_REQUEST: _ClassVar[Threshold.Origin]
        ORIGIN_GALLERY_POLICY: _ClassVar[Threshold.Origin]
        ORIGIN_RECIPE_DEFAULT: _ClassVar[Threshold.Origin]
        ORIGIN_CALIBRATION: _ClassVar[Threshold.Origin]
    ORIGIN_UNSPECIFIED: Threshold.Origin
    ORIGIN_REQUEST: Threshold.Origin
    ORIGIN_GALLERY_POLICY: Threshold.Origin
    ORIGIN_RECIPE_DEFAULT: Threshold.Origin
    ORIGIN_CALIBRATION: Threshold.Origin
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    EXTRAPOLATED_FIELD_NUMBER: _ClassVar[int]
    similarity: float
    origin: Threshold.Origin
    detail: str
    extrapolated: bool
    def __init__(self, similarity: _Optional[float] = ..., origin: _Optional[_Union[Threshold.Origin, str]] = ..., detail: _Optional[str] = ..., extrapolated: _Optional[bool] = ...) -> None: ...

class AnswerInfo(_message.Message):
    __slots__ = ("revision", "model_fingerprint", "explanation")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    model_fingerprint: str
    explanation: Explanation
    def __init__(self, revision: _Optional[int] = ..., model_fingerprint: _Optional[str] = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ...) -> None: ...
