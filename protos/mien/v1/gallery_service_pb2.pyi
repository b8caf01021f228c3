import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from mien.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VectorType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VECTOR_TYPE_UNSPECIFIED: _ClassVar[VectorType]
    VECTOR_TYPE_FLOAT32: _ClassVar[VectorType]
    VECTOR_TYPE_FLOAT16: _ClassVar[VectorType]

class MultipleFaces(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MULTIPLE_FACES_UNSPECIFIED: _ClassVar[MultipleFaces]
    MULTIPLE_FACES_REFUSE: _ClassVar[MultipleFaces]
    MULTIPLE_FACES_LARGEST: _ClassVar[MultipleFaces]
    MULTIPLE_FACES_ALL: _ClassVar[MultipleFaces]

class Duplicates(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DUPLICATES_UNSPECIFIED: _ClassVar[Duplicates]
    DUPLICATES_SKIP: _ClassVar[Duplicates]
    DUPLICATES_REFUSE: _ClassVar[Duplicates]
    DUPLICATES_ALLOW: _ClassVar[Duplicates]

class QualityGate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUALITY_GATE_UNSPECIFIED: _ClassVar[QualityGate]
    QUALITY_GATE_WARN: _ClassVar[QualityGate]
    QUALITY_GATE_REFUSE: _ClassVar[QualityGate]
    QUALITY_GATE_ACCEPT: _ClassVar[QualityGate]

class IndexCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INDEX_CODE_UNSPECIFIED: _ClassVar[IndexCode]
    INDEX_CODE_FLAT: _ClassVar[IndexCode]
    INDEX_CODE_PQ_FASTSCAN: _ClassVar[IndexCode]
    INDEX_CODE_SCALAR_8BIT: _ClassVar[IndexCode]
VECTOR_TYPE_UNSPECIFIED: VectorType
VECTOR_TYPE_FLOAT32: VectorType
VECTOR_TYPE_FLOAT16: VectorType
MULTIPLE_FACES_UNSPECIFIED: MultipleFaces
MULTIPLE_FACES_REFUSE: MultipleFaces
MULTIPLE_FACES_LARGEST: MultipleFaces
MULTIPLE_FACES_ALL: MultipleFaces
DUPLICATES_UNSPECIFIED: Duplicates
DUPLICATES_SKIP: Duplicates
DUPLICATES_REFUSE: Duplicates
DUPLICATES_ALLOW: Duplicates
QUALITY_GATE_UNSPECIFIED: QualityGate
QUALITY_GATE_WARN: QualityGate
QUALITY_GATE_REFUSE: QualityGate
QUALITY_GATE_ACCEPT: QualityGate
INDEX_CODE_UNSPECIFIED: IndexCode
INDEX_CODE_FLAT: IndexCode
INDEX_CODE_PQ_FASTSCAN: IndexCode
INDEX_CODE_SCALAR_8BIT: IndexCode

class Gallery(_message.Message):
    __slots__ = ("name", "display_name", "labels", "model", "decision_policy", "enrollment_policy", "index_policy", "identity_count", "face_count", "index_state", "create_time", "update_time", "etag", "vector_type", "default_time_to_live")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DECISION_POLICY_FIELD_NUMBER: _ClassVar[int]
    ENROLLMENT_POLICY_FIELD_NUMBER: _ClassVar[int]
    INDEX_POLICY_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_COUNT_FIELD_NUMBER: _ClassVar[int]
    FACE_COUNT_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VECTOR_TYPE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_TIME_TO_LIVE_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    labels: _containers.ScalarMap[str, str]
    model: EmbeddingModel
    decision_policy: _types_pb2.DecisionPolicy
    enrollment_policy: EnrollmentPolicy
    index_policy: IndexPolicy
    identity_count: int
    face_count: int
    index_state: IndexState
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    etag: str
    vector_type: VectorType
    default_time_to_live: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., model: _Optional[_Union[EmbeddingModel, _Mapping]] = ..., decision_policy: _Optional[_Union[_types_pb2.DecisionPolicy, _Mapping]] = ..., enrollment_policy: _Optional[_Union[EnrollmentPolicy, _Mapping]] = ..., index_policy: _Optional[_Union[IndexPolicy, _Mapping]] = ..., identity_count: _Optional[int] = ..., face_count: _Optional[int] = ..., index_state: _Optional[_Union[IndexState, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., vector_type: _Optional[_Union[VectorType, str]] = ..., default_time_to_live: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class EmbeddingModel(_message.Message):
    __slots__ = ("recipe", "precomputed", "dimension", "fingerprint")
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    PRECOMPUTED_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    recipe: str
    precomputed: PrecomputedModel
    dimension: int
    fingerprint: str
    def __init__(self, recipe: _Optional[str] = ..., precomputed: _Optional[_Union[PrecomputedModel, _Mapping]] = ..., dimension: _Optional[int] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class PrecomputedModel(_message.Message):
    __slots__ = ("name", "dimension")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    dimension: int
    def __init__(self, name: _Optional[str] = ..., dimension: _Optional[int] = ...) -> None: ...

class EnrollmentPolicy(_message.Message):
    __slots__ = ("multiple_faces", "duplicates", "quality_gate", "minimum_quality")
    MULTIPLE_FACES_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    QUALITY_GATE_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_QUALITY_FIELD_NUMBER: _ClassVar[int]
    multiple_faces: MultipleFaces
    duplicates: Duplicates
    quality_gate: QualityGate
    minimum_quality: float
    def __init__(self, multiple_faces: _Optional[_Union[MultipleFaces, str]] = ..., duplicates: _Optional[_Union[Duplicates, str]] = ..., quality_gate: _Optional[_Union[QualityGate, str]] = ..., minimum_quality: _Optional[float] = ...) -> None: ...

class IndexPolicy(_message.Message):
    __slots__ = ("default_recall_target", "code", "manual_rebuild")
    DEFAULT_RECALL_TARGET_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MANUAL_REBUILD_FIELD_NUMBER: _ClassVar[int]
    default_recall_target: float
    code: IndexCode
    manual_rebuild: bool
    def __init__(self, default_recall_target: _Optional[float] = ..., code: _Optional[_Union[IndexCode, str]] = ..., manual_rebuild: _Optional[bool] = ...) -> None: ...

class IndexState(_message.Message):
    __slots__ = ("state", "detail", "generation", "indexed_rows", "tail_rows", "tombstones", "lists", "code", "ladder", "build_time", "segment_count", "list_imbalance", "trained_rows", "measured_rows", "measure_time", "drift", "default_agreement")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[IndexState.State]
        STATE_FLAT: _ClassVar[IndexState.State]
        STATE_READY: _ClassVar[IndexState.State]
        STATE_BUILDING: _ClassVar[IndexState.State]
        STATE_DEGRADED: _ClassVar[IndexState.State]
    STATE_UNSPECIFIED: IndexState.State
    STATE_FLAT: IndexState.State
    STATE_READY: IndexState.State
    STATE_BUILDING: IndexState.State
    STATE_DEGRADED: IndexState.State
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    INDEXED_ROWS_FIELD_NUMBER: _ClassVar[int]
    TAIL_ROWS_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONES_FIELD_NUMBER: _ClassVar[int]
    LISTS_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    LADDER_FIELD_NUMBER: _ClassVar[int]
    BUILD_TIME_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LIST_IMBALANCE_FIELD_NUMBER: _ClassVar[int]
    TRAINED_ROWS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_ROWS_FIELD_NUMBER: _ClassVar[int]
    MEASURE_TIME_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    state: IndexState.State
    detail: str
    generation: str
    indexed_rows: int
    tail_rows: int
    tombstones: int
    lists: int
    code: str
    ladder: _containers.RepeatedCompositeFieldContainer[EffortStep]
    build_time: _timestamp_pb2.Timestamp
    segment_count: int
    list_imbalance: float
    trained_rows: int
    measured_rows: int
    measure_time: _timestamp_pb2.Timestamp
    drift: float
    default_agreement: float
    def __init__(self, state: _Optional[_Union[IndexState.State, str]] = ..., detail: _Optional[str] = ..., generation: _Optional[str] = ..., indexed_rows: _Optional[int] = ..., tail_rows: _Optional[int] = ..., tombstones: _Optional[int] = ..., lists: _Optional[int] = ..., code: _Optional[str] = ..., ladder: _Optional[_Iterable[_Union[EffortStep, _Mapping]]] = ..., build_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., segment_count: _Optional[int] = ..., list_imbalance: _Optional[float] = ..., trained_rows: _Optional[int] = ..., measured_rows: _Optional[int] = ..., measure_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., drift: _Optional[float] = ..., default_agreement: _Optional[float] = ...) -> None: ...

class EffortStep(_message.Message):
    __slots__ = ("step", "lists", "rescored", "rank1_agreement", "recall_at_10", "milliseconds")
    STEP_FIELD_NUMBER: _ClassVar[int]
    LISTS_FIELD_NUMBER: _ClassVar[int]
    RESCORED_FIELD_NUMBER: _ClassVar[int]
    RANK1_AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    RECALL_AT_10_FIELD_NUMBER: _ClassVar[int]
    MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    step: int
    lists: int
    rescored: int
    rank1_agreement: float
    recall_at_10: float
    milliseconds: float
    def __init__(self, step: _Optional[int] = ..., lists: _Optional[int] = ..., rescored: _Optional[int] = ..., rank1_agreement: _Optional[float] = ..., recall_at_10: _Optional[float] = ..., milliseconds: _Optional[float] = ...) -> None: ...

class Identity(_message.Message):
    __slots__ = ("id", "display_name", "labels", "face_count", "create_time", "update_time", "etag", "expire_time")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FACE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    display_name: str
    labels: _containers.ScalarMap[str, str]
    face_count: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    etag: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., display_name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., face_count: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Face(_message.Message):
    __slots__ = ("id", "identity_id", "labels", "source", "image_sha256", "box", "landmarks", "quality", "detector_score", "model_fingerprint", "create_time", "expire_time", "embedding")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SHA256_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_SCORE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    id: str
    identity_id: str
    labels: _containers.ScalarMap[str, str]
    source: str
    image_sha256: bytes
    box: _types_pb2.BoundingBox
    landmarks: _types_pb2.Landmarks
    quality: _types_pb2.Quality
    detector_score: float
    model_fingerprint: str
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    embedding: _types_pb2.Embeddings
    def __init__(self, id: _Optional[str] = ..., identity_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., source: _Optional[str] = ..., image_sha256: _Optional[bytes] = ..., box: _Optional[_Union[_types_pb2.BoundingBox, _Mapping]] = ..., landmarks: _Optional[_Union[_types_pb2.Landmarks, _Mapping]] = ..., quality: _Optional[_Union[_types_pb2.Quality, _Mapping]] = ..., detector_score: _Optional[float] = ..., model_fingerprint: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., embedding: _Optional[_Union[_types_pb2.Embeddings, _Mapping]] = ...) -> None: ...

class CreateGalleryRequest(_message.Message):
    __slots__ = ("gallery", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: Gallery
    request_id: str
    def __init__(self, gallery: _Optional[_Union[Gallery, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateGalleryResponse(_message.Message):
    __slots__ = ("gallery", "revision")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    gallery: Gallery
    revision: int
    def __init__(self, gallery: _Optional[_Union[Gallery, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class GetGalleryRequest(_message.Message):
    __slots__ = ("gallery", "min_revision")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    min_revision: int
    def __init__(self, gallery: _Optional[str] = ..., min_revision: _Optional[int] = ...) -> None: ...

class GetGalleryResponse(_message.Message):
    __slots__ = ("gallery", "revision")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    gallery: Gallery
    revision: int
    def __init__(self, gallery: _Optional[_Union[Gallery, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class ListGalleriesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "min_revision")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    min_revision: int
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., min_revision: _Optional[int] = ...) -> None: ...

class ListGalleriesResponse(_message.Message):
    __slots__ = ("galleries", "next_page_token", "revision")
    GALLERIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    galleries: _containers.RepeatedCompositeFieldContainer[Gallery]
    next_page_token: str
    revision: int
    def __init__(self, galleries: _Optional[_Iterable[_Union[Gallery, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class UpdateGalleryRequest(_message.Message):
    __slots__ = ("gallery", "update_mask", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: Gallery
    update_mask: _field_mask_pb2.FieldMask
    request_id: str
    def __init__(self, gallery: _Optional[_Union[Gallery, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateGalleryResponse(_message.Message):
    __slots__ = ("gallery", "revision")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    gallery: Gallery
    revision: int
    def __init__(self, gallery: _Optional[_Union[Gallery, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class DeleteGalleryRequest(_message.Message):
    __slots__ = ("gallery", "etag", "force", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    etag: str
    force: bool
    request_id: str
    def __init__(self, gallery: _Optional[str] = ..., etag: _Optional[str] = ..., force: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteGalleryResponse(_message.Message):
    __slots__ = ("deleted_identities", "deleted_faces", "revision")
    DELETED_IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    DELETED_FACES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    deleted_identities: int
    deleted_faces: int
    revision: int
    def __init__(self, deleted_identities: _Optional[int] = ..., deleted_faces: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class EnrollFacesRequest(_message.Message):
    __slots__ = ("gallery", "items", "policy", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    items: _containers.RepeatedCompositeFieldContainer[EnrollItem]
    policy: EnrollmentPolicy
    request_id: str
    def __init__(self, gallery: _Optional[str] = ..., items: _Optional[_Iterable[_Union[EnrollItem, _Mapping]]] = ..., policy: _Optional[_Union[EnrollmentPolicy, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class EnrollItem(_message.Message):
    __slots__ = ("identity_id", "identity_display_name", "identity_labels", "image", "embedding", "face_id", "face_labels", "source", "expire_time")
    class IdentityLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class FaceLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_LABELS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    FACE_ID_FIELD_NUMBER: _ClassVar[int]
    FACE_LABELS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    identity_id: str
    identity_display_name: str
    identity_labels: _containers.ScalarMap[str, str]
    image: _types_pb2.Image
    embedding: _types_pb2.Embeddings
    face_id: str
    face_labels: _containers.ScalarMap[str, str]
    source: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, identity_id: _Optional[str] = ..., identity_display_name: _Optional[str] = ..., identity_labels: _Optional[_Mapping[str, str]] = ..., image: _Optional[_Union[_types_pb2.Image, _Mapping]] = ..., embedding: _Optional[_Union[_types_pb2.Embeddings, _Mapping]] = ..., face_id: _Optional[str] = ..., face_labels: _Optional[_Mapping[str, str]] = ..., source: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class EnrollFacesResponse(_message.Message):
    __slots__ = ("outcomes", "revision", "model_fingerprint")
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[EnrollOutcome]
    revision: int
    model_fingerprint: str
    def __init__(self, outcomes: _Optional[_Iterable[_Union[EnrollOutcome, _Mapping]]] = ..., revision: _Optional[int] = ..., model_fingerprint: _Optional[str] = ...) -> None: ...

class EnrollOutcome(_message.Message):
    __slots__ = ("status", "faces", "duplicate", "identity_created", "image_status", "detected_faces", "warnings")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_CREATED_FIELD_NUMBER: _ClassVar[int]
    IMAGE_STATUS_FIELD_NUMBER: _ClassVar[int]
    DETECTED_FACES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    duplicate: bool
    identity_created: bool
    image_status: _types_pb2.ImageStatus
    detected_faces: _containers.RepeatedCompositeFieldContainer[_types_pb2.DetectedFace]
    warnings: _containers.RepeatedScalarFieldContainer[_types_pb2.QualityReason]
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ..., duplicate: _Optional[bool] = ..., identity_created: _Optional[bool] = ..., image_status: _Optional[_Union[_types_pb2.ImageStatus, str]] = ..., detected_faces: _Optional[_Iterable[_Union[_types_pb2.DetectedFace, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[_types_pb2.QualityReason, str]]] = ...) -> None: ...

class StreamEnrollRequest(_message.Message):
    __slots__ = ("sequence", "gallery", "items", "rows", "policy", "request_id")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    gallery: str
    items: EnrollItems
    rows: EnrollRows
    policy: EnrollmentPolicy
    request_id: str
    def __init__(self, sequence: _Optional[int] = ..., gallery: _Optional[str] = ..., items: _Optional[_Union[EnrollItems, _Mapping]] = ..., rows: _Optional[_Union[EnrollRows, _Mapping]] = ..., policy: _Optional[_Union[EnrollmentPolicy, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class EnrollItems(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[EnrollItem]
    def __init__(self, items: _Optional[_Iterable[_Union[EnrollItem, _Mapping]]] = ...) -> None: ...

class EnrollRows(_message.Message):
    __slots__ = ("embeddings", "identity_ids", "face_ids", "sources", "expire_times_us")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_IDS_FIELD_NUMBER: _ClassVar[int]
    FACE_IDS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIMES_US_FIELD_NUMBER: _ClassVar[int]
    embeddings: _types_pb2.Embeddings
    identity_ids: _containers.RepeatedScalarFieldContainer[str]
    face_ids: _containers.RepeatedScalarFieldContainer[str]
    sources: _containers.RepeatedScalarFieldContainer[str]
    expire_times_us: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, embeddings: _Optional[_Union[_types_pb2.Embeddings, _Mapping]] = ..., identity_ids: _Optional[_Iterable[str]] = ..., face_ids: _Optional[_Iterable[str]] = ..., sources: _Optional[_Iterable[str]] = ..., expire_times_us: _Optional[_Iterable[int]] = ...) -> None: ...

class StreamEnrollResponse(_message.Message):
    __slots__ = ("sequence", "revision", "error", "outcomes", "face_ids", "row_errors", "enrolled_count", "duplicate_count")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    FACE_IDS_FIELD_NUMBER: _ClassVar[int]
    ROW_ERRORS_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    revision: int
    error: _status_pb2.Status
    outcomes: _containers.RepeatedCompositeFieldContainer[EnrollOutcome]
    face_ids: _containers.RepeatedScalarFieldContainer[str]
    row_errors: _containers.RepeatedCompositeFieldContainer[RowError]
    enrolled_count: int
    duplicate_count: int
    def __init__(self, sequence: _Optional[int] = ..., revision: _Optional[int] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., outcomes: _Optional[_Iterable[_Union[EnrollOutcome, _Mapping]]] = ..., face_ids: _Optional[_Iterable[str]] = ..., row_errors: _Optional[_Iterable[_Union[RowError, _Mapping]]] = ..., enrolled_count: _Optional[int] = ..., duplicate_count: _Optional[int] = ...) -> None: ...

class RowError(_message.Message):
    __slots__ = ("row", "status")
    ROW_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    row: int
    status: _status_pb2.Status
    def __init__(self, row: _Optional[int] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class GetIdentityRequest(_message.Message):
    __slots__ = ("gallery", "identity_id", "min_revision")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    identity_id: str
    min_revision: int
    def __init__(self, gallery: _Optional[str] = ..., identity_id: _Optional[str] = ..., min_revision: _Optional[int] = ...) -> None: ...

class GetIdentityResponse(_message.Message):
    __slots__ = ("identity", "revision")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    identity: Identity
    revision: int
    def __init__(self, identity: _Optional[_Union[Identity, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class ListIdentitiesRequest(_message.Message):
    __slots__ = ("gallery", "page_size", "page_token", "filter", "min_revision")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    page_size: int
    page_token: str
    filter: _types_pb2.Filter
    min_revision: int
    def __init__(self, gallery: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[_Union[_types_pb2.Filter, _Mapping]] = ..., min_revision: _Optional[int] = ...) -> None: ...

class ListIdentitiesResponse(_message.Message):
    __slots__ = ("identities", "next_page_token", "revision", "total_size")
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    identities: _containers.RepeatedCompositeFieldContainer[Identity]
    next_page_token: str
    revision: int
    total_size: int
    def __init__(self, identities: _Optional[_Iterable[_Union[Identity, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ..., total_size: _Optional[int] = ...) -> None: ...

class UpdateIdentityRequest(_message.Message):
    __slots__ = ("gallery", "identity", "update_mask", "allow_missing", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    identity: Identity
    update_mask: _field_mask_pb2.FieldMask
    allow_missing: bool
    request_id: str
    def __init__(self, gallery: _Optional[str] = ..., identity: _Optional[_Union[Identity, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., allow_missing: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateIdentityResponse(_message.Message):
    __slots__ = ("identity", "revision")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    identity: Identity
    revision: int
    def __init__(self, identity: _Optional[_Union[Identity, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class DeleteIdentityRequest(_message.Message):
    __slots__ = ("gallery", "identity_id", "etag", "allow_missing", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    identity_id: str
    etag: str
    allow_missing: bool
    request_id: str
    def __init__(self, gallery: _Optional[str] = ..., identity_id: _Optional[str] = ..., etag: _Optional[str] = ..., allow_missing: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteIdentityResponse(_message.Message):
    __slots__ = ("deleted_faces", "revision")
    DELETED_FACES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    deleted_faces: int
    revision: int
    def __init__(self, deleted_faces: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class GetFaceRequest(_message.Message):
    __slots__ = ("gallery", "face_id", "include_embedding", "min_revision")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    FACE_ID_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    face_id: str
    include_embedding: bool
    min_revision: int
    def __init__(self, gallery: _Optional[str] = ..., face_id: _Optional[str] = ..., include_embedding: _Optional[bool] = ..., min_revision: _Optional[int] = ...) -> None: ...

class GetFaceResponse(_message.Message):
    __slots__ = ("face", "revision")
    FACE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    face: Face
    revision: int
    def __init__(self, face: _Optional[_Union[Face, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class ListFacesRequest(_message.Message):
    __slots__ = ("gallery", "identity_id", "page_size", "page_token", "include_embedding", "min_revision", "filter")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    identity_id: str
    page_size: int
    page_token: str
    include_embedding: bool
    min_revision: int
    filter: _types_pb2.Filter
    def __init__(self, gallery: _Optional[str] = ..., identity_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., include_embedding: _Optional[bool] = ..., min_revision: _Optional[int] = ..., filter: _Optional[_Union[_types_pb2.Filter, _Mapping]] = ...) -> None: ...

class ListFacesResponse(_message.Message):
    __slots__ = ("faces", "next_page_token", "revision", "total_size")
    FACES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    next_page_token: str
    revision: int
    total_size: int
    def __init__(self, faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ..., total_size: _Optional[int] = ...) -> None: ...

class MoveFacesRequest(_message.Message):
    __slots__ = ("gallery", "face_ids", "target_identity_id", "delete_emptied_identities", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    FACE_IDS_FIELD_NUMBER: _ClassVar[int]
    TARGET_IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    DELETE_EMPTIED_IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    face_ids: _containers.RepeatedScalarFieldContainer[str]
    target_identity_id: str
    delete_emptied_identities: bool
    request_id: str
    def __init__(self, gallery: _Optional[str] = ..., face_ids: _Optional[_Iterable[str]] = ..., target_identity_id: _Optional[str] = ..., delete_emptied_identities: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class MoveFacesResponse(_message.Message):
    __slots__ = ("moved_count", "emptied_identity_ids", "revision")
    MOVED_COUNT_FIELD_NUMBER: _ClassVar[int]
    EMPTIED_IDENTITY_IDS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    moved_count: int
    emptied_identity_ids: _containers.RepeatedScalarFieldContainer[str]
    revision: int
    def __init__(self, moved_count: _Optional[int] = ..., emptied_identity_ids: _Optional[_Iterable[str]] = ..., revision: _Optional[int] = ...) -> None: ...

class DeleteFacesRequest(_message.Message):
    __slots__ = ("gallery", "face_ids", "allow_missing", "delete_emptied_identities", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    FACE_IDS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    DELETE_EMPTIED_IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    face_ids: _containers.RepeatedScalarFieldContainer[str]
    allow_missing: bool
    delete_emptied_identities: bool
    request_id: str
    def __init__(self, gallery: _Optional[str] = ..., face_ids: _Optional[_Iterable[str]] = ..., allow_missing: _Optional[bool] = ..., delete_emptied_identities: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteFacesResponse(_message.Message):
    __slots__ = ("deleted_count", "emptied_identity_ids", "revision")
    DELETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    EMPTIED_IDENTITY_IDS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    deleted_count: int
    emptied_identity_ids: _containers.RepeatedScalarFieldContainer[str]
    revision: int
    def __init__(self, deleted_count: _Optional[int] = ..., emptied_identity_ids: _Optional[_Iterable[str]] = ..., revision: _Optional[int] = ...) -> None: ...
