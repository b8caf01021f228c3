"""From a filter to the rows it allows, exactly, in the snapshot of the search. Filters were checked at the edge.

Each condition becomes a set of rows, or of identities and then of rows, and so does each list of identity ids. These
sets are kept and grow with the gallery; FilterCache says how.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mien_server.engine.filter_cache import Column, Depends, FilterCache, Found
from mien_server.engine.row_sets import (
    Bitmap,
    Flags,
    ManyRows,
    Numbers,
    RowSet,
    complement,
    intersection,
    rows_flagged,
    rows_numbered,
)
from mien_server.engine.types import Condition, ConditionSubject, Filter
from mien_server.records.deadline import Deadline
from mien_server.storage import GalleryView, Subject, ValueKind

__all__ = ["IdentityChoice", "allowed_identities", "allowed_rows", "matching_faces"]

NO_DEADLINE = Deadline()
LOOKUP_ROWS = 5000
"""Looking up the rows of one identity costs as much as passing over so many rows in memory."""
SCAN_BLOCK_ROWS = 65_536
"""Ordinals of one identity read between two looks at the deadline."""
PASS_BLOCK_ROWS = 1 << 22
"""Rows in memory passed over between two looks at the deadline."""
READ_ANEW_SHARE = 0.125
"""When more than this share of all labels is new, all are read from their index rather than the new from records."""

NO_TIME = -(2**63)
"""Of a number that nobody has: before every time."""

_SUBJECTS = {
    ConditionSubject.IDENTITY_LABEL: Subject.IDENTITY,
    ConditionSubject.IDENTITY_CREATE_TIME: Subject.IDENTITY,
    ConditionSubject.FACE_LABEL: Subject.FACE,
    ConditionSubject.FACE_CREATE_TIME: Subject.FACE,
}
_TIMES = {ConditionSubject.IDENTITY_CREATE_TIME, ConditionSubject.FACE_CREATE_TIME}


@dataclass(frozen=True, slots=True)
class IdentityChoice:
    """Which identities a filter allows, exclusions applied.

    Attributes:
        numbers: identity numbers, int64 [n], ascending; identities that exist.
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

    def count(self, identity_count: int) -> int:
        """How many of so many identities are allowed."""
        return identity_count - self.numbers.size if self.is_inverted else self.numbers.size


def allowed_rows(
    view: GalleryView, row_filter: Filter, deadline: Deadline = NO_DEADLINE, cache: FilterCache | None = None
) -> Bitmap | None:
    """Rows that the filter allows as a little-endian bitmap like GalleryRows.live; None when it holds for all.

    Deleted rows may be among them.

    Args:
        row_filter: one that `check_filter` let pass.
        cache: what earlier calls found out; None keeps nothing.

    Raises:
        Cancelled, DeadlineExceeded: between blocks of the work.
    """
    resolver = _Resolver(view, deadline, cache or FilterCache())
    row_count = view.rows.row_count
    allowed: RowSet | None = None
    if row_filter.identity_ids:
        allowed = resolver.rows_named(row_filter.identity_ids)
    for condition in _conditions(row_filter):
        found = resolver.matching_rows(condition)
        allowed = found if allowed is None else intersection(allowed, found)
    if row_filter.excluded_identity_ids:
        others = complement(resolver.rows_named(row_filter.excluded_identity_ids), row_count)
        allowed = others if allowed is None else intersection(allowed, others)
    return None if allowed is None else allowed.bitmap(row_count)


def matching_faces(
    view: GalleryView,
    row_filter: Filter,
    deadline: Deadline = NO_DEADLINE,
    cache: FilterCache | None = None,
    among: Numbers | None = None,
) -> Numbers:
    """Ordinals of the faces that the filter allows, int64 [n], ascending. Raises as `allowed_rows`.

    Args:
        among: only these ordinals, int64, ascending; None for all.
    """
    live = view.rows.live
    allowed = allowed_rows(view, row_filter, deadline, cache)
    matching = ManyRows(live if allowed is None else live & allowed)
    return matching.numbers() if among is None else among[matching.holds(among.astype(np.uint32))]


def allowed_identities(
    view: GalleryView, row_filter: Filter, deadline: Deadline = NO_DEADLINE
) -> IdentityChoice | None:
    """The identities that the filter's parts on identities allow; None when all are.

    Args:
        row_filter: one that `check_filter` let pass.

    Raises:
        Cancelled, DeadlineExceeded: between blocks of the work.
    """
    # What a cache keeps may name identities that were deleted since: they have no rows, but they would be listed.
    resolver = _Resolver(view, deadline, FilterCache())
    numbers = view.postings.identity_numbers(row_filter.identity_ids) if row_filter.identity_ids else None
    excluded = [view.postings.identity_numbers(row_filter.excluded_identity_ids)]
    for condition in _conditions(row_filter):
        if _SUBJECTS[condition.subject] is Subject.FACE:
            continue
        if condition.exists is False:
            excluded.append(resolver.matching(replace(condition, exists=True)).numbers())
            continue
        found = resolver.matching(condition).numbers()
        numbers = found if numbers is None else np.intersect1d(numbers, found, assume_unique=True)
    gone = np.unique(np.concatenate(excluded))
    # Who is not shown is neither chosen nor left out.
    expired = view.expired_identity_numbers
    if expired.size:
        gone = np.setdiff1d(gone, expired, assume_unique=True)
        numbers = None if numbers is None else np.setdiff1d(numbers, expired, assume_unique=True)
    if numbers is not None:
        return IdentityChoice(np.setdiff1d(numbers, gone, assume_unique=True), is_inverted=False)
    return IdentityChoice(gone, is_inverted=True) if gone.size else None


def _conditions(row_filter: Filter) -> list[Condition]:
    """All conditions, plain labels of identities among them."""
    plain = row_filter.identity_labels.items()
    equal = [Condition(ConditionSubject.IDENTITY_LABEL, key, one_of=(value,)) for key, value in plain]
    return [*equal, *row_filter.conditions]


class _Resolver:
    """Finds what conditions mean in one snapshot."""

    def __init__(self, view: GalleryView, deadline: Deadline, cache: FilterCache) -> None:
        self._view = view
        self._postings = view.postings
        self._facts = self._postings.facts
        self._deadline = deadline
        self._cache = cache

    def matching_rows(self, condition: Condition) -> RowSet:
        """The rows that a condition on a face, or on the identity it belongs to, allows; deleted ones perhaps."""
        if condition.exists is False:
            return complement(self.matching_rows(replace(condition, exists=True)), self._facts.row_count)
        if _SUBJECTS[condition.subject] is Subject.FACE:
            return self.matching(condition)

        def find(first: int) -> RowSet:
            return rows_flagged(self._owned_by(self.matching(condition), first), first)

        key = ("rows", self._view.number, condition)
        depends = Depends(labels=condition.subject is ConditionSubject.IDENTITY_LABEL, owners=True)
        return self._grown(key, condition.one_of or (), self._facts.row_count, find, depends)

    def matching(self, condition: Condition) -> RowSet:
        """The rows or identity numbers, by the condition's subject, that pass its test, which is not `exists` false."""
        subject = _SUBJECTS[condition.subject]
        extent = self._postings.extent(subject)

        def find(first: int) -> RowSet:
            if condition.one_of is not None:
                return rows_numbered(self._labelled(subject, condition.key, condition.one_of, first), extent)
            if condition.time_range_us is not None:
                return rows_flagged(self._made_within(subject, condition.time_range_us, first, extent), first)
            return rows_flagged(self._valued(subject, condition, first, extent), first)

        key = ("matching", self._view.number, condition)
        depends = Depends(labels=condition.subject is ConditionSubject.IDENTITY_LABEL)
        return self._grown(key, condition.one_of or (), extent, find, depends)

    def rows_named(self, identity_ids: tuple[str, ...]) -> RowSet:
        """The rows of the identities of these ids; deleted ones perhaps."""

        @functools.cache
        def named() -> Numbers:
            return self._postings.identity_numbers(identity_ids)

        def find(first: int) -> RowSet:
            if not first:
                return self._rows_of(named())
            identities = rows_numbered(named(), self._facts.next_identity_number)
            return rows_flagged(self._owned_by(identities, first), first)

        # Somebody who is not there yet gets new rows, which are asked for by id; or others', which changes owners.
        key = ("named", self._view.number, identity_ids)
        return self._grown(key, identity_ids, self._facts.row_count, find, Depends(owners=True, ids=True))

    def _rows_of(self, identity_numbers: Numbers) -> RowSet:
        row_count = self._facts.row_count
        if identity_numbers.size * LOOKUP_ROWS <= row_count:
            parts = [ordinals for number in identity_numbers.tolist() for ordinals in self._faces_of(number)]
            return rows_numbered(np.concatenate([np.zeros(0, np.int64), *parts]), row_count)
        identities = rows_numbered(identity_numbers, self._facts.next_identity_number)
        return rows_flagged(self._owned_by(identities, 0), 0)

    def _grown(
        self, key: Hashable, texts: tuple[str, ...], extent: int, find: Callable[[int], RowSet], depends: Depends
    ) -> RowSet:
        """A set from the cache, with what was written since; `find` tells those from a first number up to the extent.

        Numbers beyond the extent may be in it.
        """
        found = self._cache.get(key)
        if found is None or not found.holds_in(self._facts, depends):
            value = find(0)
        else:
            assert not isinstance(found.value, Column)
            if found.extent >= extent:
                return found.value
            value = found.value.extended(find(found.extent), extent)
        self._cache.put(key, Found(self._facts, extent, value), texts)
        return value

    def _owned_by(self, identities: RowSet, first: int) -> Flags:
        """For each row from `first` on whether it is of one of these identities."""
        table = identities.flags(self._facts.next_identity_number)
        owners = self._view.rows.identity_numbers
        parts = []
        for start in range(first, len(owners), PASS_BLOCK_ROWS):
            self._deadline.check()
            parts.append(table[owners[start : start + PASS_BLOCK_ROWS]])
        return np.concatenate([np.zeros(0, np.bool_), *parts])

    def _faces_of(self, number: int) -> Iterable[Numbers]:
        """The ordinals of an identity's faces, a block at a time."""
        after = -1
        self._deadline.check()
        while (ordinals := self._postings.faces_of(number, after, SCAN_BLOCK_ROWS)).size:
            yield ordinals
            if len(ordinals) < SCAN_BLOCK_ROWS:
                return
            after = int(ordinals[-1])
            self._deadline.check()

    def _labelled(self, subject: Subject, key: str, values: tuple[str, ...], first: int) -> Numbers:
        """Numbers from `first` on whose label has one of these values, in any order."""
        parts = [np.zeros(0, np.int64)]
        for value in sorted(frozenset(values)):
            self._deadline.check()
            for block in self._postings.labelled(subject, key, value, first):
                parts.append(block)
                self._deadline.check()
        return np.concatenate(parts)

    def _made_within(self, subject: Subject, bounds: tuple[int | None, int | None], first: int, extent: int) -> Flags:
        """For each number from `first` on whether it was made in the range."""
        start, end = bounds
        low, high = NO_TIME + 1 if start is None else start, 2**63 - 1 if end is None else end
        parts = [
            (times >= low) & (times < high) for (times,) in self._times(subject, extent).blocks_from(first, extent)
        ]
        return np.concatenate([np.zeros(0, np.bool_), *parts])

    def _valued(self, subject: Subject, condition: Condition, first: int, extent: int) -> Flags:
        """For each number from `first` on whether it carries the label, with a number in the range if one is given."""
        parts = [np.zeros(0, np.bool_)]
        for kinds, values in self._values(subject, condition.key, extent).blocks_from(first, extent):
            if condition.number_range is None:
                parts.append(kinds != ValueKind.ABSENT)
                continue
            minimum, maximum = condition.number_range
            is_inside = kinds == ValueKind.NUMBER
            if minimum is not None:
                is_inside &= values >= minimum
            if maximum is not None:
                is_inside &= values <= maximum
            parts.append(is_inside)
        return np.concatenate(parts)

    def _times(self, subject: Subject, extent: int) -> Column:
        """When each number below the extent was made, int64."""
        key = ("times", self._view.number, subject)
        column, first = self._known(key, Depends())
        if first >= extent:
            return column
        times = np.full(extent - first, NO_TIME, np.int64)
        for numbers, made_us in self._postings.times_from(subject, first):
            times[numbers - first] = made_us
            self._deadline.check()
        return self._keep(key, extent, column.extended((times,)))

    def _values(self, subject: Subject, label: str, extent: int) -> Column:
        """What each number below the extent has as this label: its kind, uint8, and its value, float64."""
        key = ("values", self._view.number, subject, label)
        column, first = self._known(key, Depends(labels=subject is Subject.IDENTITY))
        if first >= extent:
            return column
        if extent - first > READ_ANEW_SHARE * extent:
            column, first = Column(), 0
            blocks = self._postings.labels(subject, label)
        else:
            blocks = self._postings.labels_from(subject, label, first)
        kinds, values = np.zeros(extent - first, np.uint8), np.zeros(extent - first)
        for numbers, found_kinds, found_values in blocks:
            kinds[numbers - first], values[numbers - first] = found_kinds, found_values
            self._deadline.check()
        return self._keep(key, extent, column.extended((kinds, values)))

    def _known(self, key: Hashable, depends: Depends) -> tuple[Column, int]:
        """A column from the cache and its extent; an empty one where nothing holds in this snapshot."""
        found = self._cache.get(key)
        if found is None or not found.holds_in(self._facts, depends):
            return Column(), 0
        assert isinstance(found.value, Column)
        return found.value, found.extent

    def _keep(self, key: Hashable, extent: int, column: Column) -> Column:
        self._cache.put(key, Found(self._facts, extent, column))
        return column
