"""What records say of somebody: found in the journal and among the outcomes of requests, and taken out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from google.protobuf.message import DecodeError

from mien_server.records.store_pb2 import (
    CountOutcomeRecord,
    EnrolledRows,
    EnrollOutcomeRecord,
    EnrollRowsOutcomeRecord,
    FaceRecord,
    IdentityRecord,
    JournalEntry,
    JournalOperation,
    MovedFaces,
    PutIdentity,
    RequestRecord,
)
from mien_server.storage import keys
from mien_server.storage.keys import DIGEST_BYTES, NUMBER_BYTES
from mien_server.storage.values import FaceValue, decode_face, encode_face

__all__ = ["Erased", "History", "face_texts", "has_id", "identity_texts", "names", "redact_entry", "redact_request"]


def face_texts(face: FaceValue) -> set[bytes]:
    """What only this face's records hold: its id, where it came from, hashes, values of labels."""
    record = FaceRecord.FromString(face.record)
    texts = {face.face_id.encode(), face.digest, record.source.encode(), record.image_sha256}
    texts.update(value.encode() for value in record.labels.values())
    return texts - {b""}


def identity_texts(identity: IdentityRecord) -> set[bytes]:
    """Name and values of labels."""
    texts = {identity.display_name.encode(), *(value.encode() for value in identity.labels.values())}
    return texts - {b""}


_Outcome: TypeAlias = EnrollRowsOutcomeRecord | EnrollOutcomeRecord | CountOutcomeRecord | IdentityRecord
_OUTCOMES: tuple[type[_Outcome], ...] = (
    EnrollRowsOutcomeRecord,
    EnrollOutcomeRecord,
    CountOutcomeRecord,
    IdentityRecord,
)


@dataclass(slots=True)
class Erased:
    """Somebody to be taken out of records.

    Attributes:
        create_times_us: when they were made, by number: them, and whoever had the id in the gallery before them. 0: not
            known.
        ordinals: rows that were theirs.
        texts: what is to be found nowhere afterwards.
        journal_entry_count, request_count: how many records they were taken out of.
        later_ordinals: rows that became theirs after what the journal tells: the store was restored to a time before.
    """

    gallery_number: int
    identity_number: int
    identity_id: str
    create_times_us: dict[int, int] = field(default_factory=dict)
    ordinals: set[int] = field(default_factory=set)
    face_ids: set[str] = field(default_factory=set)
    texts: set[bytes] = field(default_factory=set)
    journal_entry_count: int = 0
    request_count: int = 0
    later_ordinals: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.create_times_us.setdefault(self.identity_number, 0)

    def take_numbers(self, entry: JournalEntry) -> None:
        """Note under which numbers an entry knows them: somebody who was deleted and enrolled again has several."""
        for record in _records_of(entry, self):
            self.create_times_us[record.number] = record.create_time_us


def has_id(entry: JournalEntry, one: Erased) -> bool:
    """Whether a journal entry calls them by their id, or whoever had it before."""
    return next(_records_of(entry, one), None) is not None


def _records_of(entry: JournalEntry, one: Erased) -> Iterator[IdentityRecord]:
    for operation in entry.operations:
        match operation.WhichOneof("operation"):
            case "enroll" if operation.enroll.gallery_number == one.gallery_number:
                rows = operation.enroll
                identities = zip(rows.new_identity_ids, rows.new_identity_records, strict=True)
                found = [IdentityRecord.FromString(raw) for name, raw in identities if name == one.identity_id]
            case "put_identity" if operation.put_identity.gallery_number == one.gallery_number:
                put = operation.put_identity
                found = [put.identity] if put.identity_id == one.identity_id else []
            case _:
                continue
        # Numbers ascend: a higher one is of somebody who was given the id afterwards.
        yield from (record for record in found if record.number <= one.identity_number)


class History:
    """Which rows were somebody's once, as the journal knows; entries are taken in their order.

    Faces that were deleted before the identity was are known to nobody else.

    Attributes:
        first_ordinals: by gallery, the oldest row whose enrolment the journal has.
    """

    def __init__(self, people: Iterable[Erased]) -> None:
        self._people: dict[int, dict[int, Erased]] = {}
        for one in people:
            for number in one.create_times_us:
                self._people.setdefault(one.gallery_number, {}).setdefault(number, one)
        # The last owner of each row that was somebody's once, by gallery.
        self._owners: dict[int, dict[int, int]] = {number: {} for number in self._people}
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

    def finish(self) -> None:
        """Give everybody the rows that were theirs last."""
        for gallery_number, owners in self._owners.items():
            people = self._people[gallery_number]
            for ordinal, number in owners.items():
                if last := people.get(number):
                    last.ordinals.add(ordinal)
                for one in people.values():
                    if one is not last and ordinal not in one.later_ordinals:
                        one.ordinals.discard(ordinal)

    def _take_rows(self, rows: EnrolledRows) -> None:
        people = self._people.get(rows.gallery_number)
        if people is None or not rows.face_values:
            return
        self.first_ordinals.setdefault(rows.gallery_number, rows.first_ordinal)
        owners = self._owners[rows.gallery_number]
        for ordinal, raw in enumerate(rows.face_values, rows.first_ordinal):
            number = int.from_bytes(raw[:NUMBER_BYTES], "little")
            if number in people:
                owners[ordinal] = number

    def _take_moved(self, moved: MovedFaces) -> None:
        people = self._people.get(moved.gallery_number, {})
        owners = self._owners.get(moved.gallery_number, {})
        for ordinal in moved.ordinals:
            if moved.target_identity_number in people or ordinal in owners:
                owners[ordinal] = moved.target_identity_number


def redact_entry(entry: JournalEntry, people: Iterable[Erased]) -> bool:
    """Take people out of a journal entry; answers whether they were in it.

    Placeholders take their places, so that the entry can still be replayed, and those after it mean what they did: an
    identity without a name, faces of no origin whose vectors are zeros. What was taken out is added to what is to be
    found nowhere afterwards. Raises CorruptStore.
    """
    is_changed = False
    for one in people:
        is_named = False
        kept = []
        for operation in entry.operations:
            match operation.WhichOneof("operation"):
                case "enroll":
                    is_named |= _redact_rows(operation.enroll, one)
                case "put_identity":
                    put = operation.put_identity
                    if _is_theirs(put, one):
                        is_named = True
                        _redact_put(put, one)
                        if put.identity.create_time_us != entry.time_us:
                            # Who is there already may have kept the name, in a snapshot: it is not changed.
                            continue
                case _:
                    pass
            kept.append(operation)
        if is_named:
            operations = [JournalOperation.FromString(operation.SerializeToString()) for operation in kept]
            del entry.operations[:]
            entry.operations.extend(operations)
            one.journal_entry_count += 1
        is_changed |= is_named
    return is_changed


def _is_theirs(put: PutIdentity, one: Erased) -> bool:
    is_theirs = put.gallery_number == one.gallery_number and put.identity.number in one.create_times_us
    return is_theirs and put.identity_id != _placeholder_identity(put.identity.number)


def _redact_put(put: PutIdentity, one: Erased) -> None:
    one.texts |= identity_texts(put.identity)
    put.identity_id = _placeholder_identity(put.identity.number)
    _leave_unnamed(put.identity)


def _leave_unnamed(identity: IdentityRecord) -> None:
    identity.ClearField("display_name")
    identity.ClearField("labels")


def _placeholder_identity(number: int) -> str:
    return f"erased identity {number}"


def _placeholder_face(ordinal: int) -> str:
    return f"erased face {ordinal}"


def is_placeholder_face(ordinal: int, face: FaceValue) -> bool:
    """Whether the face stands for one that was erased."""
    return face.face_id == _placeholder_face(ordinal) and not face.vector_checksum and not face.record


def is_placeholder_identity(identity_id: str, record: IdentityRecord) -> bool:
    """Whether the identity stands for one that was erased."""
    return identity_id == _placeholder_identity(record.number) and not record.display_name and not record.labels


def _redact_rows(rows: EnrolledRows, one: Erased) -> bool:
    if rows.gallery_number != one.gallery_number:
        return False
    is_changed = False
    end = rows.first_ordinal + len(rows.face_values)
    for ordinal in _within(one.ordinals, rows.first_ordinal, end):
        place = ordinal - rows.first_ordinal
        face = decode_face(keys.encode_numbered(rows.gallery_number, ordinal), rows.face_values[place])
        if face.face_id != _placeholder_face(ordinal):
            one.face_ids.add(face.face_id)
            one.texts |= face_texts(face)
            rows.face_values[place] = encode_face(
                replace(
                    face,
                    # That of zeros.
                    vector_checksum=0,
                    digest=ordinal.to_bytes(DIGEST_BYTES, "big"),
                    face_id=_placeholder_face(ordinal),
                    record=b"",
                )
            )
            is_changed = True
    for number in one.create_times_us:
        place = number - rows.first_new_identity_number
        placeholder = _placeholder_identity(number)
        if 0 <= place < len(rows.new_identity_ids) and rows.new_identity_ids[place] != placeholder:
            identity = IdentityRecord.FromString(rows.new_identity_records[place])
            one.texts |= identity_texts(identity)
            _leave_unnamed(identity)
            rows.new_identity_ids[place] = placeholder
            rows.new_identity_records[place] = identity.SerializeToString()
            is_changed = True
    return is_changed


def _within(ordinals: set[int], first: int, end: int) -> Iterator[int]:
    if len(ordinals) < end - first:
        return (ordinal for ordinal in ordinals if first <= ordinal < end)
    return (ordinal for ordinal in range(first, end) if ordinal in ordinals)


def redact_request(record: RequestRecord, people: list[Erased]) -> bool:
    """Take an outcome away that names one of the people; answers whether it did."""
    named = [one for one in people if names(record.outcome, one)]
    if record.is_erased or not named:
        return False
    for one in named:
        one.request_count += 1
    record.outcome = b""
    record.is_erased = True
    return True


def names(outcome: bytes, one: Erased) -> bool:
    """Whether the outcome of a request names somebody. Outcomes do not say of what kind they are: each is tried.

    One too many is forgotten rather than one too few.
    """
    if one.identity_id and repr(one.identity_id).encode() in outcome:
        return True
    return any(_is_named(kind, outcome, one) for kind in _OUTCOMES)


def _is_named(kind: type[_Outcome], outcome: bytes, one: Erased) -> bool:
    message = kind()
    try:
        message.ParseFromString(outcome)
    except DecodeError:
        return False
    match message:
        case EnrollRowsOutcomeRecord():
            return not one.face_ids.isdisjoint(message.face_ids)
        case EnrollOutcomeRecord():
            return any(face.identity_id == one.identity_id or face.face_id in one.face_ids for face in message.faces)
        case CountOutcomeRecord():
            return one.identity_id in message.identity_ids
        case IdentityRecord():
            # A count has no time. Other galleries have the same numbers.
            made_us = one.create_times_us.get(message.number)
            return made_us is not None and message.create_time_us > 0 and made_us in (0, message.create_time_us)
        case _:
            assert_never(message)
