"""What a build is given: written into the build's folder by the server, read by the builder process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mien_server.errors import InternalError
from mien_server.index.request import UInt8Array
from mien_server.index.rescore import StoredVectors
from mien_server.records.policies import IndexCode, VectorType
from mien_server.records.rows import GalleryRows, VectorFileLocation

__all__ = ["JOB_FILE_NAME", "BuildJob"]

JOB_FILE_NAME = "job.json"
LIVE_FILE_NAME = "live.npy"
IDENTITY_NUMBERS_FILE_NAME = "identity_numbers.npy"


@dataclass(frozen=True, slots=True, eq=False)
class BuildJob:
    """Everything a build depends on; two builds of equal jobs give equal lists.

    Attributes:
        row_count: the generation covers the ordinals [0, row_count); rows beyond are not read.
        revision: the revision that `live` shows.
        live: bitmap of the live rows, as in GalleryRows.
        identity_numbers: uint32 [row_count], as in GalleryRows: to know which faces have others of their person.
        code: AUTOMATIC, PQ_FASTSCAN or SCALAR_8BIT; FLAT galleries have no generation.
        default_recall_target: kept in the manifest for searches that name no effort.
        threads: threads of the builder.
        memory_bytes_max: the builder refuses to start when it would need more, mapped vectors not counted.
        seed: of the samples, and of training.
        measured: name of the generation that is to be measured again; empty when one is to be built.
        niceness: of the builder's process, 0 to 19: how far it stands back behind whoever serves.
    """

    store_id: str
    gallery_number: int
    model_fingerprint: str
    location: VectorFileLocation
    row_count: int
    revision: int
    live: UInt8Array
    identity_numbers: npt.NDArray[np.uint32]
    code: IndexCode = IndexCode.AUTOMATIC
    default_recall_target: float = 0.999
    threads: int = 1
    memory_bytes_max: int = 8 << 30
    seed: int = 1
    measured: str = ""
    niceness: int = 19

    @classmethod
    def from_rows(cls, rows: GalleryRows, store_id: str, gallery_number: int, model_fingerprint: str) -> Self:
        """A job with default choices for all rows of the view; use dataclasses.replace for others."""
        return cls(
            store_id=store_id,
            gallery_number=gallery_number,
            model_fingerprint=model_fingerprint,
            location=rows.location,
            row_count=rows.row_count,
            revision=rows.revision,
            live=rows.live,
            identity_numbers=rows.identity_numbers,
        )

    def write(self, folder: Path) -> Path:
        """Write the job into the folder and give its file. Raises OSError."""
        np.save(folder / LIVE_FILE_NAME, self.live)
        np.save(folder / IDENTITY_NUMBERS_FILE_NAME, self.identity_numbers)
        fields: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN_FIELDS}
        fields["location"] = {
            "path": str(self.location.path.resolve()),
            "offset": self.location.offset,
            "dimension": self.location.dimension,
            "vector_type": int(self.location.vector_type),
        }
        path = folder / JOB_FILE_NAME
        path.write_text(json.dumps(fields, indent=1), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """The job that `write` wrote. Raises InternalError when it cannot be read."""
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            location = fields.pop("location")
            location["path"] = Path(location["path"])
            location["vector_type"] = VectorType(location["vector_type"])
            fields["code"] = IndexCode(fields["code"])
            return cls(
                location=VectorFileLocation(**location),
                live=np.load(path.parent / LIVE_FILE_NAME),
                identity_numbers=np.load(path.parent / IDENTITY_NUMBERS_FILE_NAME),
                **fields,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InternalError(f"{path} is no build job: {error!r}", reason="BUILD_FAILED") from error

    def map_vectors(self) -> StoredVectors:
        """The rows [row_count, dimension], mapped read only. Raises InternalError when the file is shorter."""
        location = self.location
        item_type = np.float32 if location.vector_type is VectorType.FLOAT32 else np.float16
        try:
            mapped = np.memmap(location.path, item_type, "r", location.offset, (self.row_count, location.dimension))
        except (OSError, ValueError) as error:
            raise InternalError(
                f"{location.path} cannot be mapped as {self.row_count} rows of {location.dimension}: {error}",
                reason="BUILD_FAILED",
            ) from error
        vectors: StoredVectors = mapped.view(np.ndarray)
        return vectors


_PLAIN_FIELDS = (
    "store_id",
    "gallery_number",
    "model_fingerprint",
    "row_count",
    "revision",
    "code",
    "default_recall_target",
    "threads",
    "memory_bytes_max",
    "seed",
    "measured",
    "niceness",
)
