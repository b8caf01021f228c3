"""Which rows of an enrolment are added, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien_server.errors import AlreadyExists, CorruptStore, MienError
from mien_server.records.policies import Duplicates
from mien_server.records.store_pb2 import IdentityRecord
from mien_server.storage import keys
from mien_server.storage.commands.enrolment_columns import EnrolmentColumns
from mien_server.storage.reading import RecordReader

__all__ = ["RowChoice", "choose_rows"]


@dataclass(frozen=True, slots=True)
class RowChoice:
    """What becomes of n rows; see EnrollResult for the columns.

    Attributes:
        rows: the rows that are added, ascending.
        identities: the identities of the rows that are there already, by id.
    """

    rows: Sequence[int]
    identities: dict[str, IdentityRecord]
    ordinals: npt.NDArray[np.int64]
    face_ids: list[str]
    is_duplicate: npt.NDArray[np.bool_]
    errors: dict[int, MienError]


@dataclass(frozen=True, slots=True)
class _Known:
    """A face that is there, or was added by an earlier row; `owner` is a new identity's id, another's number."""

    owner: int | str
    digest: bytes
    ordinal: int
    face_id: str


def choose_rows(
    records: RecordReader, gallery_number: int, first_ordinal: int, columns: EnrolmentColumns, duplicates: Duplicates
) -> RowChoice:
    """Decide on every row, in order; an earlier row counts as there for the later ones.

    Args:
        first_ordinal: what the first row that is added gets.

    Raises:
        CorruptStore: a row rests on something damaged; where the rest is served, that row alone is refused with it.
    """
    count = len(columns.identity_ids)
    damages: dict[int, MienError] = {}
    try:
        identities = records.identities_by_id(gallery_number, dict.fromkeys(columns.identity_ids))
        if records.serves_damaged:
            _require_names(records, gallery_number, identities)
        known = _known_faces(records, gallery_number, columns, identities, duplicates, range(count))
    except CorruptStore:
        if not records.serves_damaged:
            raise
        identities, damages = _damages(records, gallery_number, columns, duplicates)
        whole = [row for row in range(count) if row not in damages]
        known = _known_faces(records, gallery_number, columns, identities, duplicates, whole)
    if not known and not damages and _is_free_of_repeats(columns, duplicates):
        return RowChoice(
            range(count),
            identities,
            np.arange(first_ordinal, first_ordinal + count, dtype=np.int64),
            list(columns.face_ids),
            np.zeros(count, dtype=np.bool_),
            {},
        )
    choice = RowChoice(
        [],
        identities,
        np.full(count, -1, dtype=np.int64),
        list(columns.face_ids),
        np.zeros(count, dtype=np.bool_),
        damages,
    )
    _choose_one_by_one(choice, known, first_ordinal, columns, duplicates)
    return choice


def _is_free_of_repeats(columns: EnrolmentColumns, duplicates: Duplicates) -> bool:
    count = len(columns.face_ids)
    if len(set(columns.face_ids)) != count:
        return False
    return duplicates == Duplicates.ALLOW or len(set(zip(columns.identity_ids, columns.digests, strict=True))) == count


def _known_faces(
    records: RecordReader,
    gallery_number: int,
    columns: EnrolmentColumns,
    identities: dict[str, IdentityRecord],
    duplicates: Duplicates,
    rows: Sequence[int],
) -> list[_Known]:
    """Faces that are there and have a face id of the rows, or identity and digest of one."""
    is_whole = len(rows) == len(columns.face_ids)
    face_ids = columns.face_ids if is_whole else [columns.face_ids[row] for row in rows]
    ordinals = set(records.face_ordinals(gallery_number, face_ids).values())
    if identities and duplicates != Duplicates.ALLOW:
        digest_keys = [
            keys.encode_digest_key(gallery_number, identities[columns.identity_ids[row]].number, columns.digests[row])
            for row in rows
            if columns.identity_ids[row] in identities
        ]
        ordinals.update(records.digest_ordinals(digest_keys).values())
    in_order = sorted(ordinals)
    faces = records.faces(gallery_number, in_order)
    return [
        _Known(face.identity_number, face.digest, ordinal, face.face_id)
        for ordinal, face in zip(in_order, faces, strict=True)
    ]


def _require_names(records: RecordReader, gallery_number: int, identities: dict[str, IdentityRecord]) -> None:
    """Refuse identities that cannot be named by their numbers: their rows would fail every search that finds them."""
    records.identity_ids(gallery_number, [record.number for record in identities.values()])


def _damages(
    records: RecordReader, gallery_number: int, columns: EnrolmentColumns, duplicates: Duplicates
) -> tuple[dict[str, IdentityRecord], dict[int, MienError]]:
    """The identities that are whole, and of each row that rests on something damaged, on what."""
    identities: dict[str, IdentityRecord] = {}
    damaged_people: dict[str, CorruptStore] = {}
    for identity_id in dict.fromkeys(columns.identity_ids):
        try:
            record = records.identity(gallery_number, identity_id)
            if record is not None:
                _require_names(records, gallery_number, {identity_id: record})
                identities[identity_id] = record
        except CorruptStore as error:
            damaged_people[identity_id] = error
    damages: dict[int, MienError] = {}
    for row, identity_id in enumerate(columns.identity_ids):
        try:
            if identity_id in damaged_people:
                raise damaged_people[identity_id]
            _known_faces(records, gallery_number, columns, identities, duplicates, [row])
        except CorruptStore as error:
            damages[row] = error
    return identities, damages


def _choose_one_by_one(
    choice: RowChoice,
    known: Iterable[_Known],
    first_ordinal: int,
    columns: EnrolmentColumns,
    duplicates: Duplicates,
) -> None:
    assert isinstance(choice.rows, list)
    by_face_id: dict[str, _Known] = {}
    by_digest: dict[tuple[int | str, bytes], _Known] = {}
    for face in known:
        by_face_id[face.face_id] = face
        by_digest.setdefault((face.owner, face.digest), face)
    columns_by_row = zip(columns.identity_ids, columns.face_ids, columns.digests, strict=True)
    for row, (identity_id, face_id, digest) in enumerate(columns_by_row):
        if row in choice.errors:
            continue
        identity = choice.identities.get(identity_id)
        owner = identity_id if identity is None else identity.number
        there = by_face_id.get(face_id)
        if there is not None and (duplicates == Duplicates.ALLOW or (there.owner, there.digest) != (owner, digest)):
            choice.errors[row] = _face_id_exists(face_id)
            continue
        if there is None and duplicates != Duplicates.ALLOW:
            there = by_digest.get((owner, digest))
        if there is None:
            added = _Known(owner, digest, first_ordinal + len(choice.rows), face_id)
            by_face_id[face_id] = added
            by_digest.setdefault((owner, digest), added)
            choice.ordinals[row] = added.ordinal
            choice.rows.append(row)
        elif duplicates == Duplicates.REFUSE:
            choice.errors[row] = _face_duplicate(identity_id, there.face_id)
        else:
            choice.ordinals[row] = there.ordinal
            choice.face_ids[row] = there.face_id
            choice.is_duplicate[row] = True


def _face_id_exists(face_id: str) -> AlreadyExists:
    return AlreadyExists(
        f"the gallery has another face {face_id!r}; give this one another id",
        reason="FACE_ID_EXISTS",
        metadata={"face_id": face_id},
    )


def _face_duplicate(identity_id: str, face_id: str) -> AlreadyExists:
    return AlreadyExists(
        f"identity {identity_id!r} has this face already, as {face_id!r}; leave it out, or skip duplicates",
        reason="FACE_DUPLICATE",
        metadata={"identity_id": identity_id, "face_id": face_id},
    )
