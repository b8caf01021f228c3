"""The recipes that ship, described without loading them: from files and settings alone."""

from __future__ import annotations

from typing import Final

from mien_server.embedding import parameters
from mien_server.embedding.calibrations import calibration_of
from mien_server.embedding.dlib_files import (
    FIVE_POINT_PREDICTOR,
    RECOGNITION_NETWORK,
    RECOGNITION_NETWORK_SHA256,
    model_file,
)
from mien_server.embedding.facenet_weights import locate_weights
from mien_server.embedding.fingerprint import fingerprint
from mien_server.embedding.options import Detector, EmbeddingOptions
from mien_server.embedding.recipes import DLIB_RECIPE, FACENET_RECIPE, RecipeDescription
from mien_server.errors import NotFound, Unavailable

__all__ = ["RECIPE_NAMES", "describe_recipe"]

RECIPE_NAMES: Final = (DLIB_RECIPE, FACENET_RECIPE)

DLIB_MINIMUM_QUALITY: Final = 0.2
FACENET_MINIMUM_QUALITY: Final = 0.2

SIXTY_EIGHT_POINTS_NOTICE: Final = (
    "68-point landmarks, computed only when asked for, come from a model trained on iBUG 300-W, whose licence excludes "
    "commercial use"
)


FACENET_WEIGHTS_NOTICE: Final = (
    "the published weights were trained on VGGFace2 or CASIA-WebFace: read the terms of these data sets before "
    "commercial use"
)


def describe_recipe(name: str, options: EmbeddingOptions) -> RecipeDescription:
    """The recipe as it stands now: an unavailable one becomes available when what it lacks is put in place.

    Raises:
        NotFound: RECIPE_NOT_FOUND.
    """
    match name:
        case "dlib":
            return _describe_dlib(options)
        case "facenet":
            return _describe_facenet(options)
        case _:
            raise NotFound(
                f"there is no recipe {name!r}; the recipes are {', '.join(RECIPE_NAMES)}", reason="RECIPE_NOT_FOUND"
            )


def _describe_dlib(options: EmbeddingOptions) -> RecipeDescription:
    model, reason = "", ""
    try:
        for file in (RECOGNITION_NETWORK, FIVE_POINT_PREDICTOR):
            model_file(file)
        model = fingerprint(
            DLIB_RECIPE,
            weights_sha256=RECOGNITION_NETWORK_SHA256,
            detector=parameters.HOG_IDENTITY if options.detector is Detector.HOG else parameters.mtcnn_identity(),
            orientation=parameters.ORIENTATION_IDENTITY,
            alignment=parameters.DLIB_ALIGNMENT_IDENTITY,
            preprocessing=parameters.DLIB_PREPROCESSING_IDENTITY,
        )
    except Unavailable as error:
        reason = error.message
    return RecipeDescription(
        name=DLIB_RECIPE,
        fingerprint=model,
        dimension=parameters.DLIB_DIMENSION,
        detector="dlib HOG" if options.detector is Detector.HOG else "MTCNN",
        embedder="dlib ResNet on ONNX Runtime",
        available=not reason,
        unavailable_reason=reason,
        notices=(SIXTY_EIGHT_POINTS_NOTICE,),
        minimum_quality=DLIB_MINIMUM_QUALITY,
        calibration=calibration_of(model),
    )


def _describe_facenet(options: EmbeddingOptions) -> RecipeDescription:
    model, reason = "", ""
    try:
        detector = parameters.mtcnn_identity()
        model = fingerprint(
            FACENET_RECIPE,
            weights_sha256=locate_weights(options).sha256,
            detector=detector,
            orientation=parameters.ORIENTATION_IDENTITY,
            alignment=parameters.FACENET_ALIGNMENT_IDENTITY,
            preprocessing=parameters.facenet_preprocessing_identity(options.facenet_preprocessing),
        )
    except Unavailable as error:
        reason = error.message
    return RecipeDescription(
        name=FACENET_RECIPE,
        fingerprint=model,
        dimension=parameters.FACENET_DIMENSION,
        detector="MTCNN",
        embedder="InceptionResnetV1 of facenet-pytorch",
        available=not reason,
        unavailable_reason=reason,
        notices=(FACENET_WEIGHTS_NOTICE, SIXTY_EIGHT_POINTS_NOTICE),
        minimum_quality=FACENET_MINIMUM_QUALITY,
        calibration=calibration_of(model),
    )
