"""A picture that is not analysed, and what can be refused without a decoder."""

from __future__ import annotations

import hashlib

from mien_server.config.limits import Limits
from mien_server.records.faces import ImageAnalysis, ImageStatus

__all__ = ["DecodeRefused", "check_bytes", "refused_analysis"]


class DecodeRefused(Exception):
    """A picture that is not analysed: its status, and a message that says what is wrong and what to do.

    Never leaves the embedding layer: it becomes the `ImageAnalysis` of the one picture.
    """

    def __init__(self, status: ImageStatus, message: str, width: int = 0, height: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.width = width
        self.height = height


def check_bytes(content: bytes, limits: Limits) -> None:
    """Refuse what no decoder needs to look at.

    Raises:
        DecodeRefused: EMPTY or TOO_MANY_BYTES.
    """
    if not content:
        raise DecodeRefused(ImageStatus.EMPTY, "the file is empty (zero bytes); send the picture's bytes")
    if len(content) > limits.image_bytes_max:
        raise DecodeRefused(
            ImageStatus.TOO_MANY_BYTES,
            f"the file has {len(content):,} bytes, the limit is {limits.image_bytes_max:,}; send a smaller or more "
            "strongly compressed picture",
        )


def refused_analysis(content: bytes, refusal: DecodeRefused) -> ImageAnalysis:
    """What is answered for the picture."""
    return ImageAnalysis(
        status=refusal.status,
        message=refusal.message,
        width=refusal.width,
        height=refusal.height,
        sha256=hashlib.sha256(content).digest(),
        faces=(),
    )
