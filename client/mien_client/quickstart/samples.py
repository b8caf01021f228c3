"""The sample photographs: where they come from, and that they are what they should be.

They are test data of two packages, which pip finds wherever this machine's packages come from. Of each package only
the photographs are kept, under a folder of the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SampleFailure", "default_folder", "fetch_samples"]

_DOWNLOAD_TIMEOUT_S = 240.0


class SampleFailure(Exception):
    """The photographs cannot be had; the message says what to do."""


@dataclass(frozen=True, slots=True)
class _Package:
    """A file on PyPI and the photographs in it, by the name they get: (path within, SHA-256)."""

    requirement: str
    pip_arguments: tuple[str, ...]
    photographs: dict[str, tuple[str, str]]


_TEST_IMAGES = "face_recognition-1.3.0/tests/test_images"
_PACKAGES = (
    _Package(
        "face_recognition==1.3.0",
        # The wheel holds no photographs; the source distribution does.
        ("--no-binary", "face_recognition"),
        {
            "obama.jpg": (
                f"{_TEST_IMAGES}/obama.jpg",
                "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
            ),
            "obama2.jpg": (
                f"{_TEST_IMAGES}/obama2.jpg",
                "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
            ),
            "obama3.jpg": (
                f"{_TEST_IMAGES}/obama3.jpg",
                "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
            ),
            "obama_partial_face.jpg": (
                f"{_TEST_IMAGES}/obama_partial_face.jpg",
                "c2d1f09e7ef3042352b41e41286e6eb0522f64f88308be13886991b95db52117",
            ),
            "obama_partial_face2.jpg": (
                f"{_TEST_IMAGES}/obama_partial_face2.jpg",
                "9a812347f97633542b8cd9992de22def11b74f79d82056bc3ee830f13878e028",
            ),
            "biden.jpg": (
                f"{_TEST_IMAGES}/biden.jpg",
                "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
            ),
        },
    ),
    _Package(
        "scikit-image==0.26.0",
        # One wheel for everyone: it is only opened, never installed, so it need not fit this machine.
        (
            *("--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64"),
            *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
        ),
        {
            "astronaut.png": (
                "skimage/data/astronaut.png",
                "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            ),
        },
    ),
)


def default_folder() -> Path:
    """Where the photographs are kept from one run to the next."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mien" / "samples"


def fetch_samples(folder: Path, say: Callable[[str], None]) -> dict[str, Path]:
    """Every sample photograph by name; what is there and right is not fetched again.

    Args:
        folder: where to keep them.
        say: told what is fetched.

    Raises:
        SampleFailure: no network, no pip, or other bytes than expected.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SampleFailure(f"{folder} cannot be made ({error.strerror}); name another place with --samples") from error
    for package in _PACKAGES:
        if not all(_is_right(folder / name, digest) for name, (_, digest) in package.photographs.items()):
            say(f"fetching {package.requirement} for its photographs")
            _fetch(package, folder)
    return {name: folder / name for package in _PACKAGES for name in package.photographs}


def _is_right(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _fetch(package: _Package, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mien-samples-") as scratch:
        archive = _download(package, Path(scratch))
        for name, (member, digest) in package.photographs.items():
            content = _member(archive, member)
            if hashlib.sha256(content).hexdigest() != digest:
                raise SampleFailure(
                    f"{member} of {package.requirement} is not the photograph that is expected: its SHA-256 differs. "
                    "Something between PyPI and this machine changed it; nothing of it was used."
                )
            # Beside, then renamed: an interrupted run leaves no half photograph.
            beside = folder / f".{name}.{os.getpid()}"
            beside.write_bytes(content)
            beside.replace(folder / name)


def _download(package: _Package, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--no-input", "--dest", str(scratch), *package.pip_arguments, package.requirement]
    try:
        done = subprocess.run(  # noqa: S603  our own pip
            command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SampleFailure(
            f"pip had not fetched {package.requirement} after {error.timeout:.0f} s; try again"
        ) from error
    archives = list(scratch.glob("*.tar.gz")) + list(scratch.glob("*.whl"))
    if done.returncode != 0 or not archives:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()[-3:]
        told = "\n  ".join(lines)
        raise SampleFailure(
            f"pip could not fetch {package.requirement}, which holds sample photographs. Is this machine online, and "
            f"does `pip download {package.requirement}` work?\n  {told}"
        )
    return archives[0]


def _member(archive: Path, member: str) -> bytes:
    """One file of a wheel or a source distribution."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as distribution:
            file = distribution.extractfile(member)
            return file.read() if file else b""
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, OSError) as error:
        raise SampleFailure(f"{archive.name} holds no {member}: {error}") from error
