"""The group picture: three people who were never photographed together, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

__all__ = ["compose_group"]

_HEIGHT_PX = 760
_JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class _Place:
    """Which part of a photograph is shown, in its own pixels; heads come out equally large and equally high."""

    name: str
    crop: tuple[int, int, int, int]
    is_mirrored: bool = False


_PLACES = (
    _Place("biden.jpg", (120, 60, 905, 1330), is_mirrored=True),
    _Place("obama.jpg", (130, 0, 800, 1060)),
    _Place("astronaut.png", (62, 2, 330, 366)),
)


def compose_group(photographs: Mapping[str, Path], target: Path) -> None:
    """Writes the group picture as JPEG.

    Args:
        photographs: the samples by name.
        target: the file to write.
    """
    strips = []
    for place in _PLACES:
        with Image.open(photographs[place.name]) as opened:
            strip = opened.convert("RGB").crop(place.crop)
        if place.is_mirrored:
            strip = ImageOps.mirror(strip)
        width_px = round(strip.width * _HEIGHT_PX / strip.height)
        strips.append(strip.resize((width_px, _HEIGHT_PX), Image.Resampling.LANCZOS))
    group = Image.new("RGB", (sum(strip.width for strip in strips), _HEIGHT_PX))
    left = 0
    for strip in strips:
        group.paste(strip, (left, 0))
        left += strip.width
    group.save(target, quality=_JPEG_QUALITY)
