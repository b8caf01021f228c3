"""When a generation is to be built, sealed or measured: by size, tail, tombstones and code, and never otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien_server.index import (
    Generation,
    RebuildPolicy,
    RebuildReason,
    SealReason,
    wants_measurement,
    wants_rebuild,
    wants_seal,
)
from mien_server.records.policies import IndexCode
from mien_server.records.rows import GalleryRows
from tests.index_support import at_revision, built, rows_in_file, unit_vectors

POLICY = RebuildPolicy(flat_bytes_max=0, flat_rows_min=500, tail_rows_max=100)


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


def test_a_long_tail_wants_to_be_sealed(all_rows: GalleryRows, generation: Generation) -> None:
    """The tail may grow to its limit and no further; nothing is trained for it."""
    assert wants_seal(at_revision(all_rows, 2, row_count=1100), generation, POLICY) is None
    rows = at_revision(all_rows, 2, row_count=1101)
    assert wants_seal(rows, generation, POLICY) is SealReason.TAIL
    assert wants_rebuild(rows, generation, POLICY) is None


def test_tombstones_want_to_be_dropped(all_rows: GalleryRows, generation: Generation) -> None:
    """A generation may lose the stated share of its faces and no more; deletions in the tail do not count."""
    is_live = np.arange(1100) >= 300
    assert wants_seal(at_revision(all_rows, 3, is_live=is_live, row_count=1100), generation, POLICY) is None
    is_live[1000:] = False
    assert wants_seal(at_revision(all_rows, 4, is_live=is_live, row_count=1100), generation, POLICY) is None
    is_live[300] = False
    wanted = wants_seal(at_revision(all_rows, 5, is_live=is_live, row_count=1100), generation, POLICY)
    assert wanted is SealReason.TOMBSTONES
    nobody = at_revision(all_rows, 6, is_live=np.zeros(1100), row_count=1100)
    assert wants_seal(nobody, generation, POLICY) is None


def test_another_size_wants_a_rebuild(all_rows: GalleryRows, generation: Generation) -> None:
    """What was trained for a quarter of the rows, or for four times as many, is trained anew."""
    for trained_rows, wanted in ((324, RebuildReason.SIZE), (325, None), (5200, None), (5201, RebuildReason.SIZE)):
        manifest = replace(generation.manifest, trained_rows=trained_rows, live_rows=trained_rows)
        assert wants_rebuild(all_rows, Generation(manifest, generation.index), POLICY) is wanted


def test_what_finds_too_little_is_rebuilt_once_it_has_grown(all_rows: GalleryRows, generation: Generation) -> None:
    """A measuring that finds no effort good enough, or lists grown unequal, want a rebuild of a grown gallery."""
    manifest = generation.manifest
    poor = tuple(replace(step, rank1_agreement=0.9) for step in manifest.ladder)
    later = manifest.build_time_us + 1
    for change, reason in (
        ({"ladder": poor, "staging": None, "measure_time_us": later}, RebuildReason.QUALITY),
        ({"ladder": poor, "staging": None}, None),
        ({"list_imbalance": 1.6 * manifest.trained_imbalance}, RebuildReason.IMBALANCE),
        ({"list_imbalance": 1.4 * manifest.trained_imbalance}, None),
    ):
        for trained_rows in (1000, 833):
            changed = replace(manifest, trained_rows=trained_rows, **change)
            wanted = reason if trained_rows == 833 else None
            assert wants_rebuild(all_rows, Generation(changed, generation.index), POLICY) is wanted


def test_measuring_follows_growth_and_the_clock(all_rows: GalleryRows, generation: Generation) -> None:
    """Half as many rows again, or any change once the interval is over, and nothing else, want another measuring."""
    rows = at_revision(all_rows, 2, row_count=1000)
    now_us = generation.manifest.measure_time_us
    due_us = now_us + POLICY.measure_interval_s * 1_000_000

    def wanted(measured_rows: int, time_us: int, policy: RebuildPolicy = POLICY) -> bool:
        manifest = replace(generation.manifest, measured_rows=measured_rows)
        return wants_measurement(rows, Generation(manifest, generation.index), policy, time_us)

    assert not wanted(1000, now_us)
    assert not wanted(1000, due_us)
    assert not wanted(999, due_us - 1)
    assert wanted(999, due_us)
    assert not wanted(999, due_us, replace(POLICY, measure_interval_s=0))
    assert not wanted(667, now_us)
    assert wanted(666, now_us)
    assert wanted(1501, now_us)


def test_another_code_wants_a_rebuild(all_rows: GalleryRows, generation: Generation) -> None:
    """Asking for 8-bit codes where the generation has others builds it anew; AUTOMATIC is content with any."""
    rows = at_revision(all_rows, 1, row_count=1000)
    policy = RebuildPolicy(code=IndexCode.SCALAR_8BIT, flat_bytes_max=0, flat_rows_min=500)
    assert wants_rebuild(rows, generation, policy) is RebuildReason.CODE
