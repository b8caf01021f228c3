"""The store that `scale` measures: made block by block, loaded through the engine, indexed, kept for the next run."""

from __future__ import annotations

import json
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.engine_store import GALLERY, create_gallery, enroll, start_rebuild, wait_for
from benchmarks.generators import POPULATIONS, FacePopulation, enrolment_order
from benchmarks.server_process import memory_bytes
from mien_server.engine import Engine, EngineOptions
from mien_server.records.policies import VectorType

__all__ = ["Gallery", "ScaleStore", "disk_bytes"]

POPULATION_SEED: Final = 7
REPORTS: Final = 20
BUILD_POLL_S: Final = 2.0
SAMPLE_S: Final = 0.2
BUILDER_MODULE: Final = "mien_server.index.builder"


@dataclass(frozen=True, slots=True)
class Gallery:
    """What is loaded: how many faces of a population, how many of each person (0: a long tail), stored as what."""

    population_name: str
    faces_per_identity: int
    rows: int
    is_float16: bool

    @property
    def name(self) -> str:
        """As files name it."""
        faces = self.faces_per_identity or "long-tail"
        return f"{self.population_name}-{faces}-{self.rows}"

    @property
    def population(self) -> FacePopulation:
        """Everybody, in the gallery or not."""
        return POPULATIONS[self.population_name](POPULATION_SEED)

    def people(self) -> npt.NDArray[np.uint32]:
        """Whose each row is."""
        return enrolment_order(self.rows, self.faces_per_identity, POPULATION_SEED)


class ScaleStore:
    """A store in a folder; what was measured at making it lies beside it, so that a kept one is not made again."""

    def __init__(self, gallery: Gallery, folder: Path) -> None:
        kind = "float16" if gallery.is_float16 else "float32"
        self.gallery = gallery
        self.folder = folder / f"{gallery.name}-{kind}"
        self.path = self.folder / "store"

    def loaded(self) -> dict[str, Any]:
        """Load the store, unless it is there; what that took."""
        return self._once("load", self._load)

    def indexed(self) -> dict[str, Any]:
        """Build the index, unless it was; what that took."""
        return self._once("build", self._build)

    def _once(self, name: str, make: Any) -> dict[str, Any]:
        file = self.folder / f"{name}.json"
        if not file.exists():
            facts = make()
            # Written last: its presence says that the step was finished.
            file.write_text(json.dumps(facts, indent=1), encoding="utf-8")
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def _load(self) -> dict[str, Any]:
        """Enrol every row; faces are made block by block, and the time that takes is not counted."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        gallery, enrolled, enrol_s = self.gallery, 0, 0.0
        started_s = time.monotonic()
        with Engine.open(self.path, _options()) as engine:
            vector_type = VectorType.FLOAT16 if gallery.is_float16 else VectorType.FLOAT32
            create_gallery(engine, gallery.population.dimension, vector_type, manual_rebuild=True)
            next_report = 0
            for block in gallery.population.face_blocks(gallery.people()):
                block_s = time.perf_counter()
                enroll(engine, block.vectors, block.identity_numbers, enrolled)
                enrol_s += time.perf_counter() - block_s
                enrolled += len(block.vectors)
                if enrolled >= next_report:
                    passed_s = time.monotonic() - started_s
                    print(f"  {enrolled:,} rows, {enrolled / enrol_s:,.0f} rows/s, {passed_s:.0f} s", flush=True)
                    next_report += gallery.rows // REPORTS
        return {
            "rows_per_s": enrolled / enrol_s,
            "enrol_s": enrol_s,
            "with_making_faces_s": time.monotonic() - started_s,
        }

    def _build(self) -> dict[str, Any]:
        with Engine.open(self.path, _options()) as engine, _BuilderMemory() as memory:
            started_s = time.perf_counter()
            operation, said = start_rebuild(engine), ""
            while not (state := wait_for(engine, operation, BUILD_POLL_S)).state.is_done:
                if state.stage != said:
                    said = state.stage
                    print(f"  {said}, {time.perf_counter() - started_s:.0f} s", flush=True)
            seconds = time.perf_counter() - started_s
            if state.error is not None:
                raise state.error
            index = engine.galleries.get(GALLERY)[0].index_state
        print(f"  built in {seconds:.0f} s: {index.code}", flush=True)
        return {
            "seconds": seconds,
            "code": index.code,
            "lists": index.lists,
            "ladder": [
                {
                    "lists": one.lists,
                    "rescored": one.rescored,
                    "agreement": one.rank1_agreement,
                    "recall": one.recall_at_10,
                }
                for one in index.ladder
            ],
            "builder_bytes_max": memory.most,
        }


def disk_bytes(store: Path) -> dict[str, int]:
    """What each part of the store takes on disk."""
    return {
        part: sum(file.stat().st_blocks * 512 for file in (store / part).rglob("*") if file.is_file())
        for part in ("meta", "vectors", "index")
    }


def _options() -> EngineOptions:
    return EngineOptions(rebuilds_automatically=False)


class _BuilderMemory:
    """The most memory that the build's process had, by kind, sampled inside a `with` block.

    Attributes:
        most: bytes of RssAnon, RssFile and VmRSS, each at its own highest.
    """

    def __init__(self) -> None:
        self.most: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            for child in psutil.Process().children():
                self._sample(child)

    def _sample(self, child: psutil.Process) -> None:
        try:
            memory = memory_bytes(child.pid) if BUILDER_MODULE in child.cmdline() else {}
        except (OSError, psutil.Error):
            # It ended meanwhile.
            return
        for kind, size in memory.items():
            self.most[kind] = max(size, self.most.get(kind, 0))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
