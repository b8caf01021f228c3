"""Which picture format some bytes are, and whether the file plainly ends early: from the content, never a name."""

from __future__ import annotations

import enum
import struct

__all__ = ["ImageType", "ends_early", "image_type"]


class ImageType(enum.Enum):
    """The formats that are read. Values are Pillow's names; MPO, a camera's pair of JPEGs, is read as its first."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"
    GIF = "GIF"
    BMP = "BMP"
    TIFF = "TIFF"


RIFF_HEADER_BYTES = 8
TAIL_BYTES = 64 * 1024
TIFF_BYTE_ORDERS = {b"II": "<", b"MM": ">"}


def image_type(content: bytes) -> ImageType | None:
    """The format whose signature `content` starts with, or None."""
    if content.startswith(b"\xff\xd8\xff"):
        return ImageType.JPEG
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return ImageType.PNG
    if content.startswith((b"GIF87a", b"GIF89a")):
        return ImageType.GIF
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return ImageType.WEBP
    if content.startswith(b"BM"):
        return ImageType.BMP
    if content.startswith((b"II*\0", b"MM\0*")):
        return ImageType.TIFF
    return None


def ends_early(content: bytes, kind: ImageType) -> bool:
    """Whether the file lacks what must stand at its end, or is shorter than it says.

    Asked only after decoding failed, to tell a file that was cut off from one that is damaged: a file may lack its
    end mark and still hold every pixel.
    """
    match kind:
        case ImageType.JPEG:
            return b"\xff\xd9" not in content[-TAIL_BYTES:]
        case ImageType.PNG:
            return b"IEND" not in content[-TAIL_BYTES:]
        case ImageType.GIF:
            return not content.rstrip(b"\0").endswith(b";")
        case ImageType.WEBP:
            return len(content) < RIFF_HEADER_BYTES + _unsigned("<I", content, 4)
        case ImageType.BMP:
            return len(content) < _unsigned("<I", content, 2)
        case ImageType.TIFF:
            order = TIFF_BYTE_ORDERS[content[:2]]
            return len(content) < _unsigned(order + "I", content, 4) + 2


def _unsigned(layout: str, content: bytes, offset: int) -> int:
    """The number at `offset`; larger than any file when the file ends before it."""
    if len(content) < offset + struct.calcsize(layout):
        return 1 << 62
    number: int = struct.unpack_from(layout, content, offset)[0]
    return number
