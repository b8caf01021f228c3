"""What the tests of storage share: galleries and rows made of small numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien_server.records.policies import Duplicates
from mien_server.records.store_pb2 import VECTOR_TYPE_FLOAT32, FaceRecord, GalleryRecord, VectorType
from mien_server.storage import (
    Committed,
    CreateGallery,
    EnrollResult,
    EnrollRows,
    GalleryView,
    IdentitySeed,
    RequestKey,
    Store,
    StoreOptions,
    Subject,
)

DIMENSION = 8

# The address space of a test's store; the default would do, this one shows sooner what takes room.
OPTIONS = StoreOptions(map_size_bytes=1 << 30)


def open_store(path: Path, options: StoreOptions = OPTIONS) -> Store:
    return Store.open(path, options)


def create(store: Store, name: str = "people", vector_type: VectorType = VECTOR_TYPE_FLOAT32) -> GalleryRecord:
    """Make a gallery of DIMENSION components."""
    record = GalleryRecord(name=name, dimension=DIMENSION, vector_type=vector_type, create_time_us=1)
    answer = store.write(CreateGallery(record, galleries_max=100))
    assert isinstance(answer, Committed)
    return answer.result


def vector(seed: int) -> npt.NDArray[np.float32]:
    """A unit vector that tells its seed, float32 [DIMENSION]."""
    values = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    return values / np.linalg.norm(values)


def digest(seed: int) -> bytes:
    return seed.to_bytes(16, "big")


def rows(
    gallery: GalleryRecord,
    faces: Sequence[tuple[str, str, int]],
    *,
    duplicates: Duplicates = Duplicates.SKIP,
    seeds: Mapping[str, IdentitySeed] | None = None,
    labels: Mapping[int, Mapping[str, str]] | None = None,
    request: RequestKey[EnrollResult] | None = None,
) -> EnrollRows:
    """Enrol faces given as identity id, face id and the seed that vector and digest are made of."""
    labels = labels or {}
    vectors = np.array([vector(seed) for _, _, seed in faces], dtype=np.float32).reshape(-1, DIMENSION)
    return EnrollRows(
        gallery.name,
        gallery.number,
        vectors,
        [identity_id for identity_id, _, _ in faces],
        [face_id for _, face_id, _ in faces],
        [digest(seed) for _, _, seed in faces],
        [
            FaceRecord(source=f"picture {seed}", labels=labels.get(row, {})).SerializeToString()
            for row, (_, _, seed) in enumerate(faces)
        ],
        create_time_us=1_000_000,
        identity_seeds=seeds or {},
        face_labels=labels,
        duplicates=duplicates,
        request=request,
    )


def enroll(store: Store, command: EnrollRows) -> EnrollResult:
    """Write it and give its result."""
    answer = store.write(command)
    assert isinstance(answer, Committed)
    return answer.result


def labelled(gallery: GalleryView, subject: Subject, key: str, value: str) -> list[int]:
    """The numbers under one label."""
    return [number for block in gallery.postings.labelled(subject, key, value) for number in block.tolist()]
