"""The check of LMDB's pages before LMDB opens the file: what LMDB itself leaves is sound, what was cut off is not."""

from __future__ import annotations

import os
import random
from pathlib import Path

import lmdb
import pytest

from mien_server.errors import CorruptStore
from mien_server.storage.structure import require_sound_structure

PAGE_BYTES = 4096


def write(path: Path, *, is_short: bool) -> Path:
    """Records in an environment whose last transaction allocated pages at the end and freed them, or not."""
    environment = lmdb.open(str(path), map_size=1 << 26)
    for seed in range(100):
        choices = random.Random(seed)
        with environment.begin(write=True) as transaction:
            keys = [b"%d" % choices.randint(0, 99) for _ in range(6)]
            for key in keys:
                transaction.put(key, b"x" * choices.choice([100, 3000, 9000, 60_000]))
            for key in keys[:4]:
                transaction.delete(key)
        pages = (path / "data.mdb").stat().st_size // PAGE_BYTES
        if seed > 5 and (pages < int(environment.info()["last_pgno"]) + 1) == is_short:
            environment.close()
            return path / "data.mdb"
    raise AssertionError("LMDB leaves no such file")


@pytest.mark.parametrize("leaves", [True, False])
def test_pages_that_lmdb_never_wrote_are_no_damage(tmp_path: Path, leaves: bool) -> None:
    """A file may end before the last page that was allocated, where no record reaches."""
    file = write(tmp_path, is_short=True)
    require_sound_structure(file, leaves=leaves)


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("is_short", [True, False])
def test_a_file_that_was_cut_off_is_damaged(tmp_path: Path, leaves: bool, is_short: bool) -> None:
    """A value that lies beyond the end of the file is found missing, however little is looked at."""
    file = write(tmp_path, is_short=is_short)
    os.truncate(file, 4 * PAGE_BYTES)
    with pytest.raises(CorruptStore) as caught:
        require_sound_structure(file, leaves=leaves)
    assert caught.value.reason == "RECORDS_DAMAGED"
