"""The Python client of Mien, a face identity store: numpy and photographs in, typed answers out.

    from pathlib import Path
    from mien_client import Client, EnrollItem

    with Client("127.0.0.1:7311") as client:
        client.create_gallery("people", recipe="dlib")
        client.enroll_faces("people", [EnrollItem("ada", image=Path("ada.jpg"), identity_display_name="Ada")])
        answer = client.identify("people", images=[Path("crowd.jpg")])
        for face in answer.images[0].faces:
            print(face.match.name if face.match else "Unknown", face.candidates[0].similarity)

        # Your own embeddings, a million at a time: float32 [n, d] and n ids.
        client.create_gallery("mine", precomputed="my-model-1", dimension=512)
        for ack in client.stream_enroll("mine", row_batches(vectors, identity_ids)):
            print(ack.batch, ack.enrolled_count, "durable at revision", ack.revision)
        nearest = client.search_faces("mine", embeddings=vectors[:1000], k=10, columnar=True).columns

`Client` has a method for every call of the contract, under its name. Lists are iterators that read page after page.
Streams take an iterator, keep a bounded number of requests under way, and resume after a broken connection. What a
method answers is a frozen dataclass; what goes wrong is a MienClientError (see `mien_client.errors` for the tree).

The command line is in `mien_client.cli` and needs the extra: pip install 'mien[cli]'.
"""

from __future__ import annotations

from mien_client._calls.enrollment import row_batches
from mien_client._rpc.channel import ClientOptions, TlsOptions
from mien_client._types.enums import (
    ConditionSubject,
    Decision,
    DistanceMetric,
    Duplicates,
    ErasureState,
    IdentityScoring,
    ImageStatus,
    IndexCode,
    IndexStateName,
    MultipleFaces,
    OperationKind,
    OperationState,
    QualityGate,
    QualityReason,
    ThresholdOrigin,
    VectorType,
)
from mien_client._types.erasures import (
    Erasure,
    ErasureCheck,
    ErasureReceipt,
    ErasureScan,
    ErasureVerification,
    HeldSnapshot,
    StartedErasure,
)
from mien_client._types.faces import BoundingBox, DetectedFace, DetectionAnswer, Face, ImageFaces, Landmarks, Quality
from mien_client._types.galleries import (
    DeletedFaces,
    DeletedGallery,
    DeletedIdentity,
    EffortStep,
    EmbeddingModel,
    EnrollAck,
    EnrollAnswer,
    EnrollOutcome,
    Gallery,
    Identity,
    IndexState,
    MovedFaces,
)
from mien_client._types.operations import (
    AbsentFeature,
    CreateSnapshotResult,
    Damage,
    GalleryInfo,
    Limits,
    Operation,
    RebuildIndexResult,
    RecipeInfo,
    ServerInfo,
    Snapshot,
)
from mien_client._types.recognition import (
    AnswerInfo,
    Candidate,
    Explanation,
    FaceIdentification,
    FaceNeighbors,
    IdentifyAnswer,
    ImageIdentification,
    ImageNeighbors,
    Neighbor,
    NeighborColumns,
    SearchAnswer,
    StageTiming,
    StreamedIdentifyAnswer,
    StreamedSearchAnswer,
    Threshold,
    VerifyAnswer,
)
from mien_client._types.requests import (
    Condition,
    DecisionPolicy,
    Effort,
    EmbeddingBlock,
    EnrolledFace,
    EnrolledIdentity,
    EnrollItem,
    EnrollmentPolicy,
    EnrollRows,
    Filter,
    Image,
    ImageLike,
    IndexPolicy,
    Probes,
    Vectors,
)
from mien_client.client import Client
from mien_client.errors import (
    AccessDenied,
    AlreadyExists,
    Cancelled,
    Conflict,
    DeadlineExceeded,
    FieldViolation,
    InvalidArgument,
    MienClientError,
    NotFound,
    Overloaded,
    PreconditionFailed,
    ServerFailure,
    Unavailable,
    Unimplemented,
)

__all__ = [
    "AbsentFeature",
    "AccessDenied",
    "AlreadyExists",
    "AnswerInfo",
    "BoundingBox",
    "Cancelled",
    "Candidate",
    "Client",
    "ClientOptions",
    "Condition",
    "ConditionSubject",
    "Conflict",
    "CreateSnapshotResult",
    "Damage",
    "DeadlineExceeded",
    "Decision",
    "DecisionPolicy",
    "DeletedFaces",
    "DeletedGallery",
    "DeletedIdentity",
    "DetectedFace",
    "DetectionAnswer",
    "DistanceMetric",
    "Duplicates",
    "Effort",
    "EffortStep",
    "EmbeddingBlock",
    "EmbeddingModel",
    "EnrollAck",
    "EnrollAnswer",
    "EnrollItem",
    "EnrollOutcome",
    "EnrollRows",
    "EnrolledFace",
    "EnrolledIdentity",
    "EnrollmentPolicy",
    "Erasure",
    "ErasureCheck",
    "ErasureReceipt",
    "ErasureScan",
    "ErasureState",
    "ErasureVerification",
    "Explanation",
    "Face",
    "FaceIdentification",
    "FaceNeighbors",
    "FieldViolation",
    "Filter",
    "Gallery",
    "GalleryInfo",
    "HeldSnapshot",
    "IdentifyAnswer",
    "Identity",
    "IdentityScoring",
    "Image",
    "ImageFaces",
    "ImageIdentification",
    "ImageLike",
    "ImageNeighbors",
    "ImageStatus",
    "IndexCode",
    "IndexPolicy",
    "IndexState",
    "IndexStateName",
    "InvalidArgument",
    "Landmarks",
    "Limits",
    "MienClientError",
    "MovedFaces",
    "MultipleFaces",
    "Neighbor",
    "NeighborColumns",
    "NotFound",
    "Operation",
    "OperationKind",
    "OperationState",
    "Overloaded",
    "PreconditionFailed",
    "Probes",
    "Quality",
    "QualityGate",
    "QualityReason",
    "RebuildIndexResult",
    "RecipeInfo",
    "SearchAnswer",
    "ServerFailure",
    "ServerInfo",
    "Snapshot",
    "StageTiming",
    "StartedErasure",
    "StreamedIdentifyAnswer",
    "StreamedSearchAnswer",
    "Threshold",
    "ThresholdOrigin",
    "TlsOptions",
    "Unavailable",
    "Unimplemented",
    "VectorType",
    "Vectors",
    "VerifyAnswer",
    "row_batches",
]
