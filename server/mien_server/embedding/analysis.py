"""A recipe at work: photographs to faces, one after the other, and all their faces through the network together.

Loaded in workers only.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from mien_server.config.limits import Limits
from mien_server.embedding.alignment import AlignedFace, Aligner, SixtyEightPoints
from mien_server.embedding.decode import DecodedImage, decode
from mien_server.embedding.detection import Detection, FaceFinder, largest_first, overlap
from mien_server.embedding.embedders import CHIPS_PER_RUN_MAX, Embedder
from mien_server.embedding.orientation import FoundFaces, find_faces
from mien_server.embedding.pixels import box_turned_back, png, points_turned_back
from mien_server.embedding.quality import FaceMeasures, measure_quality
from mien_server.embedding.refusal import DecodeRefused, refused_analysis
from mien_server.embedding.work import WorkKind
from mien_server.errors import MienError
from mien_server.records.faces import Box, FaceAnalysis, Float32Array, ImageAnalysis, ImageStatus

__all__ = ["Analyser"]

LOGGER: Final = logging.getLogger(__name__)

INSIDE_SHARE_MIN: Final = 0.25
"""A box that lies further outside the picture than this holds no face that could be cropped."""

NO_FACE_MESSAGE: Final = (
    "no face was found, upright or turned; send a picture in which a face looks towards the camera, is at least "
    "40 pixels wide and is not covered"
)


@dataclass(frozen=True, slots=True)
class _Located:
    """A photograph with its faces, before the network: `chips` in the order of the faces."""

    analysis: ImageAnalysis
    chips: tuple[npt.NDArray[np.uint8], ...]


class Analyser:
    """One recipe's detector, alignment and network.

    Args:
        sixty_eight_points: makes the 68-point predictor when it is first asked for (it holds 100 MB).
    """

    def __init__(
        self,
        finder: FaceFinder,
        aligner: Aligner,
        embedder: Embedder,
        sixty_eight_points: Callable[[], SixtyEightPoints],
        limits: Limits,
    ) -> None:
        self._finder = finder
        self._aligner = aligner
        self._embedder = embedder
        self._sixty_eight_points = sixty_eight_points
        self._limits = limits

    def analyse(self, contents: Sequence[bytes], kind: WorkKind) -> list[ImageAnalysis]:
        """Status and faces of each photograph, in order. A photograph that cannot be used fails alone."""
        located = [self._locate(content, kind) for content in contents]
        if not kind.embed:
            return [photograph.analysis for photograph in located]
        chips = [chip for photograph in located for chip in photograph.chips]
        embeddings = iter(self._embed(chips))
        return [
            replace(
                photograph.analysis,
                faces=tuple(replace(face, embedding=next(embeddings)) for face in photograph.analysis.faces),
            )
            for photograph in located
        ]

    def _embed(self, chips: list[npt.NDArray[np.uint8]]) -> list[Float32Array]:
        rows: list[Float32Array] = []
        for start in range(0, len(chips), CHIPS_PER_RUN_MAX):
            rows.extend(self._embedder.embed(np.stack(chips[start : start + CHIPS_PER_RUN_MAX])))
        return rows

    def _locate(self, content: bytes, kind: WorkKind) -> _Located:
        try:
            image = decode(content, self._limits)
            return self._located(content, image, kind)
        except DecodeRefused as refusal:
            return _Located(refused_analysis(content, refusal), ())
        except MienError:
            raise
        except Exception as error:
            # A foreign library's surprise at one hostile picture must not fail the pictures that share its batch.
            LOGGER.exception("a photograph of %d bytes failed", len(content))
            failure = DecodeRefused(
                ImageStatus.WORKER_CRASHED,
                f"the picture made a decoder or detector fail ({type(error).__name__}); save it anew as JPEG or PNG",
            )
            return _Located(refused_analysis(content, failure), ())

    def _located(self, content: bytes, image: DecodedImage, kind: WorkKind) -> _Located:
        found = find_faces(image.pixels, self._finder)
        height, width = found.pixels.shape[:2]
        frame = Box(0, 0, width, height)
        inside = [face for face in found.detections if overlap(face.box, frame) >= INSIDE_SHARE_MIN]
        detections = largest_first(inside)[: self._limits.faces_per_image_max]
        aligned = [self._aligner.align(found.pixels, detection) for detection in detections]
        faces = tuple(
            self._face(found, image, detection, face, kind) for detection, face in zip(detections, aligned, strict=True)
        )
        analysis = ImageAnalysis(
            status=ImageStatus.OK if faces else ImageStatus.NO_FACE,
            message="" if faces else NO_FACE_MESSAGE,
            width=image.width,
            height=image.height,
            sha256=hashlib.sha256(content).digest(),
            faces=faces,
        )
        return _Located(analysis, tuple(face.chip for face in aligned))

    def _face(
        self, found: FoundFaces, image: DecodedImage, detection: Detection, aligned: AlignedFace, kind: WorkKind
    ) -> FaceAnalysis:
        def back(points: Float32Array) -> Float32Array:
            return points_turned_back(points, found.degrees, image.width, image.height)

        box = box_turned_back(detection.box, found.degrees, image.width, image.height)
        left_eye, right_eye = back(np.stack([aligned.eyes_and_nose.left_eye, aligned.eyes_and_nose.right_eye]))
        measures = FaceMeasures(
            chip=aligned.chip,
            face_size_px=min(box.width, box.height),
            eyes_and_nose=aligned.eyes_and_nose,
            roll_degrees=math.degrees(math.atan2(float(right_eye[1] - left_eye[1]), float(right_eye[0] - left_eye[0]))),
            detector_score=_share_of_range(detection.score, self._finder.lowest_score, self._finder.upright_score),
            outside_share=aligned.outside_share,
        )
        sixty_eight = None
        if kind.sixty_eight_landmarks:
            sixty_eight = back(self._sixty_eight_points().points(found.pixels, detection))
        return FaceAnalysis(
            box=box,
            landmarks_five=back(aligned.points),
            landmarks_sixty_eight=sixty_eight,
            detector_score=detection.score,
            quality=measure_quality(measures),
            rotation_degrees=found.degrees,
            embedding=None,
            aligned_png=png(aligned.chip) if kind.aligned_png else None,
        )


def _share_of_range(score: float, lowest: float, full: float) -> float:
    return min(1.0, max(0.0, (score - lowest) / (full - lowest)))
