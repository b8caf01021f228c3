"""Chosen rows are ordered by their exact similarity, whatever they are stored as and however they were narrowed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from mien_server.index.rescore import MARGIN_ROWS, StoredVectors, best_candidates

DIMENSION = 96
ROWS = 3000
COUNT = 10

Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]


def unit(vectors: npt.NDArray[np.float64]) -> Float32Array:
    normalised: Float32Array = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normalised


def rows_of(seed: int) -> Float32Array:
    return unit(np.random.default_rng(seed).standard_normal((ROWS, DIMENSION)))


def sorted_by_hand(
    vectors: StoredVectors, probes: Float32Array, candidates: Int64Array
) -> tuple[Int64Array, Float32Array]:
    """All candidates of each probe in order, by the same function that is given no choice."""
    answers = [
        best_candidates(vectors, probes[[n]], candidates[[n]], candidates.shape[1], 1) for n in range(len(probes))
    ]
    return np.concatenate([one[0] for one in answers]), np.concatenate([one[1] for one in answers])


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("width", [COUNT, COUNT + MARGIN_ROWS + 1, COUNT + MARGIN_ROWS + 2, 400])
def test_the_best_of_many_are_the_best_of_all(kind: type[np.float16], width: int) -> None:
    """The first ten of a long list are the first ten of the whole list in order, to the bit."""
    vectors = rows_of(1).astype(kind)
    probes = rows_of(2)[:20]
    generator = np.random.default_rng(3)
    candidates = np.stack([generator.choice(ROWS, width, replace=False) for _ in probes])
    ordinals, similarities = best_candidates(vectors, probes, candidates, COUNT, 1)
    all_ordinals, all_similarities = sorted_by_hand(vectors, probes, candidates)
    np.testing.assert_array_equal(ordinals, all_ordinals[:, :COUNT])
    np.testing.assert_array_equal(similarities, all_similarities[:, :COUNT])
    true = np.take_along_axis(probes @ vectors.astype(np.float32).T, ordinals, 1)
    np.testing.assert_allclose(similarities, true, atol=1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_equal_rows_are_told_apart_by_ordinal(kind: type[np.float16]) -> None:
    """Where more rows are equal than are wanted or kept, those of the smallest ordinals come first."""
    vectors = rows_of(1)
    vectors[500:600] = vectors[500]
    vectors = vectors.astype(kind)
    probes = vectors[500:501].astype(np.float32)
    candidates = np.random.default_rng(4).permutation(ROWS)[None, :].copy()
    ordinals, similarities = best_candidates(vectors, probes, candidates, COUNT, 1)
    assert ordinals[0].tolist() == list(range(500, 500 + COUNT))
    assert np.unique(similarities).size == 1


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_padding_ends_the_candidates(kind: type[np.float16]) -> None:
    """Probes with fewer candidates than others, or fewer than are wanted, get those and padding."""
    vectors = rows_of(1).astype(kind)
    probes = rows_of(2)[:3]
    candidates = np.full((3, 200), -1)
    candidates[0, :150], candidates[1, :4] = np.arange(150), np.arange(4)
    ordinals, similarities = best_candidates(vectors, probes, candidates, COUNT, 1)
    assert (ordinals[0] >= 0).all()
    assert sorted(ordinals[1, :4].tolist()) == [0, 1, 2, 3]
    assert ordinals[1, 4:].tolist() == [-1] * (COUNT - 4)
    assert (ordinals[2] == -1).all()
    assert (similarities[ordinals < 0] == -np.inf).all()
