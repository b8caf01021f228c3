"""Photographs a second through the engine's embedding service beside the bare models in a loop on every core.

The photographs are LFW's where the shared data is there. Both embed the same ones, in turn. Two callers keep the
service's queue filled, as a bulk enrolment does.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.bare_models import BareModels
from benchmarks.figures import Figure, Target
from benchmarks.machine import core_count, shared_data_folder
from benchmarks.timing import seconds_in_turn, typical_ratio
from benchmarks.workbench import Workbench
from mien_server.embedding import EmbeddingOptions
from mien_server.engine import Engine, EngineOptions
from mien_server.engine.types import ImageInput
from mien_server.records.deadline import Deadline

__all__ = ["NoPhotographs", "run"]

PHOTOGRAPHS = 400
QUICK_PHOTOGRAPHS = 200
ROUNDS = 3
CALLERS = 2
THROUGHPUT_SHARE_MIN = 0.9
STORE = "store-photographs"


class NoPhotographs(Exception):
    """There is nothing to measure with."""


def run(bench: Workbench) -> list[Figure]:
    """One figure.

    Raises:
        NoPhotographs: the shared data is not there.
    """
    folder = shared_data_folder() / "lfw" / "images"
    every = sorted(folder.glob("*/*.jpg"))
    if not every:
        raise NoPhotographs(f"no photographs at {folder}; set MIEN_SHARED_DATA to a folder that holds lfw")
    count = QUICK_PHOTOGRAPHS if bench.is_quick else PHOTOGRAPHS
    chosen = every[:: max(1, len(every) // count)][:count]
    bench.forget(STORE)
    options = EngineOptions(embedding=EmbeddingOptions(worker_count=core_count()))
    with Engine.open(bench.folder / STORE, options) as engine:
        figure = _measure(engine, options, chosen)
    bench.forget(STORE)
    return [figure]


def _measure(engine: Engine, options: EngineOptions, photographs: list[Path]) -> Figure:
    images = [ImageInput(path.read_bytes()) for path in photographs]
    parts = [images[number::CALLERS] for number in range(CALLERS)]

    def embed(part: list[ImageInput]) -> int:
        found = engine.recognition.embed(part, "dlib", deadline=Deadline())
        return sum(len(analysis.faces) for analysis, _ in found.images)

    with ThreadPoolExecutor(CALLERS) as pool, BareModels(core_count(), options.embedding.cache_directory) as bare:
        faces = sum(pool.map(embed, parts)), bare.run(photographs)
        ours, theirs = seconds_in_turn(
            [lambda _number: list(pool.map(embed, parts)), lambda _number: bare.run(photographs)],
            rounds=ROUNDS,
            warm_up_calls=0,
        )
    share = 1 / typical_ratio(ours, theirs)
    baseline = len(photographs) / float(np.median(theirs))
    return Figure(
        name="photographs.dlib.ratio_to_bare_models",
        value=baseline * share,
        unit="photographs/s",
        baseline=baseline,
        detail=(
            f"{len(photographs)} LFW photographs of 250 x 250 on {core_count()} cores, {CALLERS} callers; faces found: "
            f"{faces[0]} by the engine, {faces[1]} by the bare loop; the same passes of the detector"
        ),
        target=Target.at_least(share, THROUGHPUT_SHARE_MIN),
    )
