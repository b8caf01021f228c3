"""A gallery as one view sees it: its rows in memory, its records in LMDB, at one revision, without what has expired."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mien_server.records.faces import Float32Array
from mien_server.records.rows import GalleryRows
from mien_server.records.store_pb2 import FaceRecord, GalleryCounts, GalleryRecord, IdentityRecord
from mien_server.storage import keys
from mien_server.storage.checksums import Words, row_checksums
from mien_server.storage.databases import Database, corrupt
from mien_server.storage.expiry import Expired, has_expired
from mien_server.storage.postings import Postings
from mien_server.storage.reading import People, RecordReader
from mien_server.storage.snapshots import SnapshotContent
from mien_server.storage.values import decode_face, decode_face_headers, decode_face_ids
from mien_server.storage.vector_file import VectorFile, vector_damaged

__all__ = ["Face", "FaceHeads", "GalleryView"]

Numbers: TypeAlias = "Sequence[int] | npt.NDArray[np.integer]"

# Fewer rows than this are looked up in the order given: sorting them takes longer than it saves.
_SORTED_LOOKUP_ROWS_MIN = 64
_LIVE_CHUNK_BYTES = 8192
# Rows whose checksums are verified at once: bounds the memory that takes.
_CHECKED_ROWS = 2048
# Faces decoded at once: bounds the memory that takes.
_CHUNK_FACES = 65_536


@dataclass(frozen=True, slots=True)
class FaceHeads:
    """What an answer needs of n faces: identity_numbers uint32 [n], create_times_us int64 [n], n face ids."""

    identity_numbers: npt.NDArray[np.uint32]
    create_times_us: npt.NDArray[np.int64]
    face_ids: list[str]


@dataclass(frozen=True, slots=True)
class Face:
    """One face; `record` has digest and time of enrolment filled in."""

    ordinal: int
    identity_number: int
    face_id: str
    record: FaceRecord


class GalleryView:
    """One gallery in one view. Ends with the view; what it returned stays valid. Records are not to be changed.

    Nothing that had expired when the view was entered is found by an id, listed or counted. What is asked for by number
    or ordinal is there until it is swept: numbers come from what is shown.
    """

    __slots__ = ("_content", "_expired", "_now_us", "_records", "_state", "number")

    def __init__(self, content: SnapshotContent, number: int, records: RecordReader, now_us: int) -> None:
        self._content = content
        self._state = content.galleries[number]
        self._records = records
        self._expired: Expired | None = content.expired(number, records, now_us)
        # Another view of the snapshot may have looked later: then this one is as late.
        self._now_us = now_us if self._expired is None else max(now_us, self._expired.last_us)
        self.number = number
        """Names the gallery for ever; never used again."""

    @property
    def name(self) -> str:
        """What callers call it."""
        return self._state.record.name

    @property
    def record(self) -> GalleryRecord:
        """Model, dimension, policies; shared by all views, not to be changed."""
        return self._state.record

    @property
    def counts(self) -> GalleryCounts:
        """Exact counts; shared by all views, not to be changed."""
        return self._state.counts if self._expired is None else self._expired.counts

    @property
    def rows(self) -> GalleryRows:
        """Vectors, live rows and identity numbers. Raises CorruptStore when the vector file cannot be mapped."""
        return self._content.rows(self.number) if self._expired is None else self._expired.rows

    @property
    def serves_damaged(self) -> bool:
        """Whether faces and identities may be left out because they are damaged."""
        return self._records.serves_damaged

    @property
    def expired_identity_numbers(self) -> npt.NDArray[np.int64]:
        """Identities that are there until they are swept and are not shown, int64 [n], ascending."""
        return np.zeros(0, np.int64) if self._expired is None else self._expired.identity_numbers

    @property
    def vector_file(self) -> VectorFile:
        """Where the vectors lie."""
        return self._state.mapping.file

    def vector_checksums(self) -> Words:
        """Of each row, uint64 [row_count]; meaningless for rows that are not live. Reads every face."""
        checksums = np.zeros(self.counts.row_count, dtype=np.uint64)
        for chunk in self._records.reading.chunks(Database.FACES, keys.encode_gallery(self.number), _CHUNK_FACES):
            found, values = zip(*chunk, strict=True)
            ordinals = keys.decode_trailing_numbers(found)
            checksums[ordinals] = decode_face_headers(values, found)["vector_checksum"]
        return checksums

    @property
    def postings(self) -> Postings:
        """Who carries which label and when it was made: what filters are made of."""
        return Postings(self._records, self.number, self._state.facts)

    def identity(self, identity_id: str) -> IdentityRecord | None:
        """The identity of that id."""
        record = self._records.identity(self.number, identity_id)
        return None if record is None else dict(self._shown([(identity_id, record)])).get(identity_id)

    def identities_by_id(self, identity_ids: Sequence[str]) -> dict[str, IdentityRecord]:
        """Those of the identities that are there, by id, in one sorted pass."""
        return dict(self._shown(self._records.identities_by_id(self.number, identity_ids).items()))

    def identities_named(self, identity_ids: Sequence[str]) -> list[tuple[str, IdentityRecord]]:
        """Identities that others say are there, with their ids, in the order given.

        Raises:
            CorruptStore: ROW_NOT_RESOLVED, one has no record.
        """
        found = self.identities_by_id(identity_ids)
        for identity_id in identity_ids:
            if identity_id not in found:
                key = keys.encode_text(self.number, identity_id)
                what = f"the identity {identity_id!r} has a number but no record"
                raise corrupt(Database.IDENTITIES, key, what, "ROW_NOT_RESOLVED")
        return [(identity_id, found[identity_id]) for identity_id in identity_ids]

    def identities(self, after_id: str = "", limit: int | None = None) -> list[tuple[str, IdentityRecord]]:
        """Identities with their ids, in byte order of the ids, after `after_id`."""
        found: list[tuple[str, IdentityRecord]] = []
        while limit is None or len(found) < limit:
            wanted = None if limit is None else limit - len(found)
            page = self._records.identities_after(self.number, after_id, wanted)
            found += self._shown(page)
            if wanted is None or len(page) < wanted:
                break
            after_id = page[-1][0]
        return found

    def identity_ids(self, numbers: Numbers) -> list[str]:
        """The id of each identity number, in the order given.

        Raises:
            CorruptStore: IDENTITY_NOT_RESOLVED.
        """
        return self._records.identity_ids(self.number, _as_list(numbers))

    def people(self, numbers: Numbers) -> People:
        """Id and record of each identity number, none repeated, in the order given.

        Raises:
            CorruptStore: IDENTITY_NOT_RESOLVED; ROW_NOT_RESOLVED, an identity has no record.
        """
        return self._records.people(self.number, _as_list(numbers))

    def faces_of(
        self, identity_number: int, after_ordinal: int = -1, limit: int | None = None
    ) -> npt.NDArray[np.int64]:
        """Ordinals of an identity's faces, int64 [n] ascending, after `after_ordinal`; none that is not served."""
        if self._expired is None and not self._state.has_quarantine:
            return self._records.faces_of(self.number, identity_number, after_ordinal, limit)
        found = [np.zeros(0, dtype=np.int64)]
        wanted = limit
        while wanted is None or wanted > 0:
            ordinals = self._records.faces_of(self.number, identity_number, after_ordinal, wanted)
            found.append(ordinals[self._is_live(ordinals)])
            if wanted is None or len(ordinals) < wanted:
                break
            after_ordinal = int(ordinals[-1])
            wanted -= len(found[-1])
        return np.concatenate(found)

    def face_ordinal(self, face_id: str) -> int | None:
        """The ordinal of the face of that id."""
        return self.face_ordinals([face_id]).get(face_id)

    def face_ordinals(self, face_ids: Sequence[str]) -> dict[str, int]:
        """The ordinals of those of the faces that are there, by face id."""
        found = self._records.face_ordinals(self.number, face_ids)
        if self._expired is None or not found:
            return found
        is_hidden = self._expired.hides(np.fromiter(found.values(), np.int64, len(found))).tolist()
        return {face_id: found[face_id] for face_id, hidden in zip(found, is_hidden, strict=True) if not hidden}

    def live_ordinals(self, after_ordinal: int, limit: int) -> npt.NDArray[np.int64]:
        """Up to `limit` ordinals of live rows after `after_ordinal`, int64 [n] ascending."""
        live = self._live
        first = after_ordinal + 1
        found: list[npt.NDArray[np.int64]] = []
        count = 0
        for start in range(first >> 3, live.shape[0], _LIVE_CHUNK_BYTES):
            if count >= limit:
                break
            bits = np.unpackbits(live[start : start + _LIVE_CHUNK_BYTES], bitorder="little")
            ordinals = np.flatnonzero(bits) + (start << 3)
            ordinals = ordinals[ordinals >= first]
            found.append(ordinals)
            count += ordinals.shape[0]
        return np.concatenate(found)[:limit] if found else np.zeros(0, dtype=np.int64)

    def heads(self, ordinals: Numbers) -> FaceHeads:
        """Identity, time and face id of n rows, in the order given, repeated ones allowed.

        Raises:
            CorruptStore: ROW_NOT_RESOLVED, a row has no face: it was deleted, or store and index do not agree;
                VECTOR_DAMAGED, the row's vector is not the one that was enrolled.
        """
        wanted = np.asarray(ordinals, dtype=np.int64)
        if wanted.shape[0] < _SORTED_LOOKUP_ROWS_MIN:
            return self._heads(wanted.tolist())
        distinct, places = np.unique(wanted, return_inverse=True)
        heads = self._heads(distinct.tolist())
        face_ids = heads.face_ids
        return FaceHeads(
            heads.identity_numbers[places],
            heads.create_times_us[places],
            [face_ids[place] for place in places.tolist()],
        )

    def faces(self, ordinals: Numbers) -> list[Face]:
        """The whole faces of these rows, in the order given.

        Raises:
            CorruptStore: ROW_NOT_RESOLVED, or a record that does not decode.
        """
        wanted = _as_list(ordinals)
        found, values = self._records.face_values(self.number, wanted)
        faces = []
        for ordinal, key, raw in zip(wanted, found, values, strict=True):
            value = decode_face(key, raw)
            faces.append(Face(ordinal, value.identity_number, value.face_id, value.message(key)))
        return faces

    def vectors(self, ordinals: Numbers) -> Float32Array:
        """A copy of these rows, float32 [n, dimension], in the order given.

        Raises:
            CorruptStore: ROW_NOT_RESOLVED; VECTOR_DAMAGED, a row's checksum is wrong.
        """
        wanted = np.asarray(ordinals, dtype=np.int64)
        found, values = self._records.face_values(self.number, wanted.tolist())
        self._require_whole(wanted, decode_face_headers(values, found))
        return self.rows.vectors[wanted].astype(np.float32, copy=False)

    @property
    def _live(self) -> npt.NDArray[np.uint8]:
        return self._state.live if self._expired is None else self._expired.rows.live

    def _is_live(self, ordinals: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each of these rows is shown; a damaged key may name one that is not there."""
        is_live = ordinals < self._state.counts.row_count
        there = ordinals[is_live]
        is_live[is_live] = (self._live[there >> 3] >> (there & 7).astype(np.uint8)) & 1
        return is_live

    def _shown(self, people: Iterable[tuple[str, IdentityRecord]]) -> list[tuple[str, IdentityRecord]]:
        """Those that have not expired, without their faces that have."""
        if self._expired is None:
            return list(people)
        shown = []
        for identity_id, record in people:
            if not has_expired(record.expire_time_us, self._now_us):
                record.face_count -= self._expired.face_counts.get(record.number, 0)
                shown.append((identity_id, record))
        return shown

    def _heads(self, ordinals: list[int]) -> FaceHeads:
        found, values = self._records.face_values(self.number, ordinals)
        headers = decode_face_headers(values, found)
        self._require_whole(np.array(ordinals, dtype=np.int64), headers)
        return FaceHeads(
            headers["identity_number"].astype(np.uint32),
            headers["create_time_us"],
            decode_face_ids(values, headers["face_id_length"].tolist(), found),
        )

    def _require_whole(self, ordinals: npt.NDArray[np.int64], headers: npt.NDArray[np.void]) -> None:
        """Refuse rows whose faces have these headers and whose vectors are damaged."""
        vectors, expected = self.rows.vectors, headers["vector_checksum"]
        for start in range(0, ordinals.shape[0], _CHECKED_ROWS):
            some = ordinals[start : start + _CHECKED_ROWS]
            is_damaged = row_checksums(vectors[some]) != expected[start : start + _CHECKED_ROWS]
            if is_damaged.any():
                raise vector_damaged(self._state.mapping.file, int(some[int(is_damaged.argmax())]))


def _as_list(numbers: Numbers) -> list[int]:
    return numbers.tolist() if isinstance(numbers, np.ndarray) else list(numbers)
