"""What the figures of one run share: made faces, a store loaded with them once, and a copy of it.

A store is locked by the process that serves it. So that a server and an engine of this process can be measured in turn
on the same gallery, each has its own copy of the store's folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.figures import Figure, size_name
from benchmarks.generators import FacePopulation, FaceSet, face512
from benchmarks.server_process import ServerProcess
from mien_client import Client, DecisionPolicy, Gallery, IndexPolicy
from mien_server.engine import Engine, EngineOptions
from mien_server.index import RebuildPolicy

__all__ = [
    "DIMENSION",
    "FACES_PER_IDENTITY",
    "GALLERY",
    "THRESHOLD_SIMILARITY",
    "Workbench",
    "create_gallery",
    "identity_ids",
    "is_settled",
]

DIMENSION = 512
FACES_PER_IDENTITY = 5
GALLERY = "faces"
THRESHOLD_SIMILARITY = 0.5
POPULATION_SEED = 7
PROBE_SEED = 11


@dataclass
class Workbench:
    """One run's set-up, made when it is first asked for.

    Attributes:
        rows: faces of the large gallery.
        folder: on the disk that is measured; holds every store.
    """

    rows: int
    folder: Path
    load_figures: list[Figure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._population: FacePopulation | None = None

    @property
    def size(self) -> str:
        """The rows as names of figures hold them."""
        return size_name(self.rows)

    @property
    def is_quick(self) -> bool:
        """Whether the run is to end within minutes: fewer rounds."""
        return self.rows < 500_000

    @property
    def population(self) -> FacePopulation:
        """Everybody, in the gallery or not."""
        if self._population is None:
            self._population = face512(POPULATION_SEED)
        return self._population

    @property
    def identity_count(self) -> int:
        """People in the large gallery."""
        return self.rows // FACES_PER_IDENTITY

    def faces(self) -> FaceSet:
        """The gallery's faces, in the order they are enrolled; 2 KB a row, to be let go soon."""
        return self.population.gallery(self.identity_count, FACES_PER_IDENTITY)

    def mated_probes(self, count: int) -> FaceSet:
        """New faces of people of the gallery."""
        generator = np.random.default_rng(PROBE_SEED)
        return self.population.probes(generator.integers(0, self.identity_count, count), PROBE_SEED)

    def store(self) -> Path:
        """The loaded store, with an index that covers every row."""
        from benchmarks.loading import load_store

        path = self.folder / f"store-{self.size}"
        if not self._people_file.exists():
            shutil.rmtree(path, ignore_errors=True)
            faces = self.faces()
            self.load_figures = load_store(self, path, faces)
            # Written last: its presence says that the store is whole.
            np.save(self._people_file, faces.identity_numbers)
        return path

    def people(self) -> npt.NDArray[np.uint32]:
        """Whose face each row of the loaded store is, [rows]: rows are numbered as they were enrolled."""
        self.store()
        numbers: npt.NDArray[np.uint32] = np.load(self._people_file)
        return numbers

    @property
    def _people_file(self) -> Path:
        return self.folder / f"store-{self.size}.people.npy"

    def store_copy(self) -> Path:
        """A second store of the same bytes."""
        original = self.store()
        path = original.with_name(f"{original.name}-copy")
        if not path.exists():
            unfinished = path.with_suffix(".part")
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(original, unfinished)
            unfinished.rename(path)
        return path

    def forget(self, name: str) -> None:
        """Remove a store that a figure made for itself."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine in this process on the copy of the loaded store."""
        options = EngineOptions(rebuild=RebuildPolicy(), rebuilds_automatically=False)
        with Engine.open(self.store_copy(), options) as engine:
            yield engine

    @contextmanager
    def server(self) -> Iterator[ServerProcess]:
        """A server process on the loaded store."""
        with ServerProcess(self.store()) as server:
            yield server

    @contextmanager
    def disposable_server(self) -> Iterator[ServerProcess]:
        """A server process on the copy, for a figure that writes; the copy is removed afterwards."""
        copy = self.store_copy()
        try:
            with ServerProcess(copy) as server:
                yield server
        finally:
            shutil.rmtree(copy)


def create_gallery(client: Client, name: str, *, manual_rebuild: bool = False) -> None:
    """A gallery for embeddings of the benchmark's population."""
    client.create_gallery(
        name,
        precomputed="face512",
        dimension=DIMENSION,
        decision_policy=DecisionPolicy(similarity=THRESHOLD_SIMILARITY),
        index_policy=IndexPolicy(manual_rebuild=manual_rebuild),
    )


def identity_ids(numbers: npt.NDArray[np.uint32]) -> list[str]:
    """The ids under which people are enrolled."""
    return [f"p{number:07d}" for number in numbers.tolist()]


def is_settled(gallery: Gallery) -> bool:
    """Whether the index serves, has no more rows to catch up with than its policy allows, and none is being built."""
    state, policy = gallery.index_state, RebuildPolicy()
    if state.state.name == "FLAT":
        return gallery.face_count <= policy.flat_rows_max(DIMENSION)
    return state.state.name == "READY" and state.tail_rows <= policy.tail_rows_max
