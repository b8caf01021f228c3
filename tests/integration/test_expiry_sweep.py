"""The sweep as a thread: it comes by itself, at start too, goes on after a failure, and stops at once when asked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest

from mien_server.engine import Engine, EngineOptions, expiring
from mien_server.engine.expiring import Sweeper
from mien_server.engine.types import EnrollRows, GallerySpec, PackedEmbeddings
from mien_server.errors import CorruptStore, Unavailable
from mien_server.records.deadline import Deadline
from mien_server.storage import RemoveExpired, Store, StoreOptions

DIMENSION = 8
NOW_US = 1_800_000_000_000_000
CLOSE_TIME_MAX_S = 5.0


def options(now_us: int, interval_s: float = 3600.0) -> EngineOptions:
    return EngineOptions(store=StoreOptions(clock_us=lambda: now_us), sweep_interval_s=interval_s)


def fill(path: Path, rows: np.ndarray) -> None:
    """A store with a gallery `g`, whose faces all expire a second after now."""
    with Engine.open(path, options(NOW_US)) as engine:
        engine.galleries.create(GallerySpec("g", precomputed_name="m", precomputed_dimension=DIMENSION), None)
        packed = PackedEmbeddings(rows.tobytes(), DIMENSION, len(rows))
        names = [f"person-{row}" for row in range(len(rows))]
        times = [NOW_US + 1_000_000] * len(rows)
        outcome = engine.enrollment.enroll_rows(EnrollRows("g", packed, names, expire_times_us=times), Deadline())
        assert outcome.enrolled_count == len(rows)


def left_in(store: Store) -> int:
    """Faces that are there, found or not."""
    with store.view(shows_expired=True) as view:
        assert view.check() == []
        return view.gallery("g").counts.face_count


def test_what_passed_while_closed_is_swept_at_start(
    store_path: Path, unit_vectors: Callable[..., np.ndarray], until: Callable[[Callable[[], bool]], None]
) -> None:
    """A store opened after its faces' time shows none of them, and deletes them without being asked."""
    fill(store_path, unit_vectors(40))
    with Engine.open(store_path, options(NOW_US + 2_000_000)) as engine:
        assert engine.galleries.get("g")[0].face_count == 0
        until(lambda: left_in(engine._context.store) == 0)


def test_a_sweep_that_fails_is_tried_again(
    store_path: Path,
    unit_vectors: Callable[..., np.ndarray],
    until: Callable[[Callable[[], bool]], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the store refuses, what has expired stays hidden; when it accepts again, it is deleted."""
    fill(store_path, unit_vectors(40))
    write = Store.write
    refusing = threading.Event()
    refusing.set()

    def refused(store: Store, command: object, **further: bool) -> object:
        if isinstance(command, RemoveExpired) and refusing.is_set():
            raise Unavailable("no room on the disk", reason="STORAGE_FULL")
        return write(store, command, **further)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "write", refused)
    with (
        caplog.at_level(logging.WARNING, "mien_server"),
        Engine.open(store_path, options(NOW_US + 2_000_000, interval_s=0.05)) as engine,
    ):
        until(lambda: "tried again" in caplog.text)
        assert (left_in(engine._context.store), engine.galleries.get("g")[0].face_count) == (40, 0)
        refusing.clear()
        until(lambda: left_in(engine._context.store) == 0)


def test_closing_does_not_wait_for_the_end_of_a_sweep(
    store_path: Path, unit_vectors: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep stops between two commits; what is left is swept after the next opening."""
    fill(store_path, unit_vectors(500))
    monkeypatch.setattr(expiring, "SWEPT_ROWS", 1)
    with Store.open(store_path, options(NOW_US + 2_000_000).store) as store:
        sweeper = Sweeper(store, interval_s=3600.0)
        sweeper.start()
        while left_in(store) == 500:
            time.sleep(0.001)
        started_s = time.monotonic()
        sweeper.close()
        assert time.monotonic() - started_s < CLOSE_TIME_MAX_S
        assert 0 < left_in(store) < 500


def test_a_person_of_many_faces_goes_piece_by_piece(store_path: Path, unit_vectors: Callable[..., np.ndarray]) -> None:
    """One commit deletes no more faces than it may, and the identity goes with the last of its faces."""
    with Engine.open(store_path, options(NOW_US)) as engine:
        engine.galleries.create(GallerySpec("g", precomputed_name="m", precomputed_dimension=DIMENSION), None)
        packed = PackedEmbeddings(unit_vectors(25).tobytes(), DIMENSION, 25)
        engine.enrollment.enroll_rows(EnrollRows("g", packed, ["one"] * 25), Deadline())
        engine.identities.update("g", "one", expire_time_us=NOW_US + 1)
    with Store.open(store_path, options(NOW_US + 1).store) as store:
        pieces = []
        is_more_due = True
        while is_more_due:
            written = store.write(RemoveExpired("g", rows_max=10), is_internal=True)
            result = written.result  # type: ignore[union-attr]
            pieces.append((result.face_count, result.identity_count))
            is_more_due = result.is_more_due
            left_in(store)
        assert pieces == [(10, 0), (10, 0), (5, 1)]


def test_damage_in_one_gallery_keeps_nobody_of_another(store_path: Path) -> None:
    """A record that cannot be read stops the sweep of its gallery alone, and the server says so."""
    later_us = NOW_US + 10_000_000
    with Engine.open(store_path, options(NOW_US)) as engine:
        for name in ("damaged", "whole"):
            spec = GallerySpec(name, precomputed_name="m", precomputed_dimension=DIMENSION)
            engine.galleries.create(spec, None)
            rows = PackedEmbeddings(np.eye(DIMENSION, dtype=np.float32)[:2].tobytes(), DIMENSION, 2)
            engine.enrollment.enroll_rows(
                EnrollRows(name, rows, ["ann", "bob"], expire_times_us=[NOW_US + 1_000_000] * 2), Deadline()
            )
    environment = lmdb.open(str(store_path / "meta"), max_dbs=64)
    with environment.begin(write=True) as transaction:
        faces = environment.open_db(b"faces", transaction)
        cursor = transaction.cursor(faces)
        assert cursor.first()
        key, raw = cursor.item()
        transaction.put(key, raw[:-1] + bytes([raw[-1] ^ 1]), db=faces)
    environment.close()
    with Engine.open(store_path, options(later_us)) as engine:
        with pytest.raises(CorruptStore):
            engine.sweeper.sweep()
        with engine._context.store.view(shows_expired=True) as view:
            assert view.gallery("damaged").counts.face_count == 2
            assert view.gallery("whole").counts.face_count == 0
        assert any("expired" in reason for reason in engine.degraded_reasons())
