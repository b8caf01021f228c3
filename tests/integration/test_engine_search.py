"""The engine over a real store: what was written is found, exactly, by the right person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mien_server.engine import Engine
from mien_server.engine.types import (
    Condition,
    ConditionSubject,
    EnrollBatch,
    EnrollItem,
    EnrollRows,
    Filter,
    GallerySpec,
    Identification,
    NeighborsAnswer,
    PackedEmbeddings,
    Probes,
    RequestToken,
    SearchChoices,
    VerifySide,
)
from mien_server.errors import Conflict, InvalidArgument, NotFound, PreconditionFailed
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy, DistanceMetric, IdentityScoring

DIMENSION = 32
NEVER = Deadline()
Rows = npt.NDArray[np.float32]


def unit_rows(count: int, seed: int = 1) -> Rows:
    """Random unit vectors, float32 [count, DIMENSION]."""
    rows = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def packed(rows: Rows) -> PackedEmbeddings:
    return PackedEmbeddings(rows.tobytes(), DIMENSION, len(rows))


def enroll(engine: Engine, rows: Rows, identity_ids: list[str], **more: object) -> list[str]:
    """Enrol rows and give their face ids."""
    outcome = engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), identity_ids, **more), NEVER)  # type: ignore[arg-type]
    assert not outcome.errors
    return list(outcome.face_ids)


def search(engine: Engine, rows: Rows, k: int = 5, **choices: object) -> NeighborsAnswer:
    return engine.recognition.search(
        "g",
        Probes(packed(rows)),
        k=k,
        choices=SearchChoices(**choices),  # type: ignore[arg-type]
        deadline=NEVER,
    )


def identify(
    engine: Engine, rows: Rows, count: int = 5, policy: DecisionPolicy | None = None, **choices: object
) -> tuple[Identification, ...]:
    return engine.recognition.identify(
        "g",
        Probes(packed(rows)),
        candidate_count=count,
        choices=SearchChoices(**choices),  # type: ignore[arg-type]
        policy=policy,
        deadline=NEVER,
    ).embeddings


def names(answer: NeighborsAnswer) -> list[str]:
    return [answer.identity_ids[index] for index in answer.identity_indexes]


@pytest.fixture
def engine(store_path: Path) -> Iterator[Engine]:
    """An engine with an empty gallery `g` of 32-d precomputed embeddings and a threshold of 0.8."""
    with Engine.open(store_path) as opened:
        policy = DecisionPolicy(similarity=0.8)
        spec = GallerySpec("g", precomputed_name="m", precomputed_dimension=DIMENSION, decision_policy=policy)
        opened.galleries.create(spec, None)
        yield opened


def test_search_is_numpy(engine: Engine) -> None:
    """Faces, order and similarities are those of a plain matrix product."""
    rows, probes = unit_rows(500), unit_rows(20, seed=2)
    face_ids = enroll(engine, rows, [f"p{row}" for row in range(500)])
    answer = search(engine, probes, k=7)
    products = probes @ rows.T
    order = np.argsort(-products, axis=1)[:, :7]
    assert answer.counts.tolist() == [7] * 20
    assert list(answer.face_ids) == [face_ids[row] for row in order.ravel()]
    np.testing.assert_allclose(answer.similarities, np.take_along_axis(products, order, axis=1).ravel(), atol=1e-6)


def test_deleted_identity_is_gone_from_the_next_search(engine: Engine) -> None:
    """After the answer to a deletion nobody is found by the faces that went."""
    rows = unit_rows(30)
    enroll(engine, rows, [f"p{row // 3}" for row in range(30)])
    removed = engine.identities.delete("g", "p4")
    assert removed.face_count == 3
    assert "p4" not in names(search(engine, rows, k=30))
    info, revision = engine.galleries.get("g")
    assert (info.identity_count, info.face_count) == (9, 27)
    assert revision >= removed.revision
    with pytest.raises(NotFound, match="p4"):
        engine.identities.get("g", "p4")


def test_moved_face_names_its_new_identity(engine: Engine) -> None:
    """A face that was moved is found under the identity it was moved to, and an emptied one can go with it."""
    rows = unit_rows(3)
    face_ids = enroll(engine, rows, ["a", "b", "b"])
    moved = engine.faces.move("g", [face_ids[0]], "c", delete_emptied_identities=True)
    assert (moved.face_count, moved.emptied_identity_ids) == (1, ("a",))
    assert names(search(engine, rows[:1], k=1)) == ["c"]
    assert [one.id for one in engine.identities.list("g", Filter(), "", 10).identities] == ["b", "c"]


def test_identify_answers_each_identity_once(engine: Engine) -> None:
    """Candidates are identities: one with many near faces takes one place, and the others follow."""
    person = unit_rows(1)
    crowd = person + 0.05 * unit_rows(200, seed=3)
    crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
    others = unit_rows(40, seed=4)
    enroll(engine, np.concatenate([crowd, others]), ["crowd"] * 200 + [f"p{row}" for row in range(40)])
    found = identify(engine, person, count=20)[0]
    ids = [candidate.identity_id for candidate in found.candidates]
    expected = [f"p{row}" for row in np.argsort(-(others @ person[0]))[:19]]
    assert ids == ["crowd", *expected]
    assert found.is_match


def test_stranger_is_unknown_and_the_nearest_are_still_shown(engine: Engine) -> None:
    """Below the threshold the decision is UNKNOWN, with candidates to look at."""
    enroll(engine, unit_rows(50), [f"p{row}" for row in range(50)])
    found = identify(engine, unit_rows(1, seed=9))[0]
    assert not found.is_match
    assert len(found.candidates) == 5
    assert found.candidates[0].similarity < 0.8


def test_template_scoring_is_the_normalised_mean(engine: Engine) -> None:
    """With TEMPLATE_MEAN an identity's similarity is that of its mean face, and distances follow it."""
    rows = unit_rows(12)
    enroll(engine, rows, [f"p{row // 4}" for row in range(12)])
    policy = DecisionPolicy(similarity=0.1, scoring=IdentityScoring.TEMPLATE_MEAN, metric=DistanceMetric.EUCLIDEAN)
    found = identify(engine, rows[:1], count=3, policy=policy)[0]
    means = rows.reshape(3, 4, DIMENSION).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    expected = np.sort(means @ rows[0])[::-1]
    np.testing.assert_allclose([one.similarity for one in found.candidates], expected, atol=1e-6)
    np.testing.assert_allclose([one.distance for one in found.candidates], np.sqrt(2 - 2 * expected), atol=1e-5)


def test_filters_are_exact(engine: Engine) -> None:
    """A filtered search is an unfiltered one over the rows that the filter allows, and never misses any of them."""
    rows = unit_rows(60)
    for row in range(60):
        labels = {"site": "north" if row % 3 else "south", "age": str(row)}
        item = EnrollItem(f"p{row}", identity_labels=labels, embedding=packed(rows[row : row + 1]))
        engine.enrollment.enroll(EnrollBatch("g", [item]), NEVER)

    def rows_found(row_filter: Filter) -> set[int]:
        return {int(name[1:]) for name in names(search(engine, rows[:1], k=60, filter=row_filter))}

    south = Filter(identity_labels={"site": "south"})
    ages = Condition(ConditionSubject.IDENTITY_LABEL, "age", number_range=(10.0, 19.0))
    unlabelled = Condition(ConditionSubject.IDENTITY_LABEL, "nothing", exists=False)
    assert rows_found(south) == set(range(0, 60, 3))
    assert rows_found(Filter(conditions=(ages,))) == set(range(10, 20))
    assert rows_found(Filter(conditions=(ages,), identity_labels={"site": "south"})) == {12, 15, 18}
    assert rows_found(Filter(identity_ids=("p3", "p4", "nobody"))) == {3, 4}
    assert rows_found(Filter(excluded_identity_ids=("p0", "p59"))) == set(range(1, 59))
    assert rows_found(Filter(conditions=(unlabelled,))) == set(range(60))
    listed = engine.identities.list("g", south, "", 7)
    assert [one.id for one in listed.identities] == sorted(f"p{row}" for row in range(0, 60, 3))[:7]
    assert listed.next_after == listed.identities[-1].id


def test_same_request_is_answered_with_the_first_outcome(engine: Engine) -> None:
    """A request id writes once; with another body it is refused."""
    rows = unit_rows(4)
    token = RequestToken("once", b"body")
    first = engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), list("abcd"), request=token), NEVER)
    again = engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), list("abcd"), request=token), NEVER)
    assert (list(again.face_ids), again.revision) == (list(first.face_ids), first.revision)
    assert engine.galleries.get("g")[0].face_count == 4
    other = RequestToken("once", b"another body")
    with pytest.raises(Conflict) as refused:
        engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), list("abcd"), request=other), NEVER)
    assert refused.value.reason == "REQUEST_ID_REUSED"


def test_same_batch_of_items_is_answered_with_the_first_outcome(engine: Engine) -> None:
    """Outcomes of items, refused ones included, are given again for the same request id."""
    good, zero = unit_rows(1), np.zeros((1, DIMENSION), np.float32)
    items = [EnrollItem("a", embedding=packed(good)), EnrollItem("b", embedding=packed(zero))]
    batch = EnrollBatch("g", items, request=RequestToken("r", b"x"))
    first, again = engine.enrollment.enroll(batch, NEVER), engine.enrollment.enroll(batch, NEVER)
    assert first.revision == again.revision
    for one in (first, again):
        assert one.outcomes[0].error is None
        assert one.outcomes[0].faces[0].id == first.outcomes[0].faces[0].id
        assert one.outcomes[0].identity_created
        assert one.outcomes[1].error is not None
        assert one.outcomes[1].error.reason == "EMBEDDING_ZERO"


def test_identical_vector_is_a_duplicate(engine: Engine) -> None:
    """Running an import again adds nothing and answers with the faces that are there."""
    rows = unit_rows(6)
    first = enroll(engine, rows, list("aabbcc"))
    outcome = engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), list("aabbcc")), NEVER)
    assert (outcome.enrolled_count, outcome.duplicate_count) == (0, 6)
    assert list(outcome.face_ids) == first
    assert engine.galleries.get("g")[0].face_count == 6


def test_bad_rows_do_not_fail_the_others(engine: Engine) -> None:
    """Rows with a bad vector or id are named; the rest is enrolled."""
    rows = unit_rows(4)
    rows[1] = np.nan
    outcome = engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), ["a", "b", "bad\nid", "d"]), NEVER)
    assert {row: error.reason for row, error in outcome.errors.items()} == {
        1: "EMBEDDING_NOT_FINITE",
        2: "IDENTITY_ID_INVALID",
    }
    assert [bool(face_id) for face_id in outcome.face_ids] == [True, False, False, True]
    assert engine.galleries.get("g")[0].face_count == 2


def test_a_batch_of_bad_rows_alone_is_answered_row_by_row(engine: Engine) -> None:
    """A batch in which every row is refused writes nothing and names each row."""
    rows = unit_rows(3) * np.float32(2)
    outcome = engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), ["a", "b", "c"]), NEVER)
    assert {row: error.reason for row, error in outcome.errors.items()} == dict.fromkeys(
        range(3), "EMBEDDING_NOT_UNIT_NORM"
    )
    assert (outcome.enrolled_count, list(outcome.face_ids)) == (0, ["", "", ""])


def test_min_revision_is_honoured(engine: Engine) -> None:
    """A read may ask for what was written; a revision that does not exist yet is refused, not waited for."""
    rows = unit_rows(2)
    written = engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), ["a", "b"]), NEVER)
    assert search(engine, rows, min_revision=written.revision).revision >= written.revision
    with pytest.raises(PreconditionFailed) as refused:
        search(engine, rows, min_revision=written.revision + 1000)
    assert refused.value.reason == "REVISION_NOT_REACHED"


def test_verify_compares_every_kind_of_side(engine: Engine) -> None:
    """Embeddings, enrolled faces and enrolled identities can be compared; the decision follows the threshold."""
    rows = unit_rows(3)
    face_ids = enroll(engine, rows, ["a", "a", "b"])

    def verified(left: VerifySide, right: VerifySide) -> tuple[bool, float]:
        answer = engine.recognition.verify(left, right, gallery="g", deadline=NEVER)
        return answer.is_same, answer.similarity

    probe = VerifySide(embedding=packed(rows[:1]))
    assert verified(probe, VerifySide(face_id=face_ids[0])) == (True, pytest.approx(1.0, abs=1e-6))
    assert verified(probe, VerifySide(identity_id="a")) == (True, pytest.approx(1.0, abs=1e-6))
    expected = float(rows[0] @ rows[2])
    assert verified(probe, VerifySide(identity_id="b")) == (False, pytest.approx(expected, abs=1e-6))
    with pytest.raises(InvalidArgument):
        verified(VerifySide(), probe)


def test_reopened_engine_answers_the_same(store_path: Path) -> None:
    """What was written is there after a restart, with the same answers."""
    rows = unit_rows(300)
    spec = GallerySpec("g", precomputed_name="m", precomputed_dimension=DIMENSION)
    with Engine.open(store_path) as engine:
        engine.galleries.create(spec, None)
        enroll(engine, rows, [f"p{row}" for row in range(300)])
        before = search(engine, rows[:10], k=9)
    with Engine.open(store_path) as engine:
        after = search(engine, rows[:10], k=9)
        assert list(after.face_ids) == list(before.face_ids)
        np.testing.assert_array_equal(after.similarities, before.similarities)
        assert after.revision == before.revision
        with pytest.raises(PreconditionFailed) as refused:
            identify(engine, rows[:1])
        assert refused.value.reason == "NO_THRESHOLD"
