"""Embeddings as clients send them: what is kept, what is normalised, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mien_server.config.limits import Limits
from mien_server.engine.types import PackedEmbeddings
from mien_server.engine.vectors import check_vectors, digests_of, new_face_ids, refuse_bad_rows, unpack
from mien_server.errors import EmbeddingRefused, LimitExceeded

LIMITS = Limits(embeddings_per_request_max=100)


def unit_rows(count: int, dimension: int = 8) -> np.ndarray:
    rows = np.random.default_rng(count).normal(size=(count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def packed(rows: np.ndarray, **changes: object) -> PackedEmbeddings:
    fields = {"data": rows.astype("<f4").tobytes(), "dimension": rows.shape[1], "count": rows.shape[0]} | changes
    return PackedEmbeddings(**fields)  # type: ignore[arg-type]


def test_unit_rows_are_kept_to_the_bit() -> None:
    """What was exported can be imported again without changing."""
    rows = unit_rows(50)
    raw = unpack(packed(rows), dimension=8, model="m", limits=LIMITS, field="e")
    np.testing.assert_array_equal(refuse_bad_rows(check_vectors(raw, normalize=False, field="e")), rows)


def test_nearly_unit_rows_are_brought_to_unit_norm() -> None:
    """A norm within 1e-3 of one is divided away."""
    rows = unit_rows(5) * np.float32(1.0005)
    fixed = refuse_bad_rows(check_vectors(rows, normalize=False, field="e"))
    np.testing.assert_allclose(np.linalg.norm(fixed, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([np.nan] + [0.0] * 7, "EMBEDDING_NOT_FINITE"),
        ([np.inf] + [0.0] * 7, "EMBEDDING_NOT_FINITE"),
        ([0.0] * 8, "EMBEDDING_ZERO"),
        ([2.0] + [0.0] * 7, "EMBEDDING_NOT_UNIT_NORM"),
        ([3e38] * 8, "EMBEDDING_NOT_UNIT_NORM"),
    ],
)
def test_bad_rows_are_named(row: list[float], reason: str) -> None:
    """Each way to be no unit vector has its reason, and good rows beside it are untouched."""
    rows = np.vstack([unit_rows(2), np.array(row, dtype=np.float32)])
    checked = check_vectors(rows, normalize=False, field="e")
    assert {at: error.reason for at, error in checked.errors.items()} == {2: reason}
    np.testing.assert_array_equal(checked.vectors[:2], rows[:2])


@pytest.mark.parametrize("scale", [1e-6, 0.3, 17.0, 1e18])
def test_normalize_takes_any_norm_but_zero(scale: float) -> None:
    """Raw network output of any length is divided by its norm."""
    rows = unit_rows(4)
    fixed = refuse_bad_rows(check_vectors(rows * np.float32(scale), normalize=True, field="e"))
    np.testing.assert_allclose(fixed, rows, atol=1e-5)
    with pytest.raises(EmbeddingRefused, match="zero"):
        refuse_bad_rows(check_vectors(np.zeros((1, 8), np.float32), normalize=True, field="e"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dimension": 7}, "EMBEDDING_DIMENSION"),
        ({"count": 4_000_000_000}, "LIMIT_EXCEEDED"),
        ({"count": 2}, "EMBEDDING_SIZE"),
        ({"data": b"\0" * 95}, "EMBEDDING_SIZE"),
        ({"model": "other"}, "MODEL_MISMATCH"),
    ],
)
def test_sizes_are_checked_before_memory_is_taken(changes: dict[str, object], reason: str) -> None:
    """Numbers that do not fit the bytes, the gallery or the limits are refused."""
    with pytest.raises((EmbeddingRefused, LimitExceeded)) as refused:
        unpack(packed(unit_rows(3), **changes), dimension=8, model="precomputed:m", limits=LIMITS, field="e")
    assert refused.value.reason == reason


def test_model_is_accepted_by_name_and_by_fingerprint() -> None:
    """A precomputed model may be named with or without its prefix."""
    for model in ("m", "precomputed:m", ""):
        one = packed(unit_rows(1), model=model)
        unpacked = unpack(one, dimension=8, model="precomputed:m", limits=LIMITS, field="e")
        assert unpacked.shape == (1, 8)


def test_digests_tell_vectors_apart() -> None:
    """Equal rows have equal digests of 16 bytes, different rows different ones."""
    rows = np.vstack([unit_rows(3), unit_rows(3)])
    digests = digests_of(rows)
    assert digests[:3] == digests[3:]
    assert len(set(digests)) == 3
    assert {len(digest) for digest in digests} == {16}


def test_face_ids_ascend_and_do_not_repeat() -> None:
    """Fresh ids are unique over calls and in order within one."""
    calls = [new_face_ids(1000) for _ in range(5)]
    assert all(call == sorted(call) for call in calls)
    assert len({face_id for call in calls for face_id in call}) == 5000
