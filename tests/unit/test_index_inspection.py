"""Looking at a published generation from outside: its files, and each row in its lists."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien_server.index import Generation, inspect_agreement, inspect_generation, inspection, publish
from mien_server.index.inspection import DRIFT_TOLD_MIN
from mien_server.index.manifest import MANIFEST_FILE_NAME, digest_of, read_manifest, sealed_text
from mien_server.records.rows import GalleryRows
from tests.index_support import at_revision, built, expected_of, is_live_of, job_of, rows_in_file, unit_vectors


@pytest.fixture
def rows(tmp_path: Path) -> GalleryRows:
    return rows_in_file(tmp_path / "vectors", unit_vectors(1200, 16), is_live=np.arange(1200) % 5 != 2, revision=3)


@pytest.fixture
def generation(tmp_path: Path, rows: GalleryRows) -> Generation:
    """A published generation of these rows, in the folder `index`."""
    made = built(tmp_path / "index", rows)
    publish(tmp_path / "index", made.name)
    return made


def problems(tmp_path: Path, rows: GalleryRows, *, is_deep: bool = True) -> list[str]:
    return inspect_generation(tmp_path / "index", expected_of(rows), rows, is_deep=is_deep).problems


def test_a_whole_generation_has_no_problem(tmp_path: Path, rows: GalleryRows, generation: Generation) -> None:
    """Every file is read and every live row is in the lists; rows deleted since are no problem."""
    found = inspect_generation(tmp_path / "index", expected_of(rows), rows, is_deep=True)
    assert (found.name, found.problems, found.rows) == (generation.name, [], rows.live_count)
    fewer = at_revision(rows, 4, is_live=is_live_of(rows) & (np.arange(1200) > 30))
    assert problems(tmp_path, fewer) == []


def test_a_row_that_is_not_in_the_lists_is_found(tmp_path: Path, rows: GalleryRows, generation: Generation) -> None:
    """Row 2 was not live when the lists were written, so lists of these rows as all live would lack it."""
    everything = at_revision(rows, 4, is_live=np.ones(1200, np.bool_))
    [problem] = problems(tmp_path, everything)
    assert generation.name in problem
    assert "lacks 240 live rows, such as 2" in problem


def test_lists_of_other_rows_are_found(tmp_path: Path, rows: GalleryRows, generation: Generation) -> None:
    """Lists whose checksum holds and whose rows lie outside their segment are found by their numbers."""
    folder = tmp_path / "index" / generation.name
    other = built(tmp_path / "other", at_revision(rows, 3, is_live=np.arange(1200) % 5 > 2))
    [lists] = (tmp_path / "other" / other.name).glob("lists-*")
    manifest = read_manifest(folder)
    [segment] = manifest.segments
    (folder / segment.file).write_bytes(lists.read_bytes())
    fields = json.loads(
        replace(
            manifest,
            files=tuple(digest_of(folder / file.name) for file in manifest.files),
            segments=(replace(segment, held=other.manifest.live_rows),),
            live_rows=other.manifest.live_rows,
        ).to_json()
    )
    del fields["checksum"]
    (folder / MANIFEST_FILE_NAME).write_text(sealed_text(fields), encoding="utf-8")
    assert any("live rows, such as" in problem or "quantiser" in problem for problem in problems(tmp_path, rows))


def test_sizes_alone_are_compared_where_that_was_asked_for(
    tmp_path: Path, rows: GalleryRows, generation: Generation
) -> None:
    """A changed byte is found deeply, a missing one also otherwise."""
    [lists] = (tmp_path / "index" / generation.name).glob("lists-*")
    content = bytearray(lists.read_bytes())
    content[len(content) // 2] ^= 1
    lists.write_bytes(content)
    assert problems(tmp_path, rows, is_deep=False) == []
    assert "SHA-256" in problems(tmp_path, rows)[0]
    lists.write_bytes(content[:-1])
    assert "bytes, not" in problems(tmp_path, rows, is_deep=False)[0]


def test_what_searches_find_is_held_against_the_promise(
    tmp_path: Path, rows: GalleryRows, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generation as it was built keeps what it promises; what finds less is told, far less is wrong."""
    job = replace(job_of(rows), measured=generation.name)
    found = inspect_agreement(job, tmp_path / "index", lambda _: None)
    assert (found.problems, found.advice) == ([], "")
    assert all(there >= promised - 0.02 for promised, there in found.agreements)
    folder = tmp_path / "index" / generation.name
    manifest = read_manifest(folder)
    cheapest = manifest.ladder[0]
    assert cheapest.rank1_agreement < 0.97
    ladder = (replace(cheapest, rank1_agreement=1.0), *manifest.ladder[1:])
    (folder / MANIFEST_FILE_NAME).write_text(replace(manifest, ladder=ladder).to_json(), encoding="utf-8")
    found = inspect_agreement(job, tmp_path / "index", lambda _: None)
    assert found.problems == []
    assert "rebuild" in found.advice
    monkeypatch.setattr(inspection, "DRIFT_MAX", DRIFT_TOLD_MIN)
    found = inspect_agreement(job, tmp_path / "index", lambda _: None)
    assert "less often" in found.problems[0]
