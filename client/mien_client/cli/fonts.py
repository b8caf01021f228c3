"""A font that has every letter of a text."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from functools import cache

from PIL import ImageFont

__all__ = ["Font", "can_be_written", "font_for"]

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
# Which letters a font has does not depend on the size.
_TRIAL_SIZE_PX = 20.0
_SEARCH_MAX_S = 10.0


def font_for(text: str, size_px: float) -> tuple[Font, str]:
    """A font for a text, and the text as it can be written with it.

    Letters that no font of this machine has lose their accents, and become question marks where that is not enough.
    """
    found = _font_with(text, size_px)
    if found is not None:
        return found, text
    bundled, plain = ImageFont.load_default(size_px), _without_accents(text)
    return bundled, "".join(letter if _can_write(bundled, letter) else "?" for letter in plain)


def can_be_written(text: str) -> bool:
    """Whether `font_for` writes a text with its letters, which may lose their accents, and no question marks."""
    # A label ends with a number, and one font writes all of it.
    text += " 0.1"
    bundled = ImageFont.load_default(_TRIAL_SIZE_PX)
    return _can_write(bundled, _without_accents(text)) or _font_with(text, _TRIAL_SIZE_PX) is not None


def _font_with(text: str, size_px: float) -> Font | None:
    """A font with every letter of the text, None when this machine has none."""
    bundled = ImageFont.load_default(size_px)
    if _can_write(bundled, text):
        return bundled
    for name in _SYSTEM_FONTS:
        font = _system_font(name, round(size_px))
        if font is not None and _can_write(font, text):
            return font
    letters = " ".join(sorted({f"{ord(letter):x}" for letter in text if not letter.isspace()}))
    font = _system_font(_font_file_with(letters), round(size_px))
    return font if font is not None and _can_write(font, text) else None


def _without_accents(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))


@cache
def _font_file_with(letters: str) -> str:
    """The file that fontconfig names for letters, given in hexadecimal; empty where there is no fontconfig."""
    program = shutil.which("fc-match")
    if program is None:
        return ""
    command = [program, "--format=%{file}", f":charset={letters}"]
    try:
        done = subprocess.run(  # noqa: S603  the letters are hexadecimal digits by now
            command, capture_output=True, text=True, timeout=_SEARCH_MAX_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


@cache
def _system_font(name: str, size_px: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size_px)
    except OSError:
        return None


def _can_write(font: Font, text: str) -> bool:
    missing = bytes(font.getmask(_MISSING))
    return all(letter.isspace() or bytes(font.getmask(letter)) != missing for letter in set(text))
