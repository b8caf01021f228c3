"""Operations on pixels that have nothing to do with faces: resizing, turning, writing PNG."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien_server.records.faces import Box

__all__ = ["QUARTER_TURNS", "box_turned_back", "png", "points_turned_back", "resized", "turned"]

QUARTER_TURNS: Final = (90, 270, 180)
"""Clockwise turns, the likeliest first."""


def resized(pixels: npt.NDArray[np.uint8], scale: float) -> npt.NDArray[np.uint8]:
    """The picture at `scale`, antialiased; itself when the scale is 1. C-contiguous uint8 [h, w, 3]."""
    if scale == 1.0:
        return pixels
    height, width = pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0), order="C")


def turned(pixels: npt.NDArray[np.uint8], degrees: int) -> npt.NDArray[np.uint8]:
    """The picture turned clockwise by a multiple of 90 degrees, C-contiguous (dlib ignores other strides silently)."""
    return np.ascontiguousarray(np.rot90(pixels, k=-degrees // 90)) if degrees else pixels


def points_turned_back(
    points: npt.NDArray[np.float32], degrees: int, width: int, height: int
) -> npt.NDArray[np.float32]:
    """Points [n, 2] found in the turned picture, in coordinates of the upright one of `width` x `height`."""
    x, y = points[:, 0], points[:, 1]
    match degrees:
        case 0:
            pairs = (x, y)
        case 90:
            pairs = (y, height - 1 - x)
        case 180:
            pairs = (width - 1 - x, height - 1 - y)
        case 270:
            pairs = (width - 1 - y, x)
        case _:
            raise AssertionError(f"a turn of {degrees} degrees")
    return np.stack(pairs, axis=1).astype(np.float32)


def box_turned_back(box: Box, degrees: int, width: int, height: int) -> Box:
    """A box found in the turned picture, in coordinates of the upright one of `width` x `height`."""
    match degrees:
        case 0:
            return box
        case 90:
            return Box(box.top, height - box.left - box.width, box.height, box.width)
        case 180:
            return Box(width - box.left - box.width, height - box.top - box.height, box.width, box.height)
        case 270:
            return Box(width - box.top - box.height, box.left, box.height, box.width)
        case _:
            raise AssertionError(f"a turn of {degrees} degrees")


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file of uint8 [height, width, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
