"""Recognition: from the bytes of a photograph to its faces and their embeddings.

Here live decoding, detectors, landmarks, alignment, quality, the networks and the worker processes that run them.
Only this layer imports Pillow, dlib, ONNX, ONNX Runtime, torch and facenet-pytorch, and it does so in the workers:
the process that serves never maps them. It knows no gallery, no store, no index and no gRPC.
"""

from mien_server.embedding.options import Detector, EmbeddingOptions, FacenetPreprocessing, FacenetWeights
from mien_server.embedding.recipes import (
    DLIB_RECIPE,
    FACENET_RECIPE,
    Calibration,
    CalibrationPoint,
    RecipeDescription,
)
from mien_server.embedding.service import EmbeddingService

__all__ = [
    "DLIB_RECIPE",
    "FACENET_RECIPE",
    "Calibration",
    "CalibrationPoint",
    "Detector",
    "EmbeddingOptions",
    "EmbeddingService",
    "FacenetPreprocessing",
    "FacenetWeights",
    "RecipeDescription",
]
