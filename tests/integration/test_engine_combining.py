"""Identifications at the same time are answered together, each as it would be alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mien_server.engine import Engine
from mien_server.engine.combining import PROBES_PER_GROUP_MAX, Combiner, IdentifyCall, _joined
from mien_server.engine.types import (
    EnrollRows,
    GallerySpec,
    IdentificationAnswer,
    PackedEmbeddings,
    Probes,
    SearchChoices,
)
from mien_server.errors import Cancelled, DeadlineExceeded, EmbeddingRefused, NotFound
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy

DIMENSION = 32
PEOPLE = 40
WAIT_S_MAX = 30.0
Rows = npt.NDArray[np.float32]


def packed(rows: Rows) -> PackedEmbeddings:
    return PackedEmbeddings(rows.tobytes(), rows.shape[1], len(rows))


@pytest.fixture
def rows() -> Rows:
    """A face of each person."""
    made = np.random.default_rng(8).normal(size=(PEOPLE, DIMENSION))
    return np.ascontiguousarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
def engine(store_path: Path, rows: Rows) -> Iterator[Engine]:
    """An engine with a gallery `g` of those people."""
    with Engine.open(store_path) as opened:
        policy = DecisionPolicy(similarity=0.8)
        spec = GallerySpec("g", precomputed_name="m", precomputed_dimension=DIMENSION, decision_policy=policy)
        opened.galleries.create(spec, None)
        people = [f"p{row}" for row in range(PEOPLE)]
        opened.enrollment.enroll_rows(EnrollRows("g", packed(rows), people), Deadline())
        yield opened


class Hold:
    """Keeps a call in the middle of its search until it is let go: the test whether its caller is there waits."""

    def __init__(self) -> None:
        self.is_held = threading.Event()
        self._may_go = threading.Event()

    def deadline(self) -> Deadline:
        """The deadline of the call to be held."""

        def is_cancelled() -> bool:
            self.is_held.set()
            self._may_go.wait(WAIT_S_MAX)
            return False

        return Deadline(None, is_cancelled)

    def let_go(self) -> None:
        """Let the call go on."""
        self._may_go.set()


class Queue:
    """Calls on threads of their own, the first held until the test lets it go."""

    def __init__(self, engine: Engine, pool: ThreadPoolExecutor) -> None:
        # One search at a time, so that one held call makes others wait.
        self._combiner = Combiner(engine.recognition._context, groups_max=1)
        self._pool = pool
        self.hold = Hold()

    def begin(
        self, row: Rows, deadline: Deadline | None = None, gallery: str = "g", count: int = 5
    ) -> Future[IdentificationAnswer]:
        """Start a call with one probe on a thread of its own."""
        probes = Probes(packed(row.reshape(1, -1)))
        call = IdentifyCall(gallery, probes, count, SearchChoices(), None, deadline or Deadline())
        return self._pool.submit(self._combiner.identify, call)

    def begin_held(self, row: Rows) -> Future[IdentificationAnswer]:
        """Start the call that the others wait for."""
        held = self.begin(row, self.hold.deadline())
        assert self.hold.is_held.wait(WAIT_S_MAX)
        return held

    def wait_for(self, count: int) -> None:
        """Until so many calls wait."""
        _until(lambda: self._combiner.waiting_count == count)


@pytest.fixture
def line(engine: Engine) -> Iterator[Queue]:
    """Calls that wait behind one that is held."""
    with ThreadPoolExecutor(PROBES_PER_GROUP_MAX + PEOPLE) as pool:
        waiting = Queue(engine, pool)
        yield waiting
        waiting.hold.let_go()


def _until(is_so: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + WAIT_S_MAX
    while not is_so():
        assert time.monotonic() < ends_s
        time.sleep(0.001)


def test_each_gets_its_own_answer_as_if_alone(line: Queue, rows: Rows) -> None:
    """More calls than one group holds, each with its own probe, are answered to the bit as when nobody else calls."""
    probes = np.concatenate([rows, rows[::-1]])
    held = line.begin_held(probes[0])
    others = [line.begin(probe) for probe in probes[1:]]
    line.wait_for(len(others))
    line.hold.let_go()
    found = [held.result(WAIT_S_MAX), *(other.result(WAIT_S_MAX) for other in others)]
    alone = [line.begin(probe).result(WAIT_S_MAX) for probe in probes]
    assert found == alone
    people = [f"p{row}" for row in range(PEOPLE)]
    assert [one.embeddings[0].candidates[0].identity_id for one in found] == people + people[::-1]
    line.wait_for(0)


def test_an_error_reaches_only_whose_it_is(line: Queue, rows: Rows) -> None:
    """A probe that is no embedding fails its own call at once, and none of those that wait."""
    held = line.begin_held(rows[0])
    bad = rows[3].copy()
    bad[5] = np.nan
    others = [line.begin(probe) for probe in (rows[1], bad, rows[2])]
    with pytest.raises(EmbeddingRefused) as refused:
        others[1].result(WAIT_S_MAX)
    assert refused.value.reason == "EMBEDDING_NOT_FINITE"
    line.wait_for(2)
    line.hold.let_go()
    answered = [held, others[0], others[2]]
    names = [one.result(WAIT_S_MAX).embeddings[0].candidates[0].identity_id for one in answered]
    assert names == ["p0", "p1", "p2"]


def test_what_fails_for_a_group_is_told_to_each(engine: Engine, line: Queue, rows: Rows) -> None:
    """Where the gallery goes while calls wait, each of them is refused, and those that come later are not held up."""
    held = line.begin_held(rows[0])
    others = [line.begin(row) for row in rows[1:6]]
    line.wait_for(5)
    engine.galleries.delete("g", force=True)
    line.hold.let_go()
    held.result(WAIT_S_MAX)
    for other in others:
        with pytest.raises(NotFound):
            other.result(WAIT_S_MAX)
    with pytest.raises(NotFound):
        line.begin(rows[1]).result(WAIT_S_MAX)
    line.wait_for(0)


def test_a_group_that_nobody_waits_for_stops(rows: Rows) -> None:
    """Callers who went away while their group was searched for end it: its deadline is cancelled with all of theirs."""
    calls = [
        IdentifyCall("g", Probes(packed(row.reshape(1, -1))), 5, SearchChoices(), None, Deadline(None, lambda: True))
        for row in rows[:3]
    ]
    assert _joined(calls).deadline.is_cancelled()
    assert not _joined([*calls, replace(calls[0], deadline=Deadline())]).deadline.is_cancelled()


def test_a_deadline_ends_the_wait(line: Queue, rows: Rows) -> None:
    """Who waits is told when the time is up or the caller went away; the others are answered all the same."""
    held = line.begin_held(rows[0])
    late = line.begin(rows[1], Deadline.after(0.01))
    gone = line.begin(rows[2], Deadline(None, lambda: True))
    patient = line.begin(rows[3], Deadline.after(WAIT_S_MAX))
    with pytest.raises(DeadlineExceeded):
        late.result(WAIT_S_MAX)
    with pytest.raises(Cancelled):
        gone.result(WAIT_S_MAX)
    line.wait_for(1)
    line.hold.let_go()
    assert held.result(WAIT_S_MAX).embeddings[0].candidates[0].identity_id == "p0"
    assert patient.result(WAIT_S_MAX).embeddings[0].candidates[0].identity_id == "p3"


def test_nobody_waits_for_a_call_of_another_kind(line: Queue, rows: Rows) -> None:
    """Another gallery, or another number of candidates, is answered while a call is held."""
    held = line.begin_held(rows[0])
    assert len(line.begin(rows[1], count=2).result(WAIT_S_MAX).embeddings[0].candidates) == 2
    with pytest.raises(NotFound):
        line.begin(rows[1], gallery="h").result(WAIT_S_MAX)
    assert not held.done()
    line.hold.let_go()
    held.result(WAIT_S_MAX)
