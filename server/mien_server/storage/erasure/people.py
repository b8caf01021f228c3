"""Who is to be taken out of records, and whom of them a record can concern, found without a look at the others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mien_server.records.store_pb2 import IdentityRecord, JournalEntry
from mien_server.storage import keys
from mien_server.storage.databases import Database
from mien_server.storage.values import decode_message

__all__ = ["ById", "ByNumber", "Erased"]


@dataclass(slots=True, eq=False)
class Erased:
    """Somebody to be taken out of records.

    Attributes:
        create_times_us: when they were made, by number: them, and whoever had the id in the gallery before them. 0: not
            known.
        ordinals: rows that were theirs.
        texts: what is to be found nowhere afterwards.
        journal_entry_count, request_count: how many records they were taken out of.
        damaged_record_count: how many damaged ones were removed, whosesoever they were.
        later_ordinals: rows that became theirs after what the journal tells: the store was restored to a time before.
    """

    gallery_number: int
    identity_number: int
    identity_id: str
    create_times_us: dict[int, int] = field(default_factory=dict)
    ordinals: set[int] = field(default_factory=set)
    face_ids: set[str] = field(default_factory=set)
    texts: set[bytes] = field(default_factory=set)
    journal_entry_count: int = 0
    request_count: int = 0
    damaged_record_count: int = 0
    later_ordinals: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.create_times_us.setdefault(self.identity_number, 0)


class ById:
    """People by gallery and id."""

    def __init__(self, people: Iterable[Erased]) -> None:
        self._people: dict[tuple[int, str], list[Erased]] = {}
        for one in people:
            self._people.setdefault((one.gallery_number, one.identity_id), []).append(one)

    def take_numbers(self, entry: JournalEntry) -> bool:
        """Note under which numbers an entry knows them: somebody who was deleted and enrolled again has several.

        Answers whether any is new.
        """
        is_news = False
        for one, record in self._records_of(entry):
            is_news |= record.number not in one.create_times_us
            one.create_times_us[record.number] = record.create_time_us
        return is_news

    def named(self, entry: JournalEntry) -> set[Erased]:
        """Whom a journal entry calls by their id, them or whoever had it before."""
        return {one for one, _ in self._records_of(entry)}

    def _records_of(self, entry: JournalEntry) -> Iterator[tuple[Erased, IdentityRecord]]:
        key = keys.encode_number(entry.revision)
        for operation in entry.operations:
            match operation.WhichOneof("operation"):
                case "enroll":
                    rows = operation.enroll
                    for place, identity_id in enumerate(rows.new_identity_ids):
                        if people := self._people.get((rows.gallery_number, identity_id)):
                            raw = rows.new_identity_records[place]
                            record = decode_message(IdentityRecord, raw, Database.JOURNAL, key)
                            yield from _known(people, record)
                case "put_identity":
                    put = operation.put_identity
                    if people := self._people.get((put.gallery_number, put.identity_id)):
                        yield from _known(people, put.identity)
                case _:
                    continue


def _known(people: Iterable[Erased], record: IdentityRecord) -> Iterator[tuple[Erased, IdentityRecord]]:
    # Numbers ascend: a higher one is of somebody who was given the id afterwards.
    return ((one, record) for one in people if record.number <= one.identity_number)


class ByNumber:
    """People by numbers of a gallery, those of rows or of identities; a number may be of several erasures."""

    def __init__(self, people: Iterable[tuple[Erased, Iterable[int]]]) -> None:
        self._people: dict[int, dict[int, list[Erased]]] = {}
        for one, numbers in people:
            theirs = self._people.setdefault(one.gallery_number, {})
            for number in numbers:
                theirs.setdefault(number, []).append(one)
        self._numbers = {gallery_number: sorted(theirs) for gallery_number, theirs in self._people.items()}

    @property
    def gallery_numbers(self) -> Iterable[int]:
        """Galleries that have any of them."""
        return self._people.keys()

    def at(self, gallery_number: int, number: int) -> list[Erased]:
        """Whose the number is."""
        return self._people.get(gallery_number, {}).get(number, [])

    def within(self, gallery_number: int, first: int, end: int) -> Iterator[tuple[int, list[Erased]]]:
        """The numbers in [first, end), ascending, and whose each is."""
        numbers = self._numbers.get(gallery_number, [])
        for place in range(bisect_left(numbers, first), bisect_left(numbers, end)):
            yield numbers[place], self._people[gallery_number][numbers[place]]
