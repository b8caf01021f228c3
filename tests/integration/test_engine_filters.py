"""Filters over a real store: what they refuse, what they choose, and that they stop when nobody waits any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mien_server.config.limits import Limits
from mien_server.engine import Engine, filters, identities
from mien_server.engine.filters import allowed_rows
from mien_server.engine.templates import template_of, templates_of
from mien_server.engine.types import (
    Condition,
    ConditionSubject,
    EnrollRows,
    Filter,
    GallerySpec,
    PackedEmbeddings,
    Probes,
    SearchChoices,
)
from mien_server.engine.validation import check_filter
from mien_server.errors import Cancelled, InvalidArgument, LimitExceeded
from mien_server.records.deadline import Deadline
from mien_server.storage import GalleryView, postings

DIMENSION = 8
PEOPLE = 120
ROWS = np.random.default_rng(3).normal(size=(PEOPLE, DIMENSION)).astype(np.float32)
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)

LABEL = ConditionSubject.IDENTITY_LABEL
MISSING = Condition(LABEL, "vip", exists=False)
EVER = (0, 2**60)


class Patience:
    """A caller who goes away when asked for the time after this one; counts how often it was asked."""

    def __init__(self, checks: float = float("inf")) -> None:
        self.checks = checks
        self.asked = 0

    def deadline(self) -> Deadline:
        return Deadline(is_cancelled=self._is_cancelled)

    def _is_cancelled(self) -> bool:
        self.asked += 1
        return self.asked > self.checks


@pytest.fixture
def engine(store_path: Path) -> Iterator[Engine]:
    """An engine with a gallery `g` of one face for each of 120 people; person n has the label number = n."""
    with Engine.open(store_path) as opened:
        opened.galleries.create(GallerySpec("g", precomputed_name="m", precomputed_dimension=DIMENSION), None)
        names = [f"p{number}" for number in range(PEOPLE)]
        packed = PackedEmbeddings(ROWS.tobytes(), DIMENSION, PEOPLE)
        opened.enrollment.enroll_rows(EnrollRows("g", packed, names), Deadline())
        for number, name in enumerate(names):
            opened.identities.update("g", name, labels={"number": str(number), "parity": str(number % 2)})
        yield opened


@pytest.fixture
def view(engine: Engine) -> Iterator[GalleryView]:
    """The gallery `g`."""
    with engine.identities._context.snapshot("g") as snapshot:
        yield snapshot.gallery


def chosen(view: GalleryView, row_filter: Filter, deadline: Deadline | None = None) -> set[int]:
    """The rows that a filter allows; in this gallery the row of person n is n."""
    bitmap = allowed_rows(view, row_filter, deadline or Deadline())
    assert bitmap is not None
    return set(np.flatnonzero(np.unpackbits(bitmap, bitorder="little", count=PEOPLE)).tolist())


@pytest.mark.parametrize(
    "row_filter",
    [
        Filter(conditions=(Condition(LABEL, "number", number_range=(0.0, None)),)),
        Filter(conditions=(Condition(LABEL, "number", one_of=tuple(str(number) for number in range(50))),)),
        Filter(conditions=(Condition(LABEL, "number", exists=True),)),
        Filter(conditions=(Condition(ConditionSubject.IDENTITY_CREATE_TIME, time_range_us=EVER),)),
        Filter(conditions=(Condition(ConditionSubject.FACE_CREATE_TIME, time_range_us=EVER),)),
        Filter(identity_ids=tuple(f"p{number}" for number in range(40))),
    ],
    ids=["number_range", "one_of", "exists", "identity_time", "face_time", "identity_ids"],
)
def test_a_filter_stops_when_the_caller_went_away(
    view: GalleryView, row_filter: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of work of a filter notices a cancellation in its midst, not only before or after."""
    monkeypatch.setattr(postings, "BLOCK_RECORDS", 16)
    monkeypatch.setattr(filters, "LOOKUP_ROWS", 0)
    assert chosen(view, row_filter)
    patience = Patience(checks=3)
    with pytest.raises(Cancelled):
        chosen(view, row_filter, patience.deadline())
    assert patience.asked == 4


def test_a_pass_over_all_rows_stops_when_the_caller_went_away(
    view: GalleryView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the rows of many people are found by one pass over all rows, it is done in blocks, with the same answer."""
    monkeypatch.setattr(filters, "PASS_BLOCK_ROWS", 16)
    even = Filter(identity_labels={"parity": "0"}, excluded_identity_ids=("p4",))
    assert chosen(view, even) == set(range(0, PEOPLE, 2)) - {4}
    with pytest.raises(Cancelled):
        chosen(view, even, Patience(checks=4).deadline())


def test_all_identities_are_read_once_for_all_conditions(view: GalleryView, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second condition that needs every identity does not read them all again."""
    monkeypatch.setattr(postings, "BLOCK_RECORDS", 10)
    once, twice = Patience(), Patience()
    early = Condition(ConditionSubject.IDENTITY_CREATE_TIME, time_range_us=EVER)
    late = replace(early, time_range_us=(1, None))
    chosen(view, Filter(conditions=(early,)), once.deadline())
    chosen(view, Filter(conditions=(early, late)), twice.deadline())
    assert twice.asked - once.asked < PEOPLE / 10


def test_exclusions_hold_alone_and_with_other_parts(view: GalleryView) -> None:
    """An excluded identity is left out of everyone, of those named and of those a condition chooses."""
    low = Condition(LABEL, "number", number_range=(None, 5.0))
    excluded = ("p1", "p119", "nobody")
    assert chosen(view, Filter(excluded_identity_ids=excluded)) == set(range(PEOPLE)) - {1, 119}
    assert chosen(view, Filter(excluded_identity_ids=excluded, conditions=(low,))) == {0, 2, 3, 4, 5}
    assert chosen(view, Filter(excluded_identity_ids=excluded, identity_ids=("p1", "p2"))) == {2}


def test_one_of_finds_each_value_once(view: GalleryView) -> None:
    """Values given twice, or that nobody has, change nothing; no value at all finds nobody."""
    wanted = ("7", "7", "3", "nothing", "")
    assert chosen(view, Filter(conditions=(Condition(LABEL, "number", one_of=wanted),))) == {3, 7}
    assert chosen(view, Filter(conditions=(Condition(LABEL, "number", one_of=()),))) == set()


@pytest.mark.parametrize("limit", [1, 7, 50, 500])
@pytest.mark.parametrize(
    ("row_filter", "expected"),
    [
        (Filter(), range(PEOPLE)),
        (Filter(identity_labels={"parity": "1"}), range(1, PEOPLE, 2)),
        (Filter(identity_labels={"parity": "1"}, excluded_identity_ids=("p1",)), range(3, PEOPLE, 2)),
        (Filter(excluded_identity_ids=("p0", "p1")), range(2, PEOPLE)),
        (Filter(identity_ids=("p9", "p11", "p100", "nobody")), (9, 11, 100)),
        (Filter(identity_labels={"parity": "2"}), ()),
        (Filter(conditions=(MISSING,)), range(PEOPLE)),
    ],
)
def test_pages_of_a_filter_are_whole(
    engine: Engine, row_filter: Filter, expected: range | tuple[int, ...], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page after page gives each identity that the filter allows once, in the byte order of ids."""
    monkeypatch.setattr(identities, "WALK_IDENTITIES_MAX", 8)
    found: list[str] = []
    after = ""
    while True:
        listing = engine.identities.list("g", row_filter, after, limit)
        found += [identity.id for identity in listing.identities]
        after = listing.next_after
        if not after:
            break
        assert len(listing.identities) == limit
    assert found == sorted(f"p{number}" for number in expected)


@pytest.mark.parametrize(
    "row_filter",
    [Filter(identity_ids=tuple(f"p{number}" for number in range(20))), Filter(identity_labels={"parity": "1"})],
    ids=["lookup", "walk"],
)
def test_a_listing_stops_when_the_caller_went_away(
    engine: Engine, row_filter: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is made in blocks, be it from a few identities or from many; a cancellation is noticed before each."""
    monkeypatch.setattr(identities, "WALK_IDENTITIES_MAX", 8)
    patience = Patience()
    engine.identities.list("g", row_filter, "", 5, deadline=patience.deadline())
    assert patience.asked > 1
    for checks in range(patience.asked):
        with pytest.raises(Cancelled):
            engine.identities.list("g", row_filter, "", 5, deadline=Patience(checks).deadline())


@pytest.mark.parametrize("key", ["Bad Key", "-x", "x" * 64])
def test_a_condition_on_no_label_key_is_refused(engine: Engine, key: str) -> None:
    """A key that no label can have is an error that names the field, not an empty answer."""
    with pytest.raises(InvalidArgument) as caught:
        engine.identities.list("g", Filter(conditions=(MISSING, Condition(LABEL, key, exists=True))), "", 10)
    assert (caught.value.reason, caught.value.field) == ("LABEL_KEY_INVALID", "filter.conditions[1].key")


@pytest.mark.parametrize(
    "condition",
    [
        Condition(LABEL, "", exists=True),
        Condition(LABEL, "x"),
        Condition(ConditionSubject.FACE_LABEL, "x", time_range_us=EVER),
        Condition(ConditionSubject.FACE_CREATE_TIME),
        Condition(ConditionSubject.IDENTITY_CREATE_TIME, one_of=("x",)),
    ],
)
def test_a_condition_without_sense_is_refused(engine: Engine, condition: Condition) -> None:
    """A condition whose test does not go with its subject is refused, with where it stands."""
    choices = SearchChoices(filter=Filter(conditions=(condition,)))
    probes = Probes(PackedEmbeddings(ROWS[:1].tobytes(), DIMENSION, 1))
    with pytest.raises(InvalidArgument) as caught:
        engine.recognition.search("g", probes, k=1, choices=choices, deadline=Deadline())
    assert (caught.value.reason, caught.value.field) == ("FILTER_INVALID", "options.filter.conditions[0]")


def test_values_of_a_condition_are_limited() -> None:
    """Neither more values than a filter may name ids nor values longer than a label's are taken."""
    limits = Limits(filter_ids_max=3, label_value_bytes_max=4)
    for values, limit in ((("a",) * 4, "filter_ids_max"), (("a" * 5,), "label_value_bytes_max")):
        with pytest.raises(LimitExceeded) as caught:
            check_filter(Filter(conditions=(Condition(LABEL, "x", one_of=values),)), limits, "filter")
        assert caught.value.metadata["limit"] == limit
    check_filter(Filter(conditions=(Condition(LABEL, "x", one_of=("aaaa",) * 3),)), limits, "filter")


def test_templates_stop_when_the_caller_went_away(view: GalleryView) -> None:
    """A cancellation is noticed between the identities whose templates are made."""
    numbers: npt.NDArray[np.uint32] = view.rows.identity_numbers[:20]
    np.testing.assert_allclose(templates_of(view, numbers), ROWS[:20], atol=1e-6)
    np.testing.assert_allclose(template_of(view, int(numbers[3])), ROWS[3], atol=1e-6)
    patience = Patience(checks=5)
    with pytest.raises(Cancelled):
        templates_of(view, numbers, patience.deadline())
    assert patience.asked == 6
