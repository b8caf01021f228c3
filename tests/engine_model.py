"""What a gallery must show, after whatever was done to it: a model of a few dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.unit_rows import Rows, unit_rows

__all__ = ["DIMENSION", "FIRST_FACES", "POOL", "Model", "Person", "first_model"]

DIMENSION = 16
FIRST_FACES = 360
PER_PERSON = 3
POOL = unit_rows(FIRST_FACES + 4000, DIMENSION, 11)
"""Row i is the vector of the face "f<i>", whoever it belongs to."""


@dataclass
class Person:
    display_name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    expire_time_us: int = 0


@dataclass
class Model:
    """What the store must show: people by id, the owner of each face by its number, and when those expire that do;
    whose the faces were last that are gone, and who has expired.
    """

    people: dict[str, Person]
    owners: dict[int, str]
    expire_times_us: dict[int, int] = field(default_factory=dict)
    last_owners: dict[int, str] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)

    def pass_time(self, now_us: int) -> None:
        """Forget what has expired."""
        for identity_id, person in list(self.people.items()):
            if 0 < person.expire_time_us <= now_us:
                self.forget(identity_id)
                self.expired.add(identity_id)
        for face, time_us in list(self.expire_times_us.items()):
            if time_us <= now_us:
                self.forget_face(face)

    def forget(self, identity_id: str) -> None:
        for face in self.faces_of(identity_id):
            self.forget_face(face)
        del self.people[identity_id]

    def forget_face(self, face: int) -> None:
        self.last_owners[face] = self.owners.pop(face)
        self.expire_times_us.pop(face, None)

    def faces_of(self, identity_id: str) -> list[int]:
        return [face for face, owner in self.owners.items() if owner == identity_id]

    def chosen(self, choices: list[int]) -> list[int]:
        """Some faces that are there, each once."""
        faces = sorted(self.owners)
        return sorted({faces[choice % len(faces)] for choice in choices}) if faces else []

    def vectors(self) -> tuple[list[int], Rows]:
        faces = list(self.owners)
        return faces, POOL[faces]


def first_model() -> Model:
    owners = {face: f"p{face // PER_PERSON}" for face in range(FIRST_FACES)}
    return Model({owner: Person() for owner in owners.values()}, owners)
