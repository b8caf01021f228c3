"""Exact search is numpy's answer, whatever its shape, and ties are settled the same way every time."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mien_server.errors import InvalidArgument
from mien_server.index import EffortChoice, flat, search
from mien_server.index.flat import search_chosen, search_flat
from tests.index_support import assert_is_exact, bitmap_of, request, rows_in_file, unit_vectors


@pytest.mark.parametrize("item_type", [np.float32, np.float16])
@pytest.mark.parametrize("probe_count", [1, 5, 40])
@pytest.mark.parametrize("live_share", [1.0, 0.9, 0.1, 0.0])
def test_flat_search_is_brute_force(
    tmp_path: Path, item_type: npt.DTypeLike, probe_count: int, live_share: float
) -> None:
    """One probe or many, float32 or float16 rows, few or many deleted: the answer is numpy's."""
    vectors = unit_vectors(3000, 96).astype(item_type)
    is_live = np.random.default_rng(5).random(3000) < live_share
    rows = rows_in_file(tmp_path / "vectors", vectors, is_live=is_live)
    probes = unit_vectors(probe_count, 96, seed=1)
    result = search(rows, None, request(probes, k=20))
    assert_is_exact(result.ordinals, result.similarities, rows, probes)
    assert result.report.plan == "flat"
    assert result.report.recall_estimate == 1
    assert result.report.rows_scanned == is_live.sum()


def test_rows_of_several_blocks_are_merged(tmp_path: Path) -> None:
    """Rows that have to be copied block by block give the same answer as all at once."""
    vectors = unit_vectors(20_000, 512).astype(np.float16)
    rows = rows_in_file(tmp_path / "vectors", vectors)
    probes = unit_vectors(6, 512, seed=1)
    result = search(rows, None, request(probes, k=15))
    assert_is_exact(result.ordinals, result.similarities, rows, probes)


@pytest.mark.parametrize("probe_count", [1, 40])
def test_a_filter_of_a_flat_gallery_is_exact(tmp_path: Path, probe_count: int) -> None:
    """Only rows that are live and allowed are answered, and all of them when fewer than k are."""
    rows = rows_in_file(tmp_path / "vectors", unit_vectors(500, 64), is_live=np.arange(500) % 3 != 0)
    is_allowed = np.arange(500) % 50 == 1
    probes = unit_vectors(probe_count, 64, seed=1)
    result = search(rows, None, request(probes, k=12, allowed=bitmap_of(is_allowed)))
    assert_is_exact(result.ordinals, result.similarities, rows, probes, is_allowed)
    assert (result.ordinals[0] >= 0).sum() == 7


@pytest.mark.parametrize("probe_count", [1, 100])
def test_equal_rows_are_answered_by_smaller_ordinal(tmp_path: Path, probe_count: int) -> None:
    """Of more equal rows than are asked for, the smallest ordinals are answered, in order."""
    vectors = unit_vectors(2000, 128)
    twins = np.random.default_rng(2).permutation(2000)[:300]
    vectors[twins] = vectors[twins[0]]
    rows = rows_in_file(tmp_path / "vectors", vectors)
    probes = np.repeat(vectors[twins[:1]], probe_count, axis=0)
    result = search(rows, None, request(probes, k=50))
    np.testing.assert_array_equal(result.ordinals, np.tile(np.sort(twins)[:50], (probe_count, 1)))
    assert np.unique(result.similarities).size == 1


@pytest.mark.parametrize("item_type", [np.float32, np.float16])
def test_many_probes_near_many_equal_rows_are_answered_in_order(
    item_type: npt.DTypeLike, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several groups of equal rows, over blocks of rows and of probes, each probe gets the smallest ordinals."""
    monkeypatch.setattr(flat, "BLOCK_COMPONENTS", 64 * 100)
    monkeypatch.setattr(flat, "PAIRS_MAX", 1000)
    vectors = unit_vectors(1500, 64)
    group = np.random.default_rng(4).integers(0, 6, 1500)
    vectors = vectors[group].astype(item_type)
    is_selected = np.arange(1500) % 7 != 0
    probes = vectors[:30].astype(np.float32) + 0.2 * unit_vectors(30, 64, seed=1)
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    ordinals, similarities = search_flat(vectors, 100, 1400, bitmap_of(is_selected), probes, 12, 2)
    for probe in range(30):
        equal = np.flatnonzero((group == group[probe]) & is_selected)
        np.testing.assert_array_equal(ordinals[probe], equal[(equal >= 100) & (equal < 1400)][:12])
        np.testing.assert_allclose(
            similarities[probe], vectors[ordinals[probe]].astype(np.float32) @ probes[probe], atol=1e-6
        )


def test_memory_of_a_sparse_search_is_bounded() -> None:
    """Many small probes of a few selected rows of many do not list every pair of them."""
    vectors, probes = unit_vectors(200_000, 4), unit_vectors(500, 4, seed=1)
    is_selected = np.arange(200_000) % 10 == 3
    selected = bitmap_of(is_selected)
    tracemalloc.start()
    ordinals, _ = search_flat(vectors, 0, 200_000, selected, probes, 3, 2)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(ordinals[:, 0] % 10, 3)
    assert peak_bytes < 16 * 1024 * 1024


def test_a_similarity_has_the_same_bits_whatever_the_plan(tmp_path: Path) -> None:
    """One probe, a batch, and a filter report the very same number for the same probe and row."""
    rows = rows_in_file(tmp_path / "vectors", unit_vectors(3000, 512))
    probes = unit_vectors(64, 512, seed=1)
    batch = search(rows, None, request(probes, k=5))
    for number in range(4):
        alone = search(rows, None, request(probes[number : number + 1], k=5))
        np.testing.assert_array_equal(alone.similarities[0], batch.similarities[number])
        allowed = np.zeros(3000, np.bool_)
        allowed[batch.ordinals[number]] = True
        narrow = search(rows, None, request(probes[number : number + 1], k=5, allowed=bitmap_of(allowed)))
        np.testing.assert_array_equal(narrow.similarities[0], batch.similarities[number])


def test_rows_from_last_on_are_not_read() -> None:
    """What lies behind the committed rows, here NaN, has no effect."""
    vectors = unit_vectors(1000, 64)
    vectors[700:] = np.nan
    for probes in (unit_vectors(1, 64, seed=1), unit_vectors(50, 64, seed=1)):
        ordinals, similarities = search_flat(vectors, 200, 700, None, probes, 10, 2)
        assert ordinals.min() >= 200
        assert ordinals.max() < 700
        assert np.isfinite(similarities).all()


def test_k_beyond_the_gallery_is_padded(tmp_path: Path) -> None:
    """Where fewer than k rows are live the rest of the answer is -1 and -inf."""
    rows = rows_in_file(tmp_path / "vectors", unit_vectors(7, 16), is_live=[True] * 5 + [False] * 2)
    probes = unit_vectors(3, 16, seed=1)
    result = search(rows, None, request(probes, k=1000))
    assert result.ordinals.shape == (3, 1000)
    assert_is_exact(result.ordinals, result.similarities, rows, probes)


def test_an_empty_gallery_answers_nothing(tmp_path: Path) -> None:
    """Without rows every answer is padding, whatever the effort."""
    rows = rows_in_file(tmp_path / "vectors", np.empty((0, 16), np.float32))
    result = search(rows, None, request(unit_vectors(2, 16), k=3, effort=EffortChoice(exact=True)))
    assert (result.ordinals == -1).all()
    assert np.isneginf(result.similarities).all()


@pytest.mark.parametrize(("dimension", "k", "reason"), [(8, 3, "DIMENSION_MISMATCH"), (16, 0, "K_INVALID")])
def test_a_wrong_request_is_refused(tmp_path: Path, dimension: int, k: int, reason: str) -> None:
    """Probes of another dimension, and k below 1, are refused with a reason before anything is computed."""
    rows = rows_in_file(tmp_path / "vectors", unit_vectors(20, 16))
    with pytest.raises(InvalidArgument) as caught:
        search(rows, None, request(unit_vectors(2, dimension), k=k))
    assert caught.value.reason == reason


@pytest.mark.parametrize("item_type", [np.float32, np.float16])
@pytest.mark.parametrize("probe_count", [1, 3, 60])
@pytest.mark.parametrize("chosen_count", [0, 1, 4, 700])
def test_a_list_of_rows_is_searched_as_a_bitmap_of_them(
    item_type: npt.DTypeLike, probe_count: int, chosen_count: int
) -> None:
    """The rows of given ordinals give the answer of a search that selects them, to the bit, ties and padding too."""
    vectors = unit_vectors(3000, 64)
    vectors[1000:1500] = vectors[500:1000]
    vectors = vectors.astype(item_type)
    ordinals = np.sort(np.random.default_rng(1).permutation(3000)[:chosen_count])
    is_chosen = np.isin(np.arange(3000), ordinals)
    probes = np.ascontiguousarray(vectors[700 : 700 + probe_count].astype(np.float32))
    found = search_chosen(vectors, ordinals, probes, 10, 2)
    by_bitmap = search_flat(vectors, 0, 3000, bitmap_of(is_chosen), probes, 10, 2)
    np.testing.assert_array_equal(found[0], by_bitmap[0])
    np.testing.assert_array_equal(found[1], by_bitmap[1])
    similarities = probes.astype(np.float64) @ vectors.astype(np.float64).T
    similarities[:, ~is_chosen] = -np.inf
    best = -np.sort(-similarities, axis=1)[:, :10]
    np.testing.assert_allclose(found[1], best, atol=2e-6)
