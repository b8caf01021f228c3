"""The rows of a gallery as one reader sees them: what storage hands to the index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien_server.records.policies import VectorType

__all__ = ["GalleryRows", "VectorFileLocation"]


@dataclass(frozen=True, slots=True)
class VectorFileLocation:
    """Where another process finds a gallery's vectors: row i starts at `offset + i * dimension * itemsize`."""

    path: Path
    offset: int
    dimension: int
    vector_type: VectorType


@dataclass(frozen=True, slots=True)
class GalleryRows:
    """An immutable view of a gallery's rows at one revision.

    Attributes:
        revision: the revision the view shows.
        vectors: [row_count, dimension], float32 or float16, row = ordinal; memory-mapped, read only.
        live: uint8 [ceil(row_count / 8)], little-endian bits; bit i is set when row i is not deleted.
        identity_numbers: uint32 [row_count], the identity of each row; meaningless for rows that are not live.
        live_count: number of set bits of `live`.
        location: the file behind `vectors`.
    """

    revision: int
    vectors: npt.NDArray[np.float32] | npt.NDArray[np.float16]
    live: npt.NDArray[np.uint8]
    identity_numbers: npt.NDArray[np.uint32]
    live_count: int
    location: VectorFileLocation

    @property
    def row_count(self) -> int:
        """Rows, deleted ones included; the next ordinal."""
        return int(self.vectors.shape[0])

    @property
    def dimension(self) -> int:
        """Components of one vector."""
        return int(self.vectors.shape[1])
