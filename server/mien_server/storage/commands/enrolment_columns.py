"""The rows of an enrolment in columns, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mien_server.errors import EmbeddingRefused, InvalidArgument
from mien_server.records.faces import Float32Array
from mien_server.records.store_pb2 import FaceRecord
from mien_server.storage.databases import Database
from mien_server.storage.keys import DIGEST_BYTES, FACE_ID_BYTES_MAX, IDENTITY_ID_BYTES_MAX
from mien_server.storage.values import decode_message

__all__ = ["EnrolmentColumns", "IdentitySeed"]


@dataclass(frozen=True, slots=True)
class IdentitySeed:
    """What an identity gets when an enrolment makes it."""

    display_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EnrolmentColumns:
    """n rows; see `EnrollRows` for what each column holds. `expire_times_us` is empty when no row ever expires."""

    vectors: Float32Array
    identity_ids: Sequence[str]
    face_ids: Sequence[str]
    digests: Sequence[bytes]
    records: Sequence[bytes]
    face_labels: Mapping[int, Mapping[str, str]]
    expire_times_us: Sequence[int] = ()

    def require(self, dimension: int) -> None:
        """Refuse columns that are not what they are said to be; storage has no way to tell later.

        Raises:
            EmbeddingRefused: vectors of another shape or type.
            InvalidArgument: columns of different lengths, ids or digests of a length that cannot be, labels that are
                not those of the records.
        """
        count = len(self.identity_ids)
        if self.vectors.shape != (count, dimension):
            raise EmbeddingRefused(
                f"{count} rows of dimension {dimension} are enrolled, and the vectors have shape {self.vectors.shape}",
                field="vectors",
            )
        if self.vectors.dtype != np.float32 or not self.vectors.flags.c_contiguous:
            raise EmbeddingRefused("the vectors must be float32 and C-contiguous", field="vectors")
        for name in ("face_ids", "digests", "records"):
            if len(getattr(self, name)) != count:
                raise InvalidArgument(f"{len(getattr(self, name))} {name} for {count} rows; give one a row", field=name)
        if self.expire_times_us and len(self.expire_times_us) != count:
            raise InvalidArgument(
                f"{len(self.expire_times_us)} expire_times_us for {count} rows; give one a row", field="expire_times_us"
            )
        if min(self.expire_times_us, default=0) < 0:
            raise InvalidArgument("a time of expiry is before 1970", field="expire_times_us")
        if any(len(digest) != DIGEST_BYTES for digest in self.digests):
            raise InvalidArgument(f"a digest has {DIGEST_BYTES} bytes", field="digests")
        _require_ids("face_ids", self.face_ids, FACE_ID_BYTES_MAX)
        _require_ids("identity_ids", self.identity_ids, IDENTITY_ID_BYTES_MAX)
        for row, labels in self.face_labels.items():
            record = decode_message(FaceRecord, self.records[row], Database.FACES, self.face_ids[row].encode())
            if dict(record.labels) != dict(labels):
                raise InvalidArgument(f"the labels of row {row} are not those of its record", field="face_labels")


def _require_ids(name: str, ids: Sequence[str], bytes_max: int) -> None:
    lengths = {len(text) if text.isascii() else len(text.encode()) for text in set(ids)}
    if lengths and not 0 < min(lengths) <= max(lengths) <= bytes_max:
        raise InvalidArgument(f"each of {name} has 1 to {bytes_max} bytes of UTF-8", field=name)
