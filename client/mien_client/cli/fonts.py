"""A font that has every letter of a text."""

from __future__ import annotations

import unicodedata
from functools import cache

from PIL import ImageFont

__all__ = ["Font", "font_for"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Pillow brings a font for plain Latin letters. For the others it looks these up among the system's.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "wqy-microhei.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
)
# A noncharacter: no font has a picture of it, so what is drawn is the font's mark of a missing letter.
_MISSING = "\uffff"


def font_for(text: str, size_px: float) -> tuple[Font, str]:
    """A font for a text, and the text as it can be written with it.

    Letters that no font of this machine has lose their accents, and become question marks where that is not enough.
    """
    bundled = ImageFont.load_default(size_px)
    if _can_write(bundled, text):
        return bundled, text
    for name in _SYSTEM_FONTS:
        font = _system_font(name, round(size_px))
        if font is not None and _can_write(font, text):
            return font, text
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return bundled, "".join(letter if _can_write(bundled, letter) else "?" for letter in plain)


@cache
def _system_font(name: str, size_px: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size_px)
    except OSError:
        return None


def _can_write(font: Font, text: str) -> bool:
    missing = bytes(font.getmask(_MISSING))
    return all(letter.isspace() or bytes(font.getmask(letter)) != missing for letter in set(text))
