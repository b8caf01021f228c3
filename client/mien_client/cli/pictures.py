"""Files on their way to the server: read, checked against its limits, put into requests of a sensible size."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mien_client import Image, ImageFaces, ImageStatus, Limits, MienClientError

__all__ = [
    "LoadedPicture",
    "Rejection",
    "load",
    "plain_message",
    "readable_size",
    "rejection_rows",
    "requests_of",
    "shown",
    "unreadable",
    "unusable",
]

# Small requests keep the progress bar moving and a retry cheap; the server batches across requests anyway.
_IMAGES_PER_REQUEST = 8
_REQUEST_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rejection:
    """A file that was not used, and why."""

    file: str
    reason: str
    message: str
    identity_id: str = ""


@dataclass(frozen=True, slots=True)
class LoadedPicture:
    """A file's bytes, ready to be sent."""

    path: Path
    image: Image = field(repr=False)


def shown(path: Path) -> str:
    """A path as it can be printed and sent: names that are no UTF-8 get question marks."""
    return os.fsencode(path).decode("utf-8", "replace")


def load(path: Path, limits: Limits, source: str | None = None) -> LoadedPicture | Rejection:
    """Reads a file, unless it is larger than the server takes."""
    name = shown(path)
    try:
        size_bytes = path.stat().st_size
        if path.is_dir():
            return Rejection(name, "IS_A_FOLDER", "is a folder; name the files in it, such as FOLDER/*.jpg")
        if size_bytes > limits.image_bytes_max:
            return Rejection(
                name,
                "IMAGE_TOO_MANY_BYTES",
                f"has {readable_size(size_bytes)}; the server takes {readable_size(limits.image_bytes_max)}: "
                "save it smaller",
            )
        content = path.read_bytes()
    except OSError as error:
        return Rejection(name, "UNREADABLE", unreadable(error))
    return LoadedPicture(path, Image(content, _within(source or name, limits.source_bytes_max)))


def unreadable(error: OSError) -> str:
    """Why a file cannot be read, to be said after its name."""
    return f"cannot be read: {'no such file' if isinstance(error, FileNotFoundError) else error.strerror or error}"


def requests_of(
    pictures: Iterable[LoadedPicture | Rejection], rejections: list[Rejection], limits: Limits
) -> Iterator[list[LoadedPicture]]:
    """Groups pictures into requests; what is rejected goes to `rejections`."""
    count_max = min(_IMAGES_PER_REQUEST, limits.images_per_request_max, limits.enroll_items_max)
    bytes_max = min(_REQUEST_BYTES_MAX, limits.message_bytes_max // 2)
    group: list[LoadedPicture] = []
    group_bytes = 0
    for picture in pictures:
        if isinstance(picture, Rejection):
            rejections.append(picture)
            continue
        size_bytes = len(picture.image.content)
        if group and (len(group) == count_max or group_bytes + size_bytes > bytes_max):
            yield group
            group, group_bytes = [], 0
        group.append(picture)
        group_bytes += size_bytes
    if group:
        yield group


def plain_message(error: MienClientError) -> str:
    """The server's sentence without the place in the request, which means nothing to who typed a file's name."""
    message = error.message
    for violation in error.violations:
        message = message.removeprefix(f"{violation.field}: ")
    return message


def unusable(file: str, image: ImageFaces) -> Rejection | None:
    """Why a photograph gave no answer; one without a face gave the answer that nobody is in it."""
    if image.error is None or image.status is ImageStatus.NO_FACE:
        return None
    return Rejection(file, image.error.reason or image.error.code, plain_message(image.error))


def readable_size(size_bytes: int) -> str:
    """Bytes for people."""
    return f"{size_bytes / 1024 / 1024:.1f} MiB" if size_bytes >= 1024 * 1024 else f"{size_bytes / 1024:.1f} KiB"


def _within(source: str, bytes_max: int) -> str:
    """The end of a name that is too long: there the file's own name is."""
    encoded = source.encode()
    return source if len(encoded) <= bytes_max else encoded[-bytes_max:].decode("utf-8", "ignore")


def rejection_rows(rejections: Sequence[Rejection]) -> list[tuple[str, str, str]]:
    """Rows of the table of rejected files."""
    return [(one.file, one.reason, one.message) for one in rejections]
