"""An index beside times of expiry: it is made of all that is there, and finds nothing that has expired."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mien_server.engine import Engine, EngineOptions
from mien_server.engine.types import EnrollRows, Filter, GallerySpec, IndexStateKind, PackedEmbeddings, Probes
from mien_server.engine.types import SearchChoices as Choices
from mien_server.index import RebuildPolicy
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy
from mien_server.storage import StoreOptions
from tests.unit_rows import nearest, unit_rows

FOREVER = Deadline()
DIMENSION = 16
ROWS = unit_rows(3000, DIMENSION, 5)
PROBES = unit_rows(60, DIMENSION, 6)
NOW_US = 1_800_000_000_000_000
FOUND_SHARE_MIN = 0.95
WAIT_TIME_MAX_S = 90.0
# Every third face expires, and of every tenth person everybody.
IS_DATED = np.arange(len(ROWS)) % 3 == 0
PEOPLE = [f"person-{number % 100}" for number in range(len(ROWS))]
LEFT = np.array([not dated and number % 10 != 0 for number, dated in enumerate(IS_DATED.tolist())])


class FakeClock:
    def __init__(self) -> None:
        self.now_us = NOW_US

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def engine(store_path: Path, clock: FakeClock) -> Iterator[Engine]:
    """An engine with a gallery `g` that is large enough for an index, which is made when it is asked for."""
    options = EngineOptions(
        store=StoreOptions(clock_us=clock),
        sweep_interval_s=3600.0,
        rebuild=RebuildPolicy(flat_bytes_max=1, flat_rows_min=300, tail_rows_max=50),
        build_thread_count=1,
        rebuilds_automatically=False,
    )
    with Engine.open(store_path, options) as opened:
        spec = GallerySpec("g", precomputed_name="m", precomputed_dimension=DIMENSION)
        opened.galleries.create(spec, None)
        rows = EnrollRows(
            "g",
            packed(ROWS),
            PEOPLE,
            face_ids=[f"f{number}" for number in range(len(ROWS))],
            expire_times_us=np.where(IS_DATED, NOW_US + 1_000_000, 0).tolist(),
        )
        opened.enrollment.enroll_rows(rows, FOREVER)
        for number in range(0, 100, 10):
            opened.identities.update("g", f"person-{number}", expire_time_us=NOW_US + 1_000_000)
        yield opened


def packed(rows: np.ndarray) -> PackedEmbeddings:
    return PackedEmbeddings(rows.tobytes(), DIMENSION, len(rows))


def build(engine: Engine) -> None:
    operation = engine.operations.rebuild_index("g")
    engine.operations.wait(operation.name, WAIT_TIME_MAX_S, FOREVER)
    end_s = time.monotonic() + WAIT_TIME_MAX_S
    while engine.galleries.get("g")[0].index_state.kind is not IndexStateKind.READY:
        assert time.monotonic() < end_s
        time.sleep(0.02)


def check_searches(engine: Engine, is_left: np.ndarray) -> None:
    """Whatever the effort and the filter, only what is left is found; exact search finds the nearest of it."""
    left = np.flatnonzero(is_left)
    expected = left[nearest(ROWS[left], PROBES, 5)[0]]
    for choices in (Choices(explain=True), Choices(exact=True, explain=True)):
        answer = engine.recognition.search("g", Probes(packed(PROBES)), k=5, choices=choices, deadline=FOREVER)
        found = np.array([int(one.removeprefix("f")) for one in answer.face_ids]).reshape(len(PROBES), 5)
        assert is_left[found].all()
        assert answer.explanation is not None
        assert answer.explanation.matching_faces == len(left)
        is_found = found[:, 0] == expected[:, 0]
        assert is_found.all() if choices.exact else is_found.mean() >= FOUND_SHARE_MIN
    few = Choices(filter=Filter(identity_ids=("person-10", "person-11")), explain=True)
    answer = engine.recognition.search("g", Probes(packed(PROBES[:1])), k=100, choices=few, deadline=FOREVER)
    wanted = {f"f{number}" for number in left.tolist() if PEOPLE[number] in {"person-10", "person-11"}}
    assert set(answer.face_ids) == wanted
    people = engine.recognition.identify(
        "g", Probes(packed(ROWS[::50])), choices=Choices(), policy=DecisionPolicy(similarity=0.99), deadline=FOREVER
    )
    for number, one in zip(range(0, len(ROWS), 50), people.embeddings, strict=True):
        assert one.is_match or not is_left[number]
        assert {candidate.identity_id for candidate in one.candidates} <= {PEOPLE[row] for row in left.tolist()}
        if one.is_match:
            assert is_left[int(one.candidates[0].face_id.removeprefix("f"))]


def test_an_index_finds_nothing_that_has_expired(engine: Engine, clock: FakeClock) -> None:
    """A generation made before the time answers, after it and before the sweep, as if the rows were deleted."""
    build(engine)
    check_searches(engine, np.ones(len(ROWS), np.bool_))
    clock.now_us += 1_000_000
    check_searches(engine, LEFT)
    assert engine.sweeper.sweep().face_count == np.count_nonzero(~LEFT)
    check_searches(engine, LEFT)


def test_an_index_is_made_of_what_is_not_swept(engine: Engine, clock: FakeClock) -> None:
    """One made between the time and the sweep holds the expired rows too: what is kept must not depend on a clock."""
    clock.now_us += 1_000_000
    build(engine)
    generation = next(iter(engine._context.indexes.generations.values()))
    assert generation.manifest.live_rows == len(ROWS)
    check_searches(engine, LEFT)
