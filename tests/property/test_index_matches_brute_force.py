"""Through any history of adding, deleting, building, sealing, measuring and reopening, searches are brute force."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mien_server.index import (
    EffortChoice,
    Generation,
    current_generation,
    load_generation,
    measured_again,
    prune,
    publish,
    seal,
    search,
)
from mien_server.index.bitmaps import set_count
from mien_server.index.remeasuring import measure_generation
from mien_server.records.policies import IndexCode
from mien_server.records.rows import GalleryRows
from tests.index_support import (
    assert_is_exact,
    assert_is_truthful,
    bitmap_of,
    brute_force,
    built,
    expected_of,
    job_of,
    request,
    rows_in_file,
)

DIMENSION = 16
seeds = st.integers(0, 2**32 - 1)


class GalleryHistory(RuleBasedStateMachine):
    """A gallery of few dimensions and many equal faces: the hardest for ties, codes and tombstones."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="mien-index-"))
        self.vectors = np.empty((0, DIMENSION), np.float32)
        self.is_live = np.empty(0, np.bool_)
        self.revision = 0
        self.generation: Generation | None = None

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def rows(self) -> GalleryRows:
        path = self.folder / "vectors"
        return rows_in_file(path, self.vectors, is_live=self.is_live, revision=self.revision)

    @initialize(seed=seeds, count=st.integers(300, 1500))
    def starts(self, seed: int, count: int) -> None:
        self.adds(seed, count)

    @rule(seed=seeds, count=st.integers(1, 300))
    def adds(self, seed: int, count: int) -> None:
        """New faces, a third of them equal to ones that are there."""
        generator = np.random.default_rng(seed)
        added = generator.standard_normal((count, DIMENSION)).astype(np.float32)
        added /= np.linalg.norm(added, axis=1, keepdims=True)
        if len(self.vectors):
            is_copy = generator.random(count) < 1 / 3
            added[is_copy] = self.vectors[generator.integers(0, len(self.vectors), int(is_copy.sum()))]
        self.vectors = np.concatenate([self.vectors, added])
        self.is_live = np.concatenate([self.is_live, np.ones(count, np.bool_)])
        self.revision += 1

    @rule(seed=seeds, share=st.sampled_from([0.01, 0.3, 0.9]))
    def deletes(self, seed: int, share: float) -> None:
        self.is_live &= np.random.default_rng(seed).random(len(self.is_live)) >= share
        self.revision += 1

    @precondition(lambda self: self.is_live.sum() >= 300)
    @rule(code=st.sampled_from([IndexCode.AUTOMATIC, IndexCode.SCALAR_8BIT]))
    def rebuilds(self, code: IndexCode) -> None:
        index_directory = self.folder / "index"
        generation = built(index_directory, self.rows(), code)
        publish(index_directory, generation.name)
        prune(index_directory, set())
        self.generation = generation

    @precondition(lambda self: self.generation is not None and self.is_live.any())
    @rule(merges_all=st.booleans())
    def seals(self, *, merges_all: bool) -> None:
        """The tail, however long, becomes a segment; views of before stay as they were."""
        assert self.generation is not None
        index_directory = self.folder / "index"
        self.generation = seal(index_directory, self.generation, self.rows(), 1, merge_all=merges_all)
        publish(index_directory, self.generation.name)
        prune(index_directory, set())

    @precondition(lambda self: self.generation is not None)
    @rule()
    def measures(self) -> None:
        """What a builder finds is put on the same segments."""
        assert self.generation is not None
        index_directory, manifest = self.folder / "index", self.generation.manifest
        rows = self.rows()
        if set_count(rows.live, 0, manifest.rows) < 300:
            return
        job = replace(job_of(rows), measured=manifest.name)
        measurement = measure_generation(job, index_directory, lambda _share: None)
        self.generation = measured_again(index_directory, self.generation, measurement)
        publish(index_directory, self.generation.name)
        prune(index_directory, set())

    @precondition(lambda self: self.generation is not None)
    @rule()
    def reopens(self) -> None:
        name = current_generation(self.folder / "index")
        assert name is not None
        self.generation = load_generation(self.folder / "index" / name, expected_of(self.rows()))

    def probes(self, generator: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
        """Half of them stored faces."""
        probes = generator.standard_normal((count, DIMENSION)).astype(np.float32)
        probes /= np.linalg.norm(probes, axis=1, keepdims=True)
        probes[::2] = self.vectors[generator.integers(0, len(self.vectors), len(probes[::2]))]
        return probes

    @rule(seed=seeds, count=st.sampled_from([1, 3, 150]), k=st.sampled_from([1, 7, 400]), is_filtered=st.booleans())
    def searches_exactly(self, seed: int, count: int, k: int, is_filtered: bool) -> None:
        """Exact search is brute force, ties included."""
        generator = np.random.default_rng(seed)
        rows, probes = self.rows(), self.probes(generator, count)
        is_allowed = generator.random(rows.row_count) < generator.random() if is_filtered else None
        allowed = None if is_allowed is None else bitmap_of(is_allowed)
        result = search(rows, self.generation, request(probes, k, EffortChoice(exact=True), allowed))
        assert_is_exact(result.ordinals, result.similarities, rows, probes, is_allowed)

    @precondition(lambda self: self.generation is not None)
    @rule(
        seed=seeds,
        count=st.sampled_from([1, 3, 150]),
        k=st.sampled_from([1, 7, 400]),
        is_filtered=st.booleans(),
        step=st.integers(0, 100),
    )
    def searches_approximately(self, seed: int, count: int, k: int, is_filtered: bool, step: int) -> None:
        """Any step answers truthfully, and k rows wherever k match."""
        assert self.generation is not None
        generator = np.random.default_rng(seed)
        rows, probes = self.rows(), self.probes(generator, count)
        is_allowed = generator.random(rows.row_count) < generator.random() if is_filtered else None
        allowed = None if is_allowed is None else bitmap_of(is_allowed)
        effort = EffortChoice(step=1 + step % len(self.generation.manifest.ladder))
        result = search(rows, self.generation, request(probes, k, effort, allowed))
        assert_is_truthful(result.ordinals, result.similarities, rows, probes, is_allowed)
        wanted = brute_force(rows, probes, k, is_allowed)[0]
        np.testing.assert_array_equal(result.ordinals >= 0, wanted >= 0)

    @invariant()
    def a_live_face_finds_itself(self) -> None:
        """A stored face used as a probe gets a similarity of 1, at the step that scans everything."""
        if not self.is_live.any():
            return
        rows = self.rows()
        ordinal = int(np.flatnonzero(self.is_live)[self.revision % int(self.is_live.sum())])
        effort = EffortChoice(step=len(self.generation.manifest.ladder)) if self.generation else EffortChoice()
        result = search(rows, self.generation, request(self.vectors[ordinal : ordinal + 1], 1, effort))
        np.testing.assert_allclose(result.similarities, 1, atol=1e-5)


GalleryHistory.TestCase.settings = settings(max_examples=20, stateful_step_count=15)
TestGalleryHistory = GalleryHistory.TestCase
