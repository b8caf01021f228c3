"""Which rows were somebody's once, as the journal knows."""

from __future__ import annotations

from collections.abc import Iterable

from mien_server.records.store_pb2 import EnrolledRows, JournalEntry, MovedFaces
from mien_server.storage.erasure.people import ByNumber, Erased
from mien_server.storage.keys import NUMBER_BYTES

__all__ = ["History"]


class History:
    """Takes entries in their order. Faces that were deleted before the identity was are known to nobody else.

    Attributes:
        first_ordinals: by gallery, the oldest row of which the journal has all, from its enrolment on.
    """

    def __init__(self, people: Iterable[Erased]) -> None:
        self._everybody = list(people)
        self._people = ByNumber((one, one.create_times_us) for one in self._everybody)
        # The last owner of each row that was somebody's once, by gallery.
        self._owners: dict[int, dict[int, int]] = {number: {} for number in self._people.gallery_numbers}
        self.first_ordinals: dict[int, int] = {}

    def take(self, entry: JournalEntry) -> None:
        """Note what an entry knows."""
        for operation in entry.operations:
            match operation.WhichOneof("operation"):
                case "enroll":
                    self._take_rows(operation.enroll)
                case "move_faces":
                    self._take_moved(operation.move_faces)
                case _:
                    continue

    def skip(self) -> None:
        """An entry cannot be read: whose the rows before it were is not known for sure any more."""
        self.first_ordinals.clear()

    def finish(self) -> None:
        """Give everybody the rows that were theirs last."""
        for one in self._everybody:
            owners, numbers = self._owners[one.gallery_number], one.create_times_us
            theirs = {ordinal for ordinal in one.ordinals if owners.get(ordinal, one.identity_number) in numbers}
            one.ordinals = theirs | (one.ordinals & one.later_ordinals)
        for gallery_number, owners in self._owners.items():
            for ordinal, number in owners.items():
                for one in self._people.at(gallery_number, number):
                    one.ordinals.add(ordinal)

    def _take_rows(self, rows: EnrolledRows) -> None:
        owners = self._owners.get(rows.gallery_number)
        if owners is None or not rows.face_values:
            return
        self.first_ordinals.setdefault(rows.gallery_number, rows.first_ordinal)
        for ordinal, raw in enumerate(rows.face_values, rows.first_ordinal):
            number = int.from_bytes(raw[:NUMBER_BYTES], "little")
            if self._people.at(rows.gallery_number, number):
                owners[ordinal] = number

    def _take_moved(self, moved: MovedFaces) -> None:
        owners = self._owners.get(moved.gallery_number)
        if owners is None:
            return
        is_theirs = bool(self._people.at(moved.gallery_number, moved.target_identity_number))
        for ordinal in moved.ordinals:
            if is_theirs or ordinal in owners:
                owners[ordinal] = moved.target_identity_number
