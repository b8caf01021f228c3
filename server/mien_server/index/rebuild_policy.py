"""When a gallery needs a new generation: a pure function of its rows and the generation it has."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mien_server.index.bitmaps import set_count
from mien_server.records.policies import IndexCode
from mien_server.records.rows import GalleryRows

if TYPE_CHECKING:
    from mien_server.index.generation import Generation

__all__ = ["RebuildPolicy", "RebuildReason", "wants_rebuild"]

BYTES_PER_COMPONENT = 4


class RebuildReason(enum.Enum):
    """Why a generation should be built."""

    FIRST = "the gallery has outgrown exact search"
    TAIL = "too many rows are newer than the generation"
    TOMBSTONES = "too many of the generation's rows are deleted"
    CODE = "the gallery's code was changed"


@dataclass(frozen=True, slots=True)
class RebuildPolicy:
    """The sizes at which exact search, the tail and tombstones become too slow.

    Attributes:
        code: the gallery's choice; FLAT never builds.
        flat_bytes_max: a gallery whose live vectors, as float32, take more bytes than this gets a generation. The
            default is 20,000 faces of dimension 512: about 3 ms of exact search on one core.
        flat_rows_min: a gallery of at most this many live rows is searched exactly whatever its dimension, for
            training needs rows.
        tail_rows_min: the tail may always grow to this many rows,
        tail_share_max: and to this share of the generation's rows.
        tombstone_share_max: share of the generation's faces that may be deleted.
    """

    code: IndexCode = IndexCode.AUTOMATIC
    flat_bytes_max: int = 20_000 * 512 * BYTES_PER_COMPONENT
    flat_rows_min: int = 5_000
    tail_rows_min: int = 4_096
    tail_share_max: float = 0.1
    tombstone_share_max: float = 0.3

    def flat_rows_max(self, dimension: int) -> int:
        """Live rows up to which a gallery of this dimension is searched exactly."""
        return max(self.flat_rows_min, self.flat_bytes_max // (dimension * BYTES_PER_COMPONENT))


def wants_rebuild(rows: GalleryRows, generation: Generation | None, policy: RebuildPolicy) -> RebuildReason | None:
    """Why the gallery should get a new generation now; None when it should not."""
    if policy.code is IndexCode.FLAT or rows.live_count <= policy.flat_rows_max(rows.dimension):
        return None
    if generation is None:
        return RebuildReason.FIRST
    manifest = generation.manifest
    if policy.code is not IndexCode.AUTOMATIC and policy.code is not manifest.code:
        return RebuildReason.CODE
    tail_rows = rows.row_count - manifest.rows
    if tail_rows > max(policy.tail_rows_min, int(policy.tail_share_max * manifest.rows)):
        return RebuildReason.TAIL
    still_live = set_count(rows.live, 0, manifest.rows)
    if manifest.live_rows - still_live > policy.tombstone_share_max * manifest.live_rows:
        return RebuildReason.TOMBSTONES
    return None
