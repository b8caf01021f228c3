"""Loads a recipe's parts: the one place that imports detectors and networks, and only in workers."""

from __future__ import annotations

from functools import cache

from mien_server.embedding.alignment import DlibAligner, SixtyEightPoints
from mien_server.embedding.analysis import Analyser
from mien_server.embedding.catalogue import describe_recipe
from mien_server.embedding.dlib_embedder import DlibEmbedder
from mien_server.embedding.facenet_weights import locate_weights
from mien_server.embedding.hog import HogFinder
from mien_server.embedding.options import Detector, EmbeddingOptions
from mien_server.embedding.recipes import DLIB_RECIPE
from mien_server.errors import Unavailable

__all__ = ["load_analyser"]


def load_analyser(name: str, options: EmbeddingOptions) -> tuple[Analyser, str]:
    """The recipe ready to work, and its fingerprint.

    Raises:
        Unavailable: RECIPE_UNAVAILABLE with what to do.
    """
    description = describe_recipe(name, options)
    if not description.available:
        raise Unavailable(description.unavailable_reason, reason="RECIPE_UNAVAILABLE")
    analyser = _load_dlib(options) if name == DLIB_RECIPE else _load_facenet(options)
    return analyser, description.fingerprint


def _load_dlib(options: EmbeddingOptions) -> Analyser:
    embedder = DlibEmbedder(options.cache_directory)
    if options.detector is Detector.HOG:
        return Analyser(HogFinder(), DlibAligner(), embedder, _sixty_eight_points, options.limits)
    from mien_server.embedding.mtcnn import MtcnnFinder

    return Analyser(MtcnnFinder(), DlibAligner(), embedder, _sixty_eight_points, options.limits)


def _load_facenet(options: EmbeddingOptions) -> Analyser:
    from mien_server.embedding.facenet import FacenetAligner, FacenetEmbedder
    from mien_server.embedding.mtcnn import MtcnnFinder

    embedder = FacenetEmbedder(locate_weights(options).path, options.facenet_preprocessing)
    return Analyser(MtcnnFinder(), FacenetAligner(), embedder, _sixty_eight_points, options.limits)


@cache
def _sixty_eight_points() -> SixtyEightPoints:
    return SixtyEightPoints()
