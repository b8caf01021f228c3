"""A process that is killed while it writes loses nothing that it answered, and leaves nothing half done."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from mien_server.storage import GalleryView
from mien_server.storage.steps import STEPS
from mien_server.storage.vector_file import VECTORS_OFFSET
from tests.recovery.storage_crash_writer import BATCH_ROWS, GALLERY, face_ids, seed_of
from tests.storage_support import DIMENSION, open_store, vector

REPOSITORY = Path(__file__).resolve().parents[2]
WRITER = Path(__file__).with_name("storage_crash_writer.py")
RANDOM_KILLS = 10
LINES_BEFORE_KILL_MAX = 120


def run_writer(store: Path, turn: int, crash_at: str = "", kill_after_lines: int = 0) -> list[str]:
    """Run the writer until it dies, by its own hand or by ours; answers with what it said."""
    path = os.pathsep.join([str(REPOSITORY), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "MIEN_CRASH_AT": crash_at}
    command = [sys.executable, str(WRITER), str(store), str(turn)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if kill_after_lines and len(lines) == kill_after_lines:
                # Anywhere within a commit, which takes about a millisecond.
                time.sleep(random.random() / 500)
                process.kill()
        assert process.wait() == -9, "the writer ended by itself"
    return lines


def check_store(store: Path, lines: list[str]) -> None:
    """Hold the store against everything that was asked and answered since it was made."""
    asked: dict[str, set[str]] = defaultdict(set)
    answered: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        event, batch, kind = line.split()
        (asked if event == "asked" else answered)[batch].add(kind)
    with open_store(store) as reopened, reopened.view() as view:
        assert view.check() == []
        gallery = view.gallery(GALLERY)
        rows_file = store / "vectors" / f"{gallery.number:08x}" / "rows.vec"
        assert rows_file.stat().st_size == VECTORS_OFFSET + gallery.counts.row_count * DIMENSION * 4
        faces_left = sum(check_batch(gallery, batch, asked[batch], answered[batch]) for batch in asked)
        assert faces_left == gallery.counts.face_count


def check_batch(gallery: GalleryView, batch: str, asked: set[str], answered: set[str]) -> int:
    """A batch is whole or absent, as far along as was answered, no further than was asked; gives its faces left."""
    ordinals = gallery.face_ordinals(face_ids(batch))
    if not ordinals:
        assert "enrol" not in answered or "delete" in asked, f"{batch}: answered and lost"
        return 0
    assert len(ordinals) == BATCH_ROWS, f"{batch}: half there"
    assert "delete" not in answered, f"{batch}: deleted and back"
    wanted = [ordinals[face_id] for face_id in face_ids(batch)]
    vectors = np.array([vector(seed_of(batch, row)) for row in range(BATCH_ROWS)])
    assert np.array_equal(gallery.vectors(wanted), vectors), f"{batch}: other vectors"
    (owner,) = set(gallery.identity_ids(gallery.heads(wanted).identity_numbers))
    assert owner == f"{batch}.receiver" or "move" not in answered, f"{batch}: moved and back"
    assert owner == f"{batch}.owner" or "move" in asked, f"{batch}: moved by nobody"
    return BATCH_ROWS


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_of_a_commit_loses_nothing_answered(step: str, tmp_path: Path) -> None:
    """Killed at a step of its first, second or a later commit of rows, the store opens as all that was answered."""
    lines: list[str] = []
    for turn, passes in enumerate((2, 3, 9)):
        lines += run_writer(tmp_path / "store", turn, crash_at=f"{step}:{passes}")
        check_store(tmp_path / "store", lines)


def test_a_kill_at_any_moment_loses_nothing_answered(tmp_path: Path) -> None:
    """Killed at random moments, again and again, the store opens as all that was answered, and can be written on."""
    lines: list[str] = []
    for turn in range(RANDOM_KILLS):
        count = random.randint(1, LINES_BEFORE_KILL_MAX)
        lines += run_writer(tmp_path / "store", turn, kill_after_lines=count)
        check_store(tmp_path / "store", lines)
