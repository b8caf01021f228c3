"""From the bytes a client sent to vectors that cannot be wrong."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien_server.config.limits import Limits
from mien_server.engine.types import PackedEmbeddings
from mien_server.engine.validation import check_count
from mien_server.errors import EmbeddingRefused
from mien_server.records.faces import Float32Array

__all__ = ["CheckedVectors", "check_vectors", "digests_of", "new_face_ids", "refuse_bad_rows", "unpack"]

NORM_TOLERANCE = 1e-3
"""A vector whose norm is further from one was not made by a normalising model."""
NORM_EXACT = 2e-6
"""A vector this close to unit norm is kept to the bit, so that what was exported can be imported unchanged."""
NORM_SQUARED_MIN = 1e-24
"""Below this a vector has no direction."""


@dataclass(frozen=True, slots=True)
class CheckedVectors:
    """Vectors after the check.

    Attributes:
        vectors: float32 [n, d], C-contiguous, unit norm in every row that is not in `errors`.
        errors: what is wrong with a row, by row.
    """

    vectors: Float32Array
    errors: dict[int, EmbeddingRefused]


def unpack(packed: PackedEmbeddings, *, dimension: int, model: str, limits: Limits, field: str) -> Float32Array:
    """The vectors as sent, float32 [n, d], shape and model checked, values not.

    Raises:
        EmbeddingRefused: EMBEDDING_DIMENSION, EMBEDDING_SIZE, MODEL_MISMATCH.
        LimitExceeded: LIMIT_EXCEEDED.
    """
    if packed.dimension != dimension:
        raise EmbeddingRefused(
            f"{field}: dimension {packed.dimension} given, the gallery's is {dimension}",
            field=f"{field}.dimension",
            reason="EMBEDDING_DIMENSION",
            metadata={"given": str(packed.dimension), "expected": str(dimension)},
        )
    if packed.model and packed.model not in {model, model.removeprefix("precomputed:")}:
        raise EmbeddingRefused(
            f"{field}: made by model {packed.model[:100]!r}, the gallery holds {model!r}; "
            "embeddings of different models cannot be compared",
            field=f"{field}.model",
            reason="MODEL_MISMATCH",
            metadata={"given": packed.model[:100], "expected": model},
        )
    row_bytes = dimension * 4
    count = packed.count or (1 if packed.data else 0)
    check_count(count, limits.embeddings_per_request_max, "embeddings_per_request_max", f"{field}.count")
    if len(packed.data) != count * row_bytes:
        raise EmbeddingRefused(
            f"{field}: {len(packed.data)} bytes given, {count} x {dimension} float32 are {count * row_bytes}",
            field=f"{field}.data",
            reason="EMBEDDING_SIZE",
            metadata={"given": str(len(packed.data)), "expected": str(count * row_bytes)},
        )
    return np.frombuffer(packed.data, dtype="<f4").reshape(count, dimension)


def check_vectors(raw: npt.NDArray[np.float32], *, normalize: bool, field: str) -> CheckedVectors:
    """Bring rows to unit norm, naming those that cannot be.

    Args:
        raw: float32 [n, d]; not changed.
        normalize: divide by any norm but zero; otherwise the norm must be within 1e-3 of one.
    """
    if not normalize and raw.size:
        # The usual case: every row has unit norm already. A NaN fails the comparison and takes the long way.
        squares = np.einsum("ij,ij->i", raw, raw)
        smallest, largest = (squares.min(), squares.max()) if len(squares) > 1 else (squares[0], squares[0])
        if largest <= 1.0 + NORM_EXACT and smallest >= 1.0 - NORM_EXACT:
            return CheckedVectors(raw, {})
    with np.errstate(over="ignore", invalid="ignore"):
        squared = np.einsum("ij,ij->i", raw, raw, dtype=np.float32 if not normalize else np.float64)
        norms = np.sqrt(squared, dtype=np.float64)
    finite = np.isfinite(norms)
    away = np.abs(norms - 1.0)
    bad = ~finite | (squared < NORM_SQUARED_MIN)
    if not normalize:
        bad |= away > NORM_TOLERANCE
    scale_these = ~bad & (away > NORM_EXACT)
    vectors = np.array(raw, dtype=np.float32, order="C")
    if scale_these.any():
        vectors[scale_these] = raw[scale_these] / norms[scale_these, None]
    errors = {int(row): _refusal(raw[row], float(norms[row]), f"{field}[{row}]") for row in np.flatnonzero(bad)}
    return CheckedVectors(vectors, errors)


def refuse_bad_rows(checked: CheckedVectors) -> Float32Array:
    """The vectors when all are good.

    Raises:
        EmbeddingRefused: the first bad row's error.
    """
    for error in checked.errors.values():
        raise error
    return checked.vectors


def _refusal(row: Float32Array, norm: float, field: str) -> EmbeddingRefused:
    if not np.isfinite(row).all():
        position = int(np.flatnonzero(~np.isfinite(row))[0])
        return EmbeddingRefused(
            f"{field}: component {position} is {row[position]}; every component must be finite",
            field=field,
            reason="EMBEDDING_NOT_FINITE",
        )
    if norm * norm < NORM_SQUARED_MIN:
        return EmbeddingRefused(
            f"{field}: the vector is zero and has no direction", field=field, reason="EMBEDDING_ZERO"
        )
    return EmbeddingRefused(
        f"{field}: its norm is {norm:.6g}, expected 1 within {NORM_TOLERANCE}; "
        "send the model's normalised output, or set `normalize` for raw output",
        field=field,
        reason="EMBEDDING_NOT_UNIT_NORM",
        metadata={"norm": f"{norm:.6g}"},
    )


def digests_of(vectors: Float32Array) -> list[bytes]:
    """Sixteen bytes that tell identical vectors, one for each row of float32 [n, d]."""
    if not vectors.size:
        return []
    rows = np.ascontiguousarray(vectors).data.cast("B")
    width = vectors.shape[1] * 4
    sha256 = hashlib.sha256
    return [sha256(rows[start : start + width]).digest()[:16] for start in range(0, len(rows), width)]


def new_face_ids(count: int) -> list[str]:
    """Fresh ids of 32 hexadecimal digits, ascending in time and within the call, so that they are stored in order."""
    prefix = (time.time_ns() // 1000).to_bytes(8, "big")[1:].hex() + os.urandom(5).hex()
    return [f"{prefix}{position:08x}" for position in range(count)]
