"""Probes in, people and neighbours out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mien.v1 import recognition_service_pb2 as pb
from mien.v1 import types_pb2
from mien_server.engine.types import (
    Candidate,
    Explanation,
    Identification,
    IdentificationAnswer,
    NeighborsAnswer,
    Probes,
    VerificationAnswer,
    VerifySide,
)
from mien_server.rpc.convert.faces import image_faces_message
from mien_server.rpc.convert.policies import threshold_message
from mien_server.rpc.convert.values import enum_number, image_input, missing, packed_embeddings

__all__ = ["columns_response", "identify_response", "neighbors_response", "probes", "verify_response", "verify_side"]


def probes(message: pb.Probes) -> Probes:
    """What is looked up; embeddings that are not there are None."""
    return Probes(
        embeddings=packed_embeddings(message.embeddings) if message.HasField("embeddings") else None,
        images=[image_input(image) for image in message.images],
    )


def verify_side(message: pb.VerifySide, field: str) -> VerifySide:
    """One side of a verification.

    Raises:
        InvalidArgument: FIELD_REQUIRED, when it says nothing.
    """
    match message.WhichOneof("side"):
        case "image":
            return VerifySide(image=image_input(message.image))
        case "embedding":
            return VerifySide(embedding=packed_embeddings(message.embedding))
        case "face_id":
            return VerifySide(face_id=message.face_id)
        case "identity_id":
            return VerifySide(identity_id=message.identity_id)
        case _:
            raise missing(field, "give a photograph, an embedding, a face id or an identity id")


def verify_response(answer: VerificationAnswer, left_source: str, right_source: str) -> pb.VerifyFacesResponse:
    """A verification as a message; the sources are the caller's names of the photographs."""
    left, right = answer.left_image, answer.right_image
    return pb.VerifyFacesResponse(
        decision=types_pb2.DECISION_SAME if answer.is_same else types_pb2.DECISION_DIFFERENT,
        similarity=answer.similarity,
        threshold=threshold_message(answer.threshold),
        distance=0.0 if answer.distance is None else answer.distance,
        left_image=None if left is None else image_faces_message(left, left_source, "left.image"),
        right_image=None if right is None else image_faces_message(right, right_source, "right.image"),
        info=_answer_info(answer.revision, answer.model_fingerprint, None),
    )


def identify_response(answer: IdentificationAnswer) -> pb.IdentifyResponse:
    """Identifications as a message."""
    return pb.IdentifyResponse(
        embeddings=[_identification_message(found) for found in answer.embeddings],
        images=[
            pb.ImageIdentification(
                image=image_faces_message(analysis, source, f"probes.images[{position}]"),
                faces=[_identification_message(found) for found in faces],
            )
            for position, (analysis, source, faces) in enumerate(answer.images)
        ],
        threshold=threshold_message(answer.threshold),
        scoring=enum_number(answer.scoring),
        info=_answer_info(answer.revision, answer.model_fingerprint, answer.explanation),
    )


def _identification_message(found: Identification) -> pb.FaceIdentification:
    return pb.FaceIdentification(
        decision=types_pb2.DECISION_MATCH if found.is_match else types_pb2.DECISION_UNKNOWN,
        candidates=[_candidate_message(candidate) for candidate in found.candidates],
    )


def _candidate_message(candidate: Candidate) -> pb.Candidate:
    return pb.Candidate(
        identity_id=candidate.identity_id,
        display_name=candidate.display_name,
        similarity=candidate.similarity,
        distance=0.0 if candidate.distance is None else candidate.distance,
        face_id=candidate.face_id,
        labels=candidate.labels,
    )


def neighbors_response(answer: NeighborsAnswer) -> pb.SearchFacesResponse:
    """Nearest faces as one message a neighbour."""
    per_probe = _neighbor_messages(answer)
    images: list[pb.ImageNeighbors] = []
    start = answer.embedding_count
    for position, (analysis, source) in enumerate(answer.images):
        end = start + len(analysis.faces)
        images.append(
            pb.ImageNeighbors(
                image=image_faces_message(analysis, source, f"probes.images[{position}]"), faces=per_probe[start:end]
            )
        )
        start = end
    return pb.SearchFacesResponse(
        embeddings=per_probe[: answer.embedding_count],
        images=images,
        info=_answer_info(answer.revision, answer.model_fingerprint, answer.explanation),
    )


def _neighbor_messages(answer: NeighborsAnswer) -> list[pb.FaceNeighbors]:
    identity_ids, face_ids = answer.identity_ids, answer.face_ids
    rows = [
        pb.Neighbor(face_id=face_id, identity_id=identity_ids[identity], similarity=similarity)
        for face_id, identity, similarity in zip(
            face_ids, answer.identity_indexes.tolist(), answer.similarities.tolist(), strict=True
        )
    ]
    bounds: Sequence[int] = [0, *np.cumsum(answer.counts).tolist()]
    return [pb.FaceNeighbors(neighbors=rows[start:end]) for start, end in pairwise(bounds)]


def columns_response(answer: NeighborsAnswer) -> pb.SearchFacesResponse:
    """Nearest faces in columns: no message for a neighbour is made."""
    response = pb.SearchFacesResponse(info=_answer_info(answer.revision, answer.model_fingerprint, answer.explanation))
    columns = response.columns
    columns.counts.extend(answer.counts.tolist())
    columns.similarities.extend(answer.similarities.tolist())
    columns.identities.extend(answer.identity_indexes.tolist())
    columns.face_ids.extend(answer.face_ids)
    columns.identity_ids.extend(answer.identity_ids)
    return response


def _answer_info(revision: int, model: str, explanation: Explanation | None) -> types_pb2.AnswerInfo:
    return types_pb2.AnswerInfo(
        revision=revision,
        model_fingerprint=model,
        explanation=None if explanation is None else _explanation_message(explanation),
    )


def _explanation_message(explanation: Explanation) -> types_pb2.Explanation:
    return types_pb2.Explanation(
        plan=explanation.plan,
        lists_scanned=explanation.lists_scanned,
        lists_total=explanation.lists_total,
        rows_scanned=explanation.rows_scanned,
        rows_rescored=explanation.rows_rescored,
        recall_estimate=explanation.recall_estimate,
        generation=explanation.generation,
        tail_rows=explanation.tail_rows,
        step=explanation.step,
        timings=[
            types_pb2.StageTiming(stage=timing.stage, milliseconds=timing.milliseconds)
            for timing in explanation.timings
        ],
        matching_faces=explanation.matching_faces,
    )
