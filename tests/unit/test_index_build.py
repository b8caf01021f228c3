"""Building in a process of its own: progress, result, failure, cancellation, what is left behind."""

from __future__ import annotations

import itertools
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.generators import LONG_TAIL, face128
from mien_server.errors import Cancelled, DeadlineExceeded, InternalError
from mien_server.index import BuildFailed, BuildJob, BuildProcess, current_generation, load_generation, prune, publish
from mien_server.index.faiss_adapter import train_centroids
from mien_server.index.publish import WORK_PREFIX
from mien_server.records.policies import IndexCode
from mien_server.records.rows import GalleryRows
from tests.index_support import at_revision, built, expected_of, job_of, rows_in_file, unit_vectors


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> GalleryRows:
    faces = face128().gallery(1500, LONG_TAIL)
    is_live = np.arange(len(faces.vectors)) % 7 != 3
    return rows_in_file(
        tmp_path_factory.mktemp("rows") / "vectors",
        faces.vectors,
        is_live=is_live,
        identity_numbers=faces.identity_numbers,
        revision=12,
    )


def test_a_build_gives_a_generation_of_the_live_rows(tmp_path: Path, rows: GalleryRows) -> None:
    """The process reports progress to the end, and what it leaves is one loadable generation and nothing else."""
    index_directory = tmp_path / "index" / "00000007"
    covered = at_revision(rows, 12, row_count=rows.row_count - 100)
    build = BuildProcess.start(index_directory, job_of(covered))
    name = build.result(timeout_s=150)
    assert build.is_done()
    assert build.progress() == (1.0, "done")
    generation = load_generation(index_directory / name, expected_of(rows))
    manifest = generation.manifest
    assert (manifest.rows, manifest.live_rows) == (covered.row_count, covered.live_count)
    assert manifest.revision == 12
    assert generation.index.size == covered.live_count
    assert manifest.code is IndexCode.PQ_FASTSCAN
    assert manifest.list_imbalance >= 1
    assert manifest.ladder[-1].rank1_agreement >= 0.99
    assert [path.name for path in index_directory.iterdir()] == [name]


def test_the_ladder_climbs(tmp_path: Path, rows: GalleryRows) -> None:
    """Each step costs more and finds more than the one before."""
    ladder = built(tmp_path, rows).manifest.ladder
    for one, other in itertools.pairwise(ladder):
        assert one.milliseconds <= other.milliseconds
        assert (one.rank1_agreement, one.recall_at_10) < (other.rank1_agreement, other.recall_at_10)


def test_equal_jobs_give_equal_lists(tmp_path: Path, rows: GalleryRows) -> None:
    """Building is seeded: the same job twice gives the same index file."""
    one, other = (built(tmp_path / name, rows).manifest for name in ("one", "other"))
    assert one.files == other.files
    assert one.name != other.name


def test_a_job_survives_the_disk(tmp_path: Path, rows: GalleryRows) -> None:
    """The builder reads the very job that was written."""
    job = replace(job_of(rows, IndexCode.SCALAR_8BIT), default_recall_target=0.99, memory_bytes_max=123)
    read = BuildJob.read(job.write(tmp_path))
    np.testing.assert_array_equal(read.live, job.live)
    np.testing.assert_array_equal(read.identity_numbers, job.identity_numbers)
    assert read.location == replace(job.location, path=job.location.path.resolve())
    assert (read.code, read.default_recall_target, read.memory_bytes_max, read.revision) == (
        IndexCode.SCALAR_8BIT,
        0.99,
        123,
        12,
    )


def test_a_build_that_fails_says_why(tmp_path: Path, rows: GalleryRows) -> None:
    """A vector file shorter than the job says, too few rows, too little memory: each has its message, and no mess."""
    jobs = {
        "BUILD_FAILED": replace(
            job_of(rows), row_count=rows.row_count * 9, live=np.full(rows.row_count * 2, 255, np.uint8)
        ),
        "GALLERY_TOO_SMALL": job_of(at_revision(rows, 1, row_count=100)),
        "INDEX_CODE_FLAT": job_of(rows, IndexCode.FLAT),
    }
    for reason, job in jobs.items():
        build = BuildProcess.start(tmp_path / "index", job)
        with pytest.raises(BuildFailed) as caught:
            build.result(timeout_s=100)
        assert caught.value.reason == reason
        assert caught.value.message
    assert list((tmp_path / "index").iterdir()) == []


def test_a_memory_budget_is_kept(tmp_path: Path, rows: GalleryRows) -> None:
    """A build that would need more than its budget is refused before it starts."""
    build = BuildProcess.start(tmp_path, replace(job_of(rows), memory_bytes_max=10_000))
    with pytest.raises(BuildFailed, match="budget"):
        build.result(timeout_s=100)


def test_a_builder_that_is_killed_is_a_failed_build(tmp_path: Path, rows: GalleryRows) -> None:
    """When the process dies of a signal the failure names it and its folder is gone."""
    build = BuildProcess.start(tmp_path / "index", job_of(rows))
    os.kill(build._process.pid, signal.SIGKILL)
    with pytest.raises(BuildFailed, match="SIGKILL"):
        build.result(timeout_s=100)
    assert list((tmp_path / "index").iterdir()) == []


def test_a_cancelled_build_leaves_nothing(tmp_path: Path, rows: GalleryRows) -> None:
    """Cancelling ends the process, removes its folder, and its result is Cancelled."""
    build = BuildProcess.start(tmp_path / "index", job_of(rows))
    with pytest.raises(DeadlineExceeded):
        build.result(timeout_s=0)
    build.cancel()
    assert build._process.poll() is not None
    with pytest.raises(Cancelled) as caught:
        build.result()
    assert caught.value.reason == "BUILD_CANCELLED"
    assert list((tmp_path / "index").iterdir()) == []


def test_pruning_spares_a_build_under_way(tmp_path: Path, rows: GalleryRows) -> None:
    """Prune removes folders of dead builds and old generations, not the folder a living builder works in."""
    generations = ["000000000001-aa", "000000000002-bb", "000000000003-cc"]
    for name in [*generations, f"{WORK_PREFIX}dead"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"content")
    publish(tmp_path, generations[0])
    build = BuildProcess.start(tmp_path, job_of(rows))
    working = build._work_folder.name
    assert prune(tmp_path, keep={generations[1]}) == [f"{WORK_PREFIX}dead", generations[2]]
    assert {path.name for path in tmp_path.iterdir()} >= {"CURRENT", generations[0], generations[1], working}
    build.cancel()
    assert current_generation(tmp_path) == generations[0]


def test_a_builder_does_not_outlive_its_server(tmp_path: Path, rows: GalleryRows) -> None:
    """When the pipe to the server closes the builder ends at once."""
    build = BuildProcess.start(tmp_path, job_of(rows))
    assert build._process.stdin is not None
    build._process.stdin.close()
    assert build.wait(100)
    assert build._process.returncode == 1


def test_errors_of_faiss_become_ours() -> None:
    """What FAISS refuses arrives as an InternalError with its reason, not as a RuntimeError."""
    with pytest.raises(InternalError) as caught:
        train_centroids(unit_vectors(3, 16), 64, 1, 1)
    assert caught.value.reason == "INDEX_LIBRARY_FAILED"


def test_a_job_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Reading a job that does not exist fails with its path."""
    with pytest.raises(InternalError, match=r"absent\.json"):
        BuildJob.read(tmp_path / "absent.json")
