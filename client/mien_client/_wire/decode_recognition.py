"""Messages -> types: identification, verification, search."""

from __future__ import annotations

import numpy as np

from mien.v1 import recognition_service_pb2 as recognition_v1
from mien.v1 import types_pb2 as types_v1
from mien_client._rpc.failures import optional_error
from mien_client._types import enums, recognition
from mien_client._wire.decode_faces import image_faces
from mien_client._wire.enums import enum_value

__all__ = ["identify_answer", "search_answer", "verify_answer"]


def _info(message: types_v1.AnswerInfo) -> recognition.AnswerInfo:
    return recognition.AnswerInfo(
        revision=message.revision,
        model_fingerprint=message.model_fingerprint,
        explanation=_explanation(message.explanation) if message.HasField("explanation") else None,
    )


def _explanation(message: types_v1.Explanation) -> recognition.Explanation:
    return recognition.Explanation(
        plan=message.plan,
        lists_scanned=message.lists_scanned,
        lists_total=message.lists_total,
        rows_scanned=message.rows_scanned,
        rows_rescored=message.rows_rescored,
        recall_estimate=message.recall_estimate,
        generation=message.generation,
        tail_rows=message.tail_rows,
        step=message.step,
        timings=tuple(recognition.StageTiming(timing.stage, timing.milliseconds) for timing in message.timings),
        matching_faces=message.matching_faces,
    )


def _threshold(message: types_v1.Threshold) -> recognition.Threshold:
    return recognition.Threshold(
        similarity=message.similarity,
        origin=enum_value(enums.ThresholdOrigin, message.origin),
        detail=message.detail,
        extrapolated=message.extrapolated,
    )


def _identification(message: recognition_v1.FaceIdentification) -> recognition.FaceIdentification:
    return recognition.FaceIdentification(
        decision=enum_value(enums.Decision, message.decision),
        candidates=tuple(
            recognition.Candidate(
                identity_id=candidate.identity_id,
                display_name=candidate.display_name,
                similarity=candidate.similarity,
                distance=candidate.distance,
                face_id=candidate.face_id,
                labels=dict(candidate.labels),
            )
            for candidate in message.candidates
        ),
        error=optional_error(message.error),
    )


def identify_answer(message: recognition_v1.IdentifyResponse) -> recognition.IdentifyAnswer:
    """Who each probe is."""
    return recognition.IdentifyAnswer(
        embeddings=tuple(_identification(found) for found in message.embeddings),
        images=tuple(
            recognition.ImageIdentification(
                image=image_faces(found.image), faces=tuple(_identification(one) for one in found.faces)
            )
            for found in message.images
        ),
        threshold=_threshold(message.threshold),
        scoring=enum_value(enums.IdentityScoring, message.scoring),
        info=_info(message.info),
    )


def verify_answer(message: recognition_v1.VerifyFacesResponse) -> recognition.VerifyAnswer:
    """Whether two are the same person."""
    return recognition.VerifyAnswer(
        decision=enum_value(enums.Decision, message.decision),
        similarity=message.similarity,
        distance=message.distance,
        threshold=_threshold(message.threshold),
        left_image=image_faces(message.left_image) if message.HasField("left_image") else None,
        right_image=image_faces(message.right_image) if message.HasField("right_image") else None,
        info=_info(message.info),
    )


def _neighbors(message: recognition_v1.FaceNeighbors) -> recognition.FaceNeighbors:
    return recognition.FaceNeighbors(
        neighbors=tuple(
            recognition.Neighbor(near.face_id, near.identity_id, near.similarity) for near in message.neighbors
        ),
        error=optional_error(message.error),
    )


def _columns(message: recognition_v1.NeighborColumns) -> recognition.NeighborColumns:
    return recognition.NeighborColumns(
        counts=np.array(message.counts, np.int64),
        similarities=np.array(message.similarities, np.float32),
        identities=np.array(message.identities, np.int64),
        face_ids=tuple(message.face_ids),
        identity_ids=tuple(message.identity_ids),
    )


def search_answer(message: recognition_v1.SearchFacesResponse) -> recognition.SearchAnswer:
    """The faces nearest to each probe."""
    return recognition.SearchAnswer(
        embeddings=tuple(_neighbors(found) for found in message.embeddings),
        images=tuple(
            recognition.ImageNeighbors(
                image=image_faces(found.image), faces=tuple(_neighbors(one) for one in found.faces)
            )
            for found in message.images
        ),
        columns=_columns(message.columns) if message.HasField("columns") else None,
        info=_info(message.info),
    )
