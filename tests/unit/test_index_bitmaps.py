"""Row bitmaps agree with arrays of booleans."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien_server.index import bitmaps
from mien_server.index.bitmaps import intersection, set_count, set_ordinals, slice_bits
from tests.index_support import bitmap_of

booleans = st.lists(st.booleans(), max_size=200)


@given(booleans, st.integers(0, 200), st.integers(0, 200))
def test_a_range_of_a_bitmap_is_the_range_of_the_booleans(bits: list[bool], one: int, other: int) -> None:
    """Count, ordinals and slice of any range are those of the array it was packed from."""
    first, last = sorted((min(one, len(bits)), min(other, len(bits))))
    bitmap = bitmap_of(bits)
    wanted = np.flatnonzero(np.asarray(bits[first:last], np.bool_)) + first
    assert set_count(bitmap, first, last) == wanted.size
    np.testing.assert_array_equal(set_ordinals(bitmap, first, last), wanted)
    np.testing.assert_array_equal(bitmaps.bitmap_of(np.flatnonzero(bits), len(bits)), bitmap)
    sliced = np.unpackbits(slice_bits(bitmap, first, last), bitorder="little")[: last - first]
    np.testing.assert_array_equal(sliced.astype(np.bool_), bits[first:last])


@given(booleans, booleans)
def test_what_a_filter_does_not_mention_is_not_allowed(live: list[bool], allowed: list[bool]) -> None:
    """The intersection has the live rows that are allowed, and none beyond the filter's end."""
    both = intersection(bitmap_of(live), bitmap_of(allowed), len(live))
    padded = [*allowed, *[False] * len(live)][: len(live)]
    wanted = [row_is_live and row_is_allowed for row_is_live, row_is_allowed in zip(live, padded, strict=True)]
    np.testing.assert_array_equal(np.unpackbits(both, count=len(live), bitorder="little").astype(np.bool_), wanted)


def test_large_bitmaps_are_counted_by_words() -> None:
    """A count over many whole words plus a ragged end is right."""
    is_set = np.random.default_rng(3).random(100_003) < 0.3
    assert set_count(bitmap_of(is_set), 17, 99_999) == is_set[17:99_999].sum()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 1.0])
def test_ordinals_are_found_at_every_density(share: float) -> None:
    """Bits that stand alone and bits that stand in every byte are found alike."""
    is_set = np.random.default_rng(4).random(10_003) < share
    np.testing.assert_array_equal(set_ordinals(bitmap_of(is_set), 5, 9_999), np.flatnonzero(is_set[5:9_999]) + 5)
