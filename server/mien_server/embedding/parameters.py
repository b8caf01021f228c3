"""Every number that decides which faces are found and what an embedding means, and their names in the fingerprint.

In one place, and free of foreign libraries, so that the process that serves knows a recipe's fingerprint without
loading a network. A number changed here changes the fingerprint, and with it every gallery's model: existing
galleries then refuse new photographs until they are embedded again.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Final

from mien_server.embedding.dlib_files import FIVE_POINT_PREDICTOR, KNOWN_SHA256, sha256_of_file
from mien_server.embedding.options import FacenetPreprocessing
from mien_server.errors import Unavailable

__all__ = [
    "CHIP_PADDING",
    "CHIP_SIZE_PX",
    "CROP_MARGIN_PX",
    "CROP_SIZE_PX",
    "DLIB_ALIGNMENT_IDENTITY",
    "DLIB_DIMENSION",
    "DLIB_PREPROCESSING_IDENTITY",
    "FACENET_ALIGNMENT_IDENTITY",
    "FACENET_DIMENSION",
    "FACENET_INSTALL_COMMAND",
    "HOG_COARSE_PIXELS_MAX",
    "HOG_FINE_PIXELS_MAX",
    "HOG_IDENTITY",
    "HOG_LOWEST_SCORE",
    "HOG_PORTRAIT_SHARE",
    "HOG_UPRIGHT_SCORE",
    "HOG_WINDOW_PX",
    "MTCNN_FACE_SIZE_MIN_PX",
    "MTCNN_PIXELS_MAX",
    "MTCNN_PYRAMID_FACTOR",
    "MTCNN_THRESHOLDS",
    "MTCNN_UPRIGHT_SCORE",
    "ORIENTATION_IDENTITY",
    "SAME_FACE_OVERLAP",
    "SQUARE_CENTRE_BELOW",
    "SQUARE_SIDE_OF_HEIGHT",
    "TURN_SHARE",
    "facenet_extra_missing",
    "facenet_preprocessing_identity",
    "mtcnn_identity",
]

# Both detectors: two boxes whose intersection is this share of the smaller one are the same face.
SAME_FACE_OVERLAP: Final = 0.45

# HOG, see `hog`. Of 400 photographs of LFW turned upside down HOG found a face in 53, the best scoring .65, and of
# those turned by a quarter in none; upright, 94 % score .8 or more, and no turned one ever beat its upright self.
HOG_WINDOW_PX: Final = 80
HOG_COARSE_PIXELS_MAX: Final = 2_000_000
HOG_FINE_PIXELS_MAX: Final = 8_000_000
HOG_PORTRAIT_SHARE: Final = 0.3
HOG_LOWEST_SCORE: Final = 0.0
HOG_UPRIGHT_SCORE: Final = 0.8
HOG_IDENTITY: Final = (
    f"dlib-hog coarse={HOG_COARSE_PIXELS_MAX} fine={HOG_FINE_PIXELS_MAX} portrait={HOG_PORTRAIT_SHARE} "
    f"threshold={HOG_LOWEST_SCORE} overlap={SAME_FACE_OVERLAP}"
)

# MTCNN, see `mtcnn`. The best face of LFW photographs turned by a quarter or a half scored .992.
MTCNN_PIXELS_MAX: Final = 2_000_000
MTCNN_FACE_SIZE_MIN_PX: Final = 20
MTCNN_THRESHOLDS: Final = (0.6, 0.7, 0.7)
MTCNN_PYRAMID_FACTOR: Final = 0.709
MTCNN_UPRIGHT_SCORE: Final = 0.993
MTCNN_FILES: Final = ("pnet.pt", "rnet.pt", "onet.pt")

# Turned pictures, see `orientation`: a turned picture must score at least this share of the detector's upright score.
TURN_SHARE: Final = 0.5
ORIENTATION_IDENTITY: Final = f"quarter-turns by best score at its size, floor={TURN_SHARE}"

# dlib's chip, see `alignment`. MTCNN's boxes are upright oblongs around the head, dlib's predictors were trained on
# HOG's squares; medians over LFW photographs: the square's side is .84 of the box's height, its centre .08 lower.
CHIP_SIZE_PX: Final = 150
CHIP_PADDING: Final = 0.25
SQUARE_SIDE_OF_HEIGHT: Final = 0.84
SQUARE_CENTRE_BELOW: Final = 0.08
DLIB_DIMENSION: Final = 128
DLIB_ALIGNMENT_IDENTITY: Final = (
    f"dlib-chip {KNOWN_SHA256[FIVE_POINT_PREDICTOR]} size={CHIP_SIZE_PX} padding={CHIP_PADDING} "
    f"square={SQUARE_SIDE_OF_HEIGHT},{SQUARE_CENTRE_BELOW}"
)
DLIB_PREPROCESSING_IDENTITY: Final = "minus-mean-over-256 of the weights file"

# facenet-pytorch's crop, see `facenet`.
CROP_SIZE_PX: Final = 160
CROP_MARGIN_PX: Final = 0
FACENET_DIMENSION: Final = 512
FACENET_ALIGNMENT_IDENTITY: Final = f"facenet-pytorch-crop size={CROP_SIZE_PX} margin={CROP_MARGIN_PX}"
FACENET_INSTALL_COMMAND: Final = "pip install 'mien[server,facenet]'"


def facenet_preprocessing_identity(preprocessing: FacenetPreprocessing) -> str:
    """The standardisation as a part of the fingerprint."""
    return f"standardisation={preprocessing.value}"


def facenet_extra_missing() -> str:
    """Why the extra `facenet` cannot be used and what to do; empty when it can. Imports nothing."""
    missing = [name for name in ("torch", "facenet_pytorch") if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    return f"the extra `facenet` is not installed ({', '.join(missing)} missing); run: {FACENET_INSTALL_COMMAND}"


def mtcnn_identity() -> str:
    """Name, parameters and weights of MTCNN, without importing torch.

    Raises:
        Unavailable: RECIPE_UNAVAILABLE when the extra is not installed.
    """
    missing = facenet_extra_missing()
    specification = importlib.util.find_spec("facenet_pytorch") if not missing else None
    if specification is None or not specification.submodule_search_locations:
        raise Unavailable(missing or FACENET_INSTALL_COMMAND, reason="RECIPE_UNAVAILABLE")
    data = Path(specification.submodule_search_locations[0]) / "data"
    digests = "".join(sha256_of_file(data / name) for name in MTCNN_FILES)
    return (
        f"mtcnn {hashlib.sha256(digests.encode('ascii')).hexdigest()} pixels={MTCNN_PIXELS_MAX} "
        f"size={MTCNN_FACE_SIZE_MIN_PX} thresholds={MTCNN_THRESHOLDS} factor={MTCNN_PYRAMID_FACTOR} "
        f"overlap={SAME_FACE_OVERLAP}"
    )
