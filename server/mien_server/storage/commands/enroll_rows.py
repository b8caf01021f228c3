"""Enrol faces: the write that has to be fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np
import numpy.typing as npt

from mien_server.errors import MienError
from mien_server.records.faces import Float32Array
from mien_server.records.policies import Duplicates
from mien_server.records.store_pb2 import GalleryRecord
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.enrolment_changes import EnrolmentChanges
from mien_server.storage.commands.enrolment_choice import choose_rows
from mien_server.storage.commands.enrolment_columns import EnrolmentColumns, IdentitySeed
from mien_server.storage.commands.expired import expired_among
from mien_server.storage.reading import gallery_not_found

__all__ = ["EnrollResult", "EnrollRows", "IdentitySeed"]


@dataclass(frozen=True, slots=True)
class EnrollResult:
    """What became of each row of an enrolment of n rows.

    Attributes:
        ordinals: int64 [n]; the existing one for a duplicate, -1 where refused.
        face_ids: n ids; the existing one for a skipped duplicate, as given where refused.
        is_duplicate: bool [n]; the face was there already and nothing was added.
        identity_created: bool [n]; the first row of an identity that this enrolment made.
        errors: why a row was refused, by row.
        expire_times_us: when each row that is added expires, 0 for never; empty when none does.
    """

    ordinals: npt.NDArray[np.int64]
    face_ids: list[str]
    is_duplicate: npt.NDArray[np.bool_]
    identity_created: npt.NDArray[np.bool_]
    errors: dict[int, MienError]
    expire_times_us: Sequence[int] = ()


@dataclass(frozen=True)
class EnrollRows(Command[EnrollResult]):
    """Add n faces to identities, which are made where missing.

    A duplicate is a face of the same identity with the same digest, earlier rows of the command included. A face id
    that is there already counts as a duplicate when identity and digest are the same too; otherwise the row is
    refused (FACE_ID_EXISTS) whatever the policy.

    Attributes:
        gallery: name, and `gallery_number` what it was when the rows were made: a gallery deleted and made anew in
            between does not get them.
        vectors: float32 [n, dimension], C-contiguous, unit norm; not looked at, only kept.
        identity_ids: n ids of 1 to 256 bytes.
        face_ids: n ids of 1 to 64 bytes, fixed by the caller. Ids that ascend with time (UUIDv7) are written faster
            than random ones.
        digests: n times 16 bytes that tell duplicates. Storage keeps them: `FaceRecord.digest` may stay empty.
        records: n serialised FaceRecords.
        identity_seeds: by identity id, for those that are made.
        face_labels: labels of the rows that have some, as in their records.
        expire_times_us: when each face expires, n times; 0, or all of them where it is empty: when the gallery's
            default time to live has passed since `create_time_us`.
        create_time_us: microseconds since 1970 UTC.

    Raises:
        NotFound: GALLERY_NOT_FOUND.
        EmbeddingRefused: vectors of another dimension than the gallery's.
        InvalidArgument: columns of different lengths, an id that is empty or too long.
    """

    gallery: str
    gallery_number: int
    vectors: Float32Array
    identity_ids: Sequence[str]
    face_ids: Sequence[str]
    digests: Sequence[bytes]
    records: Sequence[bytes]
    create_time_us: int
    identity_seeds: Mapping[str, IdentitySeed] = field(default_factory=dict)
    face_labels: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    duplicates: Duplicates = Duplicates.SKIP
    expire_times_us: Sequence[int] = ()

    @property
    def row_count(self) -> int:
        """Rows, enrolled or not."""
        return max(1, len(self.identity_ids))

    @property
    def byte_count(self) -> int:
        """Vectors and records."""
        return self.vectors.nbytes + sum(map(len, self.records))

    def expired(self, planning: Planning) -> Changes | None:
        """What goes before; see `Command.expired`."""
        digests = () if self.duplicates is Duplicates.ALLOW else self.digests
        return expired_among(planning, self.gallery, self.identity_ids, self.face_ids, digests)

    def plan(self, planning: Planning) -> Plan[EnrollResult]:
        """Decide what to write; see `Command.plan`."""
        records = planning.records
        gallery = records.gallery(self.gallery)
        if gallery.number != self.gallery_number:
            raise gallery_not_found(self.gallery)
        expire_times_us = self._expire_times_us(gallery)
        columns = EnrolmentColumns(
            self.vectors,
            self.identity_ids,
            self.face_ids,
            self.digests,
            self.records,
            self.face_labels,
            expire_times_us,
        )
        columns.require(gallery.dimension)
        counts = records.counts(gallery.number)
        choice = choose_rows(records, gallery.number, counts.row_count, columns, self.duplicates)
        is_created = np.zeros(len(self.identity_ids), dtype=np.bool_)
        result = EnrollResult(
            choice.ordinals, choice.face_ids, choice.is_duplicate, is_created, choice.errors, expire_times_us
        )
        if not choice.rows:
            return Plan(result, Changes())
        making = EnrolmentChanges(gallery, counts, self.create_time_us, planning.revision)
        making.add(columns, choice, self.identity_seeds)
        made = set(making.new_identity_ids)
        for row in choice.rows if made else ():
            if self.identity_ids[row] in made:
                made.discard(self.identity_ids[row])
                is_created[row] = True
        return Plan(result, making.changes)

    def _expire_times_us(self, gallery: GalleryRecord) -> Sequence[int]:
        """When each face expires, 0 for never; empty when none does."""
        if not gallery.default_time_to_live_us:
            return self.expire_times_us if any(self.expire_times_us) else ()
        default_us = self.create_time_us + gallery.default_time_to_live_us
        return [time_us or default_us for time_us in self.expire_times_us or repeat(0, len(self.identity_ids))]
