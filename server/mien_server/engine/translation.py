"""Between the records that storage keeps and the values that the engine answers."""

from __future__ import annotations

import numpy as np

from mien_server.engine.types import (
    ErasureInfo,
    ErasureStateKind,
    FaceInfo,
    GalleryInfo,
    GallerySpec,
    IdentityInfo,
    IndexState,
)
from mien_server.records import store_pb2
from mien_server.records.faces import Box, FaceAnalysis, Float32Array, Quality, QualityReason
from mien_server.records.policies import (
    RECALL_TARGET_DEFAULT,
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
from mien_server.storage import Face

__all__ = [
    "decision_policy_of",
    "decision_policy_record",
    "enrollment_policy_of",
    "enrollment_policy_record",
    "erasure_info",
    "erasure_of",
    "face_info",
    "face_record",
    "gallery_info",
    "gallery_record",
    "identity_info",
    "index_policy_of",
    "index_policy_record",
    "operation_of",
]


def decision_policy_record(policy: DecisionPolicy) -> store_pb2.DecisionPolicyRecord:
    """As storage keeps it."""
    record = store_pb2.DecisionPolicyRecord(scoring=int(policy.scoring), metric=int(policy.metric))
    if policy.similarity is not None:
        record.similarity = policy.similarity
    elif policy.target_fpir is not None:
        record.target_fpir = policy.target_fpir
    elif policy.target_fmr is not None:
        record.target_fmr = policy.target_fmr
    return record


def decision_policy_of(record: store_pb2.DecisionPolicyRecord) -> DecisionPolicy:
    """As the engine uses it."""
    threshold = record.WhichOneof("threshold")
    return DecisionPolicy(
        similarity=record.similarity if threshold == "similarity" else None,
        target_fpir=record.target_fpir if threshold == "target_fpir" else None,
        target_fmr=record.target_fmr if threshold == "target_fmr" else None,
        scoring=IdentityScoring(record.scoring or IdentityScoring.BEST_FACE),
        metric=DistanceMetric(record.metric),
    )


def enrollment_policy_record(policy: EnrollmentPolicy) -> store_pb2.EnrollmentPolicyRecord:
    """As storage keeps it."""
    return store_pb2.EnrollmentPolicyRecord(
        multiple_faces=int(policy.multiple_faces),
        duplicates=int(policy.duplicates),
        quality_gate=int(policy.quality_gate),
        minimum_quality=policy.minimum_quality,
    )


def enrollment_policy_of(record: store_pb2.EnrollmentPolicyRecord) -> EnrollmentPolicy:
    """As the engine uses it."""
    return EnrollmentPolicy(
        multiple_faces=MultipleFaces(record.multiple_faces or MultipleFaces.REFUSE),
        duplicates=Duplicates(record.duplicates or Duplicates.SKIP),
        quality_gate=QualityGate(record.quality_gate or QualityGate.WARN),
        minimum_quality=record.minimum_quality,
    )


def index_policy_record(policy: IndexPolicy) -> store_pb2.IndexPolicyRecord:
    """As storage keeps it."""
    return store_pb2.IndexPolicyRecord(
        default_recall_target=policy.default_recall_target, code=int(policy.code), manual_rebuild=policy.manual_rebuild
    )


def index_policy_of(record: store_pb2.IndexPolicyRecord) -> IndexPolicy:
    """As the engine uses it; rounded to six digits because the schema keeps float32."""
    return IndexPolicy(
        default_recall_target=round(record.default_recall_target, 6) or RECALL_TARGET_DEFAULT,
        code=IndexCode(record.code),
        manual_rebuild=record.manual_rebuild,
    )


def gallery_record(
    spec: GallerySpec, *, dimension: int, model_fingerprint: str, now_us: int
) -> store_pb2.GalleryRecord:
    """A gallery to be made, without the number and version that storage gives it."""
    return store_pb2.GalleryRecord(
        name=spec.name,
        display_name=spec.display_name,
        labels=dict(spec.labels),
        recipe=spec.recipe,
        precomputed_name=spec.precomputed_name,
        dimension=dimension,
        model_fingerprint=model_fingerprint,
        vector_type=store_pb2.VectorType.Name(spec.vector_type),
        decision_policy=decision_policy_record(spec.decision_policy),
        enrollment_policy=enrollment_policy_record(spec.enrollment_policy),
        index_policy=index_policy_record(spec.index_policy),
        create_time_us=now_us,
        update_time_us=now_us,
        default_time_to_live_us=spec.default_time_to_live_us,
    )


def gallery_info(
    record: store_pb2.GalleryRecord, counts: store_pb2.GalleryCounts, index_state: IndexState
) -> GalleryInfo:
    """A gallery as storage keeps it."""
    return GalleryInfo(
        name=record.name,
        display_name=record.display_name,
        labels=dict(record.labels),
        recipe=record.recipe,
        precomputed_name=record.precomputed_name,
        dimension=record.dimension,
        model_fingerprint=record.model_fingerprint,
        decision_policy=decision_policy_of(record.decision_policy),
        enrollment_policy=enrollment_policy_of(record.enrollment_policy),
        index_policy=index_policy_of(record.index_policy),
        vector_type=VectorType(record.vector_type),
        identity_count=counts.identity_count,
        face_count=counts.face_count,
        index_state=index_state,
        create_time_us=record.create_time_us,
        update_time_us=record.update_time_us,
        version=record.version,
        default_time_to_live_us=record.default_time_to_live_us,
    )


def identity_info(identity_id: str, record: store_pb2.IdentityRecord) -> IdentityInfo:
    """An identity as storage keeps it."""
    return IdentityInfo(
        id=identity_id,
        display_name=record.display_name,
        labels=dict(record.labels),
        face_count=record.face_count,
        create_time_us=record.create_time_us,
        update_time_us=record.update_time_us,
        version=record.version,
        expire_time_us=record.expire_time_us,
    )


def _quality_of(record: store_pb2.QualityRecord) -> Quality:
    return Quality(
        score=record.score,
        reasons=tuple(QualityReason(reason) for reason in record.reasons),
        face_size_px=record.face_size_px,
        sharpness=record.sharpness,
        brightness=record.brightness,
        contrast=record.contrast,
        yaw=record.yaw,
        roll_degrees=record.roll_degrees,
    )


def face_info(face: Face, identity_id: str, model_fingerprint: str, embedding: Float32Array | None = None) -> FaceInfo:
    """A face as storage keeps it, with its embedding where it was asked for."""
    record = face.record
    five = np.array(record.landmarks_five, dtype=np.float32).reshape(-1, 2) if record.landmarks_five else None
    box = record.box
    return FaceInfo(
        id=face.face_id,
        identity_id=identity_id,
        labels=dict(record.labels),
        source=record.source,
        image_sha256=record.image_sha256,
        box=Box(box.left, box.top, box.width, box.height) if record.HasField("box") else None,
        landmarks_five=five,
        quality=_quality_of(record.quality) if record.HasField("quality") else None,
        detector_score=record.detector_score,
        model_fingerprint=model_fingerprint,
        create_time_us=record.create_time_us,
        embedding=embedding,
        expire_time_us=record.expire_time_us,
    )


def face_record(
    face: FaceAnalysis, *, labels: dict[str, str], source: str, image_sha256: bytes, now_us: int, digest: bytes
) -> store_pb2.FaceRecord:
    """A face found in a photograph, as storage keeps it."""
    box, quality = face.box, face.quality
    return store_pb2.FaceRecord(
        labels=labels,
        source=source,
        image_sha256=image_sha256,
        box=store_pb2.BoxRecord(left=box.left, top=box.top, width=box.width, height=box.height),
        landmarks_five=face.landmarks_five.ravel().tolist(),
        quality=store_pb2.QualityRecord(
            score=quality.score,
            reasons=[int(reason) for reason in quality.reasons],
            face_size_px=quality.face_size_px,
            sharpness=quality.sharpness,
            brightness=quality.brightness,
            contrast=quality.contrast,
            yaw=quality.yaw,
            roll_degrees=quality.roll_degrees,
        ),
        detector_score=face.detector_score,
        create_time_us=now_us,
        digest=digest,
    )


def erasure_of(operation: str) -> str:
    """The name of the erasure that an operation reports."""
    return "erasures/" + operation.partition("/")[2]


def operation_of(erasure: str) -> str:
    """Inverse of `erasure_of`."""
    return "operations/" + erasure.partition("/")[2]


def erasure_info(record: store_pb2.ErasureRecord, time_us: int, within_us: int, trouble: str = "") -> ErasureInfo:
    """An erasure as it stands at a time."""
    state = ErasureStateKind(record.state)
    is_done = state is ErasureStateKind.DONE
    since_us = record.restore_time_us or record.create_time_us
    return ErasureInfo(
        name=record.name,
        gallery=record.gallery_name,
        state=state,
        operation=record.operation,
        create_time_us=record.create_time_us,
        is_overdue=not is_done and time_us - since_us > within_us,
        receipt=record.receipt if is_done else None,
        trouble="" if is_done else trouble,
    )
