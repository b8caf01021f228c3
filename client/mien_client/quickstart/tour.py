"""What the tour does once photographs and a server are there: enrol, identify, compare with what is expected."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mien_client import AlreadyExists, Client, EnrollItem, FaceIdentification, ImageIdentification

__all__ = ["GALLERY", "GROUP", "Sighting", "enrol_people", "identify_all"]

GALLERY = "people"
GROUP = "the group picture"

# Who is enrolled, with which photographs.
_PEOPLE = (
    ("barack-obama", "Barack Obama", ("obama2.jpg", "obama3.jpg")),
    ("joe-biden", "Joe Biden", ("biden.jpg",)),
)
# Who must be found, from left to right; None is a stranger.
_EXPECTED: tuple[tuple[str, str, tuple[str | None, ...]], ...] = (
    ("obama.jpg", "a third one of him", ("barack-obama",)),
    ("obama_partial_face.jpg", "half of a face", ("barack-obama",)),
    ("obama_partial_face2.jpg", "the other half", ("barack-obama",)),
    (GROUP, "with a stranger", ("joe-biden", "barack-obama", None)),
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """One photograph, who was found in it, and who should have been.

    Attributes:
        picture: its name.
        note: what it shows.
        faces: from left to right.
        expected: identities from left to right; None is a stranger.
        elapsed_ms: from the call to its answer.
        answer: everything the server said about the photograph.
    """

    picture: str
    note: str
    faces: tuple[FaceIdentification, ...]
    expected: tuple[str | None, ...]
    elapsed_ms: float
    answer: ImageIdentification

    @property
    def is_right(self) -> bool:
        """Whether every face has the name it should have."""
        return tuple(face.match.identity_id if face.match else None for face in self.faces) == self.expected


def enrol_people(client: Client, photographs: Mapping[str, Path], say: Callable[[str], None]) -> None:
    """Makes the gallery and enrols everyone; safe to run again on the same store.

    Raises:
        MienClientError: the server refused something.
    """
    try:
        client.create_gallery(GALLERY, recipe="dlib")
        say(f"made gallery {GALLERY!r} (recipe dlib)")
    except AlreadyExists:
        say(f"gallery {GALLERY!r} is there already")
    for identity_id, name, files in _PEOPLE:
        items = [EnrollItem(identity_id, image=photographs[file], identity_display_name=name) for file in files]
        answer = client.enroll_faces(GALLERY, items)
        for outcome in answer.outcomes:
            if outcome.error is not None:
                raise outcome.error
        known = sum(outcome.duplicate for outcome in answer.outcomes)
        already = f", {known} of them already there" if known else ""
        say(f"enrolled {name} with {', '.join(files)}{already} (revision {answer.revision})")


def identify_all(client: Client, photographs: Mapping[str, Path], group: Path) -> list[Sighting]:
    """Looks everyone up.

    Raises:
        MienClientError: the server refused a photograph.
    """
    sightings = []
    for picture, note, expected in _EXPECTED:
        path = group if picture == GROUP else photographs[picture]
        start_s = time.perf_counter()
        answer = client.identify(GALLERY, images=[path]).images[0]
        elapsed_ms = (time.perf_counter() - start_s) * 1000
        if answer.image.error is not None:
            raise answer.image.error
        by_place = sorted(zip(answer.image.faces, answer.faces, strict=True), key=lambda pair: pair[0].box.left)
        faces = tuple(face for _, face in by_place)
        sightings.append(Sighting(picture, note, faces, expected, elapsed_ms, answer))
    return sightings
