"""What every peer is given: faces, probes and the exact answers, made once and kept as files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.exact import blocks_of, exact_nearest
from benchmarks.generators import POPULATIONS, enrolment_order
from benchmarks.machine import core_count

__all__ = ["NEIGHBORS", "Case", "Task"]

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
UInt32Array = npt.NDArray[np.uint32]

POPULATION_SEED: Final = 7
PROBE_SEED: Final = 11
CALIBRATION_SEED: Final = 12
MATED_PROBES: Final = 2000
STRANGER_PROBES: Final = 2000
NEIGHBORS: Final = 10
FALSE_POSITIVE_SHARE: Final = 0.01
FACTS_FILE: Final = "task.json"


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared on: a population, how many faces of it, and how many of each person (0: a long tail)."""

    population: str
    faces_per_identity: int
    rows: int

    @property
    def name(self) -> str:
        """As files and reports name it."""
        faces = self.faces_per_identity or "long-tail"
        return f"{self.population}-{faces}-{self.rows}"


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """The faces and the answers.

    Attributes:
        vectors: float32 [rows, dimension], mapped: the faces to be found.
        people: uint32 [rows], whose each is.
        mated: float32 [n, dimension], new faces of people of the gallery.
        strangers: float32 [n, dimension], faces of people who are in no gallery.
        mated_rows, mated_similarities: [n, NEIGHBORS], exact search's nearest.
        stranger_rows, stranger_similarities: likewise.
        threshold: the similarity that exact search's best of one stranger in a hundred reaches.
    """

    vectors: Float32Array
    people: UInt32Array
    mated: Float32Array
    strangers: Float32Array
    mated_rows: Int64Array
    mated_similarities: Float32Array
    stranger_rows: Int64Array
    stranger_similarities: Float32Array
    threshold: float

    @classmethod
    def read(cls, folder: Path) -> Task:
        """What `make` wrote."""

        def load(name: str) -> npt.NDArray[np.generic]:
            mode: Literal["r"] | None = "r" if name == "vectors" else None
            array: npt.NDArray[np.generic] = np.load(folder / f"{name}.npy", mmap_mode=mode)
            return array

        names = [name for name in cls.__slots__ if name != "threshold"]
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        return cls(**{name: load(name) for name in names}, threshold=facts["threshold"])  # type: ignore[arg-type]

    @classmethod
    def make(cls, case: Case, folder: Path) -> None:
        """Make the files of a case, unless they are there."""
        if (folder / FACTS_FILE).exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        population = POPULATIONS[case.population](POPULATION_SEED)
        people = enrolment_order(case.rows, case.faces_per_identity, POPULATION_SEED)
        shape = (case.rows, population.dimension)
        vectors = np.lib.format.open_memmap(folder / "vectors.npy", mode="w+", dtype=np.float32, shape=shape)
        first = 0
        for block in population.face_blocks(people):
            vectors[first : first + len(block.vectors)] = block.vectors
            first += len(block.vectors)
        vectors.flush()
        chosen = np.random.default_rng(PROBE_SEED).integers(0, int(people.max()) + 1, MATED_PROBES)
        probes = {
            "mated": population.probes(chosen, PROBE_SEED).vectors,
            "strangers": population.strangers(STRANGER_PROBES, PROBE_SEED).vectors,
            "calibration": population.strangers(STRANGER_PROBES, CALIBRATION_SEED).vectors,
        }
        exact = exact_nearest(blocks_of(vectors), np.concatenate(list(probes.values())), NEIGHBORS, core_count())
        mated, strangers = slice(0, MATED_PROBES), slice(MATED_PROBES, MATED_PROBES + STRANGER_PROBES)
        arrays: dict[str, npt.NDArray[Any]] = {
            "people": people,
            "mated": probes["mated"],
            "strangers": probes["strangers"],
            "mated_rows": exact.rows[mated],
            "mated_similarities": exact.similarities[mated],
            "stranger_rows": exact.rows[strangers],
            "stranger_similarities": exact.similarities[strangers],
        }
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        reached = exact.similarities[MATED_PROBES + STRANGER_PROBES :, 0]
        threshold = float(np.quantile(reached, 1 - FALSE_POSITIVE_SHARE))
        # Written last: its presence says that the files are whole.
        (folder / FACTS_FILE).write_text(json.dumps({"threshold": threshold}), encoding="utf-8")
