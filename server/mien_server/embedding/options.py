"""What may be chosen about embedding, and what each choice means."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field
from pathlib import Path

from mien_server.config.limits import Limits

__all__ = ["Detector", "EmbeddingOptions", "FacenetPreprocessing", "FacenetWeights"]

CACHE_FOLDER_NAME = "mien"


class Detector(enum.Enum):
    """Which detector finds faces for the `dlib` embedder."""

    HOG = "hog"
    MTCNN = "mtcnn"


class FacenetPreprocessing(enum.Enum):
    """How a 160 x 160 crop becomes the input of InceptionResnetV1. Part of the fingerprint.

    FIXED is (x - 127.5) / 128, what facenet-pytorch's weights were trained for; PER_IMAGE is (x - mean) / std of
    each crop, with std at least 1 / sqrt(number of values), FaceNet's "prewhitening".
    """

    FIXED = "fixed"
    PER_IMAGE = "per-image"


class FacenetWeights(enum.Enum):
    """The two weight files that facenet-pytorch publishes."""

    VGGFACE2 = "vggface2"
    CASIA_WEBFACE = "casia-webface"


def default_cache_directory() -> Path:
    """The user's cache folder for Mien: `$XDG_CACHE_HOME/mien` or `~/.cache/mien`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / CACHE_FOLDER_NAME


@dataclass(frozen=True, slots=True)
class EmbeddingOptions:
    """Choices of one embedding service.

    Attributes:
        worker_count: worker processes, each computing on one thread; None is one for each core this process may use.
        queue_images_max: photographs that may wait for a worker; beyond it a request is refused as Overloaded.
        queue_bytes_max: bytes of the photographs that may wait.
        batch_images_max: photographs a worker takes at once; their faces go through the network together.
        image_time_max_s: seconds a worker may spend on one photograph; after that it is ended and the photograph
            counts as one that crashed it.
        limits: bytes and pixels of a photograph and faces answered for one (the largest ones).
        cache_directory: where network graphs and downloaded weights are kept.
        detector: who finds the faces for the `dlib` recipe. MTCNN needs the extra `facenet`.
        facenet_weights_path: InceptionResnetV1 weights (a torch state dict); None looks into the cache.
        facenet_weights_sha256: hex SHA-256 the weights file must have; empty accepts any.
        facenet_weights: which published file is looked for in the cache and fetched.
        facenet_download_allowed: fetch the published weights on first use and check their SHA-256.
        facenet_preprocessing: how crops are standardised.
        preloaded_recipes: recipes whose models a worker loads when it starts, not at the first photograph.
    """

    worker_count: int | None = None
    queue_images_max: int = 512
    queue_bytes_max: int = 512 * 1024 * 1024
    batch_images_max: int = 8
    image_time_max_s: float = 60.0
    limits: Limits = field(default_factory=Limits)
    cache_directory: Path = field(default_factory=default_cache_directory)
    detector: Detector = Detector.HOG
    facenet_weights_path: Path | None = None
    facenet_weights_sha256: str = ""
    facenet_weights: FacenetWeights = FacenetWeights.VGGFACE2
    facenet_download_allowed: bool = False
    facenet_preprocessing: FacenetPreprocessing = FacenetPreprocessing.FIXED
    preloaded_recipes: tuple[str, ...] = ("dlib",)
