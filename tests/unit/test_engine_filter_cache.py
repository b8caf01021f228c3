"""What filters keep: within a bound, used where it holds, never where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mien_server.engine.filter_cache import Column, FilterCache, Found
from mien_server.engine.filters import allowed_rows
from mien_server.engine.row_sets import ManyRows
from mien_server.engine.types import Condition, ConditionSubject, Filter
from mien_server.records.store_pb2 import GalleryRecord
from mien_server.storage import (
    DeleteFaces,
    DeleteIdentity,
    IdentitySeed,
    LabelFacts,
    MoveFaces,
    PutIdentity,
    Store,
    StoreView,
)
from mien_server.storage.postings import Postings
from tests.storage_support import create, enroll, open_store, rows

NORTH = Filter(identity_labels={"site": "north"})
OLD = Filter(conditions=(Condition(ConditionSubject.FACE_LABEL, "year", number_range=(None, 2000.0)),))
EVER = Filter(conditions=(Condition(ConditionSubject.FACE_CREATE_TIME, time_range_us=(0, None)),))


class Opened:
    """A store whose gallery has ann (north, faces 0 and 1) and bob (south, face 2), and a cache that has seen them."""

    def __init__(self, store: Store, gallery: GalleryRecord) -> None:
        self.store, self.gallery, self.cache = store, gallery, FilterCache()
        seeds = {"ann": IdentitySeed(labels={"site": "north"}), "bob": IdentitySeed(labels={"site": "south"})}
        faces = [("ann", "f0", 0), ("ann", "f1", 1), ("bob", "f2", 2)]
        labels = {row: {"year": str(1999 + row)} for row in range(3)}
        enroll(store, rows(gallery, faces, seeds=seeds, labels=labels))
        with store.view() as view:
            assert self.chosen(view, NORTH) == {0, 1}
            assert self.chosen(view, OLD) == {0, 1}
            assert self.chosen(view, EVER) == {0, 1, 2}

    def chosen(self, view: StoreView, row_filter: Filter) -> set[int]:
        gallery = view.gallery("people")
        bitmap = allowed_rows(gallery, row_filter, cache=self.cache)
        assert bitmap is not None
        return set(np.flatnonzero(np.unpackbits(gallery.rows.live & bitmap, bitorder="little")).tolist())

    def now(self, row_filter: Filter) -> set[int]:
        with self.store.view() as view:
            return self.chosen(view, row_filter)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    store = open_store(tmp_path / "store")
    yield Opened(store, create(store))
    store.close()


@pytest.mark.parametrize(
    ("write", "north", "old"),
    [
        (lambda store: store.write(PutIdentity("people", "bob", labels={"site": "north"})), {0, 1, 2}, {0, 1}),
        (lambda store: store.write(PutIdentity("people", "ann", labels={})), set(), {0, 1}),
        (lambda store: store.write(MoveFaces("people", ["f2"], "ann")), {0, 1, 2}, {0, 1}),
        (lambda store: store.write(MoveFaces("people", ["f0"], "new")), {1}, {0, 1}),
        (lambda store: store.write(DeleteFaces("people", ["f1"])), {0}, {0}),
        (lambda store: store.write(DeleteIdentity("people", "ann")), set(), set()),
    ],
    ids=["labelled", "unlabelled", "moved in", "moved out", "face deleted", "identity deleted"],
)
@pytest.mark.parametrize("newer_first", [True, False])
def test_a_write_shows_in_the_next_search_and_not_in_an_older_one(
    opened: Opened, write: Callable[[Store], object], north: set[int], old: set[int], newer_first: bool
) -> None:
    """Each reader gets the rows of its own snapshot, whichever of them asks first."""
    with opened.store.view() as before:
        write(opened.store)
        for is_newer in (newer_first, not newer_first):
            if is_newer:
                assert (opened.now(NORTH), opened.now(OLD)) == (north, old)
            else:
                assert (opened.chosen(before, NORTH), opened.chosen(before, OLD)) == ({0, 1}, {0, 1})


def test_rows_deleted_before_a_first_search_are_still_there_for_an_older_reader(opened: Opened) -> None:
    """What is found out after a deletion lacks the deleted rows, so a reader from before it finds out anew."""
    opened.cache = FilterCache()
    with opened.store.view() as before:
        opened.store.write(MoveFaces("people", ["f0", "f1"], "bob", delete_emptied_identities=True))
        opened.store.write(DeleteFaces("people", ["f2"]))
        assert (opened.now(NORTH), opened.now(OLD), opened.now(EVER)) == (set(), {0, 1}, {0, 1})
        assert opened.chosen(before, NORTH) == {0, 1}
        assert opened.chosen(before, EVER) == {0, 1, 2}


def test_enrolment_is_added_to_what_is_known(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """New faces and new people with labels are found, and the labels and times of older rows are not read again."""
    firsts: list[int] = []
    for name in ("labelled", "times_from", "labels_from"):
        read = getattr(Postings, name)

        def noted(self, *arguments, read=read):
            firsts.append(arguments[-1])
            return read(self, *arguments)

        monkeypatch.setattr(Postings, name, noted)
    seeds = {"cid": IdentitySeed(labels={"site": "north"})}
    faces = [("bob", "f3", 3), *(("cid", f"f{row}", row) for row in range(4, 6))]
    for row, face in enumerate(faces, start=3):
        labels = {0: {"year": "1980" if row % 2 else "2020"}}
        enroll(opened.store, rows(opened.gallery, [face], seeds=seeds, labels=labels))
    assert opened.now(NORTH) == {0, 1, 4, 5}
    assert opened.now(EVER) == set(range(6))
    assert firsts == [3, 3]
    assert opened.now(OLD) == {0, 1, 3, 5}


def test_the_cache_stays_within_its_bound_and_keeps_what_is_used() -> None:
    """Of more than fits the longest unused goes; what alone is too large is not kept."""
    cache = FilterCache(bytes_max=10_000)
    for number in range(100):
        cache.put(number, Found(LabelFacts(), 8, ManyRows(np.zeros(1000, np.uint8))))
        assert cache.nbytes <= 10_000
        assert cache.get(0) is not None
    assert cache.get(99) is not None
    assert cache.get(50) is None
    cache.put("large", Found(LabelFacts(), 8, ManyRows(np.zeros(10_000, np.uint8))))
    assert cache.get("large") is None
    assert cache.get(99) is not None


def test_texts_of_a_key_count_too() -> None:
    """A long list of ids or values takes its part of the bound, as often as it is kept."""
    cache = FilterCache(bytes_max=100_000)
    for number in range(100):
        ids = tuple(f"{number}-{place}" for place in range(500))
        cache.put(ids, Found(LabelFacts(), 8, ManyRows(np.zeros(1, np.uint8))), ids)
    assert 500 * 64 <= cache.nbytes <= 100_000


def test_a_named_person_who_is_made_anew_is_found(opened: Opened) -> None:
    """A list of ids means those who have them now: whoever is deleted and enrolled again, or enrolled later."""
    both, alone = Filter(identity_ids=("ann", "cid")), Filter(identity_ids=("ann",))
    others = Filter(excluded_identity_ids=("ann",))
    assert (opened.now(both), opened.now(alone), opened.now(others)) == ({0, 1}, {0, 1}, {2})
    with opened.store.view() as before:
        opened.store.write(DeleteIdentity("people", "ann"))
        assert (opened.now(both), opened.now(alone), opened.now(others)) == (set(), set(), {2})
        enroll(opened.store, rows(opened.gallery, [("cid", "f3", 3), ("ann", "f4", 4)]))
        assert (opened.now(both), opened.now(alone), opened.now(others)) == ({3, 4}, {4}, {2, 3})
        enroll(opened.store, rows(opened.gallery, [("ann", "f5", 5), ("bob", "f6", 6)]))
        assert (opened.now(both), opened.now(alone), opened.now(others)) == ({3, 4, 5}, {4, 5}, {2, 3, 6})
        assert (opened.chosen(before, both), opened.chosen(before, others)) == ({0, 1}, {2})


def test_what_an_older_reader_found_out_replaces_nothing_newer() -> None:
    """A reader of an older snapshot that comes last does not throw away what is known of later ones."""
    cache = FilterCache()
    later = Found(LabelFacts(relabelled=2), 8, ManyRows(np.ones(1, np.uint8)))
    cache.put("key", later)
    cache.put("key", Found(LabelFacts(relabelled=1, row_count=9), 9, ManyRows(np.zeros(1, np.uint8))))
    assert cache.get("key") is later


def test_a_column_that_grows_row_by_row_has_few_blocks() -> None:
    """Whatever pieces it was made of, its values stand in order, in a number of blocks that grows as a logarithm."""
    column = Column()
    for number in range(1000):
        column = column.extended((np.array([number]),))
    assert column.extent == 1000
    assert len(column.blocks) <= 11
    found = np.concatenate([values for (values,) in column.blocks_from(123, 987)])
    np.testing.assert_array_equal(found, np.arange(123, 987))
