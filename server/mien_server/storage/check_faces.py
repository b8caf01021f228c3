"""Identities and faces of one gallery, its vectors, and everything that follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import FaceRecord, GalleryCounts, GalleryRecord, IdentityRecord
from mien_server.storage import keys
from mien_server.storage.checksums import row_checksums
from mien_server.storage.databases import Database, corrupt
from mien_server.storage.derived import DERIVED, Pair, pairs_of_face, pairs_of_identity
from mien_server.storage.doubts import Checked, Doubts, Progress
from mien_server.storage.pair_sums import PairSums
from mien_server.storage.reading import RecordReader
from mien_server.storage.values import decode_face, decode_message
from mien_server.storage.vector_file import VectorArray, VectorFile, readable_rows, vector_damaged

__all__ = ["FacesCheck", "FacesFound"]

_CHUNK = 4096
_SHOWN_MAX = 3

Step: TypeAlias = Callable[[Checked], None]


@dataclass(slots=True)
class FacesFound:
    """What the walk over a gallery's faces and identities has seen; arrays have a place for each row.

    Attributes:
        owners: uint32, identity number of each live row.
        checksums: uint64, of the vector of each live row.
        is_live: bool, whether a whole record of a face was there.
        is_known: bool by identity number, whether a whole record of the identity was there.
        damaged_rows: whose vectors are not what was enrolled.
        unreadable: why the first row that the disk does not read cannot be read.
    """

    owners: npt.NDArray[np.uint32]
    checksums: npt.NDArray[np.uint64]
    is_live: npt.NDArray[np.bool_]
    is_known: npt.NDArray[np.bool_]
    damaged_rows: list[int] = field(default_factory=list)
    unreadable: CorruptStore | None = None


class FacesCheck:
    """Checks one gallery; `vectors` are its committed rows, None when they cannot be read."""

    def __init__(
        self,
        records: RecordReader,
        record: GalleryRecord,
        counts: GalleryCounts,
        vectors: VectorArray | None,
        file: VectorFile,
        progress: Progress,
    ) -> None:
        self._records = records
        self._number = record.number
        self._name = record.name
        self._counts = counts
        self._vectors = vectors
        self._file = file
        self._progress = progress
        self._expected = {database: PairSums() for database in DERIVED}
        self._faces_of: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        # Nothing is allocated from a count alone: the vector file has that many rows, the database that many entries.
        face_entries = self._records.reading.entry_count(Database.FACES)
        rows_max = counts.row_count if vectors is not None else min(counts.row_count, max(16 * face_entries, 1 << 20))
        entries = self._records.reading.entry_count(Database.IDENTITIES)
        numbers_max = min(counts.next_identity_number, max(16 * entries, 1 << 20))
        self.found = FacesFound(
            np.zeros(rows_max, dtype=np.uint32),
            np.zeros(rows_max, dtype=np.uint64),
            np.zeros(rows_max, dtype=np.bool_),
            np.zeros(numbers_max, dtype=np.bool_),
        )

    def steps(self, sampled_rows: int | None) -> Iterator[tuple[str, Step]]:
        """What is checked, in this order, and the function that does it."""
        yield "faces", self._check_faces
        yield "identities", self._check_identities
        yield "vectors", partial(self._check_vectors, sampled_rows=sampled_rows)
        for database in DERIVED:
            yield database.value, partial(self._check_derived, database=database)

    # --- faces and identities -----------------------------------------------------------------------------------

    def _check_faces(self, checked: Checked) -> None:
        counts, doubts = self._counts, checked.doubts
        faces_of = np.zeros(self.found.is_known.shape[0], dtype=np.int64)
        beyond = foreign = 0
        last_key = b""
        for chunk in self._face_chunks(doubts):
            for key, raw in chunk:
                if key <= last_key:
                    doubts.add_error(corrupt(Database.FACES, key, "is not behind the key before it"))
                last_key = key
                with doubts.noted():
                    ordinal = self._ordinal(key)
                    face = decode_face(key, raw)
                    labels = decode_message(FaceRecord, face.record, Database.FACES, key).labels
                    checked.count += 1
                    if ordinal >= self.found.is_live.shape[0]:
                        beyond += 1
                        continue
                    self.found.is_live[ordinal] = True
                    self.found.checksums[ordinal] = face.vector_checksum
                    if face.identity_number < faces_of.shape[0]:
                        self.found.owners[ordinal] = face.identity_number
                        faces_of[face.identity_number] += 1
                    else:
                        foreign += 1
                    for database, pair in pairs_of_face(self._number, ordinal, face, labels):
                        self._expected[database].add(pair)
            self._progress(checked.count / max(counts.face_count, 1), f"faces of {self._name}")
        self._faces_of = faces_of
        if beyond and self.found.is_live.shape[0] == counts.row_count:
            doubts.add(f"there are {beyond} faces beyond the {counts.row_count} rows")
        if foreign:
            doubts.add(f"{foreign} faces name identities that cannot be there")
        if checked.count != counts.face_count:
            doubts.add(f"the counts say {counts.face_count} faces, and {checked.count} whole ones are there")

    def _check_identities(self, checked: Checked) -> None:
        doubts, faces_of, is_known = checked.doubts, self._faces_of, self.found.is_known
        prefix = keys.encode_gallery(self._number)
        last_key = b""
        for chunk in self._records.reading.whole_chunks(Database.IDENTITIES, prefix, _CHUNK, doubts.add_error):
            for key, raw in chunk:
                if key <= last_key:
                    doubts.add_error(corrupt(Database.IDENTITIES, key, "is not behind the key before it"))
                last_key = key
                with doubts.noted():
                    identity_id = _identity_id(key)
                    record = decode_message(IdentityRecord, raw, Database.IDENTITIES, key)
                    checked.count += 1
                    if record.number >= is_known.shape[0]:
                        doubts.add_error(
                            corrupt(Database.IDENTITIES, key, f"has number {record.number}, not given out")
                        )
                        continue
                    if is_known[record.number]:
                        doubts.add_error(
                            corrupt(Database.IDENTITIES, key, f"shares number {record.number} with another")
                        )
                    is_known[record.number] = True
                    if faces_of[record.number] != record.face_count:
                        what = f"counts {record.face_count} faces, and has {faces_of[record.number]}"
                        doubts.add_error(corrupt(Database.IDENTITIES, key, what))
                    for database, pair in pairs_of_identity(self._number, identity_id, record):
                        self._expected[database].add(pair)
        if unknown := np.flatnonzero((faces_of > 0) & ~is_known).tolist():
            doubts.add(f"faces name {len(unknown)} identities that are not there: numbers {unknown[:_SHOWN_MAX]}")
        if checked.count != self._counts.identity_count:
            doubts.add(
                f"the counts say {self._counts.identity_count} identities, and {checked.count} whole ones are there"
            )

    def _face_chunks(self, doubts: Doubts) -> Iterator[list[Pair]]:
        prefix = keys.encode_gallery(self._number)
        return self._records.reading.whole_chunks(Database.FACES, prefix, _CHUNK, doubts.add_error)

    @staticmethod
    def _ordinal(key: bytes) -> int:
        if len(key) != keys.GALLERY_BYTES + keys.NUMBER_BYTES:
            raise corrupt(Database.FACES, key, "the key is none of a face")
        return keys.decode_numbered(key)[1]

    # --- vectors ------------------------------------------------------------------------------------------------

    def _check_vectors(self, checked: Checked, *, sampled_rows: int | None) -> None:
        if self._vectors is None:
            return
        rows = np.flatnonzero(self.found.is_live)
        if sampled_rows is not None and rows.shape[0] > sampled_rows:
            rows = rows[np.linspace(0, rows.shape[0] - 1, sampled_rows).astype(np.int64)]
        for start in range(0, rows.shape[0], _CHUNK):
            some = rows[start : start + _CHUNK]
            readable, vectors = readable_rows(self._file, some, partial(self._note_unreadable, checked))
            damaged = readable[row_checksums(vectors) != self.found.checksums[readable]].tolist()
            self.found.damaged_rows += damaged
            for ordinal in damaged:
                checked.doubts.add_error(vector_damaged(self._file, ordinal))
            checked.count += some.shape[0]
            self._progress(checked.count / rows.shape[0], f"vectors of {self._name}")

    def _note_unreadable(self, checked: Checked, error: CorruptStore) -> None:
        checked.doubts.add_error(error)
        self.found.unreadable = self.found.unreadable or error

    # --- what follows -------------------------------------------------------------------------------------------

    def _check_derived(self, checked: Checked, *, database: Database) -> None:
        there = PairSums()
        for chunk in self._derived_chunks(database, checked.doubts):
            there.add_all(chunk)
        checked.count = there.count
        expected = self._expected[database]
        buckets = expected.differing(there)
        self._progress(1.0, f"{database} of {self._name}")
        if not buckets:
            return
        wanted = PairSums.within(self._expected_pairs(database), buckets)
        found = PairSums.within((pair for chunk in self._derived_chunks(database, Doubts()) for pair in chunk), buckets)
        for what, wrong in (("lacks", wanted - found), ("should not have", found - wanted)):
            if wrong:
                shown = ", ".join(key.hex() for key, _ in sorted(wrong)[:_SHOWN_MAX])
                checked.doubts.add(
                    f"{database} {what} {len(wrong)} records at least, such as {shown}",
                    reason="RECORDS_DISAGREE",
                    database=database.value,
                    key=min(wrong)[0].hex(),
                )

    def _derived_chunks(self, database: Database, doubts: Doubts) -> Iterator[list[Pair]]:
        return self._records.reading.whole_chunks(database, keys.encode_gallery(self._number), _CHUNK, doubts.add_error)

    def _expected_pairs(self, database: Database) -> Iterator[Pair]:
        """As the first pass has summed them up."""
        doubts = Doubts()
        prefix = keys.encode_gallery(self._number)
        of_identities = database in {Database.IDENTITY_IDS, Database.IDENTITY_LABEL_INDEX, Database.EXPIRY}
        if of_identities:
            for chunk in self._records.reading.whole_chunks(Database.IDENTITIES, prefix, _CHUNK, doubts.add_error):
                for key, raw in chunk:
                    with doubts.noted():
                        record = decode_message(IdentityRecord, raw, Database.IDENTITIES, key)
                        if record.number < self.found.is_known.shape[0]:
                            for one, pair in pairs_of_identity(self._number, _identity_id(key), record):
                                if one is database:
                                    yield pair
        if not of_identities or database is Database.EXPIRY:
            for chunk in self._face_chunks(doubts):
                for key, raw in chunk:
                    with doubts.noted():
                        face = decode_face(key, raw)
                        labels = decode_message(FaceRecord, face.record, Database.FACES, key).labels
                        ordinal = self._ordinal(key)
                        if ordinal < self.found.is_live.shape[0]:
                            for one, pair in pairs_of_face(self._number, ordinal, face, labels):
                                if one is database:
                                    yield pair


def _identity_id(key: bytes) -> str:
    try:
        return keys.decode_text(key)[1]
    except UnicodeDecodeError as error:
        raise corrupt(Database.IDENTITIES, key, f"the id is no UTF-8: {error}") from error
