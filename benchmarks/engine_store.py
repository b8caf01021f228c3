"""A store filled through the engine, without a server between."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.engine_calls import packed_rows
from benchmarks.workbench import GALLERY, identity_ids
from mien_server.engine import Engine
from mien_server.engine.types import EnrollRows, GallerySpec, OperationInfo, OperationState
from mien_server.records.deadline import Deadline
from mien_server.records.policies import IndexPolicy, VectorType

__all__ = ["GALLERY", "create_gallery", "enroll", "rebuild"]

WAIT_S = 3600.0


def create_gallery(
    engine: Engine, dimension: int, vector_type: VectorType = VectorType.FLOAT32, *, manual_rebuild: bool = False
) -> None:
    """The gallery that every benchmark uses, for embeddings made elsewhere."""
    policy = IndexPolicy(manual_rebuild=manual_rebuild)
    spec = GallerySpec(
        GALLERY,
        precomputed_name="made",
        precomputed_dimension=dimension,
        vector_type=vector_type,
        index_policy=policy,
    )
    engine.galleries.create(spec, None)


def enroll(engine: Engine, vectors: npt.NDArray[np.float32], people: npt.NDArray[np.uint32], first_row: int) -> None:
    """Enrol faces [n, d] in one commit; a face's id is its row number."""
    face_ids = [str(row) for row in range(first_row, first_row + len(vectors))]
    outcome = engine.enrollment.enroll_rows(
        EnrollRows(GALLERY, packed_rows(vectors), identity_ids(people), face_ids), Deadline()
    )
    for error in outcome.errors.values():
        raise error
    if outcome.enrolled_count != len(vectors):
        raise RuntimeError(f"{outcome.enrolled_count} of {len(vectors)} rows were enrolled from row {first_row} on")


def rebuild(engine: Engine) -> OperationInfo:
    """Build the gallery's index and wait until it serves."""
    operation = engine.operations.rebuild_index(GALLERY)
    done = engine.operations.wait(operation.name, WAIT_S, Deadline())
    if done.state is not OperationState.SUCCEEDED:
        raise RuntimeError(f"the index was not built: {done.state.name} {done.error}")
    return done
