"""Rows that are written in another thread: none is lost, none is written when it must not be."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from mien_server.records.policies import Duplicates
from mien_server.storage import Store, StoreOptions
from mien_server.storage.attempt import WRITE_AHEAD_BYTES_MIN
from tests.storage_support import DIMENSION, create, enroll, rows

COUNT = WRITE_AHEAD_BYTES_MIN // (4 * DIMENSION) + 1


def many(first: int) -> list[tuple[str, str, int]]:
    return [(f"person-{face}", f"face-{face}", face) for face in range(first, first + COUNT)]


def test_what_was_queued_for_a_thread_that_cannot_be_had_is_never_written_later(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are written at once instead; nothing that comes after them is overwritten."""
    start = threading.Thread.start
    refusals = []

    def refused(thread: threading.Thread) -> None:
        if thread.name.startswith("mien-vector-writer") and not refusals:
            refusals.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused)
    with Store.open(store_path, StoreOptions(map_size_bytes=1 << 30)) as store:
        gallery = create(store)
        for first in (0, COUNT, 2 * COUNT):
            assert not enroll(store, rows(gallery, many(first), duplicates=Duplicates.ALLOW)).errors
        assert refusals
        with store.view() as view:
            assert view.check() == []
            assert view.gallery(gallery.name).counts.face_count == 3 * COUNT
            assert np.asarray(view.gallery(gallery.name).rows.vectors).any(axis=1).all()
