"""Which waiting writes one commit takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mien_server.storage.grouping import choose_group

waiting = st.lists(st.integers(1, 50), max_size=30)
limits = st.integers(1, 60)


def test_nothing_waits_nothing_is_taken() -> None:
    """An empty queue gives an empty group."""
    assert choose_group([], rows_max=10, commands_max=10) == 0


def test_a_group_ends_before_the_rows_that_do_not_fit() -> None:
    """Commands are taken in order while their rows fit."""
    assert choose_group([4, 4, 4], rows_max=8, commands_max=10) == 2


def test_a_command_larger_than_the_limit_goes_alone() -> None:
    """What is larger than a group is still written, by itself."""
    assert choose_group([100, 1], rows_max=8, commands_max=10) == 1


def test_a_group_ends_at_its_number_of_commands() -> None:
    """No more commands than allowed, however small."""
    assert choose_group([1] * 9, rows_max=100, commands_max=3) == 3


@given(waiting, limits, limits)
def test_a_group_is_as_large_as_the_limits_let_it(row_counts: list[int], rows_max: int, commands_max: int) -> None:
    """One command more would break a limit; one alone may break the limit of rows."""
    taken = choose_group(row_counts, rows_max, commands_max)
    assert taken <= commands_max
    assert taken == 1 or sum(row_counts[:taken]) <= rows_max
    assert taken > 0 or not row_counts
    if taken < len(row_counts):
        assert taken == commands_max or sum(row_counts[: taken + 1]) > rows_max
