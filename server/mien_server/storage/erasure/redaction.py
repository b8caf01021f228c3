"""What records say of somebody: found in the journal and among the outcomes of requests, and taken out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
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
    PutIdentity,
    RequestRecord,
)
from mien_server.storage import keys
from mien_server.storage.databases import Database
from mien_server.storage.erasure.people import ByNumber, Erased
from mien_server.storage.keys import DIGEST_BYTES
from mien_server.storage.values import FaceValue, decode_face, decode_message, encode_face

__all__ = ["PLACEHOLDER_IDENTITY", "AnswerRedactor", "EntryRedactor", "face_texts", "identity_texts"]


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


_QUOTE = re.compile(rb"['\"]")

PLACEHOLDER_IDENTITY = "erased identity "
"""What the id of an identity begins with that stands for one that was erased; its number follows."""


class EntryRedactor:
    """Takes people out of entries of the journal.

    Placeholders take their places, so that the entry can still be replayed, and those after it mean what they did: an
    identity without a name, faces of no origin whose vectors are zeros. What is taken out is added to what is to be
    found nowhere afterwards.
    """

    def __init__(self, people: Iterable[Erased]) -> None:
        everybody = list(people)
        self._rows = ByNumber((one, one.ordinals) for one in everybody)
        self._identities = ByNumber((one, one.create_times_us) for one in everybody)

    def redact(self, entry: JournalEntry) -> set[Erased]:
        """Take people out of an entry; answers with those who were in it. Raises CorruptStore."""
        named: set[Erased] = set()
        kept = []
        for operation in entry.operations:
            match operation.WhichOneof("operation"):
                case "enroll":
                    named |= self._redact_rows(operation.enroll)
                case "put_identity":
                    put = operation.put_identity
                    if theirs := self._redact_put(put):
                        named |= theirs
                        if put.identity.create_time_us != entry.time_us:
                            # Who is there already may have kept the name, in a snapshot: it is not changed.
                            continue
                case _:
                    pass
            kept.append(operation)
        if named:
            operations = [JournalOperation.FromString(operation.SerializeToString()) for operation in kept]
            del entry.operations[:]
            entry.operations.extend(operations)
        for one in named:
            one.journal_entry_count += 1
        return named

    def _redact_put(self, put: PutIdentity) -> set[Erased]:
        number = put.identity.number
        theirs = self._identities.at(put.gallery_number, number)
        if not theirs or put.identity_id == _placeholder_identity(number):
            return set()
        for one in theirs:
            one.texts |= identity_texts(put.identity)
        put.identity_id = _placeholder_identity(number)
        _leave_unnamed(put.identity)
        return set(theirs)

    def _redact_rows(self, rows: EnrolledRows) -> set[Erased]:
        named: set[Erased] = set()
        first, end = rows.first_ordinal, rows.first_ordinal + len(rows.face_values)
        for ordinal, theirs in self._rows.within(rows.gallery_number, first, end):
            place = ordinal - first
            face = decode_face(keys.encode_numbered(rows.gallery_number, ordinal), rows.face_values[place])
            if face.face_id == _placeholder_face(ordinal):
                continue
            for one in theirs:
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
            named.update(theirs)
        first = rows.first_new_identity_number
        end = first + len(rows.new_identity_ids)
        for number, theirs in self._identities.within(rows.gallery_number, first, end):
            place, placeholder = number - first, _placeholder_identity(number)
            if rows.new_identity_ids[place] == placeholder:
                continue
            key = keys.encode_numbered(rows.gallery_number, number)
            identity = decode_message(IdentityRecord, rows.new_identity_records[place], Database.JOURNAL, key)
            for one in theirs:
                one.texts |= identity_texts(identity)
            _leave_unnamed(identity)
            rows.new_identity_ids[place] = placeholder
            rows.new_identity_records[place] = identity.SerializeToString()
            named.update(theirs)
        return named


def _leave_unnamed(identity: IdentityRecord) -> None:
    identity.ClearField("display_name")
    identity.ClearField("labels")


def _placeholder_identity(number: int) -> str:
    return f"{PLACEHOLDER_IDENTITY}{number}"


def _placeholder_face(ordinal: int) -> str:
    return f"erased face {ordinal}"


def is_placeholder_face(ordinal: int, face: FaceValue) -> bool:
    """Whether the face stands for one that was erased."""
    return face.face_id == _placeholder_face(ordinal) and not face.vector_checksum and not face.record


def is_placeholder_identity(identity_id: str, record: IdentityRecord) -> bool:
    """Whether the identity stands for one that was erased."""
    return identity_id == _placeholder_identity(record.number) and not record.display_name and not record.labels


class AnswerRedactor:
    """Takes away kept answers that name people, who are taken as they are now."""

    def __init__(self, people: Iterable[Erased]) -> None:
        self._by_id: dict[str, list[Erased]] = {}
        self._by_quoted_id: dict[bytes, list[Erased]] = {}
        self._by_face_id: dict[str, list[Erased]] = {}
        self._by_number: dict[int, list[Erased]] = {}
        for one in people:
            # Of somebody who was erased again after a restore the id may not be known.
            if one.identity_id:
                self._by_id.setdefault(one.identity_id, []).append(one)
                self._by_quoted_id.setdefault(repr(one.identity_id).encode(), []).append(one)
            for face_id in one.face_ids:
                self._by_face_id.setdefault(face_id, []).append(one)
            for number in one.create_times_us:
                self._by_number.setdefault(number, []).append(one)
        self._quoted_lengths = {len(quoted) for quoted in self._by_quoted_id}

    def redact(self, record: RequestRecord) -> set[Erased]:
        """Take an outcome away that names any of the people; answers with those it names."""
        named = set() if record.is_erased else self.named(record.outcome)
        if named:
            record.outcome = b""
            record.is_erased = True
        for one in named:
            one.request_count += 1
        return named

    def named(self, outcome: bytes) -> set[Erased]:
        """Whom the outcome of a request names. Outcomes do not say of what kind they are: each is tried.

        One too many is forgotten rather than one too few.
        """
        named = set(self._quoted(outcome))
        for kind in _OUTCOMES:
            named.update(self._named(kind, outcome))
        return named

    def _quoted(self, outcome: bytes) -> Iterator[Erased]:
        """Those whose id stands in quotes, as error messages give it."""
        for quote in _QUOTE.finditer(outcome):
            for length in self._quoted_lengths:
                yield from self._by_quoted_id.get(outcome[quote.start() : quote.start() + length], ())

    def _named(self, kind: type[_Outcome], outcome: bytes) -> Iterator[Erased]:
        message = kind()
        try:
            message.ParseFromString(outcome)
        except DecodeError:
            return
        match message:
            case EnrollRowsOutcomeRecord():
                for face_id in message.face_ids:
                    yield from self._by_face_id.get(face_id, ())
            case EnrollOutcomeRecord():
                for face in message.faces:
                    yield from self._by_id.get(face.identity_id, ())
                    yield from self._by_face_id.get(face.face_id, ())
            case CountOutcomeRecord():
                for identity_id in message.identity_ids:
                    yield from self._by_id.get(identity_id, ())
            case IdentityRecord():
                for one in self._by_number.get(message.number, ()):
                    # A count has no time. Other galleries have the same numbers.
                    made_us = one.create_times_us[message.number]
                    if message.create_time_us > 0 and made_us in (0, message.create_time_us):
                        yield one
            case _:
                assert_never(message)
