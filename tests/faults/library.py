"""Faults of the disk and the system in a running server, switched on and off from the test: see `faults.c`."""

from __future__ import annotations

import enum
import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

__all__ = ["Call", "Effect", "Fault", "Faults"]

SOURCE = Path(__file__).with_name("faults.c")
RULE_COUNT_MAX = 8
RULE_PATH_BYTES = 128
COMPILE_TIME_MAX_S = 120.0
MIRRORED_NAMES = ("data.mdb", "rows.vec")

_rule = struct.Struct(f"<iIiiqqqqq{RULE_PATH_BYTES}s")
_IS_ON, _HIT_COUNT = struct.Struct("<i"), struct.Struct("<q")
_HIT_COUNT_OFFSET = 48


class Call(enum.IntFlag):
    """Calls of the system, as in the C source."""

    WRITE = 1
    SYNC = 2
    TRUNCATE = 4
    OPEN = 8
    RENAME = 16
    LINK = 32
    MAKE_FOLDER = 64
    MAP = 128
    READ = 256


class Effect(enum.IntEnum):
    """What a call that fails does all the same.

    NOTHING: nothing. DONE: this machine sees what was written, and a loss of power undoes it. DURABLE: it is kept.
    TORN: of a sync, the disk gets the beginning of each block and rubbish after it.
    """

    NOTHING = 0
    DONE = 1
    DURABLE = 2
    TORN = 3


@dataclass(frozen=True)
class Fault:
    """Which calls fail, and how.

    Attributes:
        calls: any of these.
        path: what the path of the file, or either path, contains.
        error: an errno; 0 lets the call go on, and only counts it.
        short_bytes: with error 0, a write writes no more than this.
        offset_end: only writes and reads (`pread`, not through mappings) that begin below it; -1 is all.
        skip: so many calls pass before.
        times: so many calls fail; -1 is all.
    """

    calls: Call
    path: str
    error: int = 0
    effect: Effect = Effect.NOTHING
    short_bytes: int = -1
    offset_end: int = -1
    skip: int = 0
    times: int = -1

    def pack(self) -> bytes:
        path = self.path.encode()
        assert len(path) < RULE_PATH_BYTES
        numbers = (1, self.calls, self.error, self.effect, self.short_bytes, self.offset_end, self.skip, self.times, 0)
        return _rule.pack(*numbers, path)


class Faults:
    """The switch of one test. `folder` is its own, for what the library needs."""

    def __init__(self, folder: Path) -> None:
        self._library = _compiled(folder.parent)
        self._mirror = folder / "mirror"
        self._mirror.mkdir()
        self._control = folder / "faults"
        self._control.write_bytes(bytes(RULE_COUNT_MAX * _rule.size))
        with self._control.open("r+b") as file:
            self._rules = mmap.mmap(file.fileno(), 0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs in its environment to be broken."""
        return {
            "LD_PRELOAD": str(self._library),
            "MIEN_FAULTS_CONTROL": str(self._control),
            "MIEN_FAULTS_MIRROR": str(self._mirror),
        }

    def set(self, *faults: Fault) -> None:
        """Have exactly these from here on; the first that matches a call decides."""
        assert len(faults) <= RULE_COUNT_MAX
        self.heal()
        for number, fault in enumerate(faults):
            # Switched on last: no process sees half of a rule.
            packed = fault.pack()
            start = number * _rule.size
            self._rules[start + _IS_ON.size : start + _rule.size] = packed[_IS_ON.size :]
            _IS_ON.pack_into(self._rules, start, 1)

    def heal(self) -> None:
        """No faults from here on."""
        for number in range(RULE_COUNT_MAX):
            _IS_ON.pack_into(self._rules, number * _rule.size, 0)

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        """These faults for the length of the block; each must have been met."""
        self.set(*faults)
        try:
            yield
            met = self.hit_counts(len(faults))
        finally:
            self.heal()
        assert all(met), (
            f"faults that were not met: {[one for one, count in zip(faults, met, strict=True) if not count]}"
        )

    def hit_counts(self, count: int) -> list[int]:
        """How often each of the first rules was met."""
        return [int(_HIT_COUNT.unpack_from(self._rules, n * _rule.size + _HIT_COUNT_OFFSET)[0]) for n in range(count)]

    def image(self, store: Path, target: Path) -> Path:
        """Copy the store, of a server that is running and writes nothing, as a loss of power would leave it."""
        names = ("LOCK", "lock.mdb", *MIRRORED_NAMES)
        shutil.copytree(store, target, ignore=shutil.ignore_patterns(*names))
        for path in _mirrored_files(store):
            self._copy_kept(path, target / path.relative_to(store))
        return target

    def lose_power(self, store: Path) -> None:
        """Put in place of the files of records and vectors what a disk would hold. No process has the store open."""
        for path in _mirrored_files(store):
            self._copy_kept(path, path)

    def _copy_kept(self, path: Path, target: Path) -> None:
        shutil.copyfile(self._mirror / str(path).replace(os.sep, "%"), target)

    def close(self) -> None:
        self._rules.close()


def _mirrored_files(store: Path) -> list[Path]:
    return [path for name in MIRRORED_NAMES for path in store.rglob(name)]


@cache
def _compiled(folder: Path) -> Path:
    """The library, compiled once for a run of the tests. Skips where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc or gcc) to make the fault library with")
    library = folder / "faults.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl", "-lpthread"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=COMPILE_TIME_MAX_S)
    if ended.returncode:
        pytest.skip(f"the fault library cannot be compiled here: {ended.stderr[-500:]}")
    return library
