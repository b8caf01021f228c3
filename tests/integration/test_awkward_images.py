"""Hostile pictures over gRPC: each gets its own status, one bad picture never fails its batch, the server goes on.

What to expect of each file stands in people/awkward/expected.csv beside the photographs; the statuses are the
contract's (ImageStatus in types.proto).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mien_client import Client, Decision, EnrollItem, ImageStatus, InvalidArgument
from tests.server_processes import ServerProcess

GALLERY = "people"
PERSON, OTHER_PERSON = "Naomi_Watts", "Jackie_Chan"

STATUS_OF_BAD = {
    "tiny_20x20.jpg": ImageStatus.TOO_SMALL,
    "one_pixel.png": ImageStatus.TOO_SMALL,
    "truncated.jpg": ImageStatus.TRUNCATED,
    "text_named.jpg": ImageStatus.UNSUPPORTED_TYPE,
    "empty.jpg": ImageStatus.EMPTY,
    "landscape_no_face.jpg": ImageStatus.NO_FACE,
    "bomb_12000x9000.png": ImageStatus.TOO_MANY_PIXELS,
}
"""Every other file is OK."""

MAY_HAVE_NO_FACE = "detector-dependent"
SIZE_OF_UPRIGHT = (250, 250)


@dataclass(frozen=True)
class Awkward:
    """A line of expected.csv: a file, and the people in it from left to right."""

    path: Path
    people: tuple[str, ...]
    may_have_no_face: bool

    @property
    def statuses(self) -> set[ImageStatus]:
        """What its status may be."""
        status = STATUS_OF_BAD.get(self.path.name, ImageStatus.OK)
        return {status, ImageStatus.NO_FACE} if self.may_have_no_face else {status}


@pytest.fixture(scope="module")
def awkward(shared_data: Path) -> list[Awkward]:
    """Every file of the folder, in the order of expected.csv."""
    folder = shared_data / "people" / "awkward"
    with (folder / "expected.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    files = [
        Awkward(
            folder / line["file"],
            tuple(line["identity"].split("|")) if line["identity"] else (),
            line["faces"] == MAY_HAVE_NO_FACE,
        )
        for line in lines
    ]
    assert {one.path for one in files} == set(folder.iterdir()) - {folder / "expected.csv"}
    assert set(STATUS_OF_BAD) <= {one.path.name for one in files}
    return files


@pytest.fixture(scope="module")
def client(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server that knows the two people of the awkward pictures, from five photographs each."""
    with ServerProcess(tmp_path_factory.mktemp("awkward") / "store") as server, server.client() as client:
        client.create_gallery(GALLERY, recipe="dlib")
        items = [
            EnrollItem(person, image=photograph)
            for person in (PERSON, OTHER_PERSON)
            for photograph in sorted((shared_data / "people" / "gallery" / person).iterdir())
        ]
        answer = client.enroll_faces(GALLERY, items)
        assert [outcome.error for outcome in answer.outcomes] == [None] * len(items)
        yield client
        # It goes on after everything that the tests of this file sent.
        assert client.is_serving()
        again = client.identify(GALLERY, images=[items[0].image])
        assert again.images[0].faces[0].match is not None


def test_each_picture_has_its_status(client: Client, awkward: list[Awkward]) -> None:
    """DetectFaces answers every picture of a batch in order: OK with the faces expected, or the documented status."""
    answer = client.detect_faces([one.path for one in awkward])
    for one, found in zip(awkward, answer.images, strict=True):
        assert found.source == one.path.name
        assert found.status in one.statuses, one.path.name
        is_ok = found.status is ImageStatus.OK
        assert len(found.faces) == (len(one.people) if is_ok else 0), one.path.name
        assert (found.error is None) == is_ok


def test_a_bad_picture_says_what_is_wrong(client: Client, awkward: list[Awkward]) -> None:
    """The error of each bad picture names it, carries the status as its reason, and says what to do."""
    bad = [one for one in awkward if one.path.name in STATUS_OF_BAD]
    answer = client.detect_faces([one.path for one in bad])
    for position, (one, found) in enumerate(zip(bad, answer.images, strict=True)):
        assert isinstance(found.error, InvalidArgument)
        assert found.error.reason == f"IMAGE_{STATUS_OF_BAD[one.path.name]}"
        assert f"images[{position}]" in found.error.message
        assert "send" in found.error.message


def test_an_exif_orientation_is_applied(client: Client, awkward: list[Awkward]) -> None:
    """Boxes of pictures that lie on their side or upside down are those of the upright picture."""
    upright = next(one for one in awkward if one.path.name == "progressive.jpg")
    turned = [one for one in awkward if one.path.name.startswith("exif_orientation")]
    assert turned
    answer = client.detect_faces([one.path for one in (upright, *turned)])
    wanted, *others = answer.images
    for found in others:
        assert (found.width, found.height) == (wanted.width, wanted.height) == SIZE_OF_UPRIGHT
        assert found.faces[0].rotation_degrees == 0
        for side in ("left", "top", "width", "height"):
            assert getattr(found.faces[0].box, side) == pytest.approx(getattr(wanted.faces[0].box, side), abs=8)


def test_the_people_of_awkward_pictures_are_named(client: Client, awkward: list[Awkward]) -> None:
    """Identify names every face of every readable picture of one batch, and nobody in the others."""
    answer = client.identify(GALLERY, images=[one.path for one in awkward])
    for one, found in zip(awkward, answer.images, strict=True):
        assert found.image.status in one.statuses, one.path.name
        in_order = sorted(zip(found.image.faces, found.faces, strict=True), key=lambda pair: pair[0].box.left)
        names = tuple(face.match.identity_id if face.match else None for _, face in in_order)
        assert names == (one.people if found.image.status is ImageStatus.OK else ()), one.path.name
        assert all(face.decision is Decision.MATCH for face in found.faces)


def test_a_bad_picture_never_fails_the_enrolment_of_the_others(client: Client, awkward: list[Awkward]) -> None:
    """EnrollFaces enrols what shows one face and answers the rest item by item, in one batch, and counts exactly."""
    before = client.get_gallery(GALLERY)
    items = [EnrollItem(f"awkward-{one.path.name}", image=one.path) for one in awkward]
    answer = client.enroll_faces(GALLERY, items)
    enrolled_count = 0
    for one, outcome in zip(awkward, answer.outcomes, strict=True):
        assert outcome.image_status in one.statuses, one.path.name
        is_enrolled = outcome.image_status is ImageStatus.OK and len(one.people) == 1
        assert (outcome.error is None) == is_enrolled, one.path.name
        assert len(outcome.faces) == (1 if is_enrolled else 0)
        if len(one.people) > 1:
            assert outcome.error is not None
            assert outcome.error.reason == "MULTIPLE_FACES"
        enrolled_count += is_enrolled
    after = client.get_gallery(GALLERY, min_revision=answer.revision)
    assert after.face_count == before.face_count + enrolled_count
    assert after.identity_count == before.identity_count + enrolled_count
    for item in items:
        client.delete_identity(GALLERY, item.identity_id, allow_missing=True)


def test_a_batch_of_bad_pictures_alone_is_answered(client: Client, awkward: list[Awkward]) -> None:
    """A batch in which no picture can be used is answered picture by picture, and changes nothing."""
    bad = [one.path for one in awkward if one.path.name in STATUS_OF_BAD]
    before = client.get_gallery(GALLERY)
    enrolled = client.enroll_faces(GALLERY, [EnrollItem("nobody", image=path) for path in bad])
    assert all(outcome.error is not None for outcome in enrolled.outcomes)
    identified = client.identify(GALLERY, images=bad)
    assert [len(found.faces) for found in identified.images] == [0] * len(bad)
    after = client.get_gallery(GALLERY)
    assert (after.face_count, after.identity_count) == (before.face_count, before.identity_count)
