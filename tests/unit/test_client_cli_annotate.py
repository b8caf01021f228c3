"""Boxes and names in pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mien_client import (
    BoundingBox,
    Candidate,
    Decision,
    DetectedFace,
    FaceIdentification,
    ImageFaces,
    ImageIdentification,
    ImageStatus,
    Quality,
)
from mien_client.cli import annotate
from mien_client.cli.annotate import Mark, draw_marks, upright
from mien_client.cli.annotated_files import marks_of, unwritable_names
from mien_client.cli.fonts import font_for

GREY = (128, 128, 128)


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def count(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == colour).all(axis=2).sum())


def identified(names: list[str | None]) -> ImageIdentification:
    """A photograph with one face for each name; None is a stranger."""
    face = DetectedFace(BoundingBox(0, 0, 9, 9), None, 1.0, Quality(1.0, (), 9.0, 1.0, 0.5, 0.5, 0.0, 0.0))
    people = [
        FaceIdentification(Decision.MATCH, (Candidate("id", name, 0.99, 0.1, "face", {}),), None)
        if name
        else FaceIdentification(Decision.UNKNOWN, (), None)
        for name in names
    ]
    image = ImageFaces(ImageStatus.OK, None, 9, 9, (face,) * len(names), b"", "")
    return ImageIdentification(image, tuple(people))


@pytest.mark.parametrize("size", [(24, 24), (500, 333), (4000, 100), (6000, 4000)])
def test_a_name_is_written_large_enough_to_read(size: tuple[int, int]) -> None:
    """In a thumbnail as in a huge picture the label is filled with its colour and has white letters on it."""
    box = BoundingBox(size[0] * 0.3, size[1] * 0.3, size[1] * 0.3, size[1] * 0.3)
    drawn = draw_marks(Image.new("RGB", size, GREY), [Mark(box, "Ada Lovelace 0.97", is_known=True)])
    assert max(drawn.size) >= 800
    assert count(drawn, annotate._GREEN) > 400
    assert count(drawn, (255, 255, 255)) > 100


def test_known_is_green_and_unknown_is_red() -> None:
    """The colour says at a glance whether somebody was recognised, in the box and in the label."""
    picture = Image.new("RGB", (900, 600), GREY)
    known = draw_marks(picture, [Mark(BoundingBox(100, 100, 200, 200), "Ada 0.97", is_known=True)])
    unknown = draw_marks(picture, [Mark(BoundingBox(100, 100, 200, 200), "Unknown", is_known=False)])
    assert count(known, annotate._GREEN_LINE) > 0
    assert count(known, annotate._RED_LINE) + count(known, annotate._RED) == 0
    assert count(unknown, annotate._RED_LINE) > 0
    assert count(unknown, annotate._GREEN_LINE) + count(unknown, annotate._GREEN) == 0


def test_the_picture_itself_is_left_alone() -> None:
    """Drawing answers a copy."""
    picture = Image.new("RGB", (900, 600), GREY)
    draw_marks(picture, [Mark(BoundingBox(0, 0, 100, 100), "Ada", is_known=True)])
    assert count(picture, GREY) == 900 * 600


def test_boxes_beyond_the_picture_are_drawn() -> None:
    """A face cut off at the edge, and a label with no room above it, are no error and stay inside."""
    boxes = [BoundingBox(-50, -40, 120, 120), BoundingBox(850, 560, 200, 200), BoundingBox(0, 0, 900, 600)]
    marks = [Mark(box, "A very long name that fits into no small picture " * 3, is_known=True) for box in boxes]
    assert draw_marks(Image.new("RGB", (900, 600), GREY), marks).size == (900, 600)


def test_labels_of_neighbours_do_not_hide_each_other() -> None:
    """Names of people side by side, wider than their faces, are placed so that none covers another."""
    placed: list[annotate._Rectangle] = []
    faces = [annotate._Rectangle(left, 200, left + 60, 260) for left in (300, 370, 440)]
    for face in faces:
        spots = annotate._spots(face, 150, 24, 900, 600)
        placed.append(min(spots, key=lambda spot: annotate._cost(spot, placed, faces)))
    assert [one.overlap(other) for one in placed for other in placed if one is not other] == [0] * 6


def test_a_long_name_keeps_its_similarity() -> None:
    """What does not fit loses its middle, never the number at its end."""
    _, text = annotate._fitted("Wolfeschlegelsteinhausenbergerdorff 0.97", 20, 160)
    assert text.startswith("Wolf")
    assert text.endswith("0.97")
    assert "..." in text


def test_a_letter_that_no_font_has_is_never_a_box() -> None:
    """A name in letters that the bundled font lacks is written with another font, or in letters there are."""
    for name in ("José", "Žižka", "Ελένη", "\U0001f600"):
        font, text = font_for(name, 20)
        missing = bytes(font.getmask("\uffff"))
        assert all(bytes(font.getmask(letter)) != missing for letter in text)


def test_a_name_that_no_font_can_write_gives_way_to_the_faces_number() -> None:
    """The label then has the number of the face in the table; names that lose but an accent stay."""
    marks = marks_of(identified(["Žižka", "\U0010fff0", None]))
    assert [mark.text for mark in marks] == ["Žižka 0.99", "face 2 0.99", "Unknown"]
    assert unwritable_names(identified(["Žižka", "\U0010fff0", None])) == ["\U0010fff0"]


def test_boxes_are_drawn_on_the_upright_picture() -> None:
    """The EXIF orientation is applied before drawing, for boxes are in upright pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert upright(encoded(Image.new("RGB", (60, 40)), "JPEG", exif=exif)).size == (40, 60)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    """Whatever the file holds, there are three channels to draw into."""
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert upright(encoded(Image.new(mode, (8, 8)), kind)).mode == "RGB"


def test_sixteen_bit_grey_is_not_clipped_to_white() -> None:
    """A 16-bit picture keeps its shades."""
    ramp = Image.fromarray(np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16))
    shades = np.asarray(upright(encoded(ramp)))[:, :, 0].ravel()
    assert (shades[0], shades[-1]) == (0, 255)
    assert len(set(shades.tolist())) > 200
