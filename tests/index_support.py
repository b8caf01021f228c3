"""What the tests of the index share: rows in a real file, brute force in numpy, generations built in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien_server.index import BuildJob, EffortChoice, ExpectedGeneration, Generation, SearchRequest, load_generation
from mien_server.index.builder import build_generation
from mien_server.index.ladder import exact_answers, measure_efforts
from mien_server.index.probing import choose_probes
from mien_server.index.staging import staging_of
from mien_server.records.policies import IndexCode, VectorType
from mien_server.records.rows import GalleryRows, VectorFileLocation

STORE_ID = "store-1"
GALLERY_NUMBER = 7
MODEL_FINGERPRINT = "model-1"
HEADER_BYTES = 64

DEFAULT_EFFORT = EffortChoice()

# Two float32 sums of the same products in another order.
TOLERANCE = 2e-6

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]


def unit_vectors(count: int, dimension: int, seed: int = 0) -> Float32Array:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def bitmap_of(is_set: npt.ArrayLike) -> UInt8Array:
    return np.packbits(np.asarray(is_set, np.bool_), bitorder="little")


def rows_in_file(
    path: Path,
    vectors: npt.NDArray[np.float32] | npt.NDArray[np.float16],
    *,
    is_live: npt.ArrayLike | None = None,
    identity_numbers: npt.ArrayLike | None = None,
    revision: int = 1,
) -> GalleryRows:
    """Write the vectors behind a header, as storage does, and map them."""
    count, dimension = vectors.shape
    path.write_bytes(b"\0" * HEADER_BYTES + vectors.tobytes())
    mapped = np.memmap(path, vectors.dtype, "r", HEADER_BYTES, vectors.shape).view(np.ndarray) if count else vectors
    vector_type = VectorType.FLOAT16 if vectors.dtype == np.float16 else VectorType.FLOAT32
    live = np.ones(count, np.bool_) if is_live is None else np.asarray(is_live, np.bool_)
    numbers = np.arange(count) if identity_numbers is None else np.asarray(identity_numbers)
    return GalleryRows(
        revision=revision,
        vectors=mapped,
        live=bitmap_of(live),
        identity_numbers=numbers.astype(np.uint32),
        live_count=int(live.sum()),
        location=VectorFileLocation(path, HEADER_BYTES, dimension, vector_type),
    )


def at_revision(
    rows: GalleryRows, revision: int, *, is_live: npt.ArrayLike | None = None, row_count: int | None = None
) -> GalleryRows:
    """Another view of the same file: other live rows, or only the first rows."""
    count = rows.row_count if row_count is None else row_count
    live = is_live_of(rows)[:count] if is_live is None else np.asarray(is_live, np.bool_)
    return replace(
        rows,
        revision=revision,
        vectors=rows.vectors[:count],
        live=bitmap_of(live),
        identity_numbers=rows.identity_numbers[:count],
        live_count=int(live.sum()),
    )


def is_live_of(rows: GalleryRows) -> BoolArray:
    return np.unpackbits(rows.live, count=rows.row_count, bitorder="little").astype(np.bool_)


def request(
    probes: Float32Array,
    k: int = 10,
    effort: EffortChoice = DEFAULT_EFFORT,
    allowed: UInt8Array | None = None,
    threads: int = 2,
) -> SearchRequest:
    return SearchRequest(np.ascontiguousarray(probes, np.float32), k, effort, allowed, threads)


def brute_force(
    rows: GalleryRows, probes: Float32Array, k: int, is_allowed: npt.ArrayLike | None = None
) -> tuple[Int64Array, npt.NDArray[np.float64]]:
    """The answer by numpy in float64, equal similarities by smaller ordinal, padded with -1 and -inf."""
    similarities = probes.astype(np.float64) @ rows.vectors.astype(np.float64).T
    counts = is_live_of(rows) if is_allowed is None else is_live_of(rows) & np.asarray(is_allowed, np.bool_)
    similarities[:, ~counts] = -np.inf
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(similarities, order, 1)
    order[np.isneginf(best)] = -1
    short = k - order.shape[1]
    if short > 0:
        order = np.pad(order, ((0, 0), (0, short)), constant_values=-1)
        best = np.pad(best, ((0, 0), (0, short)), constant_values=-np.inf)
    return order, best


def assert_is_exact(
    ordinals: Int64Array,
    similarities: Float32Array,
    rows: GalleryRows,
    probes: Float32Array,
    is_allowed: npt.ArrayLike | None = None,
) -> None:
    """The answer is brute force's; rows may trade places only where rounding makes them equal."""
    wanted, best = brute_force(rows, probes, ordinals.shape[1], is_allowed)
    np.testing.assert_array_equal(ordinals < 0, wanted < 0)
    np.testing.assert_allclose(similarities, best, atol=TOLERANCE, rtol=0)
    assert_is_truthful(ordinals, similarities, rows, probes, is_allowed)


def assert_is_truthful(
    ordinals: Int64Array,
    similarities: Float32Array,
    rows: GalleryRows,
    probes: Float32Array,
    is_allowed: npt.ArrayLike | None = None,
) -> None:
    """Whatever was found: live, allowed, distinct, in order, and each similarity is that of its own row."""
    counts = is_live_of(rows) if is_allowed is None else is_live_of(rows) & np.asarray(is_allowed, np.bool_)
    for found, similarity, probe in zip(ordinals, similarities, probes, strict=True):
        real = found >= 0
        assert not real[np.argmin(real) :].any() or real.all()
        assert np.isneginf(similarity[~real]).all()
        assert counts[found[real]].all()
        assert len(set(found[real].tolist())) == real.sum()
        true = rows.vectors[found[real]].astype(np.float64) @ probe.astype(np.float64)
        np.testing.assert_allclose(similarity[real], true, atol=TOLERANCE, rtol=0)
        keys = list(zip((-similarity[real]).tolist(), found[real].tolist(), strict=True))
        assert keys == sorted(keys)


def job_of(rows: GalleryRows, code: IndexCode = IndexCode.AUTOMATIC) -> BuildJob:
    job = BuildJob.from_rows(rows, STORE_ID, GALLERY_NUMBER, MODEL_FINGERPRINT)
    return replace(job, code=code, threads=1)


def expected_of(rows: GalleryRows) -> ExpectedGeneration:
    return ExpectedGeneration(
        STORE_ID, GALLERY_NUMBER, MODEL_FINGERPRINT, rows.dimension, rows.row_count, rows.revision
    )


def built(index_directory: Path, rows: GalleryRows, code: IndexCode = IndexCode.AUTOMATIC) -> Generation:
    """A generation of these rows, built in this process and loaded from its files."""
    work_folder = index_directory / ".building-test"
    work_folder.mkdir(parents=True, exist_ok=True)
    name = build_generation(job_of(rows, code), work_folder, lambda _fraction, _stage: None)
    return load_generation(index_directory / name, expected_of(rows))


def staged(generation: Generation, rows: GalleryRows, probe_count: int = 1500) -> Generation:
    """The generation with the stages that serve its gallery best, whether or not one stage would cost less here."""
    vectors, live_ordinals = rows.vectors, np.flatnonzero(is_live_of(rows))
    probes = choose_probes(vectors, live_ordinals, rows.identity_numbers, probe_count, np.random.default_rng([1, 2]))
    exact = exact_answers(vectors, rows.live, rows.identity_numbers, probes, 1)
    efforts = measure_efforts(vectors, generation.index, probes, exact, 1, lambda _share: None)
    staging = staging_of(efforts, exact, rows.identity_numbers, generation.manifest.lists, 0.999, single=None)
    assert staging is not None
    staging = replace(staging, milliseconds=0.0)
    return Generation(replace(generation.manifest, staging=staging), generation.index)
