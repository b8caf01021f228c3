"""Where InceptionResnetV1's weights come from: a file the user names, the cache, or the published release."""

from __future__ import annotations

import hashlib
import os
import ssl
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mien_server.embedding.dlib_files import sha256_of_file
from mien_server.embedding.options import EmbeddingOptions, FacenetWeights
from mien_server.errors import Unavailable

__all__ = ["LocatedWeights", "fetch_weights", "locate_weights"]

RELEASE_ADDRESS: Final = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
FETCH_TIMEOUT_S: Final = 60.0
FETCH_CHUNK_BYTES: Final = 1024 * 1024
WEIGHTS_BYTES_MAX: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of the release. `sha256` is empty where we know of none: such a file is never fetched unchecked."""

    name: str
    sha256: str


PUBLISHED: Final = {
    FacenetWeights.VGGFACE2: PublishedFile(
        "20180402-114759-vggface2.pt", "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b"
    ),
    FacenetWeights.CASIA_WEBFACE: PublishedFile("20180408-102900-casia-webface.pt", ""),
}


@dataclass(frozen=True, slots=True)
class LocatedWeights:
    """A weights file that is there, or what is known of one that may be fetched.

    Attributes:
        path: the file, or where it will be.
        sha256: its checksum.
        present: False: `fetch_weights` must bring it first.
    """

    path: Path
    sha256: str
    present: bool


def locate_weights(options: EmbeddingOptions) -> LocatedWeights:
    """The weights that the options name. Reads files, fetches nothing.

    Raises:
        Unavailable: RECIPE_UNAVAILABLE with what to do.
    """
    published = PUBLISHED[options.facenet_weights]
    expected = options.facenet_weights_sha256.lower()
    if options.facenet_weights_path is not None:
        path = options.facenet_weights_path
        if not path.is_file():
            raise _unavailable(f"the weights file {path} is not there; check the path, or {_advice(options)}")
        return LocatedWeights(path, _checked(path, expected), present=True)
    path = options.cache_directory / "weights" / published.name
    expected = expected or published.sha256
    if path.is_file():
        return LocatedWeights(path, _checked(path, expected), present=True)
    if options.facenet_download_allowed:
        if not expected:
            raise _unavailable(
                f"no SHA-256 is known for {published.name}, so it is not fetched; set facenet_weights_sha256, or "
                f"{_advice(options)}"
            )
        return LocatedWeights(path, expected, present=False)
    raise _unavailable(
        f"its weights are not here; {_advice(options)}, or allow fetching them (facenet_download_allowed)"
    )


def fetch_weights(weights: LocatedWeights) -> None:
    """Bring the file to its path, whole and checked; nothing is left behind otherwise. Safe in many processes.

    Raises:
        Unavailable: RECIPE_UNAVAILABLE when it cannot be fetched or is another file than expected.
    """
    address = RELEASE_ADDRESS + weights.path.name
    weights.path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=weights.path.name, suffix=".part", dir=weights.path.parent)
    try:
        digest = hashlib.sha256()
        with (
            os.fdopen(handle, "wb") as file,
            urllib.request.urlopen(  # noqa: S310 - the address is a constant with https
                address, timeout=FETCH_TIMEOUT_S, context=ssl.create_default_context()
            ) as answer,
        ):
            while chunk := answer.read(FETCH_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
                if file.tell() > WEIGHTS_BYTES_MAX:
                    raise _unavailable(f"{address} is larger than {WEIGHTS_BYTES_MAX:,} bytes")
        if digest.hexdigest() != weights.sha256:
            raise _unavailable(f"{address} has SHA-256 {digest.hexdigest()}, expected {weights.sha256}")
        Path(temporary).replace(weights.path)
    except (OSError, urllib.error.URLError) as error:
        raise _unavailable(
            f"cannot fetch {address}: {error}; fetch it by other means and name the file (--weights FILE)"
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _checked(path: Path, expected: str) -> str:
    found = sha256_of_file(path)
    if expected and found != expected:
        raise _unavailable(f"the weights file {path} has SHA-256 {found}, expected {expected}; replace the file")
    return found


def _advice(options: EmbeddingOptions) -> str:
    published = PUBLISHED[options.facenet_weights]
    return (
        f"download {RELEASE_ADDRESS}{published.name} and name the file (--weights FILE, facenet_weights_path), or put "
        f"it into {options.cache_directory / 'weights'}"
    )


def _unavailable(message: str) -> Unavailable:
    return Unavailable(f"the recipe `facenet` cannot be used: {message}", reason="RECIPE_UNAVAILABLE")
