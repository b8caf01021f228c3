"""Searching every file of a folder for many byte strings at once, at every offset.

A pattern of 15 bytes or more covers a whole 8-byte word that lies at a multiple of 8, wherever it stands: it is one of
eight words of the pattern. So each such word of a file is looked up in a small table, and what may be one of them is
compared. Patterns of 7 bytes or more are found likewise by words of 4 bytes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

__all__ = ["PATTERN_BYTES_MIN", "Finder", "Hit", "Scan", "is_telling", "scan_folder"]

Bytes: TypeAlias = npt.NDArray[np.uint8]

PATTERN_BYTES_MIN = 7
"""Shorter ones stand in gigabytes of vectors by chance."""
PATTERN_VALUES_MIN = 4
"""Different bytes in a pattern: numbers with their leading zeros stand anywhere."""

HITS_PER_FILE_MAX = 10_000

_LONG_BYTES_MIN = 15
_ALIGNMENT = 8
_BLOCK_BYTES = 16 << 20
_CHUNK_WORDS = 16_384
_TABLE_BITS_MIN = 20
_TABLE_LOAD_BITS = 6
_MULTIPLIER = {8: 0x9E3779B97F4A7C15, 4: 0x9E3779B1}


@dataclass(frozen=True, slots=True)
class Hit:
    """A pattern, and one place where it stands."""

    path: Path
    offset: int
    pattern: bytes


@dataclass(slots=True)
class Scan:
    """What was searched and what was found."""

    file_count: int = 0
    byte_count: int = 0
    hits: list[Hit] = field(default_factory=list)


def is_telling(pattern: bytes) -> bool:
    """Whether finding this pattern means anything."""
    return len(pattern) >= PATTERN_BYTES_MIN and len(set(pattern)) >= PATTERN_VALUES_MIN


class Finder:
    """Finds any of many byte strings at once.

    Args:
        patterns: each of PATTERN_BYTES_MIN bytes or more.
    """

    def __init__(self, patterns: Iterable[bytes]) -> None:
        distinct = set(patterns)
        long = {one for one in distinct if len(one) >= _LONG_BYTES_MIN}
        self._tables = [_Words(chosen, size) for size, chosen in ((8, long), (4, distinct - long)) if chosen]
        self.longest = max(map(len, distinct), default=0)

    def places(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        """Where in a block they stand, and which, in no order."""
        for table in self._tables:
            yield from table.places(block)


def scan_folder(root: Path, finder: Finder, check: Callable[[], None]) -> Scan:
    """Search every file under `root`. Files that go meanwhile are passed over.

    Args:
        check: called between blocks; what it raises ends the search.

    Raises:
        OSError: a file cannot be read.
    """
    scan = Scan()
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            path = Path(folder) / name
            counts: Counter[bytes] = Counter()
            try:
                with path.open("rb", buffering=0) as opened:
                    scan.byte_count += os.fstat(opened.fileno()).st_size
                    for offset, block in _blocks(opened, finder.longest):
                        check()
                        for place, pattern in finder.places(block):
                            counts[pattern] += 1
                            if counts[pattern] <= HITS_PER_FILE_MAX:
                                scan.hits.append(Hit(path, offset + place, pattern))
            except FileNotFoundError:
                continue
            scan.file_count += 1
    return scan


def _blocks(file: FileIO, overlap: int) -> Iterator[tuple[int, bytes]]:
    """A file's bytes with their offset, each block beginning with the end of the one before.

    Read rather than mapped: a mapped file that is cut off meanwhile ends the process.
    """
    offset, rest = 0, b""
    while read := file.read(_BLOCK_BYTES):
        block = rest + read
        yield offset, block
        # Words lie at multiples of their length in the file, and so must in the block.
        following = max(offset, offset + len(block) - overlap) // _ALIGNMENT * _ALIGNMENT
        offset, rest = following, block[following - offset :]


class _Words:
    """The words of some patterns, to be looked up many at a time."""

    def __init__(self, patterns: set[bytes], word_bytes: int) -> None:
        assert all(len(one) >= 2 * word_bytes - 1 for one in patterns)
        self._type = np.dtype(f"<u{word_bytes}")
        self._bits = 8 * word_bytes
        self._multiplier = self._type.type(_MULTIPLIER[word_bytes])
        self._patterns = list(patterns)
        lengths = np.array(list(map(len, self._patterns)), dtype=np.int64)
        ends = np.frombuffer(b"".join([pattern[-word_bytes:] for pattern in self._patterns]), dtype=self._type)
        head_bytes = 2 * word_bytes - 1
        heads = np.frombuffer(b"".join([pattern[:head_bytes] for pattern in self._patterns]), dtype=np.uint8)
        heads = heads.reshape(-1, head_bytes)
        # A row for each word of each pattern: the word, where it stands, the pattern's length, its end, its number.
        words = np.concatenate(
            [np.ascontiguousarray(heads[:, phase : phase + word_bytes]).view(self._type) for phase in range(word_bytes)]
        )[:, 0]
        phases = np.repeat(np.arange(word_bytes), lengths.size)
        lengths, ends = np.tile(lengths, word_bytes), np.tile(ends, word_bytes)
        order = np.lexsort((ends, lengths, phases, words))
        words, self._phases, self._lengths, self._ends = words[order], phases[order], lengths[order], ends[order]
        self._numbers = (np.arange(order.size) % len(self._patterns))[order]
        # Groups of rows that differ in the end alone, and the groups of each word.
        is_word = np.diff(words) != 0
        is_group = is_word | (np.diff(self._phases) != 0) | (np.diff(self._lengths) != 0)
        group_starts = np.flatnonzero(np.concatenate([[True], is_group]))
        self._group_stops = [*group_starts[1:].tolist(), order.size]
        self._group_starts = group_starts.tolist()
        word_starts = np.flatnonzero(np.concatenate([[True], is_word]))
        self._first_groups = [*np.searchsorted(group_starts, word_starts).tolist(), len(self._group_starts)]
        self._words: npt.NDArray[np.unsignedinteger] = words[word_starts]
        table_bits = max(_TABLE_BITS_MIN, self._words.size.bit_length() + _TABLE_LOAD_BITS)
        self._shift = self._type.type(self._bits - min(table_bits, self._bits - 1))
        self._table = np.zeros(1 << (self._bits - int(self._shift)), dtype=np.bool_)
        self._table[self._slots(self._words)] = True

    def places(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        """Where patterns stand in a block, and which."""
        size = self._type.itemsize
        words = np.frombuffer(block, dtype=self._type, count=len(block) // size)
        candidates, numbers = self._candidates(words)
        if not candidates.size:
            return
        windows = sliding_window_view(np.frombuffer(block, dtype=np.uint8), size)
        # Numbers of two bytes are sorted by counting.
        order = np.argsort(numbers.astype(np.uint16) if self._words.size <= 1 << 16 else numbers, kind="stable")
        counts = np.bincount(numbers)
        distinct = np.flatnonzero(counts)
        parts = np.split(candidates[order], np.cumsum(counts[distinct])[:-1])
        # A word may be in many patterns and records: those that end otherwise are passed over together.
        for number, indexes in zip(distinct.tolist(), parts, strict=True):
            for group in range(self._first_groups[number], self._first_groups[number + 1]):
                start, stop = self._group_starts[group], self._group_stops[group]
                phase, length, ends = int(self._phases[start]), int(self._lengths[start]), self._ends[start:stop]
                firsts = indexes * size - phase
                firsts = firsts[(firsts >= 0) & (firsts <= len(block) - length)]
                tails = windows[firsts + (length - size)].view(self._type)[:, 0]
                nearest = np.minimum(np.searchsorted(ends, tails), ends.size - 1)
                is_likely = ends[nearest] == tails
                for first, place in zip(firsts[is_likely].tolist(), nearest[is_likely].tolist(), strict=True):
                    for row in range(start + place, stop):
                        if self._ends[row] != ends[place]:
                            break
                        pattern = self._patterns[self._numbers[row]]
                        if block.startswith(pattern, first):
                            yield first, pattern

    def _slots(self, words: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.unsignedinteger]:
        slots: npt.NDArray[np.unsignedinteger] = (words * self._multiplier) >> self._shift
        return slots

    def _candidates(
        self, block: npt.NDArray[np.unsignedinteger]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where in a block words of patterns stand, and which: their places in `_words`."""
        parts = []
        # As much at a time as the processor's cache holds.
        for start in range(0, block.size, _CHUNK_WORDS):
            chunk = block[start : start + _CHUNK_WORDS]
            parts.append(np.flatnonzero(self._table[self._slots(chunk)]) + start)
        if not parts:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        likely = np.concatenate(parts)
        found = block[likely]
        nearest = np.minimum(np.searchsorted(self._words, found), self._words.size - 1)
        is_one = self._words[nearest] == found
        return likely[is_one], nearest[is_one]
