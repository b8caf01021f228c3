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

__all__ = ["GALLERY", "create_gallery", "enroll", "rebuild", "start_rebuild", "wait_for"]

POLL_S = 10.0


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


def start_rebuild(engine: Engine) -> str:
    """Begin to build the gallery's index; the operation's name."""
    return engine.operations.rebuild_index(GALLERY).name


def wait_for(engine: Engine, operation: str, timeout_s: float) -> OperationInfo:
    """An operation when it is done, or as it stands when the time is up."""
    return engine.operations.wait(operation, timeout_s, Deadline())


def rebuild(engine: Engine) -> None:
    """Build the gallery's index and wait until it serves."""
    operation = start_rebuild(engine)
    while not (done := wait_for(engine, operation, POLL_S)).state.is_done:
        pass
    if done.state is not OperationState.SUCCEEDED:
        raise RuntimeError(f"the index was not built: {done.state.name} {done.error}")
