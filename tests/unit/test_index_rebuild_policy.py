"""When a new generation is wanted: by size, tail, tombstones and code, and never otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from mien_server.index import Generation, RebuildPolicy, RebuildReason, wants_rebuild
from mien_server.records.policies import IndexCode
from mien_server.records.rows import GalleryRows
from tests.index_support import at_revision, built, rows_in_file, unit_vectors

POLICY = RebuildPolicy(flat_bytes_max=0, flat_rows_min=500, tail_rows_min=100, tail_share_max=0.2)


@pytest.fixture(scope="module")
def all_rows(tmp_path_factory: pytest.TempPathFactory) -> GalleryRows:
    return rows_in_file(tmp_path_factory.mktemp("rows") / "vectors", unit_vectors(1300, 16))


@pytest.fixture(scope="module")
def generation(all_rows: GalleryRows, tmp_path_factory: pytest.TempPathFactory) -> Generation:
    return built(tmp_path_factory.mktemp("index"), at_revision(all_rows, 1, row_count=1000))


def test_a_small_gallery_is_never_built(all_rows: GalleryRows) -> None:
    """Up to the flat limit exact search is good enough."""
    assert wants_rebuild(at_revision(all_rows, 1, row_count=500), None, POLICY) is None
    assert wants_rebuild(at_revision(all_rows, 1, row_count=501), None, POLICY) is RebuildReason.FIRST


def test_the_flat_limit_is_a_number_of_bytes() -> None:
    """Twenty thousand rows of 512 components, four times as many of 128; never fewer than can be trained on."""
    policy = RebuildPolicy()
    assert policy.flat_rows_max(512) == 20_000
    assert policy.flat_rows_max(128) == 80_000
    assert policy.flat_rows_max(4096) == 5_000


def test_a_flat_gallery_is_never_built(all_rows: GalleryRows) -> None:
    """The code FLAT means exact search at any size."""
    policy = RebuildPolicy(code=IndexCode.FLAT, flat_bytes_max=0, flat_rows_min=500)
    assert wants_rebuild(all_rows, None, policy) is None


def test_a_fresh_generation_is_left_alone(all_rows: GalleryRows, generation: Generation) -> None:
    """Right after its build nothing more is wanted."""
    assert wants_rebuild(at_revision(all_rows, 1, row_count=1000), generation, POLICY) is None


def test_a_long_tail_wants_a_rebuild(all_rows: GalleryRows, generation: Generation) -> None:
    """The tail may grow to the larger of its two limits and no further."""
    assert wants_rebuild(at_revision(all_rows, 2, row_count=1200), generation, POLICY) is None
    assert wants_rebuild(at_revision(all_rows, 2, row_count=1201), generation, POLICY) is RebuildReason.TAIL


def test_tombstones_want_a_rebuild(all_rows: GalleryRows, generation: Generation) -> None:
    """A generation may lose the stated share of its faces and no more; deletions in the tail do not count."""
    is_live = np.arange(1100) >= 300
    assert wants_rebuild(at_revision(all_rows, 3, is_live=is_live, row_count=1100), generation, POLICY) is None
    is_live[1000:] = False
    assert wants_rebuild(at_revision(all_rows, 4, is_live=is_live, row_count=1100), generation, POLICY) is None
    is_live[300] = False
    wanted = wants_rebuild(at_revision(all_rows, 5, is_live=is_live, row_count=1100), generation, POLICY)
    assert wanted is RebuildReason.TOMBSTONES


def test_another_code_wants_a_rebuild(all_rows: GalleryRows, generation: Generation) -> None:
    """Asking for 8-bit codes where the generation has others builds it anew; AUTOMATIC is content with any."""
    rows = at_revision(all_rows, 1, row_count=1000)
    policy = RebuildPolicy(code=IndexCode.SCALAR_8BIT, flat_bytes_max=0, flat_rows_min=500)
    assert wants_rebuild(rows, generation, policy) is RebuildReason.CODE
