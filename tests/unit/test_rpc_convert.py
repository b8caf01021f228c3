"""Values of the contract to values of the engine and back."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from mien.v1 import gallery_service_pb2, recognition_service_pb2, types_pb2
from mien_server.engine.types import (
    Condition,
    ConditionSubject,
    EnrolledFaces,
    EnrollOutcome,
    Explanation,
    FaceInfo,
    GalleryInfo,
    IndexState,
    IndexStateKind,
    NeighborsAnswer,
    OperationKind,
    OperationState,
    Threshold,
    ThresholdOrigin,
    VerificationAnswer,
)
from mien_server.errors import InvalidArgument
from mien_server.records import faces, policies
from mien_server.records.faces import Box, FaceAnalysis, ImageAnalysis, ImageStatus, Quality, QualityReason
from mien_server.records.policies import DecisionPolicy, EnrollmentPolicy, IndexPolicy, VectorType
from mien_server.rpc.convert.enrollment import items_response, outcome_messages
from mien_server.rpc.convert.faces import image_faces_message
from mien_server.rpc.convert.filters import row_filter, search_choices
from mien_server.rpc.convert.galleries import gallery_message, gallery_spec
from mien_server.rpc.convert.policies import (
    decision_policy,
    decision_policy_message,
    enrollment_policy,
    enrollment_policy_message,
    index_policy,
    index_policy_message,
)
from mien_server.rpc.convert.recognition import columns_response, neighbors_response, verify_response
from mien_server.rpc.convert.values import duration_seconds, embedding_message, microseconds, timestamp

SAME_ENUMS = [
    (policies.IdentityScoring, types_pb2.IdentityScoring),
    (policies.DistanceMetric, types_pb2.DistanceMetric),
    (policies.MultipleFaces, gallery_service_pb2.MultipleFaces),
    (policies.Duplicates, gallery_service_pb2.Duplicates),
    (policies.QualityGate, gallery_service_pb2.QualityGate),
    (policies.IndexCode, gallery_service_pb2.IndexCode),
    (policies.VectorType, gallery_service_pb2.VectorType),
    (faces.ImageStatus, types_pb2.ImageStatus),
    (faces.QualityReason, types_pb2.QualityReason),
    (ConditionSubject, types_pb2.Condition.Subject),
    (ThresholdOrigin, types_pb2.Threshold.Origin),
    (IndexStateKind, gallery_service_pb2.IndexState.State),
]


@pytest.mark.parametrize(("ours", "theirs"), SAME_ENUMS, ids=lambda kind: getattr(kind, "__name__", ""))
def test_enums_are_those_of_the_contract(ours: type[enum.IntEnum], theirs: object) -> None:
    """An enum of the engine has the names and numbers of the contract's, zero aside."""
    stated = {number: name for name, number in theirs.items() if number}  # type: ignore[attr-defined]
    held = {member.value: member.name for member in ours if member.value}
    assert held.keys() == stated.keys()
    assert all(stated[number].endswith(name) for number, name in held.items())


def test_operations_are_of_the_contract() -> None:
    """Kinds and states of operations have the contract's numbers, which knows more kinds."""
    from mien.v1 import operations_service_pb2

    for member in OperationKind:
        assert operations_service_pb2.OperationKind.Name(member.value) == f"OPERATION_KIND_{member.name}"
    for state in OperationState:
        assert operations_service_pb2.OperationState.Name(state.value) == f"OPERATION_STATE_{state.name}"


rates = st.floats(min_value=2**-10, max_value=1 - 2**-10, width=32)


@given(
    st.builds(
        DecisionPolicy,
        scoring=st.sampled_from(policies.IdentityScoring),
        metric=st.sampled_from(policies.DistanceMetric),
    ),
    st.sampled_from(["none", "similarity", "target_fpir", "target_fmr"]),
    rates,
)
def test_decision_policies_come_back(policy: DecisionPolicy, threshold: str, value: float) -> None:
    """A decision policy is read back as it was written, its threshold and the kind of it too."""
    if threshold != "none":
        policy = dataclasses.replace(policy, **{threshold: value})
    assert decision_policy(decision_policy_message(policy), "policy") == policy


@given(
    st.builds(
        EnrollmentPolicy,
        multiple_faces=st.sampled_from(policies.MultipleFaces),
        duplicates=st.sampled_from(policies.Duplicates),
        quality_gate=st.sampled_from(policies.QualityGate),
        minimum_quality=rates,
    )
)
def test_enrollment_policies_come_back(policy: EnrollmentPolicy) -> None:
    """An enrolment policy is read back as it was written."""
    assert enrollment_policy(enrollment_policy_message(policy), "policy") == policy


@given(
    st.builds(
        IndexPolicy,
        default_recall_target=rates,
        code=st.sampled_from(policies.IndexCode),
        manual_rebuild=st.booleans(),
    )
)
def test_index_policies_come_back(policy: IndexPolicy) -> None:
    """An index policy is read back as it was written."""
    assert index_policy(index_policy_message(policy), "policy") == policy


def test_policies_that_say_nothing_are_the_defaults() -> None:
    """An empty message means the documented defaults."""
    assert decision_policy(types_pb2.DecisionPolicy(), "policy") == DecisionPolicy()
    assert enrollment_policy(gallery_service_pb2.EnrollmentPolicy(), "policy") == EnrollmentPolicy()
    assert index_policy(gallery_service_pb2.IndexPolicy(), "policy") == IndexPolicy()


def test_a_threshold_of_zero_is_a_threshold() -> None:
    """Similarity 0 is a choice, not the absence of one."""
    assert decision_policy(types_pb2.DecisionPolicy(similarity=0.0), "policy").similarity == 0.0


@given(st.integers(min_value=-62_135_596_800_000_000, max_value=253_402_300_799_999_999).filter(bool))
def test_times_come_back(time_us: int) -> None:
    """A time in microseconds is read back as it was written, before 1970 too."""
    message = timestamp(time_us)
    assert message is not None
    assert microseconds(message, "time") == time_us


@pytest.mark.parametrize("time", [Timestamp(seconds=10**15), Timestamp(nanos=-1), Timestamp(seconds=-(10**12))])
def test_times_that_are_none_are_refused(time: Timestamp) -> None:
    """A Timestamp outside its own definition is refused."""
    with pytest.raises(InvalidArgument) as caught:
        microseconds(time, "time")
    assert caught.value.reason == "TIME_INVALID"


@pytest.mark.parametrize("duration", [Duration(seconds=-1), Duration(nanos=-5), Duration(seconds=10**14)])
def test_durations_that_are_none_are_refused(duration: Duration) -> None:
    """A time to wait is not negative and not without end."""
    with pytest.raises(InvalidArgument) as caught:
        duration_seconds(duration, "timeout")
    assert caught.value.reason == "TIME_INVALID"


def test_every_test_of_a_condition_is_translated() -> None:
    """Each kind of condition reaches the engine, open bounds as None."""
    label = types_pb2.Condition.SUBJECT_IDENTITY_LABEL
    created = types_pb2.Condition.SUBJECT_FACE_CREATE_TIME
    until = types_pb2.TimeRange(to=Timestamp(seconds=2, nanos=5_000))
    message = types_pb2.Filter(
        identity_labels={"site": "north"},
        identity_ids=["a"],
        excluded_identity_ids=["b"],
        conditions=[
            types_pb2.Condition(subject=label, key="x", one_of=types_pb2.StringSet(values=["1", "2"])),
            types_pb2.Condition(subject=label, key="x", number_range=types_pb2.NumberRange(minimum=0.0)),
            types_pb2.Condition(subject=created, time_range=until),
            types_pb2.Condition(subject=label, key="x", exists=False),
        ],
    )
    found = row_filter(message, "filter")
    assert found.identity_labels == {"site": "north"}
    assert (found.identity_ids, found.excluded_identity_ids) == (("a",), ("b",))
    identity = ConditionSubject.IDENTITY_LABEL
    assert found.conditions == (
        Condition(identity, "x", one_of=("1", "2")),
        Condition(identity, "x", number_range=(0.0, None)),
        Condition(ConditionSubject.FACE_CREATE_TIME, time_range_us=(None, 2_000_005)),
        Condition(identity, "x", exists=False),
    )


def test_a_similarity_of_zero_is_a_bound() -> None:
    """min_similarity has presence: 0 is a bound, unset is none."""
    options = recognition_service_pb2.SearchOptions
    assert search_choices(options(min_similarity=0.0)).min_similarity == 0.0
    assert search_choices(options()).min_similarity is None


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        (types_pb2.Effort(), (None, None, False)),
        (types_pb2.Effort(recall_target=0.5), (0.5, None, False)),
        (types_pb2.Effort(step=3), (None, 3, False)),
        (types_pb2.Effort(exact=True), (None, None, True)),
    ],
)
def test_efforts_are_translated(effort: types_pb2.Effort, expected: tuple[float | None, int | None, bool]) -> None:
    """The effort chosen, and only that, reaches the engine."""
    choices = search_choices(recognition_service_pb2.SearchOptions(effort=effort))
    assert (choices.recall_target, choices.step, choices.exact) == expected


def test_galleries_come_back() -> None:
    """What an answer says of a gallery can be sent to make another one like it."""
    gallery = GalleryInfo(
        name="staff",
        display_name="The staff",
        labels={"site": "north"},
        recipe="",
        precomputed_name="my-model",
        dimension=8,
        model_fingerprint="precomputed:my-model",
        decision_policy=DecisionPolicy(similarity=0.5),
        enrollment_policy=EnrollmentPolicy(),
        index_policy=IndexPolicy(),
        vector_type=VectorType.FLOAT16,
        identity_count=3,
        face_count=4,
        index_state=IndexState(IndexStateKind.FLAT),
        create_time_us=1,
        update_time_us=2,
        version=7,
    )
    message = gallery_message(gallery)
    spec = gallery_spec(message)
    assert (message.etag, message.model.fingerprint) == ("v7", "precomputed:my-model")
    for name in ("name", "display_name", "labels", "recipe", "precomputed_name", "decision_policy", "vector_type"):
        assert getattr(spec, name) == getattr(gallery, name)
    assert spec.precomputed_dimension == 8


def _answer(embedding_count: int, images: tuple[tuple[ImageAnalysis, str], ...] = ()) -> NeighborsAnswer:
    return NeighborsAnswer(
        counts=np.array([2, 0, 1]),
        similarities=np.array([0.9, 0.5, 0.25], np.float32),
        face_ids=["f1", "f2", "f3"],
        identity_indexes=np.array([1, 0, 1]),
        identity_ids=["anna", "bert"],
        images=images,
        embedding_count=embedding_count,
        revision=9,
        model_fingerprint="m",
        explanation=Explanation("flat", 0, 0, 10, 10, 1.0, "", 10, 0, ()),
    )


def test_columns_and_messages_say_the_same() -> None:
    """A search answered in columns and one answered in messages name the same faces, people and similarities."""
    messages, response = neighbors_response(_answer(3)), columns_response(_answer(3))
    columns = response.columns
    rows = [(row.face_id, row.identity_id, row.similarity) for probe in messages.embeddings for row in probe.neighbors]
    names = [columns.identity_ids[index] for index in columns.identities]
    assert rows == list(zip(columns.face_ids, names, columns.similarities, strict=True))
    assert [len(probe.neighbors) for probe in messages.embeddings] == list(columns.counts) == [2, 0, 1]
    assert messages.info == response.info
    assert messages.info.revision == 9


def _analysis(status: ImageStatus, face_count: int) -> ImageAnalysis:
    quality = Quality(0.4, (QualityReason.BLURRED,), 80.0, 1.0, 0.5, 0.2, 0.1, 3.0)
    face = FaceAnalysis(
        box=Box(1, 2, 3, 4),
        landmarks_five=np.arange(10, dtype=np.float32).reshape(5, 2),
        landmarks_sixty_eight=None,
        detector_score=0.5,
        quality=quality,
        rotation_degrees=90,
        embedding=np.eye(1, 4, dtype=np.float32)[0],
        aligned_png=None,
    )
    message = "" if status is ImageStatus.OK else "what is wrong"
    return ImageAnalysis(status, message, 100, 50, b"\1" * 32, (face,) * face_count)


def test_neighbours_of_photographs_follow_those_of_embeddings() -> None:
    """Probes of photographs' faces are given to their photograph, in order, also behind one without a face."""
    images = ((_analysis(ImageStatus.NO_FACE, 0), "empty.jpg"), (_analysis(ImageStatus.OK, 2), "two.jpg"))
    response = neighbors_response(_answer(1, images))
    assert [len(probe.neighbors) for probe in response.embeddings] == [2]
    assert [[len(face.neighbors) for face in image.faces] for image in response.images] == [[], [0, 1]]
    assert [image.image.source for image in response.images] == ["empty.jpg", "two.jpg"]


@pytest.mark.parametrize("status", [status for status in ImageStatus if status is not ImageStatus.OK])
def test_every_bad_photograph_has_an_error(status: ImageStatus) -> None:
    """A photograph that cannot be used carries its status and an error with the reason of that status."""
    message = image_faces_message(_analysis(status, 0), "a.jpg", "images[0]")
    assert message.image_status == status.value
    assert message.error.code
    assert f"IMAGE_{status.name}".encode() in message.error.SerializeToString()


def test_a_face_keeps_its_facts() -> None:
    """Box, landmarks, quality, rotation and, only when asked for, the embedding reach the answer."""
    analysis = _analysis(ImageStatus.OK, 1)
    face = image_faces_message(analysis, "a.jpg", "images[0]", "model").faces[0]
    assert (face.box.left, face.box.height, face.rotation_degrees) == (1, 4, 90)
    assert [(point.x, point.y) for point in face.landmarks.five][-1] == (8, 9)
    assert list(face.quality.reasons) == [types_pb2.QUALITY_REASON_BLURRED]
    assert (face.embedding.dimension, face.embedding.count, face.embedding.model) == (4, 1, "model")
    assert not image_faces_message(analysis, "a.jpg", "images[0]").faces[0].HasField("embedding")


def _source_of(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.metadata["source"]


def test_errors_of_photographs_repeat_the_source() -> None:
    """The error of a photograph, and of an item to enrol, names it as the caller does."""
    found = image_faces_message(_analysis(ImageStatus.NO_FACE, 0), "a.jpg", "images[0]")
    assert _source_of(found.error) == "a.jpg"
    items = [
        gallery_service_pb2.EnrollItem(image=types_pb2.Image(source="b.jpg")),
        gallery_service_pb2.EnrollItem(source="c.jpg", embedding=types_pb2.Embeddings()),
    ]
    outcomes = outcome_messages([EnrollOutcome(error=InvalidArgument("bad"))] * 2, items)
    assert [_source_of(outcome.status) for outcome in outcomes] == ["b.jpg", "c.jpg"]


def test_verified_photographs_keep_their_source() -> None:
    """Both photographs of a verification are answered under the caller's names for them."""
    analysis = _analysis(ImageStatus.OK, 1)
    answer = VerificationAnswer(
        is_same=True,
        similarity=0.9,
        distance=None,
        threshold=Threshold(0.5, ThresholdOrigin.REQUEST, "given"),
        left_image=analysis,
        right_image=analysis,
        revision=0,
        model_fingerprint="m",
    )
    message = verify_response(answer, "left.jpg", "right.jpg")
    assert (message.left_image.source, message.right_image.source) == ("left.jpg", "right.jpg")


def test_a_batch_of_items_counts_faces() -> None:
    """The counts of an enrolment's acknowledgement are of faces, of which a photograph can hold several."""
    face = FaceInfo("f", "anna", {}, "", b"", None, None, None, 0.0, "m", 0)
    outcomes = (
        EnrollOutcome(faces=(face,) * 3),
        EnrollOutcome(faces=(face,)),
        EnrollOutcome(faces=(face,) * 2, duplicate=True),
        EnrollOutcome(error=InvalidArgument("bad")),
    )
    message = items_response(7, EnrolledFaces(outcomes, 5, "m"), [gallery_service_pb2.EnrollItem()] * 4)
    assert (message.sequence, message.revision) == (7, 5)
    assert (message.enrolled_count, message.duplicate_count) == (4, 2)


def test_embeddings_travel_as_little_endian_float32() -> None:
    """An embedding's bytes are little-endian float32, whatever the array's own order."""
    vector = np.array([1.0, -2.0], dtype=">f4")
    assert np.frombuffer(embedding_message(vector, "m").data, "<f4").tolist() == [1.0, -2.0]
