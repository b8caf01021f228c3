"""From items to rows: what each item of an enrolment adds, and what each refused item did wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from mien_server.config.limits import Limits
from mien_server.engine import translation
from mien_server.engine.images import image_error
from mien_server.engine.types import EnrollItem, FaceInfo
from mien_server.engine.validation import check_expire_time, check_face_id, check_identity_id, check_labels, check_text
from mien_server.engine.vectors import check_vectors, digests_of, new_face_ids, refuse_bad_rows, unpack
from mien_server.errors import InternalError, InvalidArgument, MienError
from mien_server.records.faces import FaceAnalysis, Float32Array, ImageAnalysis, QualityReason
from mien_server.records.policies import EnrollmentPolicy, MultipleFaces, QualityGate
from mien_server.records.store_pb2 import FaceRecord
from mien_server.storage import Face, IdentitySeed

__all__ = ["DraftRow", "EnrollmentDraft"]


@dataclass(frozen=True, slots=True)
class DraftRow:
    """One face to be enrolled.

    Attributes:
        item: index of the item it came from.
        expire_time_us: the time that the item gave, or 0.
    """

    item: int
    identity_id: str
    face_id: str
    vector: Float32Array
    record: FaceRecord
    expire_time_us: int

    def info(self, model_fingerprint: str, expire_time_us: int) -> FaceInfo:
        """The face as it will be answered, with the time that the gallery may have given it."""
        face = Face(ordinal=-1, identity_number=0, face_id=self.face_id, record=self.record)
        info = translation.face_info(face, self.identity_id, model_fingerprint)
        return replace(info, expire_time_us=expire_time_us)


@dataclass(slots=True)
class EnrollmentDraft:
    """Rows and errors of an enrolment before it takes the writer; `quality_minimum` is the gate's score."""

    limits: Limits
    policy: EnrollmentPolicy
    model: str
    dimension: int
    quality_minimum: float
    now_us: int
    rows: list[DraftRow] = field(default_factory=list)
    errors: dict[int, MienError] = field(default_factory=dict)
    warnings: dict[int, tuple[QualityReason, ...]] = field(default_factory=dict)
    seeds: dict[str, IdentitySeed] = field(default_factory=dict)

    def check(self, position: int, item: EnrollItem) -> bool:
        """Whether the item's own fields are allowed; what is not becomes the item's error."""
        try:
            self._check(item, f"items[{position}]")
        except InvalidArgument as error:
            self.errors[position] = error
            return False
        return True

    def _check(self, item: EnrollItem, path: str) -> None:
        limits = self.limits
        check_identity_id(item.identity_id, limits, f"{path}.identity_id")
        name_field = f"{path}.identity_display_name"
        check_text(item.identity_display_name, limits.display_name_bytes_max, "display_name_bytes_max", name_field)
        check_labels(item.identity_labels, limits, f"{path}.identity_labels")
        check_labels(item.face_labels, limits, f"{path}.face_labels")
        check_text(item.source, limits.source_bytes_max, "source_bytes_max", f"{path}.source")
        check_expire_time(item.expire_time_us, self.now_us, f"{path}.expire_time")
        if item.image is not None:
            check_text(item.image.source, limits.source_bytes_max, "source_bytes_max", f"{path}.image.source")
        if item.face_id:
            check_face_id(item.face_id, limits, f"{path}.face_id")
            if item.image is not None and self.policy.multiple_faces is MultipleFaces.ALL:
                raise InvalidArgument(
                    f"{path}.face_id: one id cannot name every face of a photograph; leave it empty, or enrol one face",
                    field=f"{path}.face_id",
                    reason="FACE_ID_INVALID",
                )
        if (item.image is None) == (item.embedding is None):
            raise InvalidArgument(
                f"{path}: exactly one of image and embedding is needed", field=path, reason="ITEM_WITHOUT_FACE"
            )

    def add_embedding(self, position: int, item: EnrollItem) -> None:
        """Add the item's one vector, or its error."""
        packed = item.embedding
        path = f"items[{position}].embedding"
        try:
            if packed is None:
                raise InternalError(f"{path} is missing")
            raw = unpack(packed, dimension=self.dimension, model=self.model, limits=self.limits, field=path)
            if raw.shape[0] != 1:
                raise InvalidArgument(
                    f"{path}: one vector an item, {raw.shape[0]} given", field=path, reason="EMBEDDING_SIZE"
                )
            vector = refuse_bad_rows(check_vectors(raw, normalize=packed.normalize, field=path))
        except MienError as error:
            self.errors[position] = error
            return
        record = FaceRecord(
            labels=dict(item.face_labels),
            source=item.source,
            create_time_us=self.now_us,
            digest=digests_of(vector)[0],
        )
        self._add(position, item, vector[0], record)

    def add_image(self, position: int, item: EnrollItem, analysis: ImageAnalysis) -> None:
        """Add the faces of the item's photograph that the policy takes, or its error."""
        path = f"items[{position}].image"
        error = image_error(analysis, path) or self._several_faces(analysis, path)
        if error is not None:
            self.errors[position] = error
            return
        takes_all = self.policy.multiple_faces is MultipleFaces.ALL
        faces = analysis.faces if takes_all else analysis.faces[:1]
        if not self._passes_gate(position, faces, path):
            return
        for face in faces:
            self._add_face(position, item, analysis, face)

    def _several_faces(self, analysis: ImageAnalysis, path: str) -> MienError | None:
        count = len(analysis.faces)
        if count == 1 or self.policy.multiple_faces is not MultipleFaces.REFUSE:
            return None
        return InvalidArgument(
            f"{path}: {count} faces found and the policy refuses more than one; crop the photograph, "
            "or enrol with multiple_faces LARGEST",
            field=path,
            reason="MULTIPLE_FACES",
            metadata={"faces": str(count)},
        )

    def _passes_gate(self, position: int, faces: tuple[FaceAnalysis, ...], path: str) -> bool:
        minimum = self.quality_minimum
        poor = [face.quality for face in faces if face.quality.score < minimum]
        if not poor or self.policy.quality_gate is QualityGate.ACCEPT:
            return True
        reasons = tuple(dict.fromkeys(reason for quality in poor for reason in quality.reasons))
        if self.policy.quality_gate is QualityGate.WARN:
            self.warnings[position] = reasons
            return True
        names = ", ".join(reason.name.lower().replace("_", " ") for reason in reasons)
        score = min(quality.score for quality in poor)
        self.errors[position] = InvalidArgument(
            f"{path}: quality {score:.2f} is below {minimum:.2f} ({names or 'no single cause'}); "
            "use a better photograph",
            field=path,
            reason="QUALITY_TOO_LOW",
        )
        return False

    def _add_face(self, position: int, item: EnrollItem, analysis: ImageAnalysis, face: FaceAnalysis) -> None:
        if face.embedding is None:
            raise InternalError("a face that was to be enrolled has no embedding")
        box = face.box
        place = f"{box.left:.0f},{box.top:.0f},{box.width:.0f},{box.height:.0f}"
        digest = hashlib.sha256(analysis.sha256 + place.encode()).digest()[:16]
        source = item.image.source if item.image is not None else ""
        record = translation.face_record(
            face,
            labels=dict(item.face_labels),
            source=source or item.source,
            image_sha256=analysis.sha256,
            now_us=self.now_us,
            digest=digest,
        )
        self._add(position, item, face.embedding, record)

    def _add(self, position: int, item: EnrollItem, vector: Float32Array, record: FaceRecord) -> None:
        face_id = item.face_id or new_face_ids(1)[0]
        self.rows.append(DraftRow(position, item.identity_id, face_id, vector, record, item.expire_time_us))
        if (item.identity_display_name or item.identity_labels) and item.identity_id not in self.seeds:
            self.seeds[item.identity_id] = IdentitySeed(item.identity_display_name, dict(item.identity_labels))

    def matrix(self) -> Float32Array:
        """The rows' vectors, float32 [n, d], C-contiguous."""
        if not self.rows:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.ascontiguousarray(np.stack([row.vector for row in self.rows]))

    def face_labels(self) -> Mapping[int, Mapping[str, str]]:
        """Labels of the rows that carry some, by row."""
        return {row: dict(one.record.labels) for row, one in enumerate(self.rows) if one.record.labels}
