"""Sets of rows, kept as lists or as bitmaps, are sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien_server.engine.row_sets import (
    FewRows,
    ManyRows,
    complement,
    intersection,
    rows_flagged,
    rows_numbered,
)

EXTENT = 1000
SETS = st.one_of(
    st.sets(st.integers(0, EXTENT - 1), max_size=20),
    st.sets(st.integers(0, 7)).map(lambda left_out: {n for n in range(EXTENT) if n % 8 not in left_out}),
)


def flags_of(members: set[int], extent: int = EXTENT) -> np.ndarray:
    flags = np.zeros(extent, np.bool_)
    flags[sorted(members)] = True
    return flags


def below(bitmap: np.ndarray, extent: int) -> set[int]:
    return {n for n in np.flatnonzero(np.unpackbits(bitmap, bitorder="little")).tolist() if n < extent}


@given(SETS, SETS, st.integers(0, EXTENT + 20))
def test_operations_are_those_of_sets(one: set[int], other: set[int], extent: int) -> None:
    """Members, flags, bitmap, complement and intersection are those of the Python set, whatever the shape."""
    rows = rows_numbered(np.array(sorted(one, reverse=True), np.int64), EXTENT)
    assert set(rows.numbers().tolist()) == one
    np.testing.assert_array_equal(rows.numbers(), rows_flagged(flags_of(one), 0).numbers())
    assert set(np.flatnonzero(rows.flags(extent)).tolist()) == {n for n in one if n < extent}
    assert rows.bitmap(extent).size == -(-extent // 8)
    assert below(rows.bitmap(extent), extent) == {n for n in one if n < extent}
    assert below(complement(rows, extent).bitmap(extent), extent) == set(range(extent)) - one
    both = intersection(rows, rows_flagged(flags_of(other), 0))
    assert both.numbers().tolist() == sorted(one & other)


@given(SETS, SETS)
def test_a_set_grows_at_its_end(one: set[int], other: set[int]) -> None:
    """A set extended by one of later numbers has the members of both."""
    rows = rows_flagged(flags_of(one), 0)
    more = rows_flagged(flags_of(other), EXTENT)
    wanted = sorted(one) + sorted(n + EXTENT for n in other)
    assert rows.extended(more, 2 * EXTENT).numbers().tolist() == wanted
    assert set(rows.numbers().tolist()) == one


@pytest.mark.parametrize(("count", "shape"), [(0, FewRows), (31, FewRows), (32, ManyRows), (1000, ManyRows)])
def test_the_shape_that_takes_less_room_is_taken(count: int, shape: type) -> None:
    """One member in 32 is where a list of 32 bits a member outgrows a bitmap."""
    rows = rows_numbered(np.arange(count), EXTENT)
    assert isinstance(rows, shape)
    assert rows.nbytes <= min(4 * count, 125)
