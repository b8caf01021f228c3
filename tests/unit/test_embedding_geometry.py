"""Turning pictures and points, joining detections, measuring quality: the parts that know no library."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien_server.embedding.alignment import EyesAndNose
from mien_server.embedding.detection import Detection, largest_first, overlap, without_duplicates, working_scale
from mien_server.embedding.orientation import find_faces
from mien_server.embedding.pixels import box_turned_back, points_turned_back, resized, turned
from mien_server.embedding.quality import FaceMeasures, measure_quality
from mien_server.records.faces import Box, QualityReason

TURNS = (0, 90, 180, 270)


@pytest.mark.parametrize("degrees", TURNS)
def test_a_pixel_found_in_a_turned_picture_is_the_same_pixel_upright(degrees: int) -> None:
    """Every pixel of the turned picture, turned back, has the colour it had there."""
    picture = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    other = turned(picture, degrees)
    rows, columns = np.indices(other.shape[:2])
    points = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)
    upright = points_turned_back(points, degrees, width=7, height=5).astype(int)
    assert np.array_equal(picture[upright[:, 1], upright[:, 0]], other.reshape(-1, 3))


@pytest.mark.parametrize("degrees", TURNS)
def test_a_box_turned_back_holds_the_same_pixels(degrees: int) -> None:
    """The pixels inside a box of the turned picture are those inside the box turned back."""
    picture = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    other = turned(picture, degrees)
    box = box_turned_back(Box(1, 2, 3, 2), degrees, width=7, height=5)
    left, top, right, bottom = (int(edge) for edge in (box.left, box.top, box.left + box.width, box.top + box.height))
    assert sorted(picture[top:bottom, left:right].ravel()) == sorted(other[2:4, 1:4].ravel())


@pytest.mark.parametrize("degrees", TURNS)
def test_a_turned_picture_has_plain_strides(degrees: int) -> None:
    """A turned picture is C-contiguous: dlib finds nothing, silently, in one of negative stride."""
    assert turned(np.zeros((5, 7, 3), np.uint8), degrees).flags.c_contiguous


def test_a_working_size_keeps_its_bounds() -> None:
    """A picture is never enlarged beyond the factor nor left above the number of pixels."""
    assert working_scale(100, 100, 1_000_000, 2.0) == 2.0
    scale = working_scale(3000, 4000, 2_000_000, 1.0)
    assert resized(np.zeros((3000, 4000, 3), np.uint8), scale).size <= 3 * 2_005_000


def face(left: float, size: float, score: float) -> Detection:
    return Detection(Box(left, 0, size, size), score)


def test_a_face_seen_twice_is_one_face() -> None:
    """Of boxes that overlap only the best scoring is kept; a box inside another is the same face."""
    kept = without_duplicates([face(0, 100, 1.0), face(5, 100, 2.0), face(30, 40, 0.5), face(200, 90, 0.1)])
    assert [detection.score for detection in kept] == [2.0, 0.1]


def test_the_largest_face_is_first_whatever_its_score() -> None:
    """Faces are ordered by area, then by score, then from the left."""
    ordered = largest_first([face(0, 50, 9.0), face(100, 80, 0.1), face(300, 50, 9.5), face(200, 50, 9.0)])
    assert [detection.box.left for detection in ordered] == [100, 300, 0, 200]


boxes = st.builds(Box, *[st.floats(-100, 100)] * 2, *[st.floats(1, 100)] * 2)


@given(boxes, boxes)
def test_overlap_is_a_symmetric_share(first: Box, second: Box) -> None:
    """The overlap of two boxes lies between 0 and 1, is symmetric, and is 1 for a box with itself."""
    assert 0.0 <= overlap(first, second) <= 1.0 + 1e-6
    assert overlap(first, second) == overlap(second, first)
    assert overlap(first, first) == pytest.approx(1.0, abs=1e-6)


class MarkFinder:
    """Scores a picture by its top left pixel: a stand-in for a detector whose scores a photograph cannot stage."""

    lowest_score = 0.0
    upright_score = 0.8

    def glance(self, pixels: npt.NDArray[np.uint8], size_px: float) -> list[Detection]:
        assert size_px >= 0
        return self.find(pixels)

    def find(self, pixels: npt.NDArray[np.uint8]) -> list[Detection]:
        score = float(pixels[0, 0, 0]) / 100
        return [Detection(Box(0, 0, 2, 2), score)] if score > 0 else []


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        # The corner that comes to the top left after a clockwise turn by: 0, 90, 180, 270 degrees.
        ({0: 90, 180: 200}, 0),
        ({0: 50, 180: 60}, 180),
        ({0: 50, 180: 50}, 0),
        ({90: 70, 270: 90}, 270),
        ({90: 90}, 90),
        ({90: 30}, 0),
        ({}, 0),
    ],
    ids=["upright is trusted", "beaten", "in doubt upright", "best turn", "only turn", "too weak", "none"],
)
def test_the_turn_with_the_best_score_wins(corners: dict[int, int], expected: int) -> None:
    """A picture is turned only when its upright score is doubtful and a turned one is better and good enough."""
    picture = np.zeros((4, 6, 3), np.uint8)
    places = {0: (0, 0), 90: (3, 0), 180: (3, 5), 270: (0, 5)}
    for degrees, value in corners.items():
        picture[places[degrees]] = value
    found = find_faces(picture, MarkFinder())
    assert found.degrees == expected
    assert len(found.detections) == (1 if corners.get(expected, 0) else 0)


def textured_chip() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(2).integers(60, 200, (150, 150, 3), dtype=np.uint8)


def measures(**changed: object) -> FaceMeasures:
    def point(x: float, y: float) -> npt.NDArray[np.float32]:
        return np.array([x, y], dtype=np.float32)

    facts: dict[str, object] = {
        "chip": textured_chip(),
        "face_size_px": 100.0,
        "eyes_and_nose": EyesAndNose(point(30, 40), point(70, 40), point(50, 60)),
        "roll_degrees": 0.0,
        "detector_score": 1.0,
        "outside_share": 0.0,
    }
    return FaceMeasures(**{**facts, **changed})  # type: ignore[arg-type]


def turned_head() -> EyesAndNose:
    eyes = measures().eyes_and_nose
    return EyesAndNose(eyes.left_eye, eyes.right_eye, np.array([69, 60], dtype=np.float32))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (lambda: {"face_size_px": 20.0}, QualityReason.TOO_SMALL),
        (lambda: {"chip": np.full((150, 150, 3), 128, np.uint8)}, QualityReason.BLURRED),
        (lambda: {"chip": textured_chip() // 12}, QualityReason.TOO_DARK),
        (lambda: {"chip": 255 - textured_chip() // 24}, QualityReason.TOO_BRIGHT),
        (lambda: {"chip": (textured_chip() // 32 + 100).astype(np.uint8)}, QualityReason.LOW_CONTRAST),
        (lambda: {"eyes_and_nose": turned_head()}, QualityReason.TURNED_AWAY),
        (lambda: {"detector_score": 0.1}, QualityReason.LOW_DETECTOR_SCORE),
        (lambda: {"outside_share": 0.4}, QualityReason.CUT_OFF),
    ],
)
def test_a_low_measure_is_a_reason(changed: Callable[[], dict[str, object]], reason: QualityReason) -> None:
    """Each way of being unfit lowers the score below one half and names itself."""
    quality = measure_quality(measures(**changed()))
    assert reason in quality.reasons
    assert quality.score < 0.5


def test_a_good_face_has_no_reason() -> None:
    """A large, sharp, frontal, well lit face scores 1 and has no reason against it."""
    quality = measure_quality(measures())
    assert quality.reasons == ()
    assert quality.score == 1.0
    assert quality.yaw == pytest.approx(0.0, abs=1e-6)


def test_eyes_in_one_place_are_no_frontal_face() -> None:
    """Landmarks that coincide count as a face turned away, not as an error."""
    point = np.array([5, 5], dtype=np.float32)
    assert measure_quality(measures(eyes_and_nose=EyesAndNose(point, point, point))).yaw == 1.0
