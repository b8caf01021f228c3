"""Segments that share one quantiser answer as one list does, and follow each other without training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.generators import face128, face512
from mien_server.errors import InternalError
from mien_server.index import Generation, GenerationRefused, load_generation, measured_again, seal, search
from mien_server.index.faiss_adapter import CodeSpecification, Projection, Quantizer, train_centroids, train_quantizer
from mien_server.index.measurement import Measurement
from mien_server.index.segments import SegmentedIndex, first_to_merge
from mien_server.records.policies import IndexCode
from mien_server.records.rows import GalleryRows
from tests.index_support import (
    Float32Array,
    assert_is_truthful,
    at_revision,
    bitmap_of,
    brute_force,
    built,
    expected_of,
    is_live_of,
    request,
    rows_in_file,
    unit_vectors,
)

ROW_COUNT, DIMENSION = 4000, 64
FIRST_ROWS = 3000
POPULATION = face512(5, DIMENSION)


@pytest.fixture(scope="module")
def vectors() -> Float32Array:
    return POPULATION.gallery(ROW_COUNT).vectors


def quantizer_of(
    vectors: Float32Array, subquantizers: int, *, residual: bool, lists: int = 8, directions: int = 0
) -> Quantizer:
    projection = Projection.leading(vectors, directions, 1) if directions else None
    sample = vectors if projection is None else projection.of_rows(vectors, 1)
    specification = CodeSpecification(lists, subquantizers, residual, directions)
    return train_quantizer(specification, sample, train_centroids(sample, lists, 1, 1), projection)


def segments_of(quantizer: Quantizer, vectors: Float32Array, ends: list[int]) -> SegmentedIndex:
    segments = []
    for first, last in zip([0, *ends[:-1]], ends, strict=True):
        lists = quantizer.writer()
        lists.add(vectors[first:last], np.arange(first, last), 1)
        segments.append(lists.finish())
    return SegmentedIndex(quantizer, segments)


@pytest.mark.parametrize(
    ("subquantizers", "residual", "directions"), [(16, False, 0), (16, True, 0), (0, False, 0), (16, False, 32)]
)
@pytest.mark.parametrize("is_filtered", [False, True])
def test_segments_find_what_one_list_does(
    vectors: Float32Array, subquantizers: int, directions: int, *, residual: bool, is_filtered: bool
) -> None:
    """Whatever the code and however rows are split, the best by their codes are the same, ties aside."""
    quantizer = quantizer_of(vectors, subquantizers, residual=residual, directions=directions)
    one = segments_of(quantizer, vectors, [ROW_COUNT])
    several = segments_of(quantizer, vectors, [2500, 2501, 3500, ROW_COUNT])
    assert (several.size, several.lists, several.dimension) == (ROW_COUNT, 8, DIMENSION)
    assert several.list_imbalance == pytest.approx(one.list_imbalance)
    selected = bitmap_of(np.arange(ROW_COUNT) % 3 == 0) if is_filtered else None
    probes = POPULATION.probes(np.arange(50)).vectors
    for lists, count in ((2, 100), (8, 10), (8, ROW_COUNT + 5)):
        found, wanted = (index.candidates(probes, count, lists, selected, 1) for index in (several, one))
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(np.sort(found < 0), np.sort(wanted < 0))
        pairs = [(set(a.tolist()), set(b.tolist())) for a, b in zip(found, wanted, strict=True)]
        same = [len(a & b) / len(b) for a, b in pairs]
        # FAISS rounds a table of distances for each probe and scan: equal codes may change places.
        assert np.mean(same) >= 0.99
        is_padding = found < 0
        assert (np.diff(is_padding.astype(int), axis=1) >= 0).all(), "padding ends a probe's candidates"


@pytest.mark.parametrize("directions", [0, 32])
def test_lists_survive_the_disk_and_merging(vectors: Float32Array, tmp_path: Path, directions: int) -> None:
    """Lists written, read, merged and thinned out hold just the rows that they should."""
    quantizer = quantizer_of(vectors, 16, residual=False, directions=directions)
    quantizer.write(tmp_path / "quantizer")
    again = Quantizer.read(tmp_path / "quantizer")
    assert (again.dimension, again.lists) == (DIMENSION, 8)
    np.testing.assert_array_equal(again.projected(vectors[:9], 1), quantizer.projected(vectors[:9], 1))
    for name, first, last in (("a", 0, 1000), ("b", 1000, 1700)):
        lists = quantizer.writer()
        lists.add(vectors[first:last], np.arange(first, last), 1)
        lists.write(tmp_path / name)
    merged, other = again.read_lists(tmp_path / "a"), again.read_lists(tmp_path / "b")
    merged.merge(other)
    assert (merged.size, other.size) == (1700, 0)
    is_kept = np.arange(1700) % 5 != 2
    merged.keep(bitmap_of(is_kept))
    assert merged.size == is_kept.sum()
    found = SegmentedIndex(again, [merged.finish()]).candidates(vectors[:1], 2000, 8, None, 1)[0]
    assert sorted(found[found >= 0].tolist()) == np.flatnonzero(is_kept).tolist()
    with pytest.raises(InternalError):
        again.read_lists(tmp_path / "quantizer")


def test_in_a_narrow_cone_rows_are_stretched_and_probes_shrunk(tmp_path: Path) -> None:
    """Products stay what they were, on a projection that was read again too; what all rows share counts for less."""
    population = face128(5)
    rows, probes = population.gallery(2000).vectors, population.probes(np.arange(20)).vectors
    projection = Projection.leading(rows, rows.shape[1], 1)
    assert not np.allclose(projection.of_rows(probes, 1), projection.of_probes(probes, 1), atol=0.01)
    products = projection.of_probes(probes, 1) @ projection.of_rows(rows, 1).T
    np.testing.assert_allclose(products, probes @ rows.T, atol=1e-5)
    held = np.linalg.svd(projection.of_rows(rows, 1), compute_uv=False)
    assert held[0] / held[1] > 1.5 * np.divide(*np.linalg.svd(rows, compute_uv=False)[:2])

    sample = projection.of_rows(rows, 1)
    quantizer = train_quantizer(
        CodeSpecification(8, 64, residual=False, directions=128), sample, train_centroids(sample, 8, 1, 1), projection
    )
    quantizer.write(tmp_path / "quantizer")
    again = Quantizer.read(tmp_path / "quantizer")
    np.testing.assert_array_equal(again.projected(probes, 1), projection.of_probes(probes, 1))


def test_a_narrow_cone_of_few_directions_is_projected_on_more() -> None:
    """Along some directions rows hold nothing: products are what they were, and nothing is infinite."""
    generator = np.random.default_rng(1)
    rows = generator.standard_normal((500, 20)) @ generator.standard_normal((20, 128)) * 0.1 + 1.0
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    projection = Projection.leading(rows, 96, 1)
    products = projection.of_probes(rows[:9], 1) @ projection.of_rows(rows, 1).T
    np.testing.assert_allclose(products, rows[:9] @ rows.T, atol=1e-4)


def test_a_projection_keeps_what_rows_have_most_of(vectors: Float32Array) -> None:
    """Lengths and products along the leading directions are kept, and spread over what is left of the vector."""
    whole, half = (Projection.leading(vectors, count, 1) for count in (DIMENSION, DIMENSION // 2))
    np.testing.assert_allclose(np.linalg.norm(whole.of_rows(vectors, 1), axis=1), 1, atol=1e-5)
    held = np.sum(half.of_rows(vectors, 1) ** 2, axis=0)
    leading = np.sort(np.linalg.eigvalsh(vectors.T @ vectors))[-(DIMENSION // 2) :]
    assert np.sum(held) == pytest.approx(np.sum(leading), rel=1e-4)
    assert np.max(held) < 0.2 * np.sum(held)


@pytest.mark.parametrize(
    ("held", "added", "first"),
    [
        ([], 10, 0),
        ([1000], 10, 1),
        ([1000], 166, 1),
        ([1000], 167, 0),
        ([1000, 100], 10, 2),
        ([1000, 100], 17, 1),
        ([1000, 100], 100, 0),
        ([1000, 100, 10], 0, 3),
    ],
)
def test_segments_that_are_not_much_larger_are_merged(held: list[int], added: int, first: int) -> None:
    """From the newest back, a segment joins as long as it holds less than six times what is newer."""
    assert first_to_merge(held, added) == first


def test_a_stream_of_seals_leaves_few_segments() -> None:
    """A million rows sealed two thousand at a time never lie in more than five segments."""
    held: list[int] = []
    most, copied = 0, 0
    for _ in range(500):
        first = first_to_merge(held, 2000)
        copied += sum(held[first:])
        held = [*held[:first], sum(held[first:]) + 2000]
        most = max(most, len(held))
    assert sum(held) == 1_000_000
    assert most <= 5
    assert copied <= 20 * sum(held)


@pytest.fixture(scope="module", params=[IndexCode.AUTOMATIC, IndexCode.SCALAR_8BIT])
def sealed(
    vectors: Float32Array, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, GalleryRows, Generation]:
    """A gallery whose generation covers its first rows."""
    folder = tmp_path_factory.mktemp("sealed")
    rows = rows_in_file(folder / "vectors", vectors, revision=9)
    generation = built(folder / "index", at_revision(rows, 1, row_count=FIRST_ROWS), request.param)
    return folder / "index", rows, generation


def test_a_seal_takes_in_the_tail(sealed: tuple[Path, GalleryRows, Generation]) -> None:
    """The new rows become a segment, the old one is shared in memory and on disk, and what is loaded again is equal."""
    index_directory, rows, generation = sealed
    some = at_revision(rows, 5, row_count=FIRST_ROWS + 300)
    made = seal(index_directory, generation, some, 1)
    first, second = made.manifest.segments
    assert (first.first, first.last, second.first, second.last) == (0, FIRST_ROWS, FIRST_ROWS, FIRST_ROWS + 300)
    assert made.index.segments[0] is generation.index.segments[0]
    one, other = (index_directory / name / first.file for name in (generation.name, made.name))
    assert one.samefile(other)
    assert (made.manifest.rows, made.manifest.live_rows, made.manifest.revision) == (some.row_count, some.row_count, 5)
    assert made.manifest.trained_rows == FIRST_ROWS
    loaded = load_generation(index_directory / made.name, expected_of(some))
    assert loaded.manifest == made.manifest
    probes = POPULATION.probes(np.arange(0, FIRST_ROWS + 300, 50)).vectors
    for served in (made, loaded):
        found = search(some, served, request(probes, k=5))
        assert found.report.tail_rows == 0
        assert_is_truthful(found.ordinals, found.similarities, some, probes)
        assert np.mean(found.ordinals[:, 0] == brute_force(some, probes, 1)[0][:, 0]) >= 0.95


def test_a_seal_drops_the_dead_of_what_it_merges(sealed: tuple[Path, GalleryRows, Generation]) -> None:
    """Rows dead at the seal are in no list that it wrote; those that a kept segment holds are still not answered."""
    index_directory, rows, generation = sealed
    is_live = is_live_of(rows)
    is_live[::4] = False
    is_live[-100:] = False
    later = at_revision(rows, 7, is_live=is_live)
    kept = seal(index_directory, generation, later, 1)
    everything = seal(index_directory, generation, later, 1, merge_all=True)
    assert [segment.held for segment in everything.manifest.segments] == [later.live_count]
    assert everything.tombstones(later) == 0
    assert kept.tombstones(later) == kept.manifest.live_rows - later.live_count
    for served in (kept, everything):
        assert served.manifest.segments[-1].last == ROW_COUNT
        found = search(later, served, request(rows.vectors[::40], k=20))
        assert_is_truthful(found.ordinals, found.similarities, later, rows.vectors[::40])


def test_a_tail_without_a_live_row_is_covered(sealed: tuple[Path, GalleryRows, Generation]) -> None:
    """Rows that died before they were sealed leave no segment, and no tail."""
    index_directory, rows, generation = sealed
    is_live = np.arange(ROW_COUNT) < FIRST_ROWS
    later = at_revision(rows, 8, is_live=is_live)
    made = seal(index_directory, generation, later, 1)
    assert [(one.first, one.last, one.held) for one in made.manifest.segments] == [(0, ROW_COUNT, FIRST_ROWS)]
    assert load_generation(index_directory / made.name, expected_of(later)).manifest == made.manifest


def test_a_damaged_segment_is_not_merged(sealed: tuple[Path, GalleryRows, Generation]) -> None:
    """What a seal reads again must be what it was; nothing is left of a seal that failed."""
    index_directory, rows, generation = sealed
    copy = seal(index_directory, generation, at_revision(rows, 2, row_count=FIRST_ROWS + 1), 1, merge_all=True)
    path = index_directory / copy.name / copy.manifest.segments[0].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    before = sorted(index_directory.iterdir())
    with pytest.raises(GenerationRefused, match="SHA-256"):
        seal(index_directory, copy, rows, 1, merge_all=True)
    assert sorted(index_directory.iterdir()) == before


def test_a_measurement_replaces_the_ladder_alone(sealed: tuple[Path, GalleryRows, Generation]) -> None:
    """The segments stay what and where they are; ladder, stages and what was missed are the newer ones."""
    index_directory, rows, generation = sealed
    ladder = tuple(replace(step, rank1_agreement=0.5) for step in generation.manifest.ladder[:1])
    measurement = Measurement(ladder, None, 77, FIRST_ROWS, 0.9, 99, 0.4)
    made = measured_again(index_directory, generation, Measurement.of_fields(measurement.to_fields()))
    loaded = load_generation(index_directory / made.name, expected_of(rows)).manifest
    assert loaded == made.manifest
    assert (loaded.ladder, loaded.staging, loaded.probe_count) == (ladder, None, 77)
    assert loaded.default_recall_target == 0.9
    assert (loaded.measured_rows, loaded.measure_time_us, loaded.drift) == (FIRST_ROWS, 99, 0.4)
    assert (loaded.segments, loaded.files) == (generation.manifest.segments, generation.manifest.files)
    assert made.index is generation.index
    with pytest.raises(InternalError):
        Measurement.of_fields({"ladder": 1})


def test_lists_of_another_size_are_refused(tmp_path: Path) -> None:
    """Lists of one quantiser are not read as another's."""
    vectors = unit_vectors(500, 16)
    lists = quantizer_of(vectors, 8, residual=False, lists=4).writer()
    lists.write(tmp_path / "lists")
    for list_count, subquantizers in ((5, 8), (4, 4)):
        with pytest.raises(InternalError, match="not of this quantiser"):
            quantizer_of(vectors, subquantizers, residual=False, lists=list_count).read_lists(tmp_path / "lists")
