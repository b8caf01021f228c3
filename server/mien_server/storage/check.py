"""Does a snapshot contradict itself? Compares every record of LMDB with every other, and with what is in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from mien_server.records.store_pb2 import IdentityRecord
from mien_server.storage import keys
from mien_server.storage.checksums import row_checksums
from mien_server.storage.databases import GALLERY_KEYED, Database
from mien_server.storage.expiry import first_expiry_us
from mien_server.storage.gallery_state import GalleryState
from mien_server.storage.reading import RecordReader
from mien_server.storage.snapshots import SnapshotContent
from mien_server.storage.values import FaceValue, decode_face

__all__ = ["find_contradictions"]

_SHOWN_MAX = 3
_CHECKED_ROWS = 4096


def find_contradictions(records: RecordReader, content: SnapshotContent) -> list[str]:
    """What is wrong, one sentence each; empty when nothing is. Reads everything and holds one gallery in memory.

    Raises:
        CorruptStore: a record that does not decode.
    """
    found: list[str] = []
    if records.revision() != content.revision:
        found.append(f"LMDB is at revision {records.revision()}, memory at {content.revision}")
    names = {record.name: record.number for record in records.galleries()}
    if names != dict(content.numbers):
        found.append("LMDB and memory name different galleries")
    for state in content.galleries.values():
        found += _check_gallery(records, state)
    purged = {keys.decode_purge(key) for key in records.reading.keys(Database.META, keys.META_PURGE_PREFIX)}
    for database in GALLERY_KEYED:
        numbers = {keys.decode_gallery(key) for key in records.reading.keys(database, b"")}
        if strays := numbers - content.galleries.keys() - purged:
            found.append(f"{database} has records of galleries {sorted(strays)}, which are not there")
    return found


def _check_gallery(records: RecordReader, state: GalleryState) -> list[str]:
    number = state.record.number
    prefix = keys.encode_gallery(number)
    identities = dict(records.identities_after(number, "", None))
    faces = {
        keys.decode_numbered(key)[1]: decode_face(key, raw)
        for key, raw in records.reading.items(Database.FACES, prefix)
    }
    found = [*_check_counts(records, state, identities, faces), *_check_memory(state, faces)]
    if state.next_expiry_us != first_expiry_us(records.reading, number):
        found.append("memory and LMDB name different times at which something expires next")
    found += _check_vectors(state, faces)
    expected = _expected_records(number, identities, faces)
    for database, pairs in expected.items():
        there = set(records.reading.items(database, prefix))
        for what, wrong in (("lacks", pairs - there), ("should not have", there - pairs)):
            if wrong:
                shown = ", ".join(key.hex() for key, _ in sorted(wrong)[:_SHOWN_MAX])
                found.append(f"{database} {what} {len(wrong)} records, such as {shown}")
    return [f"gallery {state.record.name!r}: {sentence}" for sentence in found]


def _check_counts(
    records: RecordReader, state: GalleryState, identities: dict[str, IdentityRecord], faces: dict[int, FaceValue]
) -> Iterable[str]:
    counts = records.counts(state.record.number)
    if counts != state.counts:
        yield f"LMDB counts {counts}, memory {state.counts}"
    if (counts.identity_count, counts.face_count) != (len(identities), len(faces)):
        yield f"counts {counts}, and there are {len(identities)} identities and {len(faces)} faces"
    if any(record.number >= counts.next_identity_number for record in identities.values()):
        yield "an identity has a number that is still to be given out"
    owned = Counter(face.identity_number for face in faces.values())
    for identity_id, record in identities.items():
        if owned.pop(record.number, 0) != record.face_count:
            yield f"identity {identity_id!r} counts {record.face_count} faces, which is wrong"
    if owned:
        yield f"faces name identities that are not there: numbers {sorted(owned)[:_SHOWN_MAX]}"


def _check_memory(state: GalleryState, faces: dict[int, FaceValue]) -> Iterable[str]:
    row_count = state.counts.row_count
    is_live = np.zeros(row_count, dtype=np.bool_)
    if any(ordinal >= row_count for ordinal in faces):
        yield f"there are faces beyond the {row_count} rows"
        return
    is_live[list(faces)] = True
    if not np.array_equal(np.packbits(is_live, bitorder="little"), state.live):
        yield "the bitmap of live rows is not that of the faces"
    numbers = np.array([face.identity_number for face in faces.values()], dtype=np.uint32)
    if not np.array_equal(state.identity_numbers[list(faces)], numbers):
        yield "the identity numbers in memory are not those of the faces"


def _check_vectors(state: GalleryState, faces: dict[int, FaceValue]) -> Iterable[str]:
    ordinals = sorted(ordinal for ordinal in faces if ordinal < state.counts.row_count)
    vectors = state.mapping.rows(state.counts.row_count)
    damaged: list[int] = []
    for start in range(0, len(ordinals), _CHECKED_ROWS):
        some = ordinals[start : start + _CHECKED_ROWS]
        expected = np.array([faces[ordinal].vector_checksum for ordinal in some], dtype=np.uint64)
        damaged += np.array(some)[row_checksums(vectors[some]) != expected].tolist()
    if damaged:
        yield f"{len(damaged)} vectors are damaged, such as rows {damaged[:_SHOWN_MAX]}"


def _expected_records(
    number: int, identities: dict[str, IdentityRecord], faces: dict[int, FaceValue]
) -> dict[Database, set[tuple[bytes, bytes]]]:
    """Everything that follows from identities and faces."""
    expected: dict[Database, set[tuple[bytes, bytes]]] = {
        Database.IDENTITY_IDS: {
            (keys.encode_numbered(number, record.number), identity_id.encode())
            for identity_id, record in identities.items()
        },
        Database.IDENTITY_LABEL_INDEX: {
            (keys.encode_labelled(number, key, value, record.number), b"")
            for record in identities.values()
            for key, value in record.labels.items()
        },
        Database.FACE_IDS: set(),
        Database.IDENTITY_FACES: set(),
        Database.FACE_DIGESTS: set(),
        Database.FACE_LABEL_INDEX: set(),
        Database.EXPIRY: {
            (keys.encode_expiry(number, record.expire_time_us, keys.EXPIRY_IDENTITY, record.number), b"")
            for record in identities.values()
            if record.expire_time_us
        },
    }
    for ordinal, face in faces.items():
        raw = keys.encode_number(ordinal)
        digest_key = keys.encode_digest_key(number, face.identity_number, face.digest)
        expected[Database.FACE_IDS].add((keys.encode_text(number, face.face_id), raw))
        expected[Database.IDENTITY_FACES].add((keys.encode_pair(number, face.identity_number, ordinal), b""))
        expected[Database.FACE_DIGESTS].add((digest_key, raw))
        if face.expire_time_us:
            expiry = keys.encode_expiry(number, face.expire_time_us, keys.EXPIRY_FACE, ordinal)
            expected[Database.EXPIRY].add((expiry, b""))
        for key, value in face.message(raw).labels.items():
            expected[Database.FACE_LABEL_INDEX].add((keys.encode_labelled(number, key, value, ordinal), b""))
    return expected
