"""Draws boxes and names into a photograph, legibly: text on a filled label, everything scaled with the picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from mien_client import BoundingBox
from mien_client.cli.fonts import Font, font_for

__all__ = ["Mark", "draw_marks", "save_picture", "upright"]

_GREEN = (18, 122, 52)
_RED = (196, 32, 32)
# Lines are thin, so they are brighter than the labels, which white text must stand out from.
_GREEN_LINE = (46, 204, 96)
_RED_LINE = (255, 72, 72)
_WHITE = (255, 255, 255)
_DARK = (0, 0, 0)

# A smaller picture is enlarged, so that there is room for letters.
_LONG_SIDE_MIN_PX = 800
_FONT_MIN_PX = 15.0
_FONT_SHARE_OF_FACE = 0.2
_FONT_SHARE_OF_PICTURE_MIN = 0.016
_FONT_SHARE_OF_PICTURE_MAX = 0.032
_JPEG_QUALITY = 92


@dataclass(frozen=True, slots=True)
class Mark:
    """A face to show: its box in upright pixels, what to write, and whether it is somebody known."""

    box: BoundingBox
    text: str
    is_known: bool


class _Rectangle(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: _Rectangle) -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


def upright(content: bytes) -> Image.Image:
    """A photograph as RGB with its EXIF orientation applied, as the server's boxes see it.

    Raises:
        OSError: the bytes are no picture that Pillow reads.
    """
    with Image.open(io.BytesIO(content)) as opened:
        picture = ImageOps.exif_transpose(opened)
    if picture.mode.startswith("I"):
        # Pillow's own conversion of 16-bit grey clips nearly everything to white.
        grey = np.asarray(picture).astype(np.uint32) >> 8
        picture = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, _WHITE)
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    return picture.convert("RGB")


def draw_marks(picture: Image.Image, marks: Sequence[Mark]) -> Image.Image:
    """A copy of an RGB picture with every mark drawn: green where the person is known, red where not.

    Small pictures are enlarged, so the copy's size may be a multiple of the picture's.
    """
    factor = max(1, -(-_LONG_SIDE_MIN_PX // max(picture.size)))
    width, height = picture.size[0] * factor, picture.size[1] * factor
    drawn = picture.resize((width, height), Image.Resampling.BICUBIC) if factor > 1 else picture.copy()
    pen = ImageDraw.Draw(drawn)
    boxes = [_scaled(mark.box, factor) for mark in marks]
    line_px = max(2, round(max(width, height) / 300))
    font_px = _font_size_px(boxes, max(width, height))
    for mark, box in zip(marks, boxes, strict=True):
        # A dark rim on both sides keeps the line visible on grass and on red curtains.
        pen.rectangle(_grown(box, line_px + 1), outline=_DARK, width=line_px + 2)
        pen.rectangle(_grown(box, line_px), outline=_GREEN_LINE if mark.is_known else _RED_LINE, width=line_px)
    placed: list[_Rectangle] = []
    for mark, box in zip(marks, boxes, strict=True):
        placed.append(_draw_label(pen, mark, _grown(box, line_px), placed, boxes, font_px))
    return drawn


def _scaled(box: BoundingBox, factor: int) -> _Rectangle:
    right, bottom = box.left + box.width, box.top + box.height
    return _Rectangle(box.left * factor, box.top * factor, right * factor, bottom * factor)


def _grown(box: _Rectangle, by_px: int) -> _Rectangle:
    return _Rectangle(box.left - by_px, box.top - by_px, box.right + by_px, box.bottom + by_px)


def _font_size_px(boxes: Sequence[_Rectangle], long_side_px: int) -> float:
    heights = sorted(box.bottom - box.top for box in boxes) or [0.0]
    wanted = heights[len(heights) // 2] * _FONT_SHARE_OF_FACE
    smallest = max(_FONT_MIN_PX, long_side_px * _FONT_SHARE_OF_PICTURE_MIN)
    return min(max(wanted, smallest), max(smallest, long_side_px * _FONT_SHARE_OF_PICTURE_MAX))


def _draw_label(
    pen: ImageDraw.ImageDraw,
    mark: Mark,
    box: _Rectangle,
    placed: Sequence[_Rectangle],
    faces: Sequence[_Rectangle],
    font_px: float,
) -> _Rectangle:
    picture_width, picture_height = pen.im.size
    padding_px = max(3.0, font_px * 0.3)
    font, text = _fitted(mark.text, font_px, picture_width - 2 * padding_px)
    # The line's own height, not the letters': labels of "gg" and "AA" are equally tall.
    _, top_px, _, bottom_px = font.getbbox("Hgj|")
    width_px = font.getlength(text) + 2 * padding_px
    height_px = bottom_px - top_px + 2 * padding_px * 0.7
    spots = _spots(box, width_px, height_px, picture_width, picture_height)
    label = min(spots, key=lambda spot: _cost(spot, placed, faces))
    pen.rounded_rectangle(
        label, radius=padding_px * 0.6, fill=_GREEN if mark.is_known else _RED, outline=_WHITE, width=1
    )
    pen.text((label.left + padding_px, label.top + padding_px * 0.7 - top_px), text, fill=_WHITE, font=font)
    return label


def _fitted(text: str, size_px: float, width_px: float) -> tuple[Font, str]:
    """The text in a font of the size; a text too long for the picture loses its middle."""
    font, written = font_for(text, size_px)
    keep = len(written)
    shortened = written
    while keep > 4 and font.getlength(shortened) > width_px:
        keep -= 1
        # The end stays whole: it is the similarity.
        tail = min(keep - 2, 8)
        shortened = f"{written[: keep - tail].rstrip()}...{written[-tail:].lstrip()}"
    return font, shortened


def _spots(
    box: _Rectangle, width_px: float, height_px: float, picture_width: int, picture_height: int
) -> list[_Rectangle]:
    """Where the label may go, the best first; never outside the picture."""
    centre = (box.left + box.right - width_px) / 2
    lefts = (box.left, box.right - width_px, centre, centre - width_px / 4, centre + width_px / 4)
    tops = (box.top - height_px, box.bottom, box.bottom - height_px, box.top)
    spots = []
    for top in tops:
        for left in lefts:
            inside_left = min(max(0.0, left), max(0.0, picture_width - width_px))
            inside_top = min(max(0.0, top), max(0.0, picture_height - height_px))
            spots.append(_Rectangle(inside_left, inside_top, inside_left + width_px, inside_top + height_px))
    return spots


def _cost(spot: _Rectangle, placed: Sequence[_Rectangle], faces: Sequence[_Rectangle]) -> float:
    """Hidden text is worse than a hidden face."""
    return 20 * sum(spot.overlap(other) for other in placed) + sum(spot.overlap(other) for other in faces)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a picture; its type is that of the name.

    Raises:
        OSError: the place cannot be written.
        ValueError: the name's ending is no picture type.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in {".jpg", ".jpeg"}:
        picture.save(path, quality=_JPEG_QUALITY)
    else:
        picture.save(path)
