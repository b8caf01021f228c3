"""How often each code and effort agrees with exact search, on fixed faces: floors that must not sink."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.generators import FacePopulation, face128, face512
from mien_server.index import EffortChoice, Generation, search
from mien_server.records.policies import IndexCode
from mien_server.records.rows import GalleryRows
from tests.index_support import built, request, rows_in_file

SEED = 7
PERSONS = 12_000
PROBES = 4000
SAMPLING_DEVIATIONS = 3


class Case(NamedTuple):
    """A gallery with one face a person, and what its generation must reach.

    Attributes:
        recall_floor: recall at 10 of the last step.
    """

    population: FacePopulation
    code: IndexCode
    code_name: str
    recall_floor: float


CASES = [
    Case(face512(SEED), IndexCode.AUTOMATIC, "PCAR256,IVF32,PQ64x4fs", 0.97),
    Case(face512(SEED), IndexCode.SCALAR_8BIT, "IVF32,SQ8", 0.995),
    Case(face128(SEED), IndexCode.AUTOMATIC, "PCAR96,IVF32,PQ96x4fs", 0.97),
    Case(face128(SEED), IndexCode.SCALAR_8BIT, "IVF32,SQ8", 0.995),
]

FLOORS = {1: 0.4, 2: 0.58, 3: 0.68, 4: 0.75, 8: 0.9, 16: 0.97, 20: 0.975, 24: 0.98, 32: 0.985}
"""By lists scanned, of 32: the agreement with exact rank 1 of every step that scans so many."""


class Measured(NamedTuple):
    case: Case
    rows: GalleryRows
    generation: Generation
    probes: npt.NDArray[np.float32]
    exact: npt.NDArray[np.int64]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case.population.name}-{case.code.name}")
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A generation and new photographs of people in it, which its build never saw."""
    case: Case = request.param
    folder: Path = tmp_path_factory.mktemp("recall")
    rows = rows_in_file(folder / "vectors", case.population.gallery(PERSONS).vectors)
    generation = built(folder / "index", rows, case.code)
    probes = case.population.probes(np.arange(PROBES)).vectors
    return Measured(case, rows, generation, probes, answers(rows, None, probes, EffortChoice()))


def answers(
    rows: GalleryRows, generation: Generation | None, probes: npt.NDArray[np.float32], effort: EffortChoice
) -> npt.NDArray[np.int64]:
    return search(rows, generation, request(probes, effort=effort)).ordinals


def agreement(found: npt.NDArray[np.int64], exact: npt.NDArray[np.int64]) -> float:
    return float(np.mean(found[:, 0] == exact[:, 0]))


def recall_at_10(found: npt.NDArray[np.int64], exact: npt.NDArray[np.int64]) -> float:
    return float(np.mean([len(set(one) & set(other)) for one, other in zip(found, exact, strict=True)])) / 10


def test_the_gallery_gets_the_code_that_suits_its_shape(measured: Measured) -> None:
    """Codes of few leading directions, more of them in the narrow cone."""
    assert measured.generation.manifest.code_name == measured.case.code_name


def test_every_effort_keeps_its_floor(measured: Measured) -> None:
    """Each step of the ladder agrees with exact search at least as often as its lists have always done."""
    for step in measured.generation.manifest.ladder:
        found = answers(measured.rows, measured.generation, measured.probes, EffortChoice(step=step.step))
        assert agreement(found, measured.exact) >= FLOORS[step.lists], step
    assert recall_at_10(found, measured.exact) >= measured.case.recall_floor


def test_the_default_effort_finds_the_right_person(measured: Measured) -> None:
    """A search that names no effort agrees with exact search in all but one or two of a thousand."""
    found = answers(measured.rows, measured.generation, measured.probes, EffortChoice())
    assert agreement(found, measured.exact) >= 0.998


def test_the_measured_ladder_holds_for_faces_it_never_saw(measured: Measured) -> None:
    """What the build measured on stored faces is within .01, and sampling, of what new photographs give."""
    for step in measured.generation.manifest.ladder:
        found = answers(measured.rows, measured.generation, measured.probes, EffortChoice(step=step.step))
        share = step.rank1_agreement
        # Half of the build's probes stand for the easy seven eighths.
        deviation = np.sqrt(share * (1 - share) * (1 / PROBES + 2 / measured.generation.manifest.probe_count))
        allowed = 0.01 + SAMPLING_DEVIATIONS * deviation
        assert agreement(found, measured.exact) == pytest.approx(share, abs=allowed), step
        assert recall_at_10(found, measured.exact) == pytest.approx(step.recall_at_10, abs=0.03), step
