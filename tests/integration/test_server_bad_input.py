"""Wrong requests over a real channel: each gets its documented error, and the server goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from mien.v1 import gallery_service_pb2 as pb
from mien.v1 import operations_service_pb2, recognition_service_pb2, types_pb2
from mien_server.rpc.requests import next_page_token

INVALID = grpc.StatusCode.INVALID_ARGUMENT
DIMENSION = 8
# Built as bytes, for generated code refuses to make it: field 1 (data), 10 GB long.
TEN_GIGABYTES = 10_000_000_000


@pytest.fixture
def gallery(server: Any) -> Iterator[Any]:
    """A server with a gallery `staff` that holds one face; after the test it must still answer."""
    server.create_gallery(dimension=DIMENSION)
    vector = np.eye(1, DIMENSION, dtype=np.float32)
    item = pb.EnrollItem(
        identity_id="anna", face_id="face-1", embedding=types_pb2.Embeddings(data=vector.tobytes(), dimension=DIMENSION)
    )
    enrolled = server.galleries.EnrollFaces(pb.EnrollFacesRequest(gallery="staff", items=[item]))
    assert enrolled.outcomes[0].status.code == 0
    yield server
    answer = server.recognition.SearchFaces(_search(vector))
    assert answer.embeddings[0].neighbors[0].face_id == "face-1"


def _search(vectors: Any, **further: Any) -> recognition_service_pb2.SearchFacesRequest:
    embeddings = types_pb2.Embeddings(data=vectors.tobytes(), dimension=vectors.shape[1], count=vectors.shape[0])
    return recognition_service_pb2.SearchFacesRequest(
        gallery=further.pop("gallery", "staff"),
        probes=recognition_service_pb2.Probes(embeddings=embeddings),
        **further,
    )


def _rows(embeddings: types_pb2.Embeddings, count: int = 1) -> pb.StreamEnrollRequest:
    ids = [f"person-{number}" for number in range(count)]
    return pb.StreamEnrollRequest(
        sequence=1, gallery="staff", rows=pb.EnrollRows(embeddings=embeddings, identity_ids=ids)
    )


def _vector(*components: float) -> Any:
    vector = np.zeros((1, DIMENSION), np.float32)
    vector[0, : len(components)] = components
    return vector


BAD_VECTORS = {
    "EMBEDDING_NOT_FINITE": [_vector(1.0, float("nan")), _vector(float("inf")), _vector(-float("inf"), 1.0)],
    "EMBEDDING_ZERO": [_vector(0.0)],
    "EMBEDDING_NOT_UNIT_NORM": [_vector(2.0), _vector(0.5), _vector(3e38)],
}
BAD_VECTOR_CASES = [(reason, vector) for reason, vectors in BAD_VECTORS.items() for vector in vectors]


@pytest.mark.parametrize(("reason", "vector"), BAD_VECTOR_CASES)
def test_bad_vectors_are_refused_as_probes(gallery: Any, refused: Any, reason: str, vector: Any) -> None:
    """A probe with NaN, infinity, no direction or another norm than one is refused by its reason."""
    refusal = refused(lambda: gallery.recognition.SearchFaces(_search(vector)))
    assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, reason, ["probes.embeddings[0]"])


@pytest.mark.parametrize(("reason", "vector"), BAD_VECTOR_CASES)
def test_bad_vectors_are_refused_as_rows(
    gallery: Any, status_refusal: Any, pack: Any, reason: str, vector: Any
) -> None:
    """A bad row of a batch is refused by its reason while its neighbours are enrolled."""
    good = np.eye(2, DIMENSION, k=2, dtype=np.float32)
    batch = np.concatenate([good[:1], vector, good[1:]])
    (answer,) = gallery.galleries.StreamEnroll(iter([_rows(pack(batch), 3)]))
    assert not answer.HasField("error")
    assert [bool(face_id) for face_id in answer.face_ids] == [True, False, True]
    assert [error.row for error in answer.row_errors] == [1]
    refusal = status_refusal(answer.row_errors[0].status)
    assert (refusal.reason, refusal.fields) == (reason, ["rows.embeddings[1]"])


@pytest.mark.parametrize(("reason", "vector"), BAD_VECTOR_CASES)
def test_bad_vectors_are_refused_as_items(
    gallery: Any, status_refusal: Any, pack: Any, reason: str, vector: Any
) -> None:
    """A bad item is refused by its reason while its neighbour is enrolled."""
    good = np.eye(1, DIMENSION, k=3, dtype=np.float32)
    items = [pb.EnrollItem(identity_id="bert", embedding=pack(one)) for one in (vector, good)]
    answer = gallery.galleries.EnrollFaces(pb.EnrollFacesRequest(gallery="staff", items=items))
    assert status_refusal(answer.outcomes[0].status).reason == reason
    assert answer.outcomes[1].status.code == 0


def test_normalize_takes_any_norm(gallery: Any, pack: Any) -> None:
    """With `normalize` a vector of another norm is divided by it and enrolled."""
    item = pb.EnrollItem(identity_id="carl", embedding=pack(_vector(0.0, 5.0), normalize=True))
    answer = gallery.galleries.EnrollFaces(pb.EnrollFacesRequest(gallery="staff", items=[item]))
    assert answer.outcomes[0].status.code == 0
    face = gallery.galleries.GetFace(
        pb.GetFaceRequest(gallery="staff", face_id=answer.outcomes[0].faces[0].id, include_embedding=True)
    ).face
    assert np.frombuffer(face.embedding.data, "<f4").tolist() == _vector(0.0, 1.0)[0].tolist()


def test_another_dimension_is_refused(gallery: Any, refused: Any) -> None:
    """Embeddings of another dimension are refused with both numbers."""
    refusal = refused(lambda: gallery.recognition.SearchFaces(_search(np.eye(1, 16, dtype=np.float32))))
    assert (refusal.code, refusal.reason) == (INVALID, "EMBEDDING_DIMENSION")
    assert refusal.metadata == {"given": "16", "expected": str(DIMENSION)}
    assert refusal.fields == ["probes.embeddings.dimension"]


@pytest.mark.parametrize("change", [{"count": 4_000_000_000}, {"data": b"123"}, {"count": 2}])
def test_counts_that_do_not_fit_the_bytes_are_refused(gallery: Any, refused: Any, change: Any) -> None:
    """A count that the bytes do not bear out is refused before memory is taken for it."""
    request = _search(_vector(1.0))
    for name, value in change.items():
        setattr(request.probes.embeddings, name, value)
    refusal = refused(lambda: gallery.recognition.SearchFaces(request))
    assert refusal.code is INVALID
    assert refusal.reason in {"EMBEDDING_SIZE", "LIMIT_EXCEEDED"}


def test_another_model_is_refused(gallery: Any, refused: Any) -> None:
    """Embeddings that say they come from another model are never compared."""
    request = _search(_vector(1.0))
    request.probes.embeddings.model = "other-model"
    refusal = refused(lambda: gallery.recognition.SearchFaces(request))
    assert (refusal.code, refusal.reason) == (INVALID, "MODEL_MISMATCH")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a" + _varint(TEN_GIGABYTES) + b"staff",  # gallery of 10 GB
        b"\x0a\x05staff\x12" + _varint(TEN_GIGABYTES),  # probes of 10 GB
        b"\x0a\x05staff\x12\x08\x0a\x06\x0a" + _varint(TEN_GIGABYTES)[:5],  # embeddings of 10 GB inside
        b"\x0a\x05st\xff\xfff",  # a name that is not UTF-8
        b"\xff\xff\xff",
    ],
)
def test_bytes_that_lie_are_refused(gallery: Any, refused: Any, body: bytes) -> None:
    """A message whose length fields promise 10 GB, or that is no message at all, costs nothing and is refused."""
    call = gallery.channel.unary_unary("/mien.v1.RecognitionService/SearchFaces")
    refusal = refused(lambda: call(body))
    assert (refusal.code, refusal.reason) == (INVALID, "REQUEST_MALFORMED")


def test_bytes_that_lie_end_a_stream(gallery: Any, refused: Any) -> None:
    """In a stream too a message that cannot be read is refused, and ends the stream."""
    call = gallery.channel.stream_stream("/mien.v1.GalleryService/StreamEnroll")
    refusal = refused(lambda: list(call(iter([b"\x12" + _varint(TEN_GIGABYTES)]))))
    assert (refusal.code, refusal.reason) == (INVALID, "REQUEST_MALFORMED")


def test_a_message_beyond_the_limit_is_refused_by_grpc(gallery: Any, refused: Any) -> None:
    """A message beyond message_bytes_max never reaches the server's memory."""
    body = b"\0" * (gallery.engine.limits.message_bytes_max + 1_000_000)
    refusal = refused(lambda: gallery.channel.unary_unary("/mien.v1.RecognitionService/SearchFaces")(body))
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_unknown_gallery(gallery: Any, refused: Any) -> None:
    """An unknown gallery is NOT_FOUND, with the resource named."""
    refusal = refused(lambda: gallery.recognition.SearchFaces(_search(_vector(1.0), gallery="stuff")))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "GALLERY_NOT_FOUND")
    assert refusal.details == ["ErrorInfo", "ResourceInfo"]


def test_a_request_id_with_another_body_is_refused(gallery: Any, refused: Any) -> None:
    """A request id used again with another body changes nothing and is refused; with the same body it is answered."""
    first = pb.DeleteIdentityRequest(gallery="staff", identity_id="anna", allow_missing=True, request_id="r-1")
    other = pb.DeleteIdentityRequest(gallery="staff", identity_id="bert", allow_missing=True, request_id="r-1")
    update = pb.UpdateIdentityRequest(
        gallery="staff", identity=pb.Identity(id="anna", display_name="Anna"), request_id="r-1"
    )
    create = pb.UpdateIdentityRequest(
        gallery="staff", identity=pb.Identity(id="dora"), allow_missing=True, request_id="r-0"
    )
    assert gallery.galleries.UpdateIdentity(create) == gallery.galleries.UpdateIdentity(create)
    answer = gallery.galleries.UpdateIdentity(update)
    assert gallery.galleries.UpdateIdentity(update).revision == answer.revision
    for call in (
        lambda: gallery.galleries.DeleteIdentity(first),
        lambda: gallery.galleries.DeleteIdentity(other),
    ):
        refusal = refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "REQUEST_ID_REUSED")


def test_request_ids_have_a_syntax(gallery: Any, refused: Any) -> None:
    """A request id outside its syntax is refused by its field."""
    request = pb.DeleteIdentityRequest(gallery="staff", identity_id="anna", request_id="no spaces")
    refusal = refused(lambda: gallery.galleries.DeleteIdentity(request))
    assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, "REQUEST_ID_INVALID", ["request_id"])


def test_too_many_probes(gallery: Any, refused: Any) -> None:
    """More probes than the limit are refused by the limit's name."""
    many = np.tile(_vector(1.0), (gallery.engine.limits.embeddings_per_request_max + 1, 1))
    refusal = refused(lambda: gallery.recognition.SearchFaces(_search(many)))
    assert (refusal.code, refusal.reason) == (INVALID, "LIMIT_EXCEEDED")
    assert refusal.metadata["limit"] == "embeddings_per_request_max"


def test_k_beyond_the_limit(gallery: Any, refused: Any) -> None:
    """A k beyond the limit is refused by the limit's name."""
    refusal = refused(lambda: gallery.recognition.SearchFaces(_search(_vector(1.0), k=1001)))
    assert (refusal.code, refusal.reason, refusal.metadata["limit"]) == (INVALID, "LIMIT_EXCEEDED", "k_max")
    assert refusal.fields == ["k"]


def test_nothing_to_look_up(gallery: Any, refused: Any) -> None:
    """A search without probes is refused."""
    request = recognition_service_pb2.SearchFacesRequest(gallery="staff")
    assert refused(lambda: gallery.recognition.SearchFaces(request)).reason == "NO_PROBES"


def _policy(**fields: int) -> pb.Gallery:
    model = pb.EmbeddingModel(precomputed=pb.PrecomputedModel(name="m", dimension=8))
    return pb.Gallery(name="other", model=model, enrollment_policy=pb.EnrollmentPolicy(**fields))


@pytest.mark.parametrize(
    ("field", "gallery_message"),
    [
        ("gallery.enrollment_policy.duplicates", _policy(duplicates=99)),
        ("gallery.enrollment_policy.multiple_faces", _policy(multiple_faces=99)),
        ("gallery.enrollment_policy.quality_gate", _policy(quality_gate=-1)),
    ],
)
def test_unknown_enum_numbers_are_refused(gallery: Any, refused: Any, field: str, gallery_message: pb.Gallery) -> None:
    """A number that no enum of this server has is refused by its field, never taken for a default."""
    refusal = refused(lambda: gallery.galleries.CreateGallery(pb.CreateGalleryRequest(gallery=gallery_message)))
    assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, "ENUM_UNKNOWN", [field])


def test_unknown_subject_of_a_filter(gallery: Any, refused: Any) -> None:
    """A condition on nothing known is refused."""
    options = recognition_service_pb2.SearchOptions(
        filter=types_pb2.Filter(conditions=[types_pb2.Condition(subject=77, exists=True)])
    )
    refusal = refused(lambda: gallery.recognition.SearchFaces(_search(_vector(1.0), options=options)))
    assert (refusal.reason, refusal.fields) == ("ENUM_UNKNOWN", ["options.filter.conditions[0].subject"])


def test_bad_page_tokens(gallery: Any, refused: Any) -> None:
    """A token that is none, or another request's, is refused."""
    for request in (
        pb.ListIdentitiesRequest(gallery="staff", page_token="bm8="),
        pb.ListIdentitiesRequest(gallery="staff", page_token="not base64"),
    ):
        refusal = refused(lambda request=request: gallery.galleries.ListIdentities(request))
        assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, "PAGE_TOKEN_INVALID", ["page_token"])


def test_a_page_token_whose_cursor_is_no_ordinal(gallery: Any, refused: Any) -> None:
    """A token made by somebody who knows how, with a cursor that is no place in the list, is refused as such."""
    request = pb.ListFacesRequest(gallery="staff")
    request.page_token = next_page_token("mien.v1.GalleryService.ListFaces", request, "anna")
    refusal = refused(lambda: gallery.galleries.ListFaces(request))
    assert (refusal.code, refusal.reason, refusal.fields) == (INVALID, "PAGE_TOKEN_INVALID", ["page_token"])


def test_a_long_text_in_any_script_keeps_its_error(gallery: Any, refused: Any) -> None:
    """An error about a text of thousands of bytes arrives with its own code and reason, not as headers too large."""
    refusal = refused(lambda: gallery.galleries.GetGallery(pb.GetGalleryRequest(gallery="顔" * 20_000)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "GALLERY_NOT_FOUND")
    row_filter = types_pb2.Filter(identity_labels={"顔" * 20_000: "value"})
    request = pb.ListIdentitiesRequest(gallery="staff", filter=row_filter)
    refusal = refused(lambda: gallery.galleries.ListIdentities(request))
    assert (refusal.code, refusal.reason) == (INVALID, "LABEL_KEY_INVALID")
    assert refusal.message


def test_a_stale_etag_aborts(gallery: Any, refused: Any) -> None:
    """An update with the etag of an older state is refused and changes nothing."""
    before = gallery.galleries.GetGallery(pb.GetGalleryRequest(gallery="staff")).gallery
    change = pb.Gallery(name="staff", display_name="first", etag=before.etag)
    gallery.galleries.UpdateGallery(pb.UpdateGalleryRequest(gallery=change))
    change.display_name = "second"
    refusal = refused(lambda: gallery.galleries.UpdateGallery(pb.UpdateGalleryRequest(gallery=change)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    now = gallery.galleries.GetGallery(pb.GetGalleryRequest(gallery="staff")).gallery
    assert now.display_name == "first"


def test_a_foreign_etag_is_refused(gallery: Any, refused: Any) -> None:
    """An etag that no answer carried is wrong, not stale."""
    request = pb.DeleteGalleryRequest(gallery="staff", etag="W/123", force=True)
    assert refused(lambda: gallery.galleries.DeleteGallery(request)).reason == "ETAG_INVALID"


def test_unknown_mask_paths(gallery: Any, refused: Any) -> None:
    """A path that cannot be updated is refused by name."""
    request = pb.UpdateGalleryRequest(gallery=pb.Gallery(name="staff"), update_mask=FieldMask(paths=["face_count"]))
    refusal = refused(lambda: gallery.galleries.UpdateGallery(request))
    assert (refusal.reason, refusal.metadata) == ("FIELD_MASK_INVALID", {"path": "face_count"})


def test_a_named_empty_field_is_emptied(gallery: Any) -> None:
    """A field named in the mask and left empty is emptied; one not named is kept."""
    change = pb.Gallery(name="staff", display_name="The staff", labels={"site": "north"})
    gallery.galleries.UpdateGallery(pb.UpdateGalleryRequest(gallery=change))
    mask = FieldMask(paths=["labels"])
    empty = pb.Gallery(name="staff")
    updated = gallery.galleries.UpdateGallery(pb.UpdateGalleryRequest(gallery=empty, update_mask=mask)).gallery
    assert (updated.display_name, dict(updated.labels)) == ("The staff", {})


def test_left_out_parts(gallery: Any, refused: Any) -> None:
    """What a request cannot do without is named when it is left out."""
    stubs = gallery.galleries
    calls: list[tuple[str, Callable[[], object]]] = [
        ("gallery", lambda: stubs.CreateGallery(pb.CreateGalleryRequest())),
        ("gallery.model", lambda: stubs.CreateGallery(pb.CreateGalleryRequest(gallery=pb.Gallery(name="x")))),
        ("gallery", lambda: stubs.UpdateGallery(pb.UpdateGalleryRequest())),
        ("identity", lambda: stubs.UpdateIdentity(pb.UpdateIdentityRequest(gallery="staff"))),
        ("left", lambda: gallery.recognition.VerifyFaces(recognition_service_pb2.VerifyFacesRequest())),
    ]
    for field, call in calls:
        refusal = refused(call)
        assert (refusal.reason, refusal.fields) == ("FIELD_REQUIRED", [field])


def test_absent_methods_are_unimplemented(gallery: Any, refused: Any) -> None:
    """Every method listed as absent answers UNIMPLEMENTED with its reason."""
    info = gallery.operations.GetServerInfo(operations_service_pb2.GetServerInfoRequest())
    methods = [feature.name for feature in info.absent if "Service." in feature.name]
    assert methods
    for name in methods:
        service, _, method = name.rpartition(".")
        call = gallery.channel.unary_unary(f"/{service}/{method}")
        refusal = refused(lambda call=call: call(b""))
        assert (refusal.code, refusal.metadata["feature"]) == (grpc.StatusCode.UNIMPLEMENTED, name)


def test_a_gap_ends_the_stream_after_the_answers_before(gallery: Any, refused: Any, pack: Any) -> None:
    """A sequence number left out ends the stream, and everything before it is answered and durable."""
    first = _rows(pack(np.eye(1, DIMENSION, k=1, dtype=np.float32)))
    third = _rows(pack(np.eye(1, DIMENSION, k=2, dtype=np.float32)))
    third.sequence = 3
    answers: list[pb.StreamEnrollResponse] = []
    refusal = refused(lambda: answers.extend(gallery.galleries.StreamEnroll(iter([first, third]))))
    assert (refusal.code, refusal.reason) == (INVALID, "SEQUENCE_GAP")
    assert refusal.metadata == {"given": "3", "expected": "2"}
    stream = gallery.galleries.StreamEnroll(iter([first]))
    assert [answer.duplicate_count for answer in stream] == [1], "the first batch was enrolled"


def test_a_bad_batch_leaves_the_stream_going(gallery: Any, status_refusal: Any, pack: Any) -> None:
    """A batch that is refused as a whole is answered in its place, and the next one is enrolled."""
    good = pack(np.eye(1, DIMENSION, k=4, dtype=np.float32))
    batches = [
        _rows(pack(np.eye(1, 16, dtype=np.float32))),
        _rows(good, count=2),
        pb.StreamEnrollRequest(gallery="staff"),
        _rows(good),
        _rows(good),
    ]
    batches[3].gallery = "stuff"
    for sequence, batch in enumerate(batches, start=1):
        batch.sequence = sequence
    answers = list(gallery.galleries.StreamEnroll(iter(batches)))
    assert [answer.sequence for answer in answers] == [1, 2, 3, 4, 5]
    reasons = [status_refusal(answer.error).reason for answer in answers[:4]]
    assert reasons == ["EMBEDDING_DIMENSION", "COLUMNS_DIFFER", "FIELD_REQUIRED", "STREAM_GALLERY_CHANGED"]
    assert answers[4].enrolled_count == 1


def test_a_bad_search_leaves_the_stream_going(gallery: Any, status_refusal: Any) -> None:
    """A request of a search stream that fails is answered in its place, and the next one is answered too."""
    requests = [_search(_vector(2.0)), _search(_vector(1.0)), _search(_vector(1.0), gallery="stuff")]
    stream = gallery.recognition.StreamSearch(
        iter(
            recognition_service_pb2.StreamSearchRequest(sequence=sequence, request=request)
            for sequence, request in enumerate(requests, start=1)
        )
    )
    first, second, third = stream
    assert status_refusal(first.error).reason == "EMBEDDING_NOT_UNIT_NORM"
    assert second.response.embeddings[0].neighbors[0].identity_id == "anna"
    assert status_refusal(third.error).reason == "GALLERY_NOT_FOUND"
