"""100,000 random embeddings of 512 components: enrolled through a stream, searched, restarted, searched again.

numpy says what is right. Half the probes are other views of enrolled faces, half are strangers: random vectors, which
have no near neighbour at all and are the hardest case for any index. Exact search must agree with numpy on all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from mien_client import Client, Effort, Explanation, Gallery, IndexStateName, row_batches
from tests.server_processes import ServerProcess
from tests.unit_rows import Rows, nearest, unit_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GALLERY = "many"
ROW_COUNT, DIMENSION = 100_000, 512
MATED_COUNT, STRANGER_COUNT, K = 100, 100, 10
VIEW_NOISE = 0.7
"""Length of the noise added to a unit row for another view of it: a cosine of about 0.82."""
SIMILARITY_TOLERANCE = 1e-5
AGREEMENT_MIN = 0.99
TAIL_SHARE_MAX = 0.25
INDEX_TIME_MAX_S = 300.0
SETTING = f"index.flat_rows_min={ROW_COUNT - 1_000}"
"""The index is built by itself once nearly all rows are there, not once on the way and again at the end."""


@dataclass(frozen=True)
class Answers:
    """What one server answered to all probes: face ids and identity ids [n][K], similarities float32 [n, K]."""

    face_ids: list[list[str]]
    identity_ids: list[list[str]]
    similarities: Rows
    explanation: Explanation


@dataclass(frozen=True)
class Passage:
    """The answers of one server, and its gallery."""

    gallery: Gallery
    exact: Answers
    by_default: Answers


@dataclass(frozen=True)
class Searched:
    """The answers before and after a restart, and what numpy says: numbers int64 and similarities [n, K]."""

    before: Passage
    after: Passage
    numbers: np.ndarray[tuple[int, int], np.dtype[np.int64]]
    similarities: Rows


def face_id(number: int) -> str:
    return f"face-{number}"


def identity_id(number: int) -> str:
    return f"person-{number}"


def wait_for_index(client: Client) -> Gallery:
    """The gallery once the server has built its index by itself and has no further build to do."""
    end_s = time.monotonic() + INDEX_TIME_MAX_S
    while True:
        gallery = client.get_gallery(GALLERY)
        state = gallery.index_state
        if state.state is IndexStateName.READY and state.tail_rows <= TAIL_SHARE_MAX * state.indexed_rows:
            return gallery
        assert state.state is not IndexStateName.DEGRADED, state.detail
        assert time.monotonic() < end_s, f"no index after {INDEX_TIME_MAX_S:g} s: {state}"
        time.sleep(0.1)


def answers(client: Client, probes: Rows, effort: Effort | None) -> Answers:
    found = client.search_faces(GALLERY, embeddings=probes, k=K, effort=effort, explain=True, columnar=True)
    columns = found.columns
    assert columns is not None
    assert found.info.explanation is not None
    assert columns.counts.tolist() == [K] * len(probes)
    owners = [columns.identity_ids[identity] for identity in columns.identities]
    starts = range(0, len(probes) * K, K)
    return Answers(
        [list(columns.face_ids[start : start + K]) for start in starts],
        [owners[start : start + K] for start in starts],
        columns.similarities.reshape(len(probes), K),
        found.info.explanation,
    )


def passage(client: Client, probes: Rows) -> Passage:
    return Passage(wait_for_index(client), answers(client, probes, Effort(exact=True)), answers(client, probes, None))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    """The whole story, once."""
    store = tmp_path_factory.mktemp("hundred-thousand") / "store"
    rows = unit_rows(ROW_COUNT, DIMENSION, 1)
    numbers = np.random.default_rng(2).choice(ROW_COUNT, MATED_COUNT, replace=False)
    views = rows[numbers] + VIEW_NOISE * unit_rows(MATED_COUNT, DIMENSION, 3)
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    probes = np.concatenate([views, unit_rows(STRANGER_COUNT, DIMENSION, 4)]).astype(np.float32)
    with ServerProcess(store, SETTING) as server, server.client() as client:
        client.create_gallery(GALLERY, precomputed="random-512", dimension=DIMENSION)
        batches = row_batches(
            rows, [identity_id(row) for row in range(ROW_COUNT)], face_ids=[face_id(row) for row in range(ROW_COUNT)]
        )
        acks = list(client.stream_enroll(GALLERY, batches))
        assert [ack.error for ack in acks] == [None] * len(acks)
        assert sum(ack.enrolled_count for ack in acks) == ROW_COUNT
        before = passage(client, probes)
        assert server.end() == 0
    with ServerProcess(store, SETTING) as server, server.client() as client:
        after = passage(client, probes)
    return Searched(before, after, *nearest(rows, probes, K))


@pytest.fixture(params=["before", "after"])
def part(request: pytest.FixtureRequest, searched: Searched) -> Passage:
    """What was answered before the restart, and after."""
    found: Passage = getattr(searched, request.param)
    return found


def test_the_gallery_counts_every_face(part: Passage) -> None:
    """Every face and identity is counted, and the index covers them but for a tail within its share."""
    assert part.gallery.face_count == ROW_COUNT
    assert part.gallery.identity_count == ROW_COUNT
    state = part.gallery.index_state
    assert state.indexed_rows + state.tail_rows == ROW_COUNT
    assert state.tombstones == 0


def test_exact_search_answers_as_numpy_does(searched: Searched, part: Passage) -> None:
    """With `exact`, the ten nearest faces, their people and their similarities are numpy's."""
    assert part.exact.face_ids == [[face_id(number) for number in of_probe] for of_probe in searched.numbers]
    assert part.exact.identity_ids == [[identity_id(number) for number in of_probe] for of_probe in searched.numbers]
    assert np.abs(part.exact.similarities - searched.similarities).max() <= SIMILARITY_TOLERANCE
    assert part.exact.explanation.recall_estimate == 1.0


def test_the_default_effort_agrees_with_exact_search(searched: Searched, part: Passage) -> None:
    """Without an effort, the nearest face of a probe whose person is enrolled is numpy's for at least 99 of 100, as
    the answer's recall estimate says.
    """
    right = [
        of_probe[0] == face_id(wanted[0])
        for of_probe, wanted in zip(part.by_default.face_ids, searched.numbers, strict=True)
    ]
    agreement = sum(right[:MATED_COUNT]) / MATED_COUNT
    strangers = sum(right[MATED_COUNT:]) / STRANGER_COUNT
    explanation = part.by_default.explanation
    print(f"{explanation.plan}: agreement {agreement:.3f} mated, {strangers:.3f} strangers", explanation)
    assert agreement >= AGREEMENT_MIN
    assert explanation.recall_estimate >= AGREEMENT_MIN
    assert agreement >= explanation.recall_estimate - (1 - AGREEMENT_MIN)


def test_every_similarity_belongs_to_its_face_and_person(searched: Searched, part: Passage) -> None:
    """Whatever an approximate search finds, each similarity is that row's true cosine and each person its owner."""
    found = part.by_default
    true_similarity = [
        {face_id(number): similarity for number, similarity in zip(numbers, similarities, strict=True)}
        for numbers, similarities in zip(searched.numbers, searched.similarities, strict=True)
    ]
    for probe, of_probe in enumerate(found.face_ids):
        assert found.identity_ids[probe] == [identity_id(int(one.removeprefix("face-"))) for one in of_probe]
        assert (np.diff(found.similarities[probe]) <= 0).all()
        for one, similarity in zip(of_probe, found.similarities[probe], strict=True):
            if one in true_similarity[probe]:
                assert abs(similarity - true_similarity[probe][one]) <= SIMILARITY_TOLERANCE
            else:
                assert similarity <= searched.similarities[probe, -1] + SIMILARITY_TOLERANCE


def test_a_restart_changes_no_answer(searched: Searched) -> None:
    """The server serves the same generation after a restart and answers the same to every probe at every effort."""
    before, after = searched.before, searched.after
    assert after.gallery.index_state.generation == before.gallery.index_state.generation
    assert after.gallery.revision == before.gallery.revision
    for one, other in ((before.exact, after.exact), (before.by_default, after.by_default)):
        assert one.face_ids == other.face_ids
        assert one.identity_ids == other.identity_ids
        assert np.array_equal(one.similarities, other.similarities)
