"""A crash while sealing or after it leaves the generation that was there or the new one, whole either way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mien_server.index import current_generation, load_generation, prune, publish
from mien_server.index.crash_points import CRASH_AT_VARIABLE
from mien_server.records.rows import GalleryRows
from tests.index_support import at_revision, built, expected_of, rows_in_file, unit_vectors

ROW_COUNT, FIRST_ROWS = 900, 600
POINTS = (
    "build.index_written",
    "build.manifest_written",
    "build.synced",
    "build.renamed",
    "build.done",
    "publish.written",
    "publish.synced",
    "publish.renamed",
    "publish.done",
    "prune.renamed",
)
PUBLISHED_FROM = POINTS.index("publish.renamed")

SEAL_SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from mien_server.index import load_generation, publish, retire, seal
from tests.index_support import expected_of, rows_in_file, unit_vectors
folder, merge_all = Path(sys.argv[1]), sys.argv[2] == "all"
rows = rows_in_file(folder / "rows", unit_vectors(900, 16), is_live=np.arange(900) % 9 != 0, revision=5)
name = (folder / "index" / "CURRENT").read_text().strip()
generation = load_generation(folder / "index" / name, expected_of(rows))
made = seal(folder / "index", generation, rows, 1, merge_all=merge_all)
publish(folder / "index", made.name)
retire(folder / "index", name)
"""


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GalleryRows]:
    """A folder with a published generation of the first rows; and all rows."""
    folder = tmp_path_factory.mktemp("indexed")
    rows = rows_in_file(folder / "rows", unit_vectors(ROW_COUNT, 16), revision=5)
    generation = built(folder / "index", at_revision(rows, 4, row_count=FIRST_ROWS))
    publish(folder / "index", generation.name)
    prune(folder / "index", set())
    return folder, rows


@pytest.mark.parametrize("merges", ["all", "some"])
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_while_sealing_leaves_one_or_the_other(
    indexed: tuple[Path, GalleryRows], tmp_path: Path, point: str, merges: str
) -> None:
    """Killed at any step, CURRENT names a generation that loads, and the next seal works and leaves nothing else."""
    rows = indexed[1]
    folder = Path(shutil.copytree(indexed[0], tmp_path / "copy"))
    index_directory = folder / "index"
    before = current_generation(index_directory)
    command = [sys.executable, "-c", SEAL_SCRIPT, str(folder), merges]
    environment = os.environ | {CRASH_AT_VARIABLE: f"index.{point}"}
    assert subprocess.run(command, env=environment, check=False, timeout=100).returncode == -signal.SIGKILL
    current = current_generation(index_directory)
    assert current is not None
    assert (current != before) == (POINTS.index(point) >= PUBLISHED_FROM)
    covered = load_generation(index_directory / current, expected_of(rows)).manifest.rows
    assert covered == (FIRST_ROWS if current == before else ROW_COUNT)
    prune(index_directory, set())
    assert {path.name for path in index_directory.iterdir()} == {"CURRENT", current}
    assert subprocess.run(command, check=False, timeout=100).returncode == 0
    sealed = current_generation(index_directory)
    assert sealed is not None
    assert load_generation(index_directory / sealed, expected_of(rows)).manifest.rows == ROW_COUNT
    assert {path.name for path in index_directory.iterdir()} == {"CURRENT", sealed}
