"""Pages of a real LMDB file: told apart, and overwritten where they hold nothing, whatever was done before."""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien_server.storage.databases import Database, Handles
from mien_server.storage.lmdb_pages import PagesNotUnderstood, map_pages, read_meta
from mien_server.storage.scrubbing import Scrubber
from mien_server.storage.upkeep import Upkeep

SECRET = b"Ada Lovelace, "
PUBLIC = b"somebody else "
KEYS = 400

# What a transaction does with a key, and how many times the text is repeated: within a page, and over several.
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "delete", "pair", "unpair"]),
        st.integers(0, KEYS - 1),
        st.sampled_from([1, 5, 40, 145, 146, 290, 291, 900]),
    ),
    max_size=120,
)
HISTORIES = st.lists(ACTIONS, min_size=1, max_size=12)


class Records:
    """An environment with records of two kinds, and what it should hold."""

    def __init__(self, folder: Path) -> None:
        self.environment = lmdb.open(str(folder), map_size=1 << 30, max_dbs=4)
        self.path = folder / "data.mdb"
        self.plain = self.environment.open_db(b"plain")
        self.pairs = self.environment.open_db(b"pairs", dupsort=True, dupfixed=True)
        self.handles: Handles = {Database.ERASURES: self.environment.open_db(b"erasures")}
        self.upkeep = Upkeep()
        self.scrubber = Scrubber(self)

    def pinned(self) -> AbstractContextManager[lmdb.Transaction]:
        return self.environment.begin()

    def commit(self, actions: list[tuple[str, int, int]], text: bytes) -> None:
        with self.environment.begin(write=True) as transaction:
            for action, number, times in actions:
                key = b"%06d" % number
                match action:
                    case "put":
                        transaction.put(key, text * times, db=self.plain)
                    case "delete":
                        transaction.delete(key, db=self.plain)
                    case "pair":
                        # Enough values under few keys to become trees of their own.
                        for value in range(times):
                            transaction.put(key[-1:], (number * value).to_bytes(8, "big"), db=self.pairs)
                    case _:
                        transaction.delete(key[-1:], (number * times).to_bytes(8, "big"), db=self.pairs)
        self.upkeep.note_commit(len(actions) + sum(times for action, _, times in actions if action == "pair"))

    def delete_secrets(self) -> None:
        with self.environment.begin(write=True) as transaction:
            doomed = [key for key, value in transaction.cursor(self.plain) if SECRET in value]
            for key in doomed:
                transaction.delete(key, db=self.plain)
        self.upkeep.note_commit(len(doomed))

    def content(self) -> list[list[tuple[bytes, bytes]]]:
        with self.environment.begin() as transaction:
            return [list(transaction.cursor(handle)) for handle in (self.plain, self.pairs)]

    def scrub(self) -> None:
        self.scrubber.wipe_buffers()
        cleaned, _ = self.scrubber.clean_gaps()
        self.commit([("put", 0, 1)], PUBLIC)
        assert self.scrubber.oldest_reader() > cleaned
        after: int | None = 0
        while after is not None:
            after, _ = self.scrubber.clean_free(after)
        self.scrubber.sync()

    def secrets(self) -> int:
        return self.path.read_bytes().count(SECRET)

    def map(self) -> None:
        with self.path.open("rb") as opened:
            file = np.frombuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
        pages = map_pages(file, read_meta(file))
        with self.environment.begin() as transaction:
            for name, handle in ((b"plain", self.plain), (b"pairs", self.pairs)):
                said, found = transaction.stat(handle), pages.trees[name]
                assert (said["depth"], said["leaf_pages"], said["overflow_pages"], said["entries"]) == (
                    found.depth,
                    found.leaf_pages,
                    found.overflow_pages,
                    found.entries,
                )


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    made = Records(tmp_path)
    yield made
    made.environment.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=HISTORIES, public=HISTORIES, later=HISTORIES)
def test_a_scrub_leaves_every_record_and_nothing_of_those_deleted(
    tmp_path_factory: pytest.TempPathFactory,
    secret: list[list[tuple[str, int, int]]],
    public: list[list[tuple[str, int, int]]],
    later: list[list[tuple[str, int, int]]],
) -> None:
    """After any history the pages add up; a scrub removes deleted text, changes no record, and no later commit brings
    it back.
    """
    records = Records(tmp_path_factory.mktemp("records"))
    try:
        for before, beside in zip(secret, [*public, *[[]] * len(secret)], strict=False):
            records.commit(before, SECRET)
            records.commit(beside, PUBLIC)
            records.map()
        records.delete_secrets()
        records.commit([("put", 0, 1)], PUBLIC)
        content = records.content()
        records.scrub()
        assert records.content() == content
        assert records.secrets() == 0
        records.map()
        for actions in later:
            records.commit(actions, PUBLIC)
            assert records.secrets() == 0
    finally:
        records.environment.close()


def test_what_was_deleted_is_there_without_a_scrub_and_comes_back_without_the_wipe(records: Records) -> None:
    """The danger is real: a freed page keeps text, and LMDB writes it again from memory unless that is wiped."""
    many = [("put", number, 5) for number in range(KEYS)]
    records.commit(many, SECRET)
    records.delete_secrets()
    assert records.secrets() > 0
    raw = records.path.read_bytes()
    with records.path.open("r+b") as file:
        file.write(raw.replace(SECRET, b"\0" * len(SECRET)))
    assert records.secrets() == 0
    records.commit([("put", number, 95) for number in range(0, KEYS, 8)], PUBLIC)
    assert records.secrets() > 0
    records.delete_secrets()
    records.scrub()
    records.commit([("put", number, 95) for number in range(0, KEYS, 3)], PUBLIC)
    assert records.secrets() == 0


def test_a_large_history_is_scrubbed_page_by_page(records: Records) -> None:
    """Thousands of freed pages, trees of several levels: the same holds, and an older reader keeps its own."""
    chance = random.Random(5)
    for _ in range(12):
        records.commit([("put", chance.randrange(20_000), chance.choice([2, 9, 60])) for _ in range(3000)], SECRET)
        records.commit([("put", chance.randrange(20_000), 7) for _ in range(1000)], PUBLIC)
    records.map()
    before = records.environment.begin()
    kept = list(before.cursor(records.plain))
    records.delete_secrets()
    records.commit([("put", 0, 1)], PUBLIC)
    content = records.content()
    records.scrubber.wipe_buffers()
    cleaned, _ = records.scrubber.clean_gaps()
    records.commit([("put", 0, 1)], PUBLIC)
    assert records.scrubber.oldest_reader() <= cleaned, "the reader is not seen"
    after: int | None = 0
    while after is not None:
        after, _ = records.scrubber.clean_free(after)
    assert list(before.cursor(records.plain)) == kept, "a page that somebody reads was overwritten"
    before.abort()
    assert records.secrets() > 0
    records.scrub()
    assert records.secrets() == 0
    assert records.content() == content
    for _ in range(5):
        records.commit([("put", chance.randrange(20_000), 9) for _ in range(3000)], PUBLIC)
        assert records.secrets() == 0


def test_what_a_commit_that_never_was_left_behind_the_last_page_is_overwritten(records: Records) -> None:
    """A crash within a commit leaves pages that no meta page knows."""
    records.commit([("put", 1, 5)], PUBLIC)
    with records.path.open("ab") as file:
        file.write((SECRET * 300)[:4096])
    records.scrub()
    assert records.secrets() == 0


@pytest.mark.parametrize("place", ["flags", "lower", "offset", "root", "number", "count"])
def test_a_file_that_does_not_add_up_is_left_alone(records: Records, place: str) -> None:
    """Whatever contradicts the format is found before a byte is written."""
    records.commit([("put", number, 20) for number in range(KEYS)], PUBLIC)
    with records.path.open("rb") as opened:
        file = np.frombuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8).copy()
    meta = read_meta(file)
    root = map_pages(file, meta).trees[b"plain"].root * meta.page_bytes
    main = meta.main.root * meta.page_bytes
    match place:
        case "flags":
            file[root + 10] ^= 0x06
        case "lower":
            file[root + 12 : root + 14] = (0xFF, 0xFF)
        case "offset":
            file[root + 16 : root + 18] = (4, 0)
        case "number":
            file[root] ^= 1
        case "root":
            file[main + 4096 - 8] ^= 1
        case _:
            # The last page, in both meta pages.
            for page in (0, meta.page_bytes):
                file[page + 16 + 24 + 96] += 1
    with pytest.raises(PagesNotUnderstood):
        map_pages(file, read_meta(file))


def test_upkeep_is_refused_once_it_is_closed() -> None:
    """Whoever waits for work that will not be done is told."""
    upkeep = Upkeep()
    waiting = upkeep.add(os.getpid)
    upkeep.close()
    with pytest.raises(Exception, match="closing"):
        waiting.result(0)
    with pytest.raises(Exception, match="closing"):
        upkeep.add(os.getpid)
