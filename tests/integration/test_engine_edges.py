"""The engine where things change under a caller, are empty, or are said twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mien_server.engine import Engine, searching, verification
from mien_server.engine.types import (
    EnrollRows,
    GallerySpec,
    IdentificationAnswer,
    PackedEmbeddings,
    Probes,
    RequestToken,
    SearchChoices,
    ThresholdOrigin,
    VerifySide,
)
from mien_server.errors import NotFound, PreconditionFailed
from mien_server.records.deadline import Deadline
from mien_server.records.policies import DecisionPolicy, DistanceMetric, IdentityScoring

DIMENSION = 32
NEVER = Deadline()
Rows = npt.NDArray[np.float32]
TEMPLATE = DecisionPolicy(similarity=0.8, scoring=IdentityScoring.TEMPLATE_MEAN)


def unit(rows: npt.NDArray[np.floating]) -> Rows:
    """Rows of unit norm, float32."""
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def packed(rows: Rows) -> PackedEmbeddings:
    return PackedEmbeddings(rows.tobytes(), rows.shape[1], len(rows))


def create(engine: Engine, policy: DecisionPolicy, model: str = "m", request: RequestToken | None = None) -> int:
    """Make gallery `g`; answers with its version."""
    spec = GallerySpec("g", precomputed_name=model, precomputed_dimension=DIMENSION, decision_policy=policy)
    return engine.galleries.create(spec, request)[0].version


def identify(engine: Engine, rows: Rows, policy: DecisionPolicy | None = None) -> IdentificationAnswer:
    return engine.recognition.identify(
        "g", Probes(packed(rows)), choices=SearchChoices(), policy=policy, deadline=NEVER
    )


@pytest.fixture
def engine(store_path: Path) -> Iterator[Engine]:
    with Engine.open(store_path) as opened:
        yield opened


@pytest.mark.parametrize("scoring", list(IdentityScoring))
def test_everyone_is_unknown_in_an_empty_gallery(engine: Engine, scoring: IdentityScoring) -> None:
    """Before the first enrolment a probe is UNKNOWN and has no candidates."""
    create(engine, DecisionPolicy(similarity=0.8, scoring=scoring))
    found = identify(engine, unit(np.ones((2, DIMENSION))))
    assert [(one.is_match, one.candidates) for one in found.embeddings] == [(False, ()), (False, ())]


def test_many_near_faces_do_not_hide_a_better_template(engine: Engine) -> None:
    """With templates everybody near is scored: sixty alike faces of one person leave room for the right one."""
    create(engine, TEMPLATE)
    random = np.random.default_rng(3)
    probe = unit(random.normal(size=(1, DIMENSION)))
    aside = unit(random.normal(size=(1, DIMENSION)))
    wrong = unit(probe + 0.6 * aside + 0.001 * random.normal(size=(60, DIMENSION)))
    right = unit(probe + 1.2 / np.sqrt(DIMENSION) * random.normal(size=(20, DIMENSION)))
    rows = np.concatenate([wrong, right])
    engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), ["wrong"] * 60 + ["right"] * 20), NEVER)
    means = unit(np.stack([wrong.mean(axis=0), right.mean(axis=0)])) @ probe[0]
    nearest = np.sort(right @ probe[0])[-1]
    assert nearest < (wrong @ probe[0]).min()
    assert means[1] > means[0]
    found = identify(engine, probe).embeddings[0]
    assert [one.identity_id for one in found.candidates] == ["right", "wrong"]
    np.testing.assert_allclose([one.similarity for one in found.candidates], means[::-1], atol=1e-6)


def test_a_request_policy_replaces_the_gallerys_as_a_whole(engine: Engine) -> None:
    """A threshold made for templates is not applied to best faces because a request named a metric."""
    create(engine, TEMPLATE)
    rows = unit(np.eye(2, DIMENSION))
    engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), ["a", "b"]), NEVER)
    assert identify(engine, rows).threshold.origin is ThresholdOrigin.GALLERY_POLICY
    with pytest.raises(PreconditionFailed) as refused:
        identify(engine, rows, DecisionPolicy(metric=DistanceMetric.SQUARED_L2))
    assert refused.value.reason == "NO_THRESHOLD"


def test_verification_does_not_compare_across_models(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gallery made anew with another model while a verification is under way fails it."""
    create(engine, DecisionPolicy(similarity=0.8))
    rows = unit(np.eye(2, DIMENSION))
    engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), ["a", "b"]), NEVER)
    asked = verification._model  # the moment between the two looks cannot be had otherwise

    def made_anew(*arguments: object, **more: object) -> object:
        model = asked(*arguments, **more)  # type: ignore[arg-type]
        engine.galleries.delete("g", force=True)
        create(engine, DecisionPolicy(similarity=0.8), model="other")
        engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), ["a", "b"]), NEVER)
        return model

    monkeypatch.setattr(verification, "_model", made_anew)
    probe, person = VerifySide(embedding=packed(rows[:1])), VerifySide(identity_id="a")
    with pytest.raises(PreconditionFailed) as refused:
        engine.recognition.verify(probe, person, gallery="g", deadline=NEVER)
    assert refused.value.reason == "MODEL_CHANGED"


def test_an_identity_without_faces_cannot_be_verified(engine: Engine) -> None:
    """The message says that the identity is there and has no faces."""
    create(engine, DecisionPolicy(similarity=0.8))
    engine.identities.update("g", "a", display_name="A", allow_missing=True)
    probe = VerifySide(embedding=packed(unit(np.ones((1, DIMENSION)))))
    with pytest.raises(NotFound, match="no faces"):
        engine.recognition.verify(probe, VerifySide(identity_id="a"), gallery="g", deadline=NEVER)


def test_a_repeated_creation_is_answered_with_the_first_gallery(engine: Engine) -> None:
    """The same request id names the gallery it made, even when another one has its name by now."""
    token = RequestToken("r", b"x")
    version = create(engine, DecisionPolicy(similarity=0.8), request=token)
    engine.galleries.delete("g", force=True)
    create(engine, DecisionPolicy(similarity=0.8), model="other")
    spec = GallerySpec("g", precomputed_name="m", precomputed_dimension=DIMENSION)
    again, revision = engine.galleries.create(spec, token)
    assert (again.model_fingerprint, again.version, again.face_count) == ("precomputed:m", version, 0)
    assert revision < engine.revision


def test_probes_beyond_one_block_get_their_own_answers(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many probes are compared between two looks at the deadline, each is answered with its own person."""
    create(engine, DecisionPolicy(similarity=0.8))
    rows = unit(np.random.default_rng(5).normal(size=(50, DIMENSION)))
    people = [f"p{row}" for row in range(50)]
    engine.enrollment.enroll_rows(EnrollRows("g", packed(rows), people), NEVER)
    monkeypatch.setattr(searching, "EXACT_COMPARISONS_PER_BLOCK", 7 * rows.size)
    found = identify(engine, rows).embeddings
    assert [one.candidates[0].identity_id for one in found] == people
    neighbours = engine.recognition.search("g", Probes(packed(rows)), k=1, choices=SearchChoices(), deadline=NEVER)
    assert [neighbours.identity_ids[index] for index in neighbours.identity_indexes] == people
