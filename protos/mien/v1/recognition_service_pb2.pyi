from google.rpc import status_pb2 as _status_pb2
from mien.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DetectFacesRequest(_message.Message):
    __slots__ = ("images", "recipe", "include_sixty_eight_landmarks", "include_aligned_png")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SIXTY_EIGHT_LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ALIGNED_PNG_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[_types_pb2.Image]
    recipe: str
    include_sixty_eight_landmarks: bool
    include_aligned_png: bool
    def __init__(self, images: _Optional[_Iterable[_Union[_types_pb2.Image, _Mapping]]] = ..., recipe: _Optional[str] = ..., include_sixty_eight_landmarks: _Optional[bool] = ..., include_aligned_png: _Optional[bool] = ...) -> None: ...

class DetectFacesResponse(_message.Message):
    __slots__ = ("images", "model_fingerprint")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[ImageFaces]
    model_fingerprint: str
    def __init__(self, images: _Optional[_Iterable[_Union[ImageFaces, _Mapping]]] = ..., model_fingerprint: _Optional[str] = ...) -> None: ...

class ImageFaces(_message.Message):
    __slots__ = ("image_status", "error", "width", "height", "faces", "image_sha256", "source")
    IMAGE_STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SHA256_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    image_status: _types_pb2.ImageStatus
    error: _status_pb2.Status
    width: int
    height: int
    faces: _containers.RepeatedCompositeFieldContainer[_types_pb2.DetectedFace]
    image_sha256: bytes
    source: str
    def __init__(self, image_status: _Optional[_Union[_types_pb2.ImageStatus, str]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., faces: _Optional[_Iterable[_Union[_types_pb2.DetectedFace, _Mapping]]] = ..., image_sha256: _Optional[bytes] = ..., source: _Optional[str] = ...) -> None: ...

class EmbedFacesRequest(_message.Message):
    __slots__ = ("images", "recipe", "include_aligned_png")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ALIGNED_PNG_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[_types_pb2.Image]
    recipe: str
    include_aligned_png: bool
    def __init__(self, images: _Optional[_Iterable[_Union[_types_pb2.Image, _Mapping]]] = ..., recipe: _Optional[str] = ..., include_aligned_png: _Optional[bool] = ...) -> None: ...

class EmbedFacesResponse(_message.Message):
    __slots__ = ("images", "model_fingerprint")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[ImageFaces]
    model_fingerprint: str
    def __init__(self, images: _Optional[_Iterable[_Union[ImageFaces, _Mapping]]] = ..., model_fingerprint: _Optional[str] = ...) -> None: ...

class VerifySide(_message.Message):
    __slots__ = ("image", "embedding", "face_id", "identity_id")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    FACE_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    image: _types_pb2.Image
    embedding: _types_pb2.Embeddings
    face_id: str
    identity_id: str
    def __init__(self, image: _Optional[_Union[_types_pb2.Image, _Mapping]] = ..., embedding: _Optional[_Union[_types_pb2.Embeddings, _Mapping]] = ..., face_id: _Optional[str] = ..., identity_id: _Optional[str] = ...) -> None: ...

class VerifyFacesRequest(_message.Message):
    __slots__ = ("left", "right", "gallery", "recipe", "policy", "min_revision")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    left: VerifySide
    right: VerifySide
    gallery: str
    recipe: str
    policy: _types_pb2.DecisionPolicy
    min_revision: int
    def __init__(self, left: _Optional[_Union[VerifySide, _Mapping]] = ..., right: _Optional[_Union[VerifySide, _Mapping]] = ..., gallery: _Optional[str] = ..., recipe: _Optional[str] = ..., policy: _Optional[_Union[_types_pb2.DecisionPolicy, _Mapping]] = ..., min_revision: _Optional[int] = ...) -> None: ...

class VerifyFacesResponse(_message.Message):
    __slots__ = ("decision", "similarity", "threshold", "distance", "left_image", "right_image", "info")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    LEFT_IMAGE_FIELD_NUMBER: _ClassVar[int]
    RIGHT_IMAGE_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    decision: _types_pb2.Decision
    similarity: float
    threshold: _types_pb2.Threshold
    distance: float
    left_image: ImageFaces
    right_image: ImageFaces
    info: _types_pb2.AnswerInfo
    def __init__(self, decision: _Optional[_Union[_types_pb2.Decision, str]] = ..., similarity: _Optional[float] = ..., threshold: _Optional[_Union[_types_pb2.Threshold, _Mapping]] = ..., distance: _Optional[float] = ..., left_image: _Optional[_Union[ImageFaces, _Mapping]] = ..., right_image: _Optional[_Union[ImageFaces, _Mapping]] = ..., info: _Optional[_Union[_types_pb2.AnswerInfo, _Mapping]] = ...) -> None: ...

class Probes(_message.Message):
    __slots__ = ("embeddings", "images")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    embeddings: _types_pb2.Embeddings
    images: _containers.RepeatedCompositeFieldContainer[_types_pb2.Image]
    def __init__(self, embeddings: _Optional[_Union[_types_pb2.Embeddings, _Mapping]] = ..., images: _Optional[_Iterable[_Union[_types_pb2.Image, _Mapping]]] = ...) -> None: ...

class SearchOptions(_message.Message):
    __slots__ = ("filter", "effort", "min_similarity", "min_revision", "explain")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    MIN_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    MIN_REVISION_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    filter: _types_pb2.Filter
    effort: _types_pb2.Effort
    min_similarity: float
    min_revision: int
    explain: bool
    def __init__(self, filter: _Optional[_Union[_types_pb2.Filter, _Mapping]] = ..., effort: _Optional[_Union[_types_pb2.Effort, _Mapping]] = ..., min_similarity: _Optional[float] = ..., min_revision: _Optional[int] = ..., explain: _Optional[bool] = ...) -> None: ...

class IdentifyRequest(_message.Message):
    __slots__ = ("gallery", "probes", "candidate_count", "options", "policy")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    probes: Probes
    candidate_count: int
    options: SearchOptions
    policy: _types_pb2.DecisionPolicy
    def __init__(self, gallery: _Optional[str] = ..., probes: _Optional[_Union[Probes, _Mapping]] = ..., candidate_count: _Optional[int] = ..., options: _Optional[_Union[SearchOptions, _Mapping]] = ..., policy: _Optional[_Union[_types_pb2.DecisionPolicy, _Mapping]] = ...) -> None: ...

class IdentifyResponse(_message.Message):
    __slots__ = ("embeddings", "images", "threshold", "scoring", "info")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SCORING_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    embeddings: _containers.RepeatedCompositeFieldContainer[FaceIdentification]
    images: _containers.RepeatedCompositeFieldContainer[ImageIdentification]
    threshold: _types_pb2.Threshold
    scoring: _types_pb2.IdentityScoring
    info: _types_pb2.AnswerInfo
    def __init__(self, embeddings: _Optional[_Iterable[_Union[FaceIdentification, _Mapping]]] = ..., images: _Optional[_Iterable[_Union[ImageIdentification, _Mapping]]] = ..., threshold: _Optional[_Union[_types_pb2.Threshold, _Mapping]] = ..., scoring: _Optional[_Union[_types_pb2.IdentityScoring, str]] = ..., info: _Optional[_Union[_types_pb2.AnswerInfo, _Mapping]] = ...) -> None: ...

class ImageIdentification(_message.Message):
    __slots__ = ("image", "faces")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    image: ImageFaces
    faces: _containers.RepeatedCompositeFieldContainer[FaceIdentification]
    def __init__(self, image: _Optional[_Union[ImageFaces, _Mapping]] = ..., faces: _Optional[_Iterable[_Union[FaceIdentification, _Mapping]]] = ...) -> None: ...

class FaceIdentification(_message.Message):
    __slots__ = ("decision", "candidates", "error")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    decision: _types_pb2.Decision
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    error: _status_pb2.Status
    def __init__(self, decision: _Optional[_Union[_types_pb2.Decision, str]] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("identity_id", "display_name", "similarity", "distance", "face_id", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    FACE_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    identity_id: str
    display_name: str
    similarity: float
    distance: float
    face_id: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, identity_id: _Optional[str] = ..., display_name: _Optional[str] = ..., similarity: _Optional[float] = ..., distance: _Optional[float] = ..., face_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SearchFacesRequest(_message.Message):
    __slots__ = ("gallery", "probes", "k", "options", "columnar")
    GALLERY_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    COLUMNAR_FIELD_NUMBER: _ClassVar[int]
    gallery: str
    probes: Probes
    k: int
    options: SearchOptions
    columnar: bool
    def __init__(self, gallery: _Optional[str] = ..., probes: _Optional[_Union[Probes, _Mapping]] = ..., k: _Optional[int] = ..., options: _Optional[_Union[SearchOptions, _Mapping]] = ..., columnar: _Optional[bool] = ...) -> None: ...

class SearchFacesResponse(_message.Message):
    __slots__ = ("embeddings", "images", "columns", "info")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    embeddings: _containers.RepeatedCompositeFieldContainer[FaceNeighbors]
    images: _containers.RepeatedCompositeFieldContainer[ImageNeighbors]
    columns: NeighborColumns
    info: _types_pb2.AnswerInfo
    def __init__(self, embeddings: _Optional[_Iterable[_Union[FaceNeighbors, _Mapping]]] = ..., images: _Optional[_Iterable[_Union[ImageNeighbors, _Mapping]]] = ..., columns: _Optional[_Union[NeighborColumns, _Mapping]] = ..., info: _Optional[_Union[_types_pb2.AnswerInfo, _Mapping]] = ...) -> None: ...

class ImageNeighbors(_message.Message):
    __slots__ = ("image", "faces")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    image: ImageFaces
    faces: _containers.RepeatedCompositeFieldContainer[FaceNeighbors]
    def __init__(self, image: _Optional[_Union[ImageFaces, _Mapping]] = ..., faces: _Optional[_Iterable[_Union[FaceNeighbors, _Mapping]]] = ...) -> None: ...

class FaceNeighbors(_message.Message):
    __slots__ = ("neighbors", "error")
    NEIGHBORS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    neighbors: _containers.RepeatedCompositeFieldContainer[Neighbor]
    error: _status_pb2.Status
    def __init__(self, neighbors: _Optional[_Iterable[_Union[Neighbor, _Mapping]]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Neighbor(_message.Message):
    __slots__ = ("face_id", "identity_id", "similarity")
    FACE_ID_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_ID_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    face_id: str
    identity_id: str
    similarity: float
    def __init__(self, face_id: _Optional[str] = ..., identity_id: _Optional[str] = ..., similarity: _Optional[float] = ...) -> None: ...

class NeighborColumns(_message.Message):
    __slots__ = ("counts", "similarities", "identities", "face_ids", "identity_ids")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SIMILARITIES_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    FACE_IDS_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_IDS_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    similarities: _containers.RepeatedScalarFieldContainer[float]
    identities: _containers.RepeatedScalarFieldContainer[int]
    face_ids: _containers.RepeatedScalarFieldContainer[str]
    identity_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, counts: _Optional[_Iterable[int]] = ..., similarities: _Optional[_Iterable[float]] = ..., identities: _Optional[_Iterable[int]] = ..., face_ids: _Optional[_Iterable[str]] = ..., identity_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class StreamIdentifyRequest(_message.Message):
    __slots__ = ("sequence", "request")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    request: IdentifyRequest
    def __init__(self, sequence: _Optional[int] = ..., request: _Optional[_Union[IdentifyRequest, _Mapping]] = ...) -> None: ...

class StreamIdentifyResponse(_message.Message):
    __slots__ = ("sequence", "response", "error")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    response: IdentifyResponse
    error: _status_pb2.Status
    def __init__(self, sequence: _Optional[int] = ..., response: _Optional[_Union[IdentifyResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class StreamSearchRequest(_message.Message):
    __slots__ = ("sequence", "request")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    request: SearchFacesRequest
    def __init__(self, sequence: _Optional[int] = ..., request: _Optional[_Union[SearchFacesRequest, _Mapping]] = ...) -> None: ...

class StreamSearchResponse(_message.Message):
    __slots__ = ("sequence", "response", "error")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    response: SearchFacesResponse
    error: _status_pb2.Status
    def __init__(self, sequence: _Optional[int] = ..., response: _Optional[_Union[SearchFacesResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...
