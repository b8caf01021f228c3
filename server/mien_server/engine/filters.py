"""From a filter to the rows it allows, exactly, in the snapshot of the search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mien_server.engine.types import Condition, ConditionSubject, Filter
from mien_server.errors import InvalidArgument
from mien_server.records.store_pb2 import IdentityRecord
from mien_server.storage import GalleryView

__all__ = ["allowed_identities", "allowed_rows", "excluded_numbers"]

Numbers = npt.NDArray[np.uint32]
Bitmap = npt.NDArray[np.uint8]
Item = TypeVar("Item", np.uint32, np.int64)

NARROW_IDENTITIES_MAX = 1000
"""Up to this many identities their rows are looked up one identity at a time; more are found by one pass over all."""
SCAN_BLOCK_ROWS = 65_536


def allowed_rows(view: GalleryView, row_filter: Filter) -> Bitmap | None:
    """Rows that the filter allows as a little-endian bitmap like GalleryRows.live; None when it holds for all.

    Raises:
        InvalidArgument: FILTER_INVALID.
    """
    if row_filter.is_empty:
        return None
    allowed: Bitmap | None = None
    numbers = allowed_identities(view, row_filter, "options.filter")
    if numbers is not None:
        allowed = _rows_of_identities(view, numbers)
    excluded = _numbers_of(view, row_filter.excluded_identity_ids)
    if excluded.size:
        allowed = _both(allowed, ~_rows_of_identities(view, excluded))
    for position, condition in enumerate(row_filter.conditions):
        if condition.subject in {ConditionSubject.FACE_LABEL, ConditionSubject.FACE_CREATE_TIME}:
            field = f"options.filter.conditions[{position}]"
            allowed = _both(allowed, _face_condition(view, condition, field))
    return allowed


def allowed_identities(view: GalleryView, row_filter: Filter, path: str) -> Numbers | None:
    """Numbers of the identities that the filter's parts on identities allow, ascending; None when all are.

    Exclusions are left out: the caller applies them, for they are usually few.

    Args:
        path: where the filter stands in the request, for errors.

    Raises:
        InvalidArgument: FILTER_INVALID.
    """
    numbers: Numbers | None = None
    if row_filter.identity_ids:
        numbers = _numbers_of(view, row_filter.identity_ids)
    for key, value in row_filter.identity_labels.items():
        numbers = _intersection(numbers, np.sort(view.identities_with_label(key, value)))
    for position, condition in enumerate(row_filter.conditions):
        if condition.subject in {ConditionSubject.IDENTITY_LABEL, ConditionSubject.IDENTITY_CREATE_TIME}:
            field = f"{path}.conditions[{position}]"
            numbers = _intersection(numbers, _identity_condition(view, condition, field))
    return numbers


def excluded_numbers(view: GalleryView, row_filter: Filter) -> Numbers:
    """Numbers of the identities that the filter excludes, ascending."""
    return _numbers_of(view, row_filter.excluded_identity_ids)


def _intersection(left: Numbers | None, right: Numbers) -> Numbers:
    return right if left is None else np.intersect1d(left, right)


def _both(left: Bitmap | None, right: Bitmap) -> Bitmap:
    return right if left is None else left & right


def _numbers_of(view: GalleryView, identity_ids: Iterable[str]) -> Numbers:
    records = view.identities_by_id(list(identity_ids)).values()
    return np.unique(np.array([record.number for record in records], dtype=np.uint32))


def _rows_of_identities(view: GalleryView, numbers: Numbers) -> Bitmap:
    if numbers.size <= NARROW_IDENTITIES_MAX:
        parts = [view.faces_of(int(number)) for number in numbers]
        return _bitmap_of(np.concatenate(parts) if parts else np.zeros(0, np.int64), view.rows.row_count)
    row_numbers = view.rows.identity_numbers
    is_allowed = np.zeros(int(max(row_numbers.max(initial=0), numbers.max())) + 1, dtype=bool)
    is_allowed[numbers] = True
    return np.packbits(is_allowed[row_numbers], bitorder="little")


def _bitmap_of(ordinals: npt.NDArray[np.int64], row_count: int) -> Bitmap:
    mask = np.zeros(row_count, dtype=bool)
    mask[ordinals] = True
    return np.packbits(mask, bitorder="little")


def _is_in_range(value: float, bounds: tuple[float | None, float | None]) -> bool:
    minimum, maximum = bounds
    return (minimum is None or value >= minimum) and (maximum is None or value <= maximum)


def _passes(value: str, condition: Condition) -> bool:
    """Whether a label's value passes the condition's test."""
    if condition.one_of is not None:
        return value in condition.one_of
    if condition.number_range is not None:
        try:
            number = float(value)
        except ValueError:
            return False
        return _is_in_range(number, condition.number_range)
    return True


def _invalid(field: str, what: str) -> InvalidArgument:
    return InvalidArgument(f"{field}: {what}", field=field, reason="FILTER_INVALID")


def _check_label_condition(condition: Condition, field: str) -> None:
    if not condition.key:
        raise _invalid(field, "a condition on a label needs its key")
    if condition.time_range_us is not None:
        raise _invalid(field, "a label is compared with one_of, number_range or exists, not with a time range")
    if condition.one_of is None and condition.number_range is None and condition.exists is None:
        raise _invalid(field, "the condition has no test")


def _time_bounds(condition: Condition, field: str) -> tuple[int, int]:
    if condition.time_range_us is None:
        raise _invalid(field, "a condition on a time needs a time_range")
    start, end = condition.time_range_us
    return (-(2**62) if start is None else start), (2**62 if end is None else end)


def _identity_condition(view: GalleryView, condition: Condition, field: str) -> Numbers:
    if condition.subject is ConditionSubject.IDENTITY_CREATE_TIME:
        start, end = _time_bounds(condition, field)
        found = [r.number for r in _every_identity(view) if start <= r.create_time_us < end]
        return np.unique(np.array(found, dtype=np.uint32))
    _check_label_condition(condition, field)
    postings = view.identity_labels(condition.key)
    numbers = _joined([numbers for value, numbers in postings if _passes(value, condition)], np.uint32)
    if condition.exists is False:
        every = np.array([record.number for record in _every_identity(view)], dtype=np.uint32)
        return np.setdiff1d(every, numbers)
    return np.unique(numbers)


def _every_identity(view: GalleryView) -> Iterable[IdentityRecord]:
    after = ""
    while page := view.identities(after, SCAN_BLOCK_ROWS):
        yield from (record for _, record in page)
        after = page[-1][0]


def _face_condition(view: GalleryView, condition: Condition, field: str) -> Bitmap:
    if condition.subject is ConditionSubject.FACE_CREATE_TIME:
        return _bitmap_of(_rows_created(view, *_time_bounds(condition, field)), view.rows.row_count)
    _check_label_condition(condition, field)
    postings = view.face_labels(condition.key)
    found = _joined([ordinals for value, ordinals in postings if _passes(value, condition)], np.int64)
    bitmap = _bitmap_of(found, view.rows.row_count)
    return ~bitmap if condition.exists is False else bitmap


def _rows_created(view: GalleryView, start_us: int, end_us: int) -> npt.NDArray[np.int64]:
    found: list[npt.NDArray[np.int64]] = []
    after = -1
    while (ordinals := view.live_ordinals(after, SCAN_BLOCK_ROWS)).size:
        times = view.heads(ordinals).create_times_us
        found.append(ordinals[(times >= start_us) & (times < end_us)])
        after = int(ordinals[-1])
    return _joined(found, np.int64)


def _joined(parts: list[npt.NDArray[Item]], dtype: type[Item]) -> npt.NDArray[Item]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)
