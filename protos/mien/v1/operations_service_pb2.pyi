import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from mien.v1 import gallery_service_pb2 as _gallery_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OperationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_KIND_UNSPECIFIED: _ClassVar[OperationKind]
    OPERATION_KIND_REBUILD_INDEX: _ClassVar[OperationKind]
    OPERATION_KIND_IMPORT: _ClassVar[OperationKind]
    OPERATION_KIND_EXPORT: _ClassVar[OperationKind]
    OPERATION_KIND_SNAPSHOT: _ClassVar[OperationKind]
    OPERATION_KIND_CALIBRATE: _ClassVar[OperationKind]
    OPERATION_KIND_EVALUATE: _ClassVar[OperationKind]
    OPERATION_KIND_ERASE: _ClassVar[OperationKind]

class OperationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_STATE_UNSPECIFIED: _ClassVar[OperationState]
    OPERATION_STATE_PENDING: _ClassVar[OperationState]
    OPERATION_STATE_RUNNING: _ClassVar[OperationState]
    OPERATION_STATE_SUCCEEDED: _ClassVar[OperationState]
    OPERATION_STATE_FAILED: _ClassVar[OperationState]
    OPERATION_STATE_CANCELLED: _ClassVar[OperationState]

class ErasureState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERASURE_STATE_UNSPECIFIED: _ClassVar[ErasureState]
    ERASURE_STATE_DELETING: _ClassVar[ErasureState]
    ERASURE_STATE_DELETED: _ClassVar[ErasureState]
    ERASURE_STATE_RECEIPTED: _ClassVar[ErasureState]
    ERASURE_STATE_DONE: _ClassVar[ErasureState]
OPERATION_KIND_UNSPECIFIED: OperationKind
OPERATION_KIND_REBUILD_INDEX: OperationKind
OPERATION_KIND_IMPORT: OperationKind
OPERATION_KIND_EXPORT: OperationKind
OPERATION_KIND_SNAPSHOT: OperationKind
OPERATION_KIND_CALIBRATE: OperationKind
OPERATION_KIND_EVALUATE: OperationKind
OPERATION_KIND_ERASE: OperationKind
OPERATION_STATE_UNSPECIFIED: OperationState
OPERATION_STATE_PENDING: OperationState
OPERATION_STATE_RUNNING: OperationState
OPERATION_STATE_SUCCEEDED: OperationState
OPERATION_STATE_FAILED: OperationState
OPERATION_STATE_CANCELLED: OperationState
ERASURE_STATE_UNSPECIFIED: ErasureState
ERASURE_STATE_DELETING: ErasureState
ERASURE_STATE_DELETED: ErasureState
ERASURE_STATE_RECEIPTED: ErasureState
ERASURE_STATE_DONE: ErasureState

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "store_id", "revision", "start_time", "limits", "recipes", "default_recipe", "galleries", "absent", "format_version", "library_versions", "degraded_reasons", "damages", "damage_count", "serves_damaged", "patrol_end_time")
    class LibraryVersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    RECIPES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_RECIPE_FIELD_NUMBER: _ClassVar[int]
    GALLERIES_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    LIBRARY_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_REASONS_FIELD_NUMBER: _ClassVar[int]
    DAMAGES_FIELD_NUMBER: _ClassVar[int]
    DAMAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SERVES_DAMAGED_FIELD_NUMBER: _ClassVar[int]
    PATROL_END_TIME_FIELD_NUMBER: _ClassVar[int]
    version: str
    store_id: str
    revision: int
    start_time: _timestamp_pb2.Timestamp
    limits: Limits
    recipes: _containers.RepeatedCompositeFieldContainer[RecipeInfo]
    default_recipe: str
    galleries: _containers.RepeatedCompositeFieldContainer[GalleryInfo]
    absent: _containers.RepeatedCompositeFieldContainer[AbsentFeature]
    format_version: int
    library_versions: _containers.ScalarMap[str, str]
    degraded_reasons: _containers.RepeatedScalarFieldContainer[str]
    damages: _containers.RepeatedCompositeFieldContainer[Damage]
    damage_count: int
    serves_damaged: bool
    patrol_end_time: _timestamp_pb2.Timestamp
    def __init__(self, version: _Optional[str] = ..., store_id: _Optional[str] = ..., revision: _Optional[int] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., recipes: _Optional[_Iterable[_Union[RecipeInfo, _Mapping]]] = ..., default_recipe: _Optional[str] = ..., galleries: _Optional[_Iterable[_Union[GalleryInfo, _Mapping]]] = ..., absent: _Optional[_Iterable[_Union[AbsentFeature, _Mapping]]] = ..., format_version: _Optional[int] = ..., library_versions: _Optional[_Mapping[str, str]] = ..., degraded_reasons: _Optional[_Iterable[str]] = ..., damages: _Optional[_Iterable[_Union[Damage, _Mapping]]] = ..., damage_count: _Optional[int] = ..., serves_damaged: _Optional[bool] = ..., patrol_end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Damage(_message.Message):
    __slots__ = ("reason", "message", "place")
    class PlaceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    place: _containers.ScalarMap[str, str]
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., place: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("message_bytes_max", "image_bytes_max", "image_pixels_max", "images_per_request_max", "faces_per_image_max", "embeddings_per_request_max", "dimension_max", "k_max", "candidate_count_max", "page_size_max", "enroll_items_max", "face_ids_per_request_max", "identity_id_bytes_max", "face_id_bytes_max", "labels_max", "label_value_bytes_max", "filter_ids_max", "galleries_max", "source_bytes_max", "display_name_bytes_max", "neighbors_per_request_max", "message_elements_max", "operations_waiting_max")
    MESSAGE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    IMAGE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    IMAGE_PIXELS_MAX_FIELD_NUMBER: _ClassVar[int]
    IMAGES_PER_REQUEST_MAX_FIELD_NUMBER: _ClassVar[int]
    FACES_PER_IMAGE_MAX_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_PER_REQUEST_MAX_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_MAX_FIELD_NUMBER: _ClassVar[int]
    K_MAX_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_COUNT_MAX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_MAX_FIELD_NUMBER: _ClassVar[int]
    ENROLL_ITEMS_MAX_FIELD_NUMBER: _ClassVar[int]
    FACE_IDS_PER_REQUEST_MAX_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    FACE_ID_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    LABELS_MAX_FIELD_NUMBER: _ClassVar[int]
    LABEL_VALUE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    FILTER_IDS_MAX_FIELD_NUMBER: _ClassVar[int]
    GALLERIES_MAX_FIELD_NUMBER: _ClassVar[int]
    SOURCE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    NEIGHBORS_PER_REQUEST_MAX_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ELEMENTS_MAX_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_WAITING_MAX_FIELD_NUMBER: _ClassVar[int]
    message_bytes_max: int
    image_bytes_max: int
    image_pixels_max: int
    images_per_request_max: int
    faces_per_image_max: int
    embeddings_per_request_max: int
    dimension_max: int
    k_max: int
    candidate_count_max: int
    page_size_max: int
    enroll_items_max: int
    face_ids_per_request_max: int
    identity_id_bytes_max: int
    face_id_bytes_max: int
    labels_max: int
    label_value_bytes_max: int
    filter_ids_max: int
    galleries_max: int
    source_bytes_max: int
    display_name_bytes_max: int
    neighbors_per_request_max: int
    message_elements_max: int
    operations_waiting_max: int
    def __init__(self, message_bytes_max: _Optional[int] = ..., image_bytes_max: _Optional[int] = ..., image_pixels_max: _Optional[int] = ..., images_per_request_max: _Optional[int] = ..., faces_per_image_max: _Optional[int] = ..., embeddings_per_request_max: _Optional[int] = ..., dimension_max: _Optional[int] = ..., k_max: _Optional[int] = ..., candidate_count_max: _Optional[int] = ..., page_size_max: _Optional[int] = ..., enroll_items_max: _Optional[int] = ..., face_ids_per_request_max: _Optional[int] = ..., identity_id_bytes_max: _Optional[int] = ..., face_id_bytes_max: _Optional[int] = ..., labels_max: _Optional[int] = ..., label_value_bytes_max: _Optional[int] = ..., filter_ids_max: _Optional[int] = ..., galleries_max: _Optional[int] = ..., source_bytes_max: _Optional[int] = ..., display_name_bytes_max: _Optional[int] = ..., neighbors_per_request_max: _Optional[int] = ..., message_elements_max: _Optional[int] = ..., operations_waiting_max: _Optional[int] = ...) -> None: ...

class RecipeInfo(_message.Message):
    __slots__ = ("name", "fingerprint", "dimension", "detector", "embedder", "available", "unavailable_reason", "default_threshold", "threshold_detail", "notices")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_REASON_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_DETAIL_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    name: str
    fingerprint: str
    dimension: int
    detector: str
    embedder: str
    available: bool
    unavailable_reason: str
    default_threshold: float
    threshold_detail: str
    notices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., fingerprint: _Optional[str] = ..., dimension: _Optional[int] = ..., detector: _Optional[str] = ..., embedder: _Optional[str] = ..., available: _Optional[bool] = ..., unavailable_reason: _Optional[str] = ..., default_threshold: _Optional[float] = ..., threshold_detail: _Optional[str] = ..., notices: _Optional[_Iterable[str]] = ...) -> None: ...

class GalleryInfo(_message.Message):
    __slots__ = ("name", "identity_count", "face_count", "index_state")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_COUNT_FIELD_NUMBER: _ClassVar[int]
    FACE_COUNT_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    identity_count: int
    face_count: int
    index_state: _gallery_service_pb2.IndexState
    def __init__(self, name: _Optional[str] = ..., identity_count: _Optional[int] = ..., face_count: _Optional[int] = ..., index_state: _Optional[_Union[_gallery_service_pb2.IndexState, _Mapping]] = ...) -> None: ...

class AbsentFeature(_message.Message):
    __slots__ = ("name", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("name", "kind", "gallery", "state", "progress", "stage", "create_time", "end_time", "error", "rebuild_index", "create_snapshot", "erase_identity")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REBUILD_INDEX_FIELD_NUMBER: _ClassVar[int]
    CREATE_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    ERASE_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: OperationKind
    gallery: str
    state: OperationState
    progress: float
    stage: str
    create_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    error: _status_pb2.Status
    rebuild_index: RebuildIndexResult
    create_snapshot: CreateSnapshotResult
    erase_identity: EraseIdentityResult
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[OperationKind, str]] = ..., gallery: _Optional[str] = ..., state: _Optional[_Union[OperationState, str]] = ..., progress: _Optional[float] = ..., stage: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., rebuild_index: _Optional[_Union[RebuildIndexResult, _Mapping]] = ..., create_snapshot: _Optional[_Union[CreateSnapshotResult, _Mapping]] = ..., erase_identity: _Optional[_Union[EraseIdentityResult, _Mapping]] = ...) -> None: ...

class RebuildIndexResult(_message.Message):
    __slots__ = ("generation", "rows", "index_state", "duration")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    generation: str
    rows: int
    index_state: _gallery_service_pb2.IndexState
    duration: _duration_pb2.Duration
    def __init__(self, generation: _Optional[str] = ..., rows: _Optional[int] = ..., index_state: _Optional[_Union[_gallery_service_pb2.IndexState, _Mapping]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CreateSnapshotResult(_message.Message):
    __slots__ = ("name", "destination_uri", "revision", "size_bytes", "new_bytes", "file_count", "duration")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_URI_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NEW_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    destination_uri: str
    revision: int
    size_bytes: int
    new_bytes: int
    file_count: int
    duration: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., destination_uri: _Optional[str] = ..., revision: _Optional[int] = ..., size_bytes: _Optional[int] = ..., new_bytes: _Optional[int] = ..., file_count: _Optional[int] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RebuildIndexRequest(_message.Message):
    __slots__ = ("gallery", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    request_id: str
    def __init__(self, gallery: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RebuildIndexResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ImportFacesRequest(_message.Message):
    __slots__ = ("gallery", "source_uri", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_URI_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    source_uri: str
    request_id: str
    def __init__(self, gallery: _Optional[str] = ..., source_uri: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ImportFacesResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ExportFacesRequest(_message.Message):
    __slots__ = ("gallery", "destination_uri", "include_embeddings", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_URI_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    destination_uri: str
    include_embeddings: bool
    request_id: str
    def __init__(self, gallery: _Optional[str] = ..., destination_uri: _Optional[str] = ..., include_embeddings: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class ExportFacesResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class CreateSnapshotRequest(_message.Message):
    __slots__ = ("destination_uri", "request_id", "verify", "full")
    DESTINATION_URI_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    destination_uri: str
    request_id: str
    verify: bool
    full: bool
    def __init__(self, destination_uri: _Optional[str] = ..., request_id: _Optional[str] = ..., verify: _Optional[bool] = ..., full: _Optional[bool] = ...) -> None: ...

class CreateSnapshotResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ListSnapshotsRequest(_message.Message):
    __slots__ = ("destination_uri", "page_size", "page_token")
    DESTINATION_URI_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    destination_uri: str
    page_size: int
    page_token: str
    def __init__(self, destination_uri: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSnapshotsResponse(_message.Message):
    __slots__ = ("snapshots", "next_page_token")
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[Snapshot]
    next_page_token: str
    def __init__(self, snapshots: _Optional[_Iterable[_Union[Snapshot, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("name", "destination_uri", "store_id", "revision", "format_version", "create_time", "size_bytes", "file_count", "verify_time", "damage", "face_count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_URI_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    VERIFY_TIME_FIELD_NUMBER: _ClassVar[int]
    DAMAGE_FIELD_NUMBER: _ClassVar[int]
    FACE_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    destination_uri: str
    store_id: str
    revision: int
    format_version: int
    create_time: _timestamp_pb2.Timestamp
    size_bytes: int
    file_count: int
    verify_time: _timestamp_pb2.Timestamp
    damage: str
    face_count: int
    def __init__(self, name: _Optional[str] = ..., destination_uri: _Optional[str] = ..., store_id: _Optional[str] = ..., revision: _Optional[int] = ..., format_version: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., size_bytes: _Optional[int] = ..., file_count: _Optional[int] = ..., verify_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., damage: _Optional[str] = ..., face_count: _Optional[int] = ...) -> None: ...

class DeleteSnapshotRequest(_message.Message):
    __slots__ = ("name", "destination_uri", "request_id", "allow_missing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_URI_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    name: str
    destination_uri: str
    request_id: str
    allow_missing: bool
    def __init__(self, name: _Optional[str] = ..., destination_uri: _Optional[str] = ..., request_id: _Optional[str] = ..., allow_missing: _Optional[bool] = ...) -> None: ...

class DeleteSnapshotResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CalibrateGalleryRequest(_message.Message):
    __slots__ = ("gallery", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    request_id: str
    def __init__(self, gallery: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CalibrateGalleryResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class EvaluateGalleryRequest(_message.Message):
    __slots__ = ("gallery", "protocol_uri", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_URI_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    protocol_uri: str
    request_id: str
    def __init__(self, gallery: _Optional[str] = ..., protocol_uri: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class EvaluateGalleryResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class GetOperationRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ListOperationsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "gallery")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    gallery: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., gallery: _Optional[str] = ...) -> None: ...

class ListOperationsResponse(_message.Message):
    __slots__ = ("operations", "next_page_token")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    next_page_token: str
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WaitOperationRequest(_message.Message):
    __slots__ = ("name", "timeout")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    timeout: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WaitOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class CancelOperationRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CancelOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class EraseIdentityRequest(_message.Message):
    __slots__ = ("gallery", "identity_id", "request_id")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    identity_id: str
    request_id: str
    def __init__(self, gallery: _Optional[str] = ..., identity_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class EraseIdentityResponse(_message.Message):
    __slots__ = ("operation", "revision")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    revision: int
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class EraseIdentityResult(_message.Message):
    __slots__ = ("erasure",)
    ERASURE_FIELD_NUMBER: _ClassVar[int]
    erasure: Erasure
    def __init__(self, erasure: _Optional[_Union[Erasure, _Mapping]] = ...) -> None: ...

class Erasure(_message.Message):
    __slots__ = ("name", "gallery", "state", "operation", "create_time", "is_overdue", "receipt", "trouble")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    IS_OVERDUE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    gallery: str
    state: ErasureState
    operation: str
    create_time: _timestamp_pb2.Timestamp
    is_overdue: bool
    receipt: ErasureReceipt
    trouble: str
    def __init__(self, name: _Optional[str] = ..., gallery: _Optional[str] = ..., state: _Optional[_Union[ErasureState, str]] = ..., operation: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., is_overdue: _Optional[bool] = ..., receipt: _Optional[_Union[ErasureReceipt, _Mapping]] = ..., trouble: _Optional[str] = ...) -> None: ...

class ErasureReceipt(_message.Message):
    __slots__ = ("erasure", "store_id", "gallery", "gallery_number", "identity_hash", "revision", "request_time", "complete_time", "face_count", "row_count", "journal_entry_count", "request_count", "index_rewritten", "live_page_count", "free_page_count", "scan", "snapshots", "seal", "damaged_record_count")
    ERASURE_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    GALLERY_NUMBER_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_HASH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIME_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_TIME_FIELD_NUMBER: _ClassVar[int]
    FACE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    INDEX_REWRITTEN_FIELD_NUMBER: _ClassVar[int]
    LIVE_PAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    FREE_PAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SCAN_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    SEAL_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_RECORD_COUNT_FIELD_NUMBER: _ClassVar[int]
    erasure: str
    store_id: str
    gallery: str
    gallery_number: int
    identity_hash: bytes
    revision: int
    request_time: _timestamp_pb2.Timestamp
    complete_time: _timestamp_pb2.Timestamp
    face_count: int
    row_count: int
    journal_entry_count: int
    request_count: int
    index_rewritten: bool
    live_page_count: int
    free_page_count: int
    scan: ErasureScan
    snapshots: _containers.RepeatedCompositeFieldContainer[HeldSnapshot]
    seal: bytes
    damaged_record_count: int
    def __init__(self, erasure: _Optional[str] = ..., store_id: _Optional[str] = ..., gallery: _Optional[str] = ..., gallery_number: _Optional[int] = ..., identity_hash: _Optional[bytes] = ..., revision: _Optional[int] = ..., request_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., complete_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., face_count: _Optional[int] = ..., row_count: _Optional[int] = ..., journal_entry_count: _Optional[int] = ..., request_count: _Optional[int] = ..., index_rewritten: _Optional[bool] = ..., live_page_count: _Optional[int] = ..., free_page_count: _Optional[int] = ..., scan: _Optional[_Union[ErasureScan, _Mapping]] = ..., snapshots: _Optional[_Iterable[_Union[HeldSnapshot, _Mapping]]] = ..., seal: _Optional[bytes] = ..., damaged_record_count: _Optional[int] = ...) -> None: ...

class ErasureScan(_message.Message):
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

class HeldSnapshot(_message.Message):
    __slots__ = ("name", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    revision: int
    def __init__(self, name: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class GetErasureRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetErasureResponse(_message.Message):
    __slots__ = ("erasure",)
    ERASURE_FIELD_NUMBER: _ClassVar[int]
    erasure: Erasure
    def __init__(self, erasure: _Optional[_Union[Erasure, _Mapping]] = ...) -> None: ...

class ListErasuresRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "gallery", "pending_only")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    PENDING_ONLY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    gallery: str
    pending_only: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., gallery: _Optional[str] = ..., pending_only: _Optional[bool] = ...) -> None: ...

class ListErasuresResponse(_message.Message):
    __slots__ = ("erasures", "next_page_token")
    ERASURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    erasures: _containers.RepeatedCompositeFieldContainer[Erasure]
    next_page_token: str
    def __init__(self, erasures: _Optional[_Iterable[_Union[Erasure, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class VerifyErasureRequest(_message.Message):
    __slots__ = ("receipt", "identity_id")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    receipt: ErasureReceipt
    identity_id: str
    def __init__(self, receipt: _Optional[_Union[ErasureReceipt, _Mapping]] = ..., identity_id: _Optional[str] = ...) -> None: ...

class VerifyErasureResponse(_message.Message):
    __slots__ = ("is_valid", "checks")
    IS_VALID_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    is_valid: bool
    checks: _containers.RepeatedCompositeFieldContainer[ErasureCheck]
    def __init__(self, is_valid: _Optional[bool] = ..., checks: _Optional[_Iterable[_Union[ErasureCheck, _Mapping]]] = ...) -> None: ...

class ErasureCheck(_message.Message):
    __slots__ = ("name", "passed", "detail")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    passed: bool
    detail: str
    def __init__(self, name: _Optional[str] = ..., passed: _Optional[bool] = ..., detail: _Optional[str] = ...) -> None: ...
