"""Decoding: every format and colour mode becomes upright RGB, every bad file gets its own status."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from mien_server.config.limits import Limits
from mien_server.embedding.decode import TRANSPARENT_BACKGROUND, decode
from mien_server.embedding.refusal import DecodeRefused
from mien_server.records.faces import ImageStatus

LIMITS = Limits()
SIZE = (60, 40)


@pytest.fixture(autouse=True)
def pillow_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding sets Pillow's own limit, which a worker keeps and the process of the tests must not."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


def gradient() -> Image.Image:
    """A picture whose corners differ, so that every turn and every scaling shows."""
    across = np.linspace(0, 255, SIZE[0])[np.newaxis, :].repeat(SIZE[1], axis=0)
    down = np.linspace(0, 255, SIZE[1])[:, np.newaxis].repeat(SIZE[0], axis=1)
    return Image.fromarray(np.stack([across, down, 255 - across], axis=2).astype(np.uint8))


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def refusal(content: bytes, limits: Limits = LIMITS) -> DecodeRefused:
    with pytest.raises(DecodeRefused) as caught:
        decode(content, limits)
    return caught.value


def difference(pixels: npt.NDArray[np.uint8], picture: Image.Image) -> float:
    return float(np.abs(pixels.astype(int) - np.asarray(picture.convert("RGB")).astype(int)).max())


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 98, "subsampling": 0}, 6),
        ("JPEG", {"quality": 98, "subsampling": 0, "progressive": True}, 6),
        ("GIF", {}, 60),
        ("MPO", {"quality": 98, "subsampling": 0, "save_all": True}, 6),
    ],
)
def test_every_format_gives_the_pixels_that_were_saved(kind: str, options: dict[str, Any], tolerance: float) -> None:
    """Each format on the list decodes to uint8 RGB, C-contiguous and writable, with the pixels that were saved."""
    pixels = decode(encoded(gradient(), kind, **options), LIMITS).pixels
    assert pixels.dtype == np.uint8
    assert pixels.shape == (SIZE[1], SIZE[0], 3)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    assert difference(pixels, gradient()) <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    """A picture of each colour mode decodes to what Pillow shows for it, grey or in colour."""
    picture = gradient().convert(mode)
    kind = "PNG" if mode in {"1", "L", "P", "RGB", "RGBA", "LA"} else "TIFF"
    assert difference(decode(encoded(picture, kind), LIMITS).pixels, picture) == 0


def test_lab_becomes_rgb() -> None:
    """A Lab TIFF, which Pillow does not convert by itself, decodes to the colours it was made from."""
    muted = Image.fromarray((np.asarray(gradient()) // 3 + 80).astype(np.uint8))
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    picture = ImageCms.profileToProfile(muted, srgb, lab, outputMode="LAB")
    assert picture is not None
    assert difference(decode(encoded(picture, "TIFF"), LIMITS).pixels, muted) <= 6


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    """A 16-bit grey PNG keeps its whole range: 0 stays 0, 65535 becomes 255, the middle the middle."""
    samples = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = decode(encoded(Image.fromarray(samples), "PNG"), LIMITS).pixels
    assert np.array_equal(pixels[:, :, 0], np.rint(samples / 257.0).astype(np.uint8))
    assert np.array_equal(pixels[:, :, 0], pixels[:, :, 2])


@pytest.mark.parametrize(
    ("samples", "brightest"),
    [
        (np.linspace(0, 1, 1600, dtype=np.float32), 255),
        (np.linspace(0, 200, 1600, dtype=np.float32), 200),
        (np.linspace(0, 65535, 1600).astype(np.int32), 255),
        (np.linspace(0, 2**30, 1600).astype(np.int32), 255),
        (np.linspace(-50, 65535, 1600).astype(np.int32), 255),
    ],
)
def test_wide_samples_of_a_tiff_are_scaled(samples: npt.NDArray[Any], brightest: int) -> None:
    """32-bit integer and float samples fill 0..255 by their full scale; negative ones are black."""
    pixels = decode(encoded(Image.fromarray(samples.reshape(40, 40)), "TIFF"), LIMITS).pixels
    assert int(pixels.min()) == 0
    assert int(pixels.max()) == brightest


def png_of_sixteen_bit_rgb(samples: npt.NDArray[np.uint16]) -> bytes:
    """A PNG that Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bit_rgb_keeps_its_range() -> None:
    """A 16-bit RGB PNG is reduced to 8 bits within one level of exact scaling."""
    across = np.linspace(0, 65535, 50).astype(np.uint16)
    samples = np.stack(np.broadcast_arrays(across[np.newaxis, :], across[:, np.newaxis], across[::-1]), axis=2)
    pixels = decode(png_of_sixteen_bit_rgb(samples), LIMITS).pixels
    assert np.abs(pixels.astype(float) - samples / 257.0).max() <= 1.0


def test_transparent_pixels_show_the_background() -> None:
    """Where alpha is zero the documented background appears, where it is full the picture does."""
    picture = gradient().convert("RGBA")
    alpha = Image.new("L", SIZE, 255)
    alpha.paste(0, (0, 0, 20, SIZE[1]))
    picture.putalpha(alpha)
    pixels = decode(encoded(picture, "PNG"), LIMITS).pixels
    assert np.all(pixels[:, :20] == TRANSPARENT_BACKGROUND)
    assert np.array_equal(pixels[:, 20:], np.asarray(gradient())[:, 20:])


def test_a_transparent_palette_colour_shows_the_background() -> None:
    """A palette PNG with a transparent index is laid over the background too."""
    picture = Image.new("P", SIZE, 1)
    picture.putpalette([0, 0, 0, 200, 10, 10])
    pixels = decode(encoded(picture, "PNG", transparency=1), LIMITS).pixels
    assert np.all(pixels == TRANSPARENT_BACKGROUND)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_in_every_format(kind: str, orientation: int) -> None:
    """A picture stored turned or mirrored, with the tag that says so, decodes upright."""
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = gradient().transpose(inverse[orientation]) if orientation in inverse else gradient()
    tags = Image.Exif()
    tags[0x0112] = orientation
    options = {"quality": 98, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    pixels = decode(encoded(stored, kind, exif=tags, **options), LIMITS).pixels
    assert pixels.shape == (SIZE[1], SIZE[0], 3)
    assert difference(pixels, gradient()) <= 8


def test_an_animation_is_its_first_frame() -> None:
    """Of a GIF with several frames the first one is decoded."""
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "lime", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(content, LIMITS).pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_cut_off_is_truncated(kind: str, share: float) -> None:
    """Half a file of any format is TRUNCATED, and the message says to send it whole."""
    noise = np.random.default_rng(5).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    refused = refusal(content[: int(len(content) * share)])
    assert refused.status is ImageStatus.TRUNCATED
    assert "whole" in refused.message


def deflated_tiff(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A grey TIFF whose directory stands before its pixels, as cameras write them and Pillow does not."""
    height, width = pixels.shape
    packed = zlib.compress(pixels.tobytes())
    facts = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 273: 0, 277: 1, 278: height, 279: len(packed)}
    pixels_at = 8 + 2 + 12 * len(facts) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, pixels_at if tag == 273 else facts[tag]) for tag in facts)
    return b"II*\0" + struct.pack("<IH", 8, len(facts)) + entries + struct.pack("<I", 0) + packed


def test_a_tiff_without_its_last_pixels_is_truncated() -> None:
    """A compressed TIFF that names pixel data beyond its end is TRUNCATED, though its directory is whole."""
    noise = np.random.default_rng(5).integers(0, 256, (80, 80), dtype=np.uint8)
    content = deflated_tiff(noise)
    assert np.array_equal(decode(content, LIMITS).pixels[:, :, 0], noise)
    assert refusal(content[: len(content) // 2]).status is ImageStatus.TRUNCATED


def test_a_damaged_file_is_corrupt() -> None:
    """A PNG with all its parts but damaged pixels is CORRUPT, not TRUNCATED."""
    content = bytearray(encoded(gradient(), "PNG"))
    middle = content.index(b"IDAT") + 40
    content[middle : middle + 8] = b"\xa5" * 8
    assert refusal(bytes(content)).status is ImageStatus.CORRUPT


@pytest.mark.parametrize("content", [b"hello, this is text", b"%PDF-1.7 ...", b"\0" * 100, b"<svg></svg>", b"\xff\xd8"])
def test_what_is_no_picture_is_unsupported(content: bytes) -> None:
    """Content without the signature of a format on the list is UNSUPPORTED_TYPE, and the message lists the formats."""
    refused = refusal(content)
    assert refused.status is ImageStatus.UNSUPPORTED_TYPE
    assert "JPEG, PNG, WebP, GIF, BMP or TIFF" in refused.message


def test_a_format_off_the_list_is_unsupported() -> None:
    """A format that Pillow could read but that is not on the list is refused."""
    assert refusal(encoded(gradient(), "PPM")).status is ImageStatus.UNSUPPORTED_TYPE
    assert refusal(encoded(gradient(), "TGA")).status is ImageStatus.UNSUPPORTED_TYPE


def test_no_bytes_are_empty() -> None:
    """Zero bytes are EMPTY."""
    assert refusal(b"").status is ImageStatus.EMPTY


def test_too_many_bytes_are_refused_unread() -> None:
    """A file above the limit of bytes is TOO_MANY_BYTES whatever it holds, and the message names the limit."""
    refused = refusal(b"\0" * 101, Limits(image_bytes_max=100))
    assert refused.status is ImageStatus.TOO_MANY_BYTES
    assert "100" in refused.message


def bomb(kind: str) -> bytes:
    """A small file whose header states 108 megapixels and that holds next to no pixel data."""
    if kind == "PNG":
        content = bytearray(encoded(Image.new("L", (8, 8)), "PNG"))
        content[16:24] = struct.pack(">II", 12000, 9000)
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
        return bytes(content)
    if kind == "GIF":
        content = bytearray(encoded(Image.new("L", (8, 8)), "GIF"))
        content[6:10] = struct.pack("<HH", 12000, 9000)
        return bytes(content)
    if kind == "WEBP":
        content = bytearray(encoded(Image.new("RGB", (8, 8)), "WEBP", lossless=True))
        bits = (12000 - 1) | ((9000 - 1) << 14)
        content[21:25] = struct.pack("<I", bits)
        return bytes(content)
    if kind == "BMP":
        content = bytearray(encoded(Image.new("RGB", (8, 8)), "BMP"))
        content[18:26] = struct.pack("<ii", 12000, 9000)
        return bytes(content)
    content = bytearray(encoded(Image.new("RGB", (8, 8)), "TIFF"))
    first = struct.unpack_from("<I", content, 4)[0] + 2
    for entry in range(first, first + 12 * struct.unpack_from("<H", content, first - 2)[0], 12):
        tag = struct.unpack_from("<H", content, entry)[0]
        if tag in {256, 257}:
            content[entry + 8 : entry + 12] = struct.pack("<HH", 12000 if tag == 256 else 9000, 0)
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_bomb_is_refused_from_its_header(kind: str) -> None:
    """A file that states more pixels than the limit is TOO_MANY_PIXELS in every format, before anything is decoded."""
    assert refusal(bomb(kind)).status is ImageStatus.TOO_MANY_PIXELS


def test_a_frame_larger_than_its_screen_is_counted() -> None:
    """A GIF whose first frame outgrows the size in its header is measured by the frame."""
    content = bytearray(encoded(Image.new("L", (100, 100)), "GIF"))
    content[6:10] = struct.pack("<HH", 10, 10)
    assert refusal(bytes(content), Limits(image_pixels_max=5000)).status is ImageStatus.TOO_MANY_PIXELS


def test_the_limit_of_pixels_is_exact() -> None:
    """A picture of exactly the limit is read, one pixel column more is refused."""
    limits = Limits(image_pixels_max=50 * 40)
    assert decode(encoded(Image.new("RGB", (50, 40)), "PNG"), limits).width == 50
    assert refusal(encoded(Image.new("RGB", (51, 40)), "PNG"), limits).status is ImageStatus.TOO_MANY_PIXELS


@pytest.mark.parametrize("size", [(1, 1), (20, 20), (400, 10), (23, 600)])
def test_a_picture_too_small_for_a_face_says_so(size: tuple[int, int]) -> None:
    """Below 24 pixels on the shorter side a picture is TOO_SMALL, with its size."""
    refused = refusal(encoded(Image.new("RGB", size), "PNG"))
    assert refused.status is ImageStatus.TOO_SMALL
    assert (refused.width, refused.height) == size


@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=12),
    kept_share=st.floats(0.01, 1.0),
)
def test_a_mangled_file_is_decoded_or_refused(kind: str, edits: list[tuple[int, int]], kept_share: float) -> None:
    """Whatever happens to a file's bytes, it is decoded within the limits or refused, never anything else."""
    content = bytearray(encoded(gradient(), kind))
    for position, value in edits:
        content[position % len(content)] = value
    mangled = bytes(content[: max(1, int(len(content) * kept_share))])
    limits = Limits(image_pixels_max=1_000_000)
    with contextlib.suppress(DecodeRefused):
        assert decode(mangled, limits).pixels.size <= 3 * limits.image_pixels_max
