"""Who is served when several callers want the same."""

from __future__ import annotations

from mien_server.engine.grouping import Line


def test_a_lone_caller_is_served_at_once() -> None:
    """Nobody waits in an empty line, nor in one whose last group was served."""
    line: Line[str] = Line(1)
    assert line.arrive("a")
    assert line.next_group(9) == []
    assert line.arrive("b")


def test_who_arrives_meanwhile_is_the_next_group() -> None:
    """All who wait are served together, in their order, and those beyond the largest group by the one after."""
    line: Line[str] = Line(1)
    assert [line.arrive(caller) for caller in "abcde"] == [True, False, False, False, False]
    assert line.waiting_count == 4
    assert line.next_group(3) == ["b", "c", "d"]
    assert not line.arrive("f")
    assert line.next_group(3) == ["e", "f"]
    assert line.next_group(3) == []


def test_who_leaves_is_not_served() -> None:
    """One who gave up waiting is in no group; one who was called can no longer give up."""
    line: Line[str] = Line(1)
    for caller in "abc":
        line.arrive(caller)
    assert line.leave("b")
    assert line.next_group(9) == ["c"]
    assert not line.leave("c")
    assert not line.leave("a")


def test_as_many_groups_as_allowed_are_served_at_a_time() -> None:
    """One more waits, until any of them was served; the line is empty when all were."""
    line: Line[str] = Line(2)
    assert [line.arrive(caller) for caller in "abcd"] == [True, True, False, False]
    assert line.next_group(9) == ["c", "d"]
    assert line.next_group(9) == []
    assert not line.is_empty
    assert line.arrive("e")
    assert [line.next_group(9), line.next_group(9)] == [[], []]
    assert line.is_empty
