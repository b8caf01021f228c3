"""Types of the client against the contract's messages."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest

from mien.v1 import operations_service_pb2 as operations_v1
from mien.v1 import types_pb2 as types_v1
from mien_client import (
    Client,
    Condition,
    ConditionSubject,
    Decision,
    DecisionPolicy,
    Effort,
    EmbeddingBlock,
    EnrolledFace,
    EnrollItem,
    EnrollRows,
    Filter,
    Image,
    Limits,
    Probes,
    ServerFailure,
)
from mien_client._types import enums as client_enums
from mien_client._wire import decode_faces, encode
from mien_client._wire.enums import _CONTRACT, enum_name, enum_value


@pytest.mark.parametrize("kind", [getattr(client_enums, name) for name in client_enums.__all__])
def test_an_enum_has_every_value_of_the_contract(kind: type[StrEnum]) -> None:
    """Each of the contract's names has a value of the client and comes back the same."""
    contract, _ = _CONTRACT[kind]
    assert {enum_name(value) for value in kind} == set(contract.keys())
    assert [contract.Value(enum_name(enum_value(kind, number))) for number in contract.values()] == contract.values()


def test_a_value_of_a_newer_server_is_unspecified() -> None:
    """A number that this client does not know is read, not refused."""
    assert enum_value(Decision, 4711) is Decision.UNSPECIFIED


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda client: client.search_faces("g", embeddings=np.ones(2), k=-1), "k is -1"),
        (lambda client: client.search_faces("g", embeddings=np.ones(2), effort=Effort(step=-1)), "step is -1"),
        (lambda client: client.identify("g", embeddings=np.ones(2), candidate_count=1 << 32), "candidate_count is"),
        (lambda client: client.create_gallery("g", precomputed="m", dimension=-1), "dimension is -1"),
        (lambda client: next(client.list_galleries(page_size=-1)), "page_size is -1"),
        (lambda client: client.get_gallery("g", min_revision=-1), "min_revision is -1"),
        (lambda client: next(client.stream_search("g", [np.ones(2)], k=-1)), "k is -1"),
        (lambda client: next(client.stream_identify("g", [np.ones(2)], candidate_count=-1)), "candidate_count is -1"),
    ],
)
def test_a_number_that_the_contract_cannot_hold_is_named(call: Callable[[Client], object], argument: str) -> None:
    """The argument, its value and its range are told before anything is sent."""
    with Client("127.0.0.1:1") as client, pytest.raises(ValueError, match=f"{argument}.*; give a whole number from 0"):
        call(client)


def test_limits_are_the_contracts() -> None:
    """Every limit that the contract states has the same name in the client, and there are no others."""
    ours = {field.name for field in dataclasses.fields(Limits)}
    assert ours == set(operations_v1.Limits.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize(
    "vectors", [np.ones(4), np.ones((1, 4), np.float32), [1, 1, 1, 1], np.ones((4, 2)).T[:1].astype(">f8")]
)
def test_vectors_travel_as_little_endian_float32(vectors: object) -> None:
    """One vector of any numeric type, byte order or memory layout becomes the same packed bytes."""
    packed = encode.embeddings(vectors)  # type: ignore[arg-type]
    assert (packed.count, packed.dimension) == (1, 4)
    assert packed.data == np.ones(4, "<f4").tobytes()
    assert np.array_equal(decode_faces.vectors(packed), np.ones((1, 4), np.float32))


@pytest.mark.parametrize("vectors", [np.ones((1, 2, 3)), np.ones((2, 0))])
def test_another_shape_is_a_value_error(vectors: object) -> None:
    """What is neither [d] nor [n, d] is refused with the shape it has."""
    with pytest.raises(ValueError, match=r"\[n, d\]"):
        encode.embeddings(vectors)  # type: ignore[arg-type]


def test_words_are_no_embedding() -> None:
    """An array that holds no numbers is a TypeError."""
    with pytest.raises(TypeError, match="numbers"):
        encode.embeddings(np.array(["a", "b"]))


def test_bytes_that_are_no_whole_vectors_are_a_failure_of_the_server() -> None:
    """An answer whose bytes contradict its count is never reshaped into something."""
    with pytest.raises(ServerFailure, match="7 bytes") as caught:
        decode_faces.vectors(types_v1.Embeddings(data=bytes(7), dimension=2, count=1))
    assert caught.value.reason == "UNEXPECTED_ANSWER"


def test_a_path_is_ambiguous_as_a_string() -> None:
    """A string could be a file, a face or an identity, so a verification refuses to guess."""
    with pytest.raises(TypeError, match=r"pathlib\.Path"):
        encode.verify_side("ada.jpg")  # type: ignore[arg-type]
    assert encode.verify_side(EnrolledFace("f1")).face_id == "f1"


def test_an_item_is_one_photograph_or_one_embedding() -> None:
    """Neither, both, or two vectors are refused before anything is sent."""
    with pytest.raises(ValueError, match="either"):
        EnrollItem("ada")
    with pytest.raises(ValueError, match="either"):
        EnrollItem("ada", image=b"x", embedding=[1.0])
    with pytest.raises(ValueError, match="exactly one"):
        encode.enroll_item(EnrollItem("ada", embedding=np.eye(2)))


def test_columns_have_one_entry_a_row() -> None:
    """Optional columns are empty or complete."""
    with pytest.raises(ValueError, match="face_ids"):
        encode.enroll_rows(EnrollRows(np.eye(2), ["a", "b"], face_ids=["f"]))


def test_a_file_is_read_and_named(tmp_path: Path) -> None:
    """A path becomes its bytes, with the file's name as the source and nothing of the machine's folders."""
    file = tmp_path / "ada.jpg"
    file.write_bytes(b"jpeg")
    packed = encode.image(file)
    assert (packed.content, packed.source) == (b"jpeg", "ada.jpg")
    assert encode.image(Image(b"x", "given")).source == "given"


def test_nothing_to_look_up_is_a_value_error() -> None:
    """Probes without embeddings and images never reach the server."""
    with pytest.raises(ValueError, match="nothing to look up"):
        encode.probes(Probes())


def test_a_policy_has_one_threshold() -> None:
    """Two thresholds contradict each other; zero is a threshold like any other."""
    with pytest.raises(ValueError, match="similarity and target_fpir"):
        DecisionPolicy(similarity=0.5, target_fpir=0.01)
    packed = encode.decision_policy(DecisionPolicy(similarity=0.0))
    assert packed is not None
    assert packed.WhichOneof("threshold") == "similarity"
    default = encode.decision_policy(DecisionPolicy())
    assert default is not None
    assert default.WhichOneof("threshold") is None


def test_an_effort_is_one_of_three() -> None:
    """Exact, a step or a recall target; unset ones stay unset."""
    exact = encode.effort(Effort(exact=True))
    step = encode.effort(Effort(step=2))
    assert exact is not None
    assert step is not None
    assert (exact.WhichOneof("effort"), step.WhichOneof("effort")) == ("exact", "step")
    with pytest.raises(ValueError, match="step and exact"):
        Effort(step=1, exact=True)


def test_a_filter_keeps_its_conditions() -> None:
    """Each kind of condition fills its own test; open bounds stay open."""
    day = datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)
    packed = encode.search_filter(
        Filter(
            identity_ids=["a"],
            conditions=[
                Condition(ConditionSubject.IDENTITY_LABEL, "team", one_of=()),
                Condition(ConditionSubject.FACE_LABEL, "age", minimum=3.0),
                Condition(ConditionSubject.FACE_CREATE_TIME, start=day),
                Condition(ConditionSubject.IDENTITY_LABEL, "vip", exists=False),
            ],
        )
    )
    assert packed is not None
    kinds = [condition.WhichOneof("test") for condition in packed.conditions]
    assert kinds == ["one_of", "number_range", "time_range", "exists"]
    assert not packed.conditions[1].number_range.HasField("maximum")
    assert getattr(packed.conditions[2].time_range, "from").ToDatetime(tzinfo=datetime.UTC) == day
    assert not packed.conditions[2].time_range.HasField("to")


def test_a_time_without_a_zone_is_refused() -> None:
    """A moment that depends on whose clock is meant is a ValueError."""
    moment = datetime.datetime(2024, 5, 1)  # noqa: DTZ001  what is refused
    wanted = Filter(conditions=[Condition(ConditionSubject.FACE_CREATE_TIME, start=moment)])
    with pytest.raises(ValueError, match="time zone"):
        encode.search_filter(wanted)


def test_a_model_and_a_wish_to_normalise_travel_along() -> None:
    """What a block says about its vectors reaches the server."""
    packed = encode.embeddings(EmbeddingBlock([3.0, 4.0], model="mine", normalize=True))
    assert (packed.model, packed.normalize) == ("mine", True)
