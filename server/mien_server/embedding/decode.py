"""From the bytes of a file to upright RGB pixels, under limits, with a named reason when that cannot be.

The one place that meets Pillow's errors. On hostile files its parsers raise whatever they trip over, so every
exception of Pillow's is taken for damage of the file. What is done to pixels:

- the EXIF (or XMP) orientation is applied, so everything later works on the upright picture;
- 16-bit and 32-bit samples are scaled to 8 bits, never clipped (Pillow's own conversion clips them to white);
- transparent pixels are laid over `TRANSPARENT_BACKGROUND`;
- an animation is its first frame.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps

from mien_server.config.limits import Limits
from mien_server.embedding.image_type import ImageType, ends_early, image_type
from mien_server.embedding.refusal import DecodeRefused, check_bytes
from mien_server.records.faces import ImageStatus

__all__ = ["DecodedImage", "UInt8Image", "decode"]

UInt8Image = npt.NDArray[np.uint8]

IMAGE_SIDE_MIN_PX: Final = 24
"""A shorter side below this cannot hold a face that any detector here finds."""

TRANSPARENT_BACKGROUND: Final = (255, 255, 255)
"""White: what a viewer shows behind a transparent picture."""

TYPES_TEXT: Final = "JPEG, PNG, WebP, GIF, BMP or TIFF"
STRIP_OFFSETS_TAG: Final = 273
STRIP_BYTE_COUNTS_TAG: Final = 279
TILE_OFFSETS_TAG: Final = 324
TILE_BYTE_COUNTS_TAG: Final = 325

# Registers the decoders once: Pillow otherwise does so in the middle of the first picture.
Image.init()


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Upright pixels: uint8 [height, width, 3], RGB, C-contiguous, writable, owned by the holder."""

    pixels: UInt8Image

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])


def decode(content: bytes, limits: Limits) -> DecodedImage:
    """The upright RGB pixels of a file.

    Nothing is decoded before the number of pixels stated in the header was checked against the limit.

    Raises:
        DecodeRefused: with the status that fits; see `ImageStatus`.
    """
    check_bytes(content, limits)
    kind = image_type(content)
    if kind is None:
        raise DecodeRefused(
            ImageStatus.UNSUPPORTED_TYPE, f"the content is no picture of a type that is read here; send {TYPES_TEXT}"
        )
    picture = _open(content, kind, limits)
    width, height = picture.size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture.load()
    except Exception as error:
        raise _damaged(content, kind, error, picture) from error
    upright = _upright(picture)
    if min(upright.size) < IMAGE_SIDE_MIN_PX:
        raise DecodeRefused(
            ImageStatus.TOO_SMALL,
            f"the picture has {upright.width} x {upright.height} pixels; a face needs a shorter side of at least "
            f"{IMAGE_SIDE_MIN_PX}: send a larger picture",
            *upright.size,
        )
    try:
        return DecodedImage(_rgb(upright))
    except Exception as error:
        raise DecodeRefused(
            ImageStatus.UNSUPPORTED_TYPE,
            f"the pixels of this {kind.value} (mode {picture.mode}) cannot be converted to RGB ({error}); save it as "
            "an 8-bit RGB JPEG or PNG",
            width,
            height,
        ) from error


def _open(content: bytes, kind: ImageType, limits: Limits) -> Image.Image:
    """The picture with only its header read, its pixel count within the limit."""
    # Pillow raises at twice this figure (and only warns below it), before a WebP canvas is allocated and for a GIF
    # frame that outgrows its screen. The figure is global, but so is the limit: a worker serves one set of limits.
    Image.MAX_IMAGE_PIXELS = max(1, limits.image_pixels_max // 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(content), formats=[kind.value])
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(limits) from error
    except Exception as error:
        raise _damaged(content, kind, error, None) from error
    if picture.width * picture.height > limits.image_pixels_max:
        raise _too_many_pixels(limits, *picture.size)
    return picture


def _too_many_pixels(limits: Limits, width: int = 0, height: int = 0) -> DecodeRefused:
    size = f" ({width} x {height})" if width else ""
    return DecodeRefused(
        ImageStatus.TOO_MANY_PIXELS,
        f"the picture's header states more than {limits.image_pixels_max:,} pixels{size}; nothing was decoded: send it "
        "scaled down",
        width,
        height,
    )


def _damaged(content: bytes, kind: ImageType, error: Exception, picture: Image.Image | None) -> DecodeRefused:
    if "truncated" in str(error).lower() or ends_early(content, kind) or _strips_are_missing(content, picture):
        return DecodeRefused(
            ImageStatus.TRUNCATED,
            f"the {kind.value} file ends early after {len(content):,} bytes; send it again, whole",
        )
    return DecodeRefused(
        ImageStatus.CORRUPT, f"the {kind.value} file is damaged ({error}); send an intact copy or save it anew"
    )


def _strips_are_missing(content: bytes, picture: Image.Image | None) -> bool:
    """Whether a TIFF names pixel data beyond the end of the file."""
    tags = getattr(picture, "tag_v2", None)
    if tags is None:
        return False
    try:
        starts = [*tags.get(STRIP_OFFSETS_TAG, ()), *tags.get(TILE_OFFSETS_TAG, ())]
        counts = [*tags.get(STRIP_BYTE_COUNTS_TAG, ()), *tags.get(TILE_BYTE_COUNTS_TAG, ())]
        return any(start + count > len(content) for start, count in zip(starts, counts, strict=False))
    except (TypeError, ValueError):
        return False


def _upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its orientation tag says; as it is when the tag cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            turned = ImageOps.exif_transpose(picture)
    except Exception:  # noqa: BLE001 - as above; and a picture with a broken tag is still a picture
        return picture
    return turned


def _rgb(picture: Image.Image) -> UInt8Image:
    """Every mode that Pillow reads as uint8 RGB [height, width, 3]."""
    mode = picture.mode
    if mode in {"I", "F"} or mode.startswith("I;16"):
        grey = _eight_bits(np.asarray(picture))
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    if mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in picture.info:
        return _over_background(picture)
    if mode == "LAB":
        to_rgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(picture, to_rgb)
        assert converted is not None
        return np.array(converted, dtype=np.uint8, order="C")
    return np.array(picture.convert("RGB"), dtype=np.uint8, order="C")


def _over_background(picture: Image.Image) -> UInt8Image:
    with_alpha = picture.convert("RGBA")
    background = Image.new("RGBA", picture.size, (*TRANSPARENT_BACKGROUND, 255))
    background.alpha_composite(with_alpha)
    return np.array(background.convert("RGB"), dtype=np.uint8, order="C")


def _eight_bits(samples: npt.NDArray[np.generic]) -> UInt8Image:
    """Grey samples of any width scaled to 0..255.

    Up to 65,535 the full scale is 65,535 (a 16-bit file, whatever Pillow calls it); larger integers are scaled
    by their own maximum; floats up to 1 have the full scale 1.
    """
    values = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0)
    largest = float(values.max())
    if np.issubdtype(samples.dtype, np.floating) and largest <= 255.0:
        full_scale = 1.0 if largest <= 1.0 else 255.0
    else:
        full_scale = max(65535.0, largest)
    return np.asarray(np.rint(values * (255.0 / full_scale)), dtype=np.uint8)
