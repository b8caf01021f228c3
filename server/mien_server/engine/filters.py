"""From a filter to the rows it allows, exactly, in the snapshot of the search. Filters were checked at the edge."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mien_server.engine.types import Condition, ConditionSubject, Filter
from mien_server.records.deadline import Deadline
from mien_server.storage import GalleryView

__all__ = ["IdentityChoice", "allowed_identities", "allowed_rows"]

Numbers = npt.NDArray[np.uint32]
Ordinals = npt.NDArray[np.int64]
Bitmap = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Item = TypeVar("Item", np.uint32, np.int64)

NO_DEADLINE = Deadline()
NARROW_IDENTITIES_MAX = 1000
"""Up to this many identities their rows are looked up one identity at a time; more are found by one pass over all."""
SCAN_BLOCK_ROWS = 65_536
"""Records read between two looks at the deadline."""
PASS_BLOCK_ROWS = 1 << 23
"""Rows in memory passed over between two looks at the deadline; a multiple of 8, for blocks end with a byte."""

_IDENTITY_SUBJECTS = {ConditionSubject.IDENTITY_LABEL, ConditionSubject.IDENTITY_CREATE_TIME}


@dataclass(frozen=True, slots=True)
class IdentityChoice:
    """Which identities a filter allows, exclusions applied.

    Attributes:
        numbers: identity numbers, uint32 [n], ascending.
        is_inverted: all identities but these are allowed.
    """

    numbers: Numbers
    is_inverted: bool

    def allows(self, numbers: npt.NDArray[np.integer]) -> Flags:
        """Whether each of the identity numbers [m] is allowed, bool [m]."""
        # The last place stands for every number beyond the largest one chosen.
        last = int(self.numbers.max(initial=0)) + 1
        table = np.full(last + 1, self.is_inverted)
        table[self.numbers] = not self.is_inverted
        is_allowed: Flags = table[np.minimum(numbers, last)]
        return is_allowed


@dataclass(slots=True)
class _Scope:
    """What the parts of one filter share."""

    view: GalleryView
    deadline: Deadline
    _identities: tuple[Numbers, Ordinals] | None = field(default=None)

    def identities(self) -> tuple[Numbers, Ordinals]:
        """Every identity's number, uint32 [n], and time of creation in microseconds, int64 [n]; read once."""
        if self._identities is None:
            numbers: list[int] = []
            times_us: list[int] = []
            after = ""
            self.deadline.check()
            while page := self.view.identities(after, SCAN_BLOCK_ROWS):
                numbers += [record.number for _, record in page]
                times_us += [record.create_time_us for _, record in page]
                after = page[-1][0]
                self.deadline.check()
            self._identities = np.array(numbers, dtype=np.uint32), np.array(times_us, dtype=np.int64)
        return self._identities


def allowed_rows(view: GalleryView, row_filter: Filter, deadline: Deadline = NO_DEADLINE) -> Bitmap | None:
    """Rows that the filter allows as a little-endian bitmap like GalleryRows.live; None when it holds for all.

    Args:
        row_filter: one that `check_filter` let pass.

    Raises:
        Cancelled, DeadlineExceeded: between blocks of the work.
    """
    scope = _Scope(view, deadline)
    allowed: Bitmap | None = None
    choice = _identity_choice(scope, row_filter)
    if choice is not None:
        rows = _rows_of_identities(scope, choice.numbers)
        allowed = ~rows if choice.is_inverted else rows
    for condition in row_filter.conditions:
        if condition.subject not in _IDENTITY_SUBJECTS:
            found = _face_condition(scope, condition)
            allowed = found if allowed is None else allowed & found
    return allowed


def allowed_identities(
    view: GalleryView, row_filter: Filter, deadline: Deadline = NO_DEADLINE
) -> IdentityChoice | None:
    """The identities that the filter's parts on identities allow; None when all are.

    Args:
        row_filter: one that `check_filter` let pass.

    Raises:
        Cancelled, DeadlineExceeded: between blocks of the work.
    """
    return _identity_choice(_Scope(view, deadline), row_filter)


def _identity_choice(scope: _Scope, row_filter: Filter) -> IdentityChoice | None:
    numbers: Numbers | None = None
    if row_filter.identity_ids:
        numbers = _numbers_of(scope.view, row_filter.identity_ids)
    for key, value in row_filter.identity_labels.items():
        scope.deadline.check()
        numbers = _intersection(numbers, scope.view.identities_with_label(key, value))
    for condition in row_filter.conditions:
        if condition.subject in _IDENTITY_SUBJECTS:
            numbers = _intersection(numbers, _identity_condition(scope, condition))
    excluded = _numbers_of(scope.view, row_filter.excluded_identity_ids)
    if numbers is not None:
        return IdentityChoice(np.setdiff1d(numbers, excluded), is_inverted=False)
    return IdentityChoice(excluded, is_inverted=True) if excluded.size else None


def _intersection(left: Numbers | None, right: Numbers) -> Numbers:
    return right if left is None else np.intersect1d(left, right)


def _numbers_of(view: GalleryView, identity_ids: Iterable[str]) -> Numbers:
    records = view.identities_by_id(list(identity_ids)).values()
    return np.unique(np.array([record.number for record in records], dtype=np.uint32))


def _rows_of_identities(scope: _Scope, numbers: Numbers) -> Bitmap:
    row_numbers = scope.view.rows.identity_numbers
    if numbers.size <= NARROW_IDENTITIES_MAX:
        parts = [ordinals for number in numbers for ordinals in _faces_of(scope, int(number))]
        return _bitmap_of(_joined(parts, np.int64), len(row_numbers))
    choice = IdentityChoice(numbers, is_inverted=False)
    packed = []
    for start in range(0, len(row_numbers), PASS_BLOCK_ROWS):
        scope.deadline.check()
        is_allowed = choice.allows(row_numbers[start : start + PASS_BLOCK_ROWS])
        packed.append(np.packbits(is_allowed, bitorder="little"))
    return np.concatenate(packed) if packed else np.zeros(0, np.uint8)


def _faces_of(scope: _Scope, number: int) -> Iterable[Ordinals]:
    """The ordinals of an identity's faces, a block at a time."""
    after = -1
    scope.deadline.check()
    while (ordinals := scope.view.faces_of(number, after, SCAN_BLOCK_ROWS)).size:
        yield ordinals
        if len(ordinals) < SCAN_BLOCK_ROWS:
            return
        after = int(ordinals[-1])
        scope.deadline.check()


def _bitmap_of(ordinals: Ordinals, row_count: int) -> Bitmap:
    mask = np.zeros(row_count, dtype=bool)
    mask[ordinals] = True
    return np.packbits(mask, bitorder="little")


def _is_in_range(value: float, bounds: tuple[float | None, float | None]) -> bool:
    minimum, maximum = bounds
    return (minimum is None or value >= minimum) and (maximum is None or value <= maximum)


def _passes(value: str, condition: Condition) -> bool:
    """Whether a label's value passes the condition's test, which is no set of values."""
    if condition.number_range is not None:
        try:
            number = float(value)
        except ValueError:
            return False
        return _is_in_range(number, condition.number_range)
    return True


def _time_bounds(condition: Condition) -> tuple[int, int]:
    start, end = condition.time_range_us or (None, None)
    return (-(2**62) if start is None else start), (2**62 if end is None else end)


def _postings(
    scope: _Scope,
    condition: Condition,
    having: Callable[[str, str], npt.NDArray[Item]],
    every_value: Callable[[str], list[tuple[str, npt.NDArray[Item]]]],
) -> list[npt.NDArray[Item]]:
    """Who carries a value of the label that passes, value by value: looked up one by one, or chosen among all."""
    parts: list[npt.NDArray[Item]] = []
    if condition.one_of is not None:
        for value in sorted(frozenset(condition.one_of)):
            scope.deadline.check()
            parts.append(having(condition.key, value))
    else:
        for value, postings in every_value(condition.key):
            scope.deadline.check()
            if _passes(value, condition):
                parts.append(postings)
    return parts


def _identity_condition(scope: _Scope, condition: Condition) -> Numbers:
    if condition.subject is ConditionSubject.IDENTITY_CREATE_TIME:
        start, end = _time_bounds(condition)
        numbers, times_us = scope.identities()
        return np.unique(numbers[(times_us >= start) & (times_us < end)])
    parts = _postings(scope, condition, scope.view.identities_with_label, scope.view.identity_labels)
    found = _joined(parts, np.uint32)
    return np.setdiff1d(scope.identities()[0], found) if condition.exists is False else np.unique(found)


def _face_condition(scope: _Scope, condition: Condition) -> Bitmap:
    row_count = scope.view.rows.row_count
    if condition.subject is ConditionSubject.FACE_CREATE_TIME:
        return _bitmap_of(_rows_created(scope, *_time_bounds(condition)), row_count)
    parts = _postings(scope, condition, scope.view.faces_with_label, scope.view.face_labels)
    bitmap = _bitmap_of(_joined(parts, np.int64), row_count)
    return ~bitmap if condition.exists is False else bitmap


def _rows_created(scope: _Scope, start_us: int, end_us: int) -> Ordinals:
    found: list[Ordinals] = []
    after = -1
    scope.deadline.check()
    while (ordinals := scope.view.live_ordinals(after, SCAN_BLOCK_ROWS)).size:
        times = scope.view.heads(ordinals).create_times_us
        found.append(ordinals[(times >= start_us) & (times < end_us)])
        after = int(ordinals[-1])
        scope.deadline.check()
    return _joined(found, np.int64)


def _joined(parts: list[npt.NDArray[Item]], dtype: type[Item]) -> npt.NDArray[Item]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)
