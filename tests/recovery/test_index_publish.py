"""A crash anywhere leaves one generation or the other, and a generation that is not what it claims is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mien_server.index import (
    BuildFailed,
    BuildProcess,
    ExpectedGeneration,
    GenerationRefused,
    current_generation,
    load_generation,
    prune,
    publish,
)
from mien_server.index.crash_points import CRASH_AT_VARIABLE
from mien_server.index.faiss_adapter import CodeSpecification, train_centroids, train_quantizer
from mien_server.index.manifest import MANIFEST_FILE_NAME, QUANTIZER_FILE_NAME, digest_of, sealed_text
from mien_server.index.publish import WORK_PREFIX
from mien_server.records.rows import GalleryRows
from tests.index_support import at_revision, built, expected_of, job_of, rows_in_file, unit_vectors

BUILD_POINTS = ("index_written", "manifest_written", "synced", "renamed", "done")
PUBLISH_POINTS = ("written", "synced", "renamed", "done")

PUBLISH_SCRIPT = """
import sys
from pathlib import Path
from mien_server.index import prune, publish
publish(Path(sys.argv[1]), sys.argv[2])
prune(Path(sys.argv[1]), set())
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> GalleryRows:
    return rows_in_file(tmp_path_factory.mktemp("rows") / "vectors", unit_vectors(600, 16), revision=5)


@pytest.fixture(scope="module")
def two_generations(rows: GalleryRows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index folder with an older generation, published, and a newer one, not yet."""
    index_directory = tmp_path_factory.mktemp("index")
    older = built(index_directory, at_revision(rows, 4, row_count=500))
    built(index_directory, rows)
    publish(index_directory, older.name)
    shutil.rmtree(index_directory / f"{WORK_PREFIX}test")
    return index_directory


@pytest.fixture
def index_directory(two_generations: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_generations, tmp_path / "index"))


def generation_names(index_directory: Path) -> list[str]:
    return sorted(path.name for path in index_directory.iterdir() if path.name.startswith("0"))


def crash(index_directory: Path, name: str, point: str) -> int:
    """Publish and prune in a process that kills itself at the point; its return code."""
    command = [sys.executable, "-c", PUBLISH_SCRIPT, str(index_directory), name]
    return subprocess.run(command, env=os.environ | {CRASH_AT_VARIABLE: point}, check=False, timeout=100).returncode


@pytest.mark.parametrize("point", PUBLISH_POINTS)
def test_a_crash_while_publishing_leaves_one_or_the_other(index_directory: Path, rows: GalleryRows, point: str) -> None:
    """Killed at any step of publishing, CURRENT names a generation that loads, and publishing again works."""
    older, newer = generation_names(index_directory)
    assert crash(index_directory, newer, f"index.publish.{point}") == -signal.SIGKILL
    current = current_generation(index_directory)
    assert current == (older if point in {"written", "synced"} else newer)
    load_generation(index_directory / current, expected_of(rows))
    publish(index_directory, newer)
    prune(index_directory, set())
    assert sorted(path.name for path in index_directory.iterdir()) == sorted(["CURRENT", newer])
    load_generation(index_directory / newer, expected_of(rows))


def test_a_crash_while_pruning_leaves_no_half_generation(index_directory: Path, rows: GalleryRows) -> None:
    """Killed in the middle of removing an old generation, what is left is pruned the next time."""
    older, newer = generation_names(index_directory)
    assert crash(index_directory, newer, "index.prune.renamed") == -signal.SIGKILL
    assert current_generation(index_directory) == newer
    assert generation_names(index_directory) == [newer]
    assert prune(index_directory, set()) == [f"{WORK_PREFIX}{older}.removed"]
    assert sorted(path.name for path in index_directory.iterdir()) == sorted(["CURRENT", newer])
    load_generation(index_directory / newer, expected_of(rows))


@pytest.mark.parametrize("point", BUILD_POINTS)
def test_a_crash_while_building_leaves_a_whole_generation_or_none(
    tmp_path: Path, rows: GalleryRows, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any step of writing, there is no folder that looks like a generation and does not load."""
    monkeypatch.setenv(CRASH_AT_VARIABLE, f"index.build.{point}")
    build = BuildProcess.start(tmp_path, job_of(rows))
    with pytest.raises(BuildFailed, match="SIGKILL"):
        build.result(timeout_s=100)
    names = generation_names(tmp_path)
    assert len(names) == (1 if point in {"renamed", "done"} else 0)
    for name in names:
        load_generation(tmp_path / name, expected_of(rows))
    prune(tmp_path, set())
    assert list(tmp_path.iterdir()) == []


def lists_of(folder: Path) -> Path:
    [path] = folder.glob("lists-*")
    return path


def flip_a_bit(folder: Path) -> None:
    path = lists_of(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(folder: Path) -> None:
    path = lists_of(folder)
    path.write_bytes(path.read_bytes()[:-1])


def remove_lists(folder: Path) -> None:
    lists_of(folder).unlink()


def remove_manifest(folder: Path) -> None:
    (folder / MANIFEST_FILE_NAME).unlink()


def add_a_file(folder: Path) -> None:
    (folder / "stray").write_bytes(b"")


def swap_lists(folder: Path) -> None:
    """The other generation's lists under this one's manifest."""
    other = next(path for path in sorted(folder.parent.iterdir()) if path.is_dir() and path != folder)
    shutil.copy(lists_of(other), lists_of(folder))


def agree(folder: Path) -> None:
    """Have the manifest say of the files what they are."""
    digests = [digest_of(path) for path in (folder / QUANTIZER_FILE_NAME, lists_of(folder))]
    change_manifest(files=[asdict(digest) for digest in digests])(folder)


def swap_lists_and_digest(folder: Path) -> None:
    """As swap_lists, with a manifest that was made to agree."""
    swap_lists(folder)
    agree(folder)


def no_lists_at_all(folder: Path) -> None:
    """Bytes that are no lists, with a manifest that agrees."""
    lists_of(folder).write_bytes(b"ilar" + b"\xff" * 60)
    agree(folder)


def no_quantizer_at_all(folder: Path) -> None:
    """Bytes that are no index, with a manifest that agrees."""
    (folder / QUANTIZER_FILE_NAME).write_bytes(b"IwPQ" + b"\xff" * 60)
    agree(folder)


def lists_of_another_quantizer(folder: Path) -> None:
    """Lists of another number of lists, with a manifest that agrees."""
    sample = unit_vectors(300, 16)
    specification = CodeSpecification(3, 8, residual=False)
    quantizer = train_quantizer(specification, sample, train_centroids(sample, 3, 1, 1))
    quantizer.writer().write(lists_of(folder))
    agree(folder)


def fields_of(path: Path) -> dict[str, object]:
    """A manifest's fields without the checksum."""
    fields: dict[str, object] = json.loads(path.read_text())
    del fields["checksum"]
    return fields


def change_manifest(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / MANIFEST_FILE_NAME
        path.write_text(sealed_text(fields_of(path) | changes))

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip_a_bit, "SHA-256"),
        (truncate, "bytes, not"),
        (remove_lists, "its manifest lists"),
        (remove_manifest, "cannot be read"),
        (add_a_file, "stray"),
        (swap_lists, "lists-"),
        (swap_lists_and_digest, "its manifest says"),
        (no_lists_at_all, "FAISS cannot read"),
        (no_quantizer_at_all, "FAISS cannot read"),
        (lists_of_another_quantizer, "not of this quantiser"),
        (change_manifest(store_id="another"), "store id"),
        (change_manifest(gallery_number=8), "gallery number"),
        (change_manifest(model_fingerprint="another"), "model fingerprint"),
        (change_manifest(dimension=32), "dimension"),
        (change_manifest(faiss_version="1.0.0"), "FAISS version"),
        (change_manifest(rows=601), "601 rows"),
        (change_manifest(revision=6), "revision 6"),
    ],
    ids=lambda value: getattr(value, "__name__", "").replace("<lambda>", "") or str(value),
)
def test_a_generation_that_is_not_what_it_claims_is_refused(
    index_directory: Path, rows: GalleryRows, damage: Callable[[Path], None], words: str
) -> None:
    """Damaged, truncated, missing, swapped or foreign files: each is refused with a reason that names the matter."""
    newer = generation_names(index_directory)[1]
    load_generation(index_directory / newer, expected_of(rows))
    damage(index_directory / newer)
    with pytest.raises(GenerationRefused) as caught:
        load_generation(index_directory / newer, expected_of(rows))
    assert words in caught.value.message
    assert caught.value.reason == "GENERATION_REFUSED"


def test_a_generation_under_another_name_is_refused(index_directory: Path, rows: GalleryRows) -> None:
    """A folder renamed to pass for another generation is refused."""
    older, newer = generation_names(index_directory)
    shutil.rmtree(index_directory / newer)
    (index_directory / older).rename(index_directory / newer)
    with pytest.raises(GenerationRefused, match="of name"):
        load_generation(index_directory / newer, expected_of(rows))


def test_a_generation_of_a_store_that_lost_rows_is_refused(index_directory: Path, rows: GalleryRows) -> None:
    """A store restored to fewer rows or an older revision does not serve lists of its future."""
    newer = index_directory / generation_names(index_directory)[1]
    expected: ExpectedGeneration = expected_of(rows)
    for poorer in (replace(expected, row_count=599), replace(expected, revision=4)):
        with pytest.raises(GenerationRefused):
            load_generation(newer, poorer)


@pytest.mark.parametrize("content", [b"", b"..\n", b"a/b\n", b"\xff\n", b"x" * 200, b".building-1\n"])
def test_a_damaged_current_is_refused(index_directory: Path, content: bytes) -> None:
    """CURRENT that names nothing, or a path, is refused; pruning then keeps nothing it should not."""
    (index_directory / "CURRENT").write_bytes(content)
    with pytest.raises(GenerationRefused):
        current_generation(index_directory)


def test_a_gallery_without_generation_has_no_current(tmp_path: Path) -> None:
    """Neither an absent nor an empty index folder has a current generation, and pruning them is harmless."""
    for index_directory in (tmp_path, tmp_path / "absent"):
        assert current_generation(index_directory) is None
        assert prune(index_directory, set()) == []
