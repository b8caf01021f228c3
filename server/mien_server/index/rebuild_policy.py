"""When a gallery's generation needs work: pure functions of its rows and the generation it has.

Three kinds of work, by what they cost. Sealing copies the tail, or thins out the dead, within the server. Measuring
compares some thousand stored faces with every row, in a process of its own. Rebuilding trains anew besides.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mien_server.index.plan import cheapest_step
from mien_server.records.policies import IndexCode
from mien_server.records.rows import GalleryRows

if TYPE_CHECKING:
    from mien_server.index.generation import Generation
    from mien_server.index.manifest import Manifest

__all__ = ["RebuildPolicy", "RebuildReason", "SealReason", "wants_measurement", "wants_rebuild", "wants_seal"]

BYTES_PER_COMPONENT = 4
RETRAINED_GROWTH_MIN = 1.2
"""Training again on much the same rows would only find the same."""

IMBALANCE_GROWTH_MAX = 1.5
MEASURED_ROWS_MIN = 256
MICROSECONDS = 1_000_000


class RebuildReason(enum.Enum):
    """Why a generation should be built."""

    FIRST = "the gallery has outgrown exact search"
    SIZE = "the gallery has many more, or many fewer, rows than its lists were trained for"
    QUALITY = "no effort finds as much as searches ask for"
    IMBALANCE = "some lists have become much longer than others"
    CODE = "the gallery's code was changed"
    DAMAGE = "a file of the generation is damaged"


class SealReason(enum.Enum):
    """Why a generation should take in the tail or drop the dead."""

    TAIL = "too many rows are newer than the generation"
    TOMBSTONES = "too many of the generation's rows are deleted"


@dataclass(frozen=True, slots=True)
class RebuildPolicy:
    """The sizes at which exact search, the tail, tombstones and a generation's training become too slow or too old.

    Attributes:
        code: the gallery's choice; FLAT never builds.
        recall_target: the gallery's; None for the one that a generation was measured for.
        flat_bytes_max: a gallery whose live vectors, as float32, take more bytes than this gets a generation. The
            default is 20,000 faces of dimension 512: about 3 ms of exact search on one core.
        flat_rows_min: a gallery of at most this many live rows is searched exactly whatever its dimension, for
            training needs rows.
        tail_rows_max: rows that may be newer than the generation. A probe is compared with each: the default costs
            .2 ms at dimension 512.
        tombstone_share_max: share of the generation's faces that may be deleted.
        growth_max: a generation trained on N rows serves N / growth_max to N * growth_max rows.
        measured_growth_max: likewise of the rows it was measured with.
        measure_interval_s: a generation whose rows have changed is measured again so long after the last time; 0 never.
    """

    code: IndexCode = IndexCode.AUTOMATIC
    recall_target: float | None = None
    flat_bytes_max: int = 20_000 * 512 * BYTES_PER_COMPONENT
    flat_rows_min: int = 5_000
    tail_rows_max: int = 2_048
    tombstone_share_max: float = 0.3
    growth_max: float = 4.0
    measured_growth_max: float = 1.5
    measure_interval_s: int = 86_400

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
    if _is_outgrown(rows.live_count, manifest.trained_rows, policy.growth_max):
        return RebuildReason.SIZE
    if manifest.live_rows < RETRAINED_GROWTH_MIN * manifest.trained_rows:
        return None
    if manifest.list_imbalance > IMBALANCE_GROWTH_MAX * manifest.trained_imbalance:
        return RebuildReason.IMBALANCE
    if manifest.measure_time_us > manifest.build_time_us and _misses_its_target(manifest, policy.recall_target):
        return RebuildReason.QUALITY
    return None


def _is_outgrown(rows: int, known_rows: int, growth_max: float) -> bool:
    return rows > growth_max * known_rows or growth_max * rows < known_rows


def _misses_its_target(manifest: Manifest, target: float | None) -> bool:
    target = manifest.default_recall_target if target is None else target
    by_stages = any(staging.rank1_agreement >= target for staging in manifest.stagings)
    return not by_stages and cheapest_step(manifest.ladder, manifest.probe_count, target) is None


def wants_seal(rows: GalleryRows, generation: Generation, policy: RebuildPolicy) -> SealReason | None:
    """Why the generation should be followed by one of the same training; None when it should not.

    A generation that will be replaced by a new one is sealed all the same: building takes its time.
    """
    if not rows.live_count:
        return None
    if generation.tombstones(rows) > policy.tombstone_share_max * generation.manifest.live_rows:
        return SealReason.TOMBSTONES
    if rows.row_count - generation.manifest.rows > policy.tail_rows_max:
        return SealReason.TAIL
    return None


def wants_measurement(rows: GalleryRows, generation: Generation, policy: RebuildPolicy, now_us: int) -> bool:
    """Whether what the generation promises should be measured again."""
    manifest = generation.manifest
    held = generation.live_rows(rows)
    if held < MEASURED_ROWS_MIN:
        return False
    if _is_outgrown(held, manifest.measured_rows, policy.measured_growth_max):
        return True
    is_due = now_us - manifest.measure_time_us >= policy.measure_interval_s * MICROSECONDS
    return policy.measure_interval_s > 0 and is_due and held != manifest.measured_rows
