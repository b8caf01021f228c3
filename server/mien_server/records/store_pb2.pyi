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
VECTOR_TYPE_UNSPECIFIED: VectorType
VECTOR_TYPE_FLOAT32: VectorType
VECTOR_TYPE_FLOAT16: VectorType

class GalleryRecord(_message.Message):
    __slots__ = ("number", "name", "display_name", "labels", "recipe", "precomputed_name", "dimension", "model_fingerprint", "vector_type", "decision_policy", "enrollment_policy", "index_policy", "create_time_us", "update_time_us", "version", "default_time_to_live_us")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    PRECOMPUTED_NAME_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_TYPE_FIELD_NUMBER: _ClassVar[int]
    DECISION_POLICY_FIELD_NUMBER: _ClassVar[int]
    ENROLLMENT_POLICY_FIELD_NUMBER: _ClassVar[int]
    INDEX_POLICY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_TIME_TO_LIVE_US_FIELD_NUMBER: _ClassVar[int]
    number: int
    name: str
    display_name: str
    labels: _containers.ScalarMap[str, str]
    recipe: str
    precomputed_name: str
    dimension: int
    model_fingerprint: str
    vector_type: VectorType
    decision_policy: DecisionPolicyRecord
    enrollment_policy: EnrollmentPolicyRecord
    index_policy: IndexPolicyRecord
    create_time_us: int
    update_time_us: int
    version: int
    default_time_to_live_us: int
    def __init__(self, number: _Optional[int] = ..., name: _Optional[str] = ..., display_name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., recipe: _Optional[str] = ..., precomputed_name: _Optional[str] = ..., dimension: _Optional[int] = ..., model_fingerprint: _Optional[str] = ..., vector_type: _Optional[_Union[VectorType, str]] = ..., decision_policy: _Optional[_Union[DecisionPolicyRecord, _Mapping]] = ..., enrollment_policy: _Optional[_Union[EnrollmentPolicyRecord, _Mapping]] = ..., index_policy: _Optional[_Union[IndexPolicyRecord, _Mapping]] = ..., create_time_us: _Optional[int] = ..., update_time_us: _Optional[int] = ..., version: _Optional[int] = ..., default_time_to_live_us: _Optional[int] = ...) -> None: ...

class DecisionPolicyRecord(_message.Message):
    __slots__ = ("similarity", "target_fpir", "target_fmr", "scoring", "metric")
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    TARGET_FPIR_FIELD_NUMBER: _ClassVar[int]
    TARGET_FMR_FIELD_NUMBER: _ClassVar[int]
    SCORING_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    similarity: float
    target_fpir: float
    target_fmr: float
    scoring: int
    metric: int
    def __init__(self, similarity: _Optional[float] = ..., target_fpir: _Optional[float] = ..., target_fmr: _Optional[float] = ..., scoring: _Optional[int] = ..., metric: _Optional[int] = ...) -> None: ...

class EnrollmentPolicyRecord(_message.Message):
    __slots__ = ("multiple_faces", "duplicates", "quality_gate", "minimum_quality")
    MULTIPLE_FACES_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    QUALITY_GATE_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_QUALITY_FIELD_NUMBER: _ClassVar[int]
    multiple_faces: int
    duplicates: int
    quality_gate: int
    minimum_quality: float
    def __init__(self, multiple_faces: _Optional[int] = ..., duplicates: _Optional[int] = ..., quality_gate: _Optional[int] = ..., minimum_quality: _Optional[float] = ...) -> None: ...

class IndexPolicyRecord(_message.Message):
    __slots__ = ("default_recall_target", "code", "manual_rebuild")
    DEFAULT_RECALL_TARGET_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MANUAL_REBUILD_FIELD_NUMBER: _ClassVar[int]
    default_recall_target: float
    code: int
    manual_rebuild: bool
    def __init__(self, default_recall_target: _Optional[float] = ..., code: _Optional[int] = ..., manual_rebuild: _Optional[bool] = ...) -> None: ...

class GalleryCounts(_message.Message):
    __slots__ = ("identity_count", "face_count", "row_count", "next_identity_number")
    IDENTITY_COUNT_FIELD_NUMBER: _ClassVar[int]
    FACE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEXT_IDENTITY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    identity_count: int
    face_count: int
    row_count: int
    next_identity_number: int
    def __init__(self, identity_count: _Optional[int] = ..., face_count: _Optional[int] = ..., row_count: _Optional[int] = ..., next_identity_number: _Optional[int] = ...) -> None: ...

class IdentityRecord(_message.Message):
    __slots__ = ("number", "display_name", "labels", "face_count", "create_time_us", "update_time_us", "version", "expire_time_us")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FACE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    number: int
    display_name: str
    labels: _containers.ScalarMap[str, str]
    face_count: int
    create_time_us: int
    update_time_us: int
    version: int
    expire_time_us: int
    def __init__(self, number: _Optional[int] = ..., display_name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., face_count: _Optional[int] = ..., create_time_us: _Optional[int] = ..., update_time_us: _Optional[int] = ..., version: _Optional[int] = ..., expire_time_us: _Optional[int] = ...) -> None: ...

class FaceRecord(_message.Message):
    __slots__ = ("labels", "source", "image_sha256", "box", "landmarks_five", "quality", "detector_score", "create_time_us", "digest", "expire_time_us")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SHA256_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIVE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_SCORE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    source: str
    image_sha256: bytes
    box: BoxRecord
    landmarks_five: _containers.RepeatedScalarFieldContainer[float]
    quality: QualityRecord
    detector_score: float
    create_time_us: int
    digest: bytes
    expire_time_us: int
    def __init__(self, labels: _Optional[_Mapping[str, str]] = ..., source: _Optional[str] = ..., image_sha256: _Optional[bytes] = ..., box: _Optional[_Union[BoxRecord, _Mapping]] = ..., landmarks_five: _Optional[_Iterable[float]] = ..., quality: _Optional[_Union[QualityRecord, _Mapping]] = ..., detector_score: _Optional[float] = ..., create_time_us: _Optional[int] = ..., digest: _Optional[bytes] = ..., expire_time_us: _Optional[int] = ...) -> None: ...

class BoxRecord(_message.Message):
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

class QualityRecord(_message.Message):
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
    reasons: _containers.RepeatedScalarFieldContainer[int]
    face_size_px: float
    sharpness: float
    brightness: float
    contrast: float
    yaw: float
    roll_degrees: float
    def __init__(self, score: _Optional[float] = ..., reasons: _Optional[_Iterable[int]] = ..., face_size_px: _Optional[float] = ..., sharpness: _Optional[float] = ..., brightness: _Optional[float] = ..., contrast: _Optional[float] = ..., yaw: _Optional[float] = ..., roll_degrees: _Optional[float] = ...) -> None: ...

class JournalEntry(_message.Message):
    __slots__ = ("revision", "time_us", "operations")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    time_us: int
    operations: _containers.RepeatedCompositeFieldContainer[JournalOperation]
    def __init__(self, revision: _Optional[int] = ..., time_us: _Optional[int] = ..., operations: _Optional[_Iterable[_Union[JournalOperation, _Mapping]]] = ...) -> None: ...

class JournalOperation(_message.Message):
    __slots__ = ("put_gallery", "delete_gallery", "enroll", "put_identity", "delete_identity", "move_faces", "delete_faces")
    PUT_GALLERY_FIELD_NUMBER: _ClassVar[int]
    DELETE_GALLERY_FIELD_NUMBER: _ClassVar[int]
    ENROLL_FIELD_NUMBER: _ClassVar[int]
    PUT_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    DELETE_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    MOVE_FACES_FIELD_NUMBER: _ClassVar[int]
    DELETE_FACES_FIELD_NUMBER: _ClassVar[int]
    put_gallery: GalleryRecord
    delete_gallery: int
    enroll: EnrolledRows
    put_identity: PutIdentity
    delete_identity: DeleteIdentity
    move_faces: MovedFaces
    delete_faces: DeletedFaces
    def __init__(self, put_gallery: _Optional[_Union[GalleryRecord, _Mapping]] = ..., delete_gallery: _Optional[int] = ..., enroll: _Optional[_Union[EnrolledRows, _Mapping]] = ..., put_identity: _Optional[_Union[PutIdentity, _Mapping]] = ..., delete_identity: _Optional[_Union[DeleteIdentity, _Mapping]] = ..., move_faces: _Optional[_Union[MovedFaces, _Mapping]] = ..., delete_faces: _Optional[_Union[DeletedFaces, _Mapping]] = ...) -> None: ...

class EnrolledRows(_message.Message):
    __slots__ = ("gallery_number", "first_ordinal", "first_new_identity_number", "new_identity_ids", "face_values", "new_identity_records")
    GALLERY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    FIRST_ORDINAL_FIELD_NUMBER: _ClassVar[int]
    FIRST_NEW_IDENTITY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    NEW_IDENTITY_IDS_FIELD_NUMBER: _ClassVar[int]
    FACE_VALUES_FIELD_NUMBER: _ClassVar[int]
    NEW_IDENTITY_RECORDS_FIELD_NUMBER: _ClassVar[int]
    gallery_number: int
    first_ordinal: int
    first_new_identity_number: int
    new_identity_ids: _containers.RepeatedScalarFieldContainer[str]
    face_values: _containers.RepeatedScalarFieldContainer[bytes]
    new_identity_records: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, gallery_number: _Optional[int] = ..., first_ordinal: _Optional[int] = ..., first_new_identity_number: _Optional[int] = ..., new_identity_ids: _Optional[_Iterable[str]] = ..., face_values: _Optional[_Iterable[bytes]] = ..., new_identity_records: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PutIdentity(_message.Message):
    __slots__ = ("gallery_number", "identity_id", "identity")
    GALLERY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    gallery_number: int
    identity_id: str
    identity: IdentityRecord
    def __init__(self, gallery_number: _Optional[int] = ..., identity_id: _Optional[str] = ..., identity: _Optional[_Union[IdentityRecord, _Mapping]] = ...) -> None: ...

class DeleteIdentity(_message.Message):
    __slots__ = ("gallery_number", "identity_number")
    GALLERY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    gallery_number: int
    identity_number: int
    def __init__(self, gallery_number: _Optional[int] = ..., identity_number: _Optional[int] = ...) -> None: ...

class MovedFaces(_message.Message):
    __slots__ = ("gallery_number", "ordinals", "target_identity_number")
    GALLERY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ORDINALS_FIELD_NUMBER: _ClassVar[int]
    TARGET_IDENTITY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    gallery_number: int
    ordinals: _containers.RepeatedScalarFieldContainer[int]
    target_identity_number: int
    def __init__(self, gallery_number: _Optional[int] = ..., ordinals: _Optional[_Iterable[int]] = ..., target_identity_number: _Optional[int] = ...) -> None: ...

class DeletedFaces(_message.Message):
    __slots__ = ("gallery_number", "ordinals")
    GALLERY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ORDINALS_FIELD_NUMBER: _ClassVar[int]
    gallery_number: int
    ordinals: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, gallery_number: _Optional[int] = ..., ordinals: _Optional[_Iterable[int]] = ...) -> None: ...

class RequestRecord(_message.Message):
    __slots__ = ("fingerprint", "revision", "time_us", "outcome", "is_erased")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    IS_ERASED_FIELD_NUMBER: _ClassVar[int]
    fingerprint: bytes
    revision: int
    time_us: int
    outcome: bytes
    is_erased: bool
    def __init__(self, fingerprint: _Optional[bytes] = ..., revision: _Optional[int] = ..., time_us: _Optional[int] = ..., outcome: _Optional[bytes] = ..., is_erased: _Optional[bool] = ...) -> None: ...

class OperationRecord(_message.Message):
    __slots__ = ("name", "kind", "gallery_number", "gallery_name", "state", "progress", "stage", "create_time_us", "end_time_us", "error_reason", "error_message", "result_generation", "result_rows", "result_snapshot")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    GALLERY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    GALLERY_NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    END_TIME_US_FIELD_NUMBER: _ClassVar[int]
    ERROR_REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RESULT_GENERATION_FIELD_NUMBER: _ClassVar[int]
    RESULT_ROWS_FIELD_NUMBER: _ClassVar[int]
    RESULT_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: int
    gallery_number: int
    gallery_name: str
    state: int
    progress: float
    stage: str
    create_time_us: int
    end_time_us: int
    error_reason: str
    error_message: str
    result_generation: str
    result_rows: int
    result_snapshot: SnapshotRecord
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[int] = ..., gallery_number: _Optional[int] = ..., gallery_name: _Optional[str] = ..., state: _Optional[int] = ..., progress: _Optional[float] = ..., stage: _Optional[str] = ..., create_time_us: _Optional[int] = ..., end_time_us: _Optional[int] = ..., error_reason: _Optional[str] = ..., error_message: _Optional[str] = ..., result_generation: _Optional[str] = ..., result_rows: _Optional[int] = ..., result_snapshot: _Optional[_Union[SnapshotRecord, _Mapping]] = ...) -> None: ...

class SnapshotRecord(_message.Message):
    __slots__ = ("name", "destination", "revision", "time_us", "size_bytes", "new_bytes", "file_count", "duration_us")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NEW_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    DURATION_US_FIELD_NUMBER: _ClassVar[int]
    name: str
    destination: str
    revision: int
    time_us: int
    size_bytes: int
    new_bytes: int
    file_count: int
    duration_us: int
    def __init__(self, name: _Optional[str] = ..., destination: _Optional[str] = ..., revision: _Optional[int] = ..., time_us: _Optional[int] = ..., size_bytes: _Optional[int] = ..., new_bytes: _Optional[int] = ..., file_count: _Optional[int] = ..., duration_us: _Optional[int] = ...) -> None: ...

class EnrollOutcomeRecord(_message.Message):
    __slots__ = ("faces",)
    FACES_FIELD_NUMBER: _ClassVar[int]
    faces: _containers.RepeatedCompositeFieldContainer[EnrolledFace]
    def __init__(self, faces: _Optional[_Iterable[_Union[EnrolledFace, _Mapping]]] = ...) -> None: ...

class EnrolledFace(_message.Message):
    __slots__ = ("item", "face_id", "identity_id", "duplicate", "identity_created", "error_class", "error_reason", "error_message", "error_field", "error_metadata", "image_status", "warnings")
    class ErrorMetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ITEM_FIELD_NUMBER: _ClassVar[int]
    FACE_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_CREATED_FIELD_NUMBER: _ClassVar[int]
    ERROR_CLASS_FIELD_NUMBER: _ClassVar[int]
    ERROR_REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_FIELD_NUMBER: _ClassVar[int]
    ERROR_METADATA_FIELD_NUMBER: _ClassVar[int]
    IMAGE_STATUS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    item: int
    face_id: str
    identity_id: str
    duplicate: bool
    identity_created: bool
    error_class: str
    error_reason: str
    error_message: str
    error_field: str
    error_metadata: _containers.ScalarMap[str, str]
    image_status: int
    warnings: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, item: _Optional[int] = ..., face_id: _Optional[str] = ..., identity_id: _Optional[str] = ..., duplicate: _Optional[bool] = ..., identity_created: _Optional[bool] = ..., error_class: _Optional[str] = ..., error_reason: _Optional[str] = ..., error_message: _Optional[str] = ..., error_field: _Optional[str] = ..., error_metadata: _Optional[_Mapping[str, str]] = ..., image_status: _Optional[int] = ..., warnings: _Optional[_Iterable[int]] = ...) -> None: ...

class CountOutcomeRecord(_message.Message):
    __slots__ = ("identity_count", "face_count", "identity_ids")
    IDENTITY_COUNT_FIELD_NUMBER: _ClassVar[int]
    FACE_COUNT_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_IDS_FIELD_NUMBER: _ClassVar[int]
    identity_count: int
    face_count: int
    identity_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, identity_count: _Optional[int] = ..., face_count: _Optional[int] = ..., identity_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class EnrollRowsOutcomeRecord(_message.Message):
    __slots__ = ("face_ids", "errors", "enrolled_count", "duplicate_count")
    FACE_IDS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    face_ids: _containers.RepeatedScalarFieldContainer[str]
    errors: _containers.RepeatedCompositeFieldContainer[EnrolledFace]
    enrolled_count: int
    duplicate_count: int
    def __init__(self, face_ids: _Optional[_Iterable[str]] = ..., errors: _Optional[_Iterable[_Union[EnrolledFace, _Mapping]]] = ..., enrolled_count: _Optional[int] = ..., duplicate_count: _Optional[int] = ...) -> None: ...

class ErasureRecord(_message.Message):
    __slots__ = ("name", "state", "operation", "gallery_number", "gallery_name", "create_time_us", "identity_hash", "revision", "face_count", "ordinals", "mask", "masked_work", "journal_entry_count", "request_count", "receipt", "damaged_record_count", "identity_number", "restore_time_us", "earlier_receipts", "earlier_snapshots")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    GALLERY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    GALLERY_NAME_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_HASH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FACE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ORDINALS_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    MASKED_WORK_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_RECORD_COUNT_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    RESTORE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    EARLIER_RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    EARLIER_SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: int
    operation: str
    gallery_number: int
    gallery_name: str
    create_time_us: int
    identity_hash: bytes
    revision: int
    face_count: int
    ordinals: _containers.RepeatedScalarFieldContainer[int]
    mask: bytes
    masked_work: bytes
    journal_entry_count: int
    request_count: int
    receipt: ErasureReceiptRecord
    damaged_record_count: int
    identity_number: int
    restore_time_us: int
    earlier_receipts: _containers.RepeatedCompositeFieldContainer[ErasureReceiptRecord]
    earlier_snapshots: _containers.RepeatedCompositeFieldContainer[HeldSnapshotRecord]
    def __init__(self, name: _Optional[str] = ..., state: _Optional[int] = ..., operation: _Optional[str] = ..., gallery_number: _Optional[int] = ..., gallery_name: _Optional[str] = ..., create_time_us: _Optional[int] = ..., identity_hash: _Optional[bytes] = ..., revision: _Optional[int] = ..., face_count: _Optional[int] = ..., ordinals: _Optional[_Iterable[int]] = ..., mask: _Optional[bytes] = ..., masked_work: _Optional[bytes] = ..., journal_entry_count: _Optional[int] = ..., request_count: _Optional[int] = ..., receipt: _Optional[_Union[ErasureReceiptRecord, _Mapping]] = ..., damaged_record_count: _Optional[int] = ..., identity_number: _Optional[int] = ..., restore_time_us: _Optional[int] = ..., earlier_receipts: _Optional[_Iterable[_Union[ErasureReceiptRecord, _Mapping]]] = ..., earlier_snapshots: _Optional[_Iterable[_Union[HeldSnapshotRecord, _Mapping]]] = ...) -> None: ...

class ErasureWork(_message.Message):
    __slots__ = ("identity_number", "identity_id", "face_ids", "texts", "vector_parts", "create_times_us")
    class CreateTimesUsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    IDENTITY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    FACE_IDS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    VECTOR_PARTS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIMES_US_FIELD_NUMBER: _ClassVar[int]
    identity_number: int
    identity_id: str
    face_ids: _containers.RepeatedScalarFieldContainer[str]
    texts: _containers.RepeatedScalarFieldContainer[bytes]
    vector_parts: _containers.RepeatedScalarFieldContainer[bytes]
    create_times_us: _containers.ScalarMap[int, int]
    def __init__(self, identity_number: _Optional[int] = ..., identity_id: _Optional[str] = ..., face_ids: _Optional[_Iterable[str]] = ..., texts: _Optional[_Iterable[bytes]] = ..., vector_parts: _Optional[_Iterable[bytes]] = ..., create_times_us: _Optional[_Mapping[int, int]] = ...) -> None: ...

class ErasureReceiptRecord(_message.Message):
    __slots__ = ("erasure", "store_id", "gallery_name", "gallery_number", "identity_hash", "revision", "request_time_us", "complete_time_us", "face_count", "row_count", "journal_entry_count", "request_count", "is_index_rewritten", "live_page_count", "free_page_count", "scan", "snapshots", "seal", "damaged_record_count")
    ERASURE_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    GALLERY_NAME_FIELD_NUMBER: _ClassVar[int]
    GALLERY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_HASH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIME_US_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    FACE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    IS_INDEX_REWRITTEN_FIELD_NUMBER: _ClassVar[int]
    LIVE_PAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    FREE_PAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SCAN_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    SEAL_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_RECORD_COUNT_FIELD_NUMBER: _ClassVar[int]
    erasure: str
    store_id: str
    gallery_name: str
    gallery_number: int
    identity_hash: bytes
    revision: int
    request_time_us: int
    complete_time_us: int
    face_count: int
    row_count: int
    journal_entry_count: int
    request_count: int
    is_index_rewritten: bool
    live_page_count: int
    free_page_count: int
    scan: ErasureScanRecord
    snapshots: _containers.RepeatedCompositeFieldContainer[HeldSnapshotRecord]
    seal: bytes
    damaged_record_count: int
    def __init__(self, erasure: _Optional[str] = ..., store_id: _Optional[str] = ..., gallery_name: _Optional[str] = ..., gallery_number: _Optional[int] = ..., identity_hash: _Optional[bytes] = ..., revision: _Optional[int] = ..., request_time_us: _Optional[int] = ..., complete_time_us: _Optional[int] = ..., face_count: _Optional[int] = ..., row_count: _Optional[int] = ..., journal_entry_count: _Optional[int] = ..., request_count: _Optional[int] = ..., is_index_rewritten: _Optional[bool] = ..., live_page_count: _Optional[int] = ..., free_page_count: _Optional[int] = ..., scan: _Optional[_Union[ErasureScanRecord, _Mapping]] = ..., snapshots: _Optional[_Iterable[_Union[HeldSnapshotRecord, _Mapping]]] = ..., seal: _Optional[bytes] = ..., damaged_record_count: _Optional[int] = ...) -> None: ...

class ErasureScanRecord(_message.Message):
    __slots__ = ("file_count", "byte_count", "pattern_count", "shared_count", "short_count", "found_count")
    FILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    PATTERN_COUNT_FIELD_NUMBER: _ClassVar[int]
    SHARED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SHORT_COUNT_FIELD_NUMBER: _ClassVar[int]
    FOUND_COUNT_FIELD_NUMBER: _ClassVar[int]
    file_count: int
    byte_count: int
    pattern_count: int
    shared_count: int
    short_count: int
    found_count: int
    def __init__(self, file_count: _Optional[int] = ..., byte_count: _Optional[int] = ..., pattern_count: _Optional[int] = ..., shared_count: _Optional[int] = ..., short_count: _Optional[int] = ..., found_count: _Optional[int] = ...) -> None: ...

class HeldSnapshotRecord(_message.Message):
    __slots__ = ("name", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    revision: int
    def __init__(self, name: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...
