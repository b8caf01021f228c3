"""Where the files of the PyPI package `face-recognition-models` lie, and that they are the ones we know."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Final

from mien_server.errors import Unavailable

__all__ = [
    "FIVE_POINT_PREDICTOR",
    "RECOGNITION_NETWORK",
    "RECOGNITION_NETWORK_SHA256",
    "SIXTY_EIGHT_POINT_PREDICTOR",
    "model_file",
    "sha256_of_file",
]

PACKAGE: Final = "face_recognition_models"
INSTALL_COMMAND: Final = "pip install 'mien[server]'"

RECOGNITION_NETWORK: Final = "dlib_face_recognition_resnet_model_v1.dat"
FIVE_POINT_PREDICTOR: Final = "shape_predictor_5_face_landmarks.dat"
SIXTY_EIGHT_POINT_PREDICTOR: Final = "shape_predictor_68_face_landmarks.dat"

RECOGNITION_NETWORK_SHA256: Final = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"

# Of face-recognition-models 0.3.0. Other weights would give embeddings that are not comparable.
KNOWN_SHA256: Final = {
    RECOGNITION_NETWORK: RECOGNITION_NETWORK_SHA256,
    FIVE_POINT_PREDICTOR: "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    SIXTY_EIGHT_POINT_PREDICTOR: "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
}


def model_file(name: str) -> Path:
    """The path of one of the package's files, its SHA-256 verified.

    The package is located, not imported: importing it needs pkg_resources, which newer Pythons no longer bring.

    Raises:
        Unavailable: RECIPE_UNAVAILABLE when the package or the file is missing or the file is another one.
    """
    specification = importlib.util.find_spec(PACKAGE)
    folders = list(specification.submodule_search_locations or ()) if specification is not None else []
    for folder in folders:
        path = Path(folder) / "models" / name
        if path.is_file():
            _verify(path, KNOWN_SHA256[name])
            return path
    raise Unavailable(
        f"{name} of the package face-recognition-models is not installed; run: {INSTALL_COMMAND}",
        reason="RECIPE_UNAVAILABLE",
    )


def _verify(path: Path, expected: str) -> None:
    status = path.stat()
    found = _sha256(path, status.st_size, status.st_mtime_ns)
    if found != expected:
        raise Unavailable(
            f"{path} has SHA-256 {found}, expected {expected} (face-recognition-models 0.3.0): reinstall it with "
            "pip install --force-reinstall face-recognition-models==0.3.0",
            reason="RECIPE_UNAVAILABLE",
        )


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a file; read again only when its size or time changed."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, _size: int, _modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
