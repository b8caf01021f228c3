"""Everything that reads a client's bytes: whatever they are, an answer or a proper refusal, and no more memory."""

from __future__ import annotations

import contextlib
import io
import resource
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mien.v1 import gallery_service_pb2 as pb
from mien_client._rpc.address import channel_target
from mien_server.config.limits import Limits
from mien_server.embedding.decode import decode
from mien_server.embedding.refusal import DecodeRefused
from mien_server.engine.types import PackedEmbeddings
from mien_server.engine.vectors import check_vectors, unpack
from mien_server.errors import EmbeddingRefused, InvalidArgument, LimitExceeded
from mien_server.rpc.elements import element_count
from mien_server.rpc.methods.table import SERVICES
from mien_server.rpc.requests import next_page_token, page_cursor
from tests.server_processes import ServerProcess
from tests.unit_rows import unit_rows

METHODS = {f"/{service.full_name}/{method.name}": method for service in SERVICES for method in service.methods}
DIMENSION = 8
CALL_TIME_MAX_S = 30
GROWTH_MAX_BYTES = 256 * 1024 * 1024
TEXTS = st.sampled_from(
    ["", "staff", "anna", "face-1", "operations/1", "v1", "x" * 300, "\x00", "é" * 40, "../..", "key"]
)
NUMBERS = st.sampled_from([0, 1, 2, 3, 7, 127, 2**31 - 1, 2**32 - 1])
PROPER = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""A wrong request is answered with one of these; anything else is a defect of the server."""


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            is_bytes = field.type == FieldDescriptor.TYPE_BYTES
            vector = st.just(unit_rows(1, DIMENSION).tobytes())
            return vector | st.binary(max_size=64) if is_bytes else TEXTS
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return st.floats(width=32)
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.integers(0, 5)
        case FieldDescriptor.CPPTYPE_MESSAGE:
            assert field.message_type is not None
            return _message(field.message_type, depth - 1)
        case FieldDescriptor.CPPTYPE_INT32 | FieldDescriptor.CPPTYPE_INT64:
            return st.integers(-(2**31), 2**31 - 1)
        case _:
            return NUMBERS


@st.composite
def _message(draw: st.DrawFn, descriptor: Any, depth: int = 5) -> Any:
    """A message of any kind with some of its fields filled in, most of them wrongly."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        is_nested = field.message_type is not None
        if (is_nested and not depth) or not draw(st.booleans()):
            continue
        if is_nested and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[draw(TEXTS)] = draw(TEXTS)
        elif field.is_repeated:
            values = draw(st.lists(_value(field, depth), max_size=3))
            getattr(message, field.name).extend(values)
        elif is_nested:
            getattr(message, field.name).CopyFrom(draw(_value(field, depth)))
        else:
            setattr(message, field.name, draw(_value(field, depth)))
    return message


@st.composite
def _mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """Bytes with some of them changed, cut out, repeated or added."""
    body = bytearray(original)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(body)))
        end = min(len(body), at + draw(st.integers(0, 8)))
        match draw(st.integers(0, 3)):
            case 0:
                body[at:end] = draw(st.binary(max_size=8))
            case 1:
                del body[at:end]
            case 2:
                body[at:at] = body[at:end] * draw(st.integers(1, 3))
            case _:
                body[at:at] = draw(st.sampled_from([b"\xff" * 5 + b"\x0f", b"\x80" * 11, b"\xff\xff\xff\xff\x07"]))
    return bytes(body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a gallery of two faces; after everything it still answers, and holds no more memory."""
    data = tmp_path_factory.mktemp("fuzz") / "store"
    with ServerProcess(data, "embedding.worker_count=1", "embedding.preloaded_recipes=") as server:
        with grpc.insecure_channel(server.address) as channel:
            model = pb.EmbeddingModel(precomputed=pb.PrecomputedModel(name="m", dimension=DIMENSION))
            create = pb.CreateGalleryRequest(gallery=pb.Gallery(name="staff", model=model))
            call = channel.unary_unary(
                "/mien.v1.GalleryService/CreateGallery", pb.CreateGalleryRequest.SerializeToString
            )
            call(create)
        before = _peak_bytes(server.pid)
        yield server
        assert _peak_bytes(server.pid) - before < GROWTH_MAX_BYTES
        with server.client() as client:
            assert client.get_server_info().store_id
        assert "Traceback" not in server.log()


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


@pytest.fixture(scope="module")
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    """A channel that carries bytes."""
    with grpc.insecure_channel(server.address, [("grpc.enable_retries", 0)]) as channel:
        yield channel


def _check(channel: grpc.Channel, path: str, body: bytes) -> None:
    """Send bytes to a method: an answer, or a status of those that wrong requests get, with a reason."""
    error = _failure(channel, path, body)
    if error is None:
        return
    assert error.code() in PROPER, (path, body, error)
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    info = error_details_pb2.ErrorInfo()
    assert any(packed.Unpack(info) for packed in status_pb2.Status.FromString(details).details)
    assert info.reason


def _failure(channel: grpc.Channel, path: str, body: bytes) -> Any:
    try:
        if METHODS[path].client_streaming:
            list(channel.stream_stream(path)(iter([body]), timeout=CALL_TIME_MAX_S))
        else:
            channel.unary_unary(path)(body, timeout=CALL_TIME_MAX_S)
    except grpc.RpcError as error:
        return error
    return None


FUZZ = settings(suppress_health_check=list(HealthCheck), max_examples=60)


@pytest.mark.parametrize("path", METHODS)
@FUZZ
@given(data=st.data())
def test_any_bytes_get_an_answer_or_a_proper_refusal(channel: grpc.Channel, path: str, data: st.DataObject) -> None:
    """Of every method: messages filled with anything, messages damaged on the way, and noise."""
    original = data.draw(_message(METHODS[path].input_type)).SerializeToString()
    body = data.draw(st.just(original) | _mutated(original) | st.binary(max_size=200))
    _check(channel, path, body)


@given(st.data())
def test_counting_elements_never_fails_and_is_exact(data: st.DataObject) -> None:
    """Entries of a whole message are counted as the parsed message has them; damage does not stop the count."""
    descriptor = data.draw(st.sampled_from([method.input_type for method in METHODS.values()]))
    message = data.draw(_message(descriptor))
    body = message.SerializeToString()
    assert element_count(body, descriptor, 10**6) == _entries(message)
    assert element_count(data.draw(_mutated(body)), descriptor, 10**6) >= 0


def _entries(message: Any) -> int:
    count = 0
    for field, value in message.ListFields():
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if field.is_repeated:
            is_packed = field.is_packed and field.message_type is None
            count += 1 if is_packed else len(value)
        if field.message_type is not None and not is_map:
            count += sum(_entries(one) for one in (value if field.is_repeated else [value]))
    return count


def _pictures() -> list[bytes]:
    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    found = []
    for kind, mode in (
        ("JPEG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "I;16"),
        ("GIF", "P"),
        ("WEBP", "RGB"),
        ("BMP", "RGB"),
        ("TIFF", "RGB"),
    ):
        picture = Image.fromarray(pixels).convert("I" if mode == "I;16" else mode)
        content = io.BytesIO()
        (picture.convert("I;16") if mode == "I;16" else picture).save(content, kind)
        found.append(content.getvalue())
    return found


SMALL = Limits(image_pixels_max=1_000_000)


@pytest.fixture(scope="module", autouse=True)
def _pillow_as_it_was() -> Iterator[None]:
    """Decoding sets a limit of Pillow's for the whole process, which a decoder has to itself and tests have not."""
    before = Image.MAX_IMAGE_PIXELS
    yield
    Image.MAX_IMAGE_PIXELS = before


@settings(max_examples=400)
@given(st.sampled_from(_pictures()).flatmap(_mutated) | st.binary(max_size=300))
def test_any_picture_is_decoded_or_refused(content: bytes) -> None:
    """A damaged picture, or none, becomes pixels within the limit or is refused by its status."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(DecodeRefused):
        found = decode(content, SMALL)
        assert found.pixels.dtype == np.uint8
        assert found.width * found.height <= SMALL.image_pixels_max
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GROWTH_MAX_BYTES


REQUEST = pb.ListFacesRequest(gallery="staff")


@given(st.text(max_size=300) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_page_token_is_none_of_the_servers(token: str) -> None:
    """Text that this server did not make is refused by its reason, and the empty token is the first page."""
    if not token:
        assert page_cursor("m", REQUEST, token) == ""
        return
    with pytest.raises(InvalidArgument) as caught:
        page_cursor("m", REQUEST, token)
    assert caught.value.reason == "PAGE_TOKEN_INVALID"


@given(st.text(min_size=1, max_size=60), st.data())
def test_a_damaged_page_token_is_refused(cursor: str, data: st.DataObject) -> None:
    """A token with any change is refused; unchanged it is what it was."""
    token = next_page_token("m", REQUEST, cursor)
    assert page_cursor("m", REQUEST, token) == cursor
    damaged = data.draw(_mutated(token.encode())).decode("latin-1")
    if damaged not in {"", token}:
        with pytest.raises(InvalidArgument):
            page_cursor("m", REQUEST, damaged)


@given(st.text(max_size=60) | st.from_regex(r"[\[\]a-z0-9:./%@-]{0,30}"))
def test_any_address_is_a_target_or_a_value_error(address: str) -> None:
    """A server's address is understood or refused as a wrong value, never otherwise."""
    with contextlib.suppress(ValueError):
        assert channel_target(address)


@given(
    st.binary(max_size=400),
    st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 4, 8]),
    st.integers(0, 2**32 - 1) | st.integers(0, 4),
    st.booleans(),
)
def test_any_packed_embeddings_are_vectors_or_refused(data: bytes, dimension: int, count: int, normalize: bool) -> None:
    """Bytes that claim to be embeddings become unit vectors or are refused; memory follows the bytes, not the claim."""
    tracemalloc.start()
    try:
        raw = unpack(
            PackedEmbeddings(data, dimension, count, "", normalize),
            dimension=8,
            model="m",
            limits=Limits(),
            field="probes",
        )
        checked = check_vectors(raw, normalize=normalize, field="probes")
        good = [row for row in range(len(raw)) if row not in checked.errors]
        norms = np.linalg.norm(checked.vectors[good].astype(np.float64), axis=1)
        assert np.allclose(norms, 1.0, atol=1e-3)
    except (EmbeddingRefused, LimitExceeded):
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1024 * 1024
