"""Every limit that GetServerInfo states holds: a request just beyond it is refused by its name, one at it is not."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from PIL import Image

from mien.v1 import gallery_service_pb2 as pb
from mien.v1 import operations_service_pb2, recognition_service_pb2, types_pb2
from mien_server.config.limits import Limits
from mien_server.engine import EngineOptions
from mien_server.engine.types import OperationKind, OperationState
from mien_server.records.store_pb2 import OperationRecord
from mien_server.rpc.server import ServerOptions

GROUP = Path(__file__).resolve().parents[2] / "docs" / "images" / "group.jpg"
DIMENSION = 8
TIME_MAX_S = 60
SMALL = Limits(
    message_bytes_max=1024 * 1024,
    image_bytes_max=200_000,
    image_pixels_max=1000 * 503,
    images_per_request_max=2,
    faces_per_image_max=3,
    embeddings_per_request_max=6,
    dimension_max=16,
    k_max=4,
    candidate_count_max=4,
    page_size_max=5,
    enroll_items_max=5,
    face_ids_per_request_max=3,
    identity_id_bytes_max=20,
    face_id_bytes_max=20,
    labels_max=3,
    label_value_bytes_max=12,
    filter_ids_max=4,
    galleries_max=3,
    source_bytes_max=10,
    display_name_bytes_max=15,
    neighbors_per_request_max=9,
    message_elements_max=200,
    operations_waiting_max=2,
)
"""So small that a request at each of them costs nothing."""


@pytest.fixture
def engine_options() -> EngineOptions:
    """An engine of small limits."""
    options = EngineOptions(limits=SMALL)
    return dataclasses.replace(options, embedding=dataclasses.replace(options.embedding, limits=SMALL, worker_count=1))


@pytest.fixture
def server_options() -> ServerOptions:
    """A server of small messages."""
    return ServerOptions(listen_addresses=("127.0.0.1:0",), message_bytes_max=SMALL.message_bytes_max)


@dataclass(frozen=True)
class Refusal:
    """Why something was refused: by which limit, with which code, at which field; `limit` is empty for other causes."""

    code: int
    limit: str
    fields: tuple[str, ...]


def _refusal(status: status_pb2.Status) -> Refusal | None:
    if not status.code:
        return None
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for packed in status.details:
        packed.Unpack(info)
        packed.Unpack(request)
    fields = tuple(violation.field for violation in request.field_violations)
    return Refusal(status.code, info.metadata.get("limit", ""), fields)


def _call(method: Callable[..., Any], request: Any) -> tuple[Any, Refusal | None]:
    """The answer of a call, or why it was refused."""
    try:
        return method(request, timeout=TIME_MAX_S), None
    except grpc.RpcError as error:
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        rich = _refusal(status_pb2.Status.FromString(details))
        return None, rich or Refusal(error.code().value[0], "", ())


Try = Callable[[Any, int], Refusal | None]
"""Sends a server what makes use of so much of a limit."""


def _vectors(count: int, dimension: int = DIMENSION) -> types_pb2.Embeddings:
    raw = np.random.default_rng(count).standard_normal((count, dimension), dtype=np.float32)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    return types_pb2.Embeddings(data=raw.tobytes(), dimension=dimension, count=count)


def _item(**further: Any) -> pb.EnrollItem:
    return pb.EnrollItem(**{"identity_id": "anna", "embedding": _vectors(1), **further})


def _enroll_item(server: Any, item: pb.EnrollItem) -> Refusal | None:
    answer, refusal = _call(server.galleries.EnrollFaces, pb.EnrollFacesRequest(gallery="staff", items=[item]))
    return refusal or _refusal(answer.outcomes[0].status)


def _enroll(server: Any, items: list[pb.EnrollItem]) -> Refusal | None:
    return _call(server.galleries.EnrollFaces, pb.EnrollFacesRequest(gallery="staff", items=items))[1]


def _search(server: Any, probes: int = 1, **further: Any) -> Refusal | None:
    request = recognition_service_pb2.SearchFacesRequest(
        gallery="staff", probes=recognition_service_pb2.Probes(embeddings=_vectors(probes)), **further
    )
    return _call(server.recognition.SearchFaces, request)[1]


def _neighbors(server: Any, amount: int) -> Refusal | None:
    """Nine are three for each of three probes, ten are two for each of five."""
    probes, k = {9: (3, 3), 10: (5, 2)}[amount]
    return _search(server, probes, k=k)


def _identity_id(server: Any, amount: int) -> Refusal | None:
    """Of letters of two bytes, since bytes count."""
    return _enroll_item(server, _item(identity_id="é" * (amount // 2) + "x" * (amount % 2)))


def _filtered(server: Any, **parts: Any) -> Refusal | None:
    return _search(server, options=recognition_service_pb2.SearchOptions(filter=types_pb2.Filter(**parts)))


def _identify(server: Any, amount: int) -> Refusal | None:
    probes = recognition_service_pb2.Probes(embeddings=_vectors(1))
    policy = types_pb2.DecisionPolicy(similarity=0.5)
    request = recognition_service_pb2.IdentifyRequest(
        gallery="staff", probes=probes, candidate_count=amount, policy=policy
    )
    return _call(server.recognition.Identify, request)[1]


def _message(server: Any, amount: int) -> Refusal | None:
    body = pb.GetGalleryRequest(gallery="x" * (amount - 4)).SerializeToString()
    assert len(body) == amount
    return _call(server.channel.unary_unary("/mien.v1.GalleryService/GetGallery"), body)[1]


def _detect(server: Any, *contents: bytes) -> tuple[Any, Refusal | None]:
    images = [types_pb2.Image(content=content) for content in contents]
    return _call(server.recognition.DetectFaces, recognition_service_pb2.DetectFacesRequest(images=images))


def _image_of_bytes(server: Any, amount: int) -> Refusal | None:
    answer, refusal = _detect(server, GROUP.read_bytes().ljust(amount, b"\0"))
    return refusal or _refusal(answer.images[0].error)


def _image_of_pixels(server: Any, amount: int) -> Refusal | None:
    width, height = 503, SMALL.image_pixels_max // 503
    picture = Image.new("RGB", (width, height + (amount > SMALL.image_pixels_max)))
    content = io.BytesIO()
    picture.save(content, "PNG")
    answer, refusal = _detect(server, content.getvalue())
    return refusal or _refusal(answer.images[0].error)


def _images(server: Any, amount: int) -> Refusal | None:
    return _detect(server, *[b"no picture"] * amount)[1]


def _gallery(server: Any, name: str = "more", dimension: int = DIMENSION, **further: Any) -> Refusal | None:
    model = pb.EmbeddingModel(precomputed=pb.PrecomputedModel(name="m", dimension=dimension))
    request = pb.CreateGalleryRequest(gallery=pb.Gallery(name=name, model=model, **further))
    return _call(server.galleries.CreateGallery, request)[1]


def _galleries(server: Any, amount: int) -> Refusal | None:
    refusals = [_gallery(server, f"gallery-{number}") for number in range(amount - 1)]
    assert all(refusal is None for refusal in refusals[:-1])
    return refusals[-1]


def _face_ids(server: Any, amount: int) -> Refusal | None:
    request = pb.DeleteFacesRequest(
        gallery="staff", face_ids=[f"face-{number}" for number in range(amount)], allow_missing=True
    )
    return _call(server.galleries.DeleteFaces, request)[1]


def _pages(server: Any, amount: int) -> Refusal | None:
    methods = (
        (server.galleries.ListGalleries, pb.ListGalleriesRequest(page_size=amount)),
        (server.galleries.ListIdentities, pb.ListIdentitiesRequest(gallery="staff", page_size=amount)),
        (server.galleries.ListFaces, pb.ListFacesRequest(gallery="staff", page_size=amount)),
        (server.operations.ListOperations, operations_service_pb2.ListOperationsRequest(page_size=amount)),
    )
    refusals = {_call(method, request)[1] for method, request in methods}
    (refusal,) = refusals
    return refusal


def _rows(server: Any, amount: int) -> Refusal | None:
    """Rows of a stream, and items of a call."""
    ids = [f"person-{row}" for row in range(amount)]
    rows = pb.EnrollRows(embeddings=_vectors(amount), identity_ids=ids)
    (answer,) = server.galleries.StreamEnroll(iter([pb.StreamEnrollRequest(sequence=1, gallery="staff", rows=rows)]))
    assert _refusal(answer.error) == _replace_field(_enroll(server, [_item()] * amount), "rows")
    return _refusal(answer.error)


def _replace_field(refusal: Refusal | None, field: str) -> Refusal | None:
    return None if refusal is None else dataclasses.replace(refusal, fields=(field,))


def _labels(server: Any, amount: int) -> Refusal | None:
    labels = {f"key-{number}": "x" for number in range(amount)}
    refusal = _enroll_item(server, _item(face_labels=labels))
    conditions = [
        types_pb2.Condition(subject=types_pb2.Condition.SUBJECT_FACE_LABEL, key=key, exists=True) for key in labels
    ]
    assert (_filtered(server, conditions=conditions) is None) is (refusal is None)
    assert (_filtered(server, identity_labels=labels) is None) is (refusal is None)
    return refusal


def _filter_ids(server: Any, amount: int) -> Refusal | None:
    ids = [f"person-{number}" for number in range(amount)]
    refusal = _filtered(server, identity_ids=ids)
    one_of = types_pb2.Condition(
        subject=types_pb2.Condition.SUBJECT_FACE_LABEL, key="k", one_of=types_pb2.StringSet(values=ids)
    )
    for other in (_filtered(server, excluded_identity_ids=ids), _filtered(server, conditions=[one_of])):
        assert (other and other.limit) == (refusal and refusal.limit)
    return refusal


def _elements(server: Any, amount: int) -> Refusal | None:
    """Entries that two bytes each make: empty ids, in a message of a request and in a message of a stream."""
    request = pb.DeleteFacesRequest(gallery="staff", face_ids=[""] * amount)
    refusal = _call(server.galleries.DeleteFaces, request)[1]
    rows = pb.EnrollRows(identity_ids=[""] * amount)
    stream = server.channel.stream_stream("/mien.v1.GalleryService/StreamEnroll")
    body = pb.StreamEnrollRequest(sequence=1, gallery="staff", rows=rows).SerializeToString()
    in_stream = _call(lambda requests, timeout: list(stream(requests, timeout=timeout)), iter([body]))[1]
    assert (in_stream is not None and in_stream.limit == "message_elements_max") is (amount > 200)
    return refusal


def _operations(server: Any, amount: int) -> Refusal | None:
    for number in range(amount - 1):
        record = OperationRecord(
            name=f"operations/{number:08}", kind=OperationKind.REBUILD_INDEX, state=OperationState.RUNNING
        )
        server.engine.operations._log.start(record)
    request = operations_service_pb2.RebuildIndexRequest(gallery="staff")
    return _call(server.operations.RebuildIndex, request)[1]


TRIES: Mapping[str, Try] = {
    "message_bytes_max": _message,
    "image_bytes_max": _image_of_bytes,
    "image_pixels_max": _image_of_pixels,
    "images_per_request_max": _images,
    "embeddings_per_request_max": lambda server, amount: _search(server, amount, k=1),
    "dimension_max": lambda server, amount: _gallery(server, dimension=amount),
    "k_max": lambda server, amount: _search(server, k=amount),
    "candidate_count_max": _identify,
    "page_size_max": _pages,
    "enroll_items_max": _rows,
    "face_ids_per_request_max": _face_ids,
    "identity_id_bytes_max": _identity_id,
    "face_id_bytes_max": lambda server, amount: _enroll_item(server, _item(face_id="x" * amount)),
    "labels_max": _labels,
    "label_value_bytes_max": lambda server, amount: _enroll_item(server, _item(face_labels={"k": "x" * amount})),
    "filter_ids_max": _filter_ids,
    "galleries_max": _galleries,
    "source_bytes_max": lambda server, amount: _enroll_item(server, _item(source="x" * amount)),
    "display_name_bytes_max": lambda server, amount: _gallery(server, display_name="x" * amount),
    "neighbors_per_request_max": _neighbors,
    "message_elements_max": _elements,
    "operations_waiting_max": _operations,
}
NOT_REFUSED = {
    "faces_per_image_max": "bounds what is answered: the largest faces, never an error",
}
CODES = {
    "message_bytes_max": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "operations_waiting_max": grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""Where the code is another than INVALID_ARGUMENT."""
WITHOUT_FIELD = {"galleries_max", "message_bytes_max", "message_elements_max", "operations_waiting_max"}
"""What no one field of the request is to blame for."""
BY_GRPC = {"message_bytes_max"}
"""Refused by gRPC itself, before any handler sees it: it names no limit."""
BEYOND = {"image_pixels_max": SMALL.image_pixels_max + 503, "message_bytes_max": SMALL.message_bytes_max + 65_537}
"""How much is too much, where it is not one more. gRPC grants a message's headers some room."""

LIMIT_NAMES = [field.name for field in operations_service_pb2.Limits.DESCRIPTOR.fields]


@pytest.fixture
def people(server: Any) -> Any:
    """A server with a gallery `staff` of one face."""
    server.create_gallery(dimension=DIMENSION)
    assert _enroll(server, [_item(identity_id="first")]) is None
    return server


def test_every_limit_is_tried() -> None:
    """A limit that is added to the contract is tried here, or said why not."""
    assert {*TRIES, *NOT_REFUSED} == set(LIMIT_NAMES)


@pytest.mark.parametrize("name", TRIES)
def test_a_request_at_a_limit_is_not_refused(people: Any, name: str) -> None:
    """What uses all that a limit grants is not refused for it."""
    most = getattr(SMALL, name)
    refusal = TRIES[name](people, most)
    assert refusal is None or (refusal.limit != name and refusal.code != grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])


@pytest.mark.parametrize("name", TRIES)
def test_a_request_beyond_a_limit_is_refused_by_its_name(people: Any, name: str) -> None:
    """What uses one more than a limit grants is refused with its code, the limit's name and the field."""
    refusal = TRIES[name](people, BEYOND.get(name, getattr(SMALL, name) + 1))
    assert refusal is not None
    assert refusal.code == CODES.get(name, grpc.StatusCode.INVALID_ARGUMENT).value[0]
    assert refusal.limit == ("" if name in BY_GRPC else name)
    assert bool(refusal.fields and refusal.fields[0]) is (name not in WITHOUT_FIELD)


def test_as_many_faces_are_answered_as_the_limit_says(people: Any) -> None:
    """Of a photograph with more faces than the limit the largest are answered."""
    answer, refusal = _detect(people, GROUP.read_bytes())
    assert refusal is None
    assert len(answer.images[0].faces) == SMALL.faces_per_image_max


def test_the_limits_stated_are_those_that_hold(people: Any) -> None:
    """GetServerInfo states the limits that the server was started with."""
    info = people.operations.GetServerInfo(operations_service_pb2.GetServerInfoRequest())
    assert {name: getattr(info.limits, name) for name in LIMIT_NAMES} == dataclasses.asdict(SMALL)
