"""What a worker answers, encoded and decoded.

Towards a worker travel our own objects, pickled. Back travels JSON: a worker has read hostile pictures, and nothing
that it says is unpickled by the process that serves.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import numpy as np

from mien_server.errors import InternalError, MienError, Unavailable
from mien_server.records.faces import (
    Box,
    FaceAnalysis,
    Float32Array,
    ImageAnalysis,
    ImageStatus,
    Quality,
    QualityReason,
)

__all__ = ["ANSWER_BYTES_MAX", "READY", "TAKEN", "decode_answer", "encode_analyses", "encode_error"]

READY: Final = b"ready"
"""The worker has started."""

TAKEN: Final = b"taken"
"""The worker has read its batch whole: from here on a crash is the batch's."""

ANSWER_BYTES_MAX: Final = 1 << 30


def encode_analyses(analyses: list[ImageAnalysis]) -> bytes:
    """The answer to a batch."""
    return json.dumps({"images": [_image_to_json(analysis) for analysis in analyses]}).encode("utf-8")


def encode_error(error: MienError) -> bytes:
    """The answer to a batch that could not be worked on at all, such as a recipe that cannot be loaded."""
    kind = "unavailable" if isinstance(error, Unavailable) else "internal"
    return json.dumps({"error": {"kind": kind, "reason": error.reason, "message": error.message}}).encode("utf-8")


def decode_answer(answer: bytes) -> list[ImageAnalysis]:
    """What `encode_analyses` was given; raises what `encode_error` was given.

    Raises:
        Unavailable: the recipe cannot be used.
        InternalError: anything else went wrong in the worker; or the answer makes no sense (WORKER_ANSWER_INVALID).
    """
    try:
        fields = json.loads(answer)
        if "error" not in fields:
            return [_image_from_json(image) for image in fields["images"]]
        failure = fields["error"]
        error_class = Unavailable if failure["kind"] == "unavailable" else InternalError
        error = error_class(str(failure["message"]), reason=str(failure["reason"]))
    except (ValueError, KeyError, TypeError, IndexError) as cause:
        raise InternalError("a worker's answer makes no sense", reason="WORKER_ANSWER_INVALID") from cause
    raise error


def _bytes_to_json(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode("ascii")


def _bytes_from_json(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)


def _points_from_json(rows: list[list[float]]) -> Float32Array:
    return np.asarray(rows, dtype=np.float32).reshape(-1, 2)


def _image_to_json(analysis: ImageAnalysis) -> dict[str, Any]:
    return {
        "status": int(analysis.status),
        "message": analysis.message,
        "size": [analysis.width, analysis.height],
        "sha256": analysis.sha256.hex(),
        "faces": [_face_to_json(face) for face in analysis.faces],
    }


def _image_from_json(fields: dict[str, Any]) -> ImageAnalysis:
    width, height = fields["size"]
    return ImageAnalysis(
        status=ImageStatus(fields["status"]),
        message=str(fields["message"]),
        width=int(width),
        height=int(height),
        sha256=bytes.fromhex(fields["sha256"]),
        faces=tuple(_face_from_json(face) for face in fields["faces"]),
    )


def _face_to_json(face: FaceAnalysis) -> dict[str, Any]:
    quality = face.quality
    return {
        "box": [face.box.left, face.box.top, face.box.width, face.box.height],
        "five": face.landmarks_five.tolist(),
        "sixty_eight": None if face.landmarks_sixty_eight is None else face.landmarks_sixty_eight.tolist(),
        "score": face.detector_score,
        "rotation": face.rotation_degrees,
        "quality": {
            "score": quality.score,
            "reasons": [int(reason) for reason in quality.reasons],
            "face_size_px": quality.face_size_px,
            "sharpness": quality.sharpness,
            "brightness": quality.brightness,
            "contrast": quality.contrast,
            "yaw": quality.yaw,
            "roll_degrees": quality.roll_degrees,
        },
        "embedding": None if face.embedding is None else _bytes_to_json(face.embedding.astype("<f4").tobytes()),
        "png": _bytes_to_json(face.aligned_png),
    }


def _face_from_json(fields: dict[str, Any]) -> FaceAnalysis:
    left, top, width, height = (float(edge) for edge in fields["box"])
    quality = dict(fields["quality"])
    quality["reasons"] = tuple(QualityReason(reason) for reason in quality["reasons"])
    embedding = _bytes_from_json(fields["embedding"])
    sixty_eight = fields["sixty_eight"]
    return FaceAnalysis(
        box=Box(left, top, width, height),
        landmarks_five=_points_from_json(fields["five"]),
        landmarks_sixty_eight=None if sixty_eight is None else _points_from_json(sixty_eight),
        detector_score=float(fields["score"]),
        quality=Quality(**quality),
        rotation_degrees=int(fields["rotation"]),
        embedding=None if embedding is None else np.frombuffer(embedding, dtype="<f4").astype(np.float32),
        aligned_png=_bytes_from_json(fields["png"]),
    )
