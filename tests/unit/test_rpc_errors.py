"""The table from errors to google.rpc.Status."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import quote

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from mien_server import errors
from mien_server.rpc.errors import CODES, as_mien_error, code_of, status_of
from mien_server.storage.keys import IDENTITY_ID_BYTES_MAX

Detail = TypeVar("Detail", bound=Message)
PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
"""What gRPC does not percent-encode in a message."""


def _tree(root: type[errors.MienError]) -> Iterator[type[errors.MienError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from _tree(kind)


def _detail(status: status_pb2.Status, kind: type[Detail]) -> Detail:
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            found = kind()
            packed.Unpack(found)
            return found
    raise AssertionError(f"no {kind.__name__} in {status}")


def test_every_class_of_the_tree_is_in_the_table() -> None:
    """A class of mien_server.errors without a code of its own would be answered by accident."""
    declared = {kind for kind in _tree(errors.MienError) if kind.__module__ == "mien_server.errors"}
    assert declared == set(CODES)


@pytest.mark.parametrize("kind", list(CODES))
def test_every_class_carries_reason_domain_and_metadata(kind: type[errors.MienError]) -> None:
    """Every error reaches the caller with its reason, Mien's domain and its facts."""
    status = status_of(kind("what, where, what to do", reason="SOME_REASON", metadata={"gallery": "staff"}))
    info = _detail(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == ("SOME_REASON", "mien.dev", {"gallery": "staff"})
    assert status.code == CODES[kind].value[0]
    assert status.message == "what, where, what to do"


@pytest.mark.parametrize("kind", [errors.InvalidArgument, errors.EmbeddingRefused, errors.LimitExceeded])
def test_wrong_requests_name_the_field(kind: type[errors.InvalidArgument]) -> None:
    """A wrong request names the field that is wrong, by its path."""
    status = status_of(kind("bad", field="items[3].embedding"))
    violations = _detail(status, error_details_pb2.BadRequest).field_violations
    assert [(one.field, one.description) for one in violations] == [("items[3].embedding", "bad")]


def test_overload_says_when_to_come_back() -> None:
    """An overloaded server says after which time to try again."""
    status = status_of(errors.Overloaded("busy", retry_after_s=1.25))
    delay = _detail(status, error_details_pb2.RetryInfo).retry_delay
    assert delay.ToMilliseconds() == 1250


def test_missing_things_name_kind_and_name() -> None:
    """NOT_FOUND says what kind of thing is missing and its name."""
    error = errors.NotFound("no face", reason="FACE_NOT_FOUND", metadata={"gallery": "staff", "face_id": "f1"})
    info = _detail(status_of(error), error_details_pb2.ResourceInfo)
    assert (info.resource_type, info.resource_name) == ("mien.v1.Face", "f1")


def test_preconditions_name_the_subject() -> None:
    """FAILED_PRECONDITION says which condition of which gallery does not hold."""
    error = errors.PreconditionFailed("holds faces", reason="GALLERY_NOT_EMPTY", metadata={"gallery": "staff"})
    violations = _detail(status_of(error), error_details_pb2.PreconditionFailure).violations
    assert [(one.type, one.subject) for one in violations] == [("GALLERY_NOT_EMPTY", "staff")]


def test_a_refined_class_takes_its_parents_row() -> None:
    """A layer's own subclass is answered as the class of the tree that it refines."""

    class Refined(errors.NotFound):
        pass

    assert code_of(Refined("gone")) is grpc.StatusCode.NOT_FOUND


def test_a_defect_is_answered_with_an_id_only() -> None:
    """An exception nobody foresaw tells the caller an id, and nothing of what is inside."""
    error = as_mien_error(KeyError("secret path"), "mien.v1.GalleryService.GetGallery")
    status = status_of(error)
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in status.message
    assert len(_detail(status, error_details_pb2.ErrorInfo).metadata["error_id"]) == 16


@pytest.mark.parametrize("raised", [MemoryError(), RuntimeError("can't start new thread")])
def test_memory_that_is_short_passes(raised: Exception) -> None:
    """A request that gets no memory, or no thread, is told when to come back, and is not called a defect."""
    status = status_of(as_mien_error(raised, "mien.v1.GalleryService.StreamEnroll"))
    assert status.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert _detail(status, error_details_pb2.ErrorInfo).reason == "OUT_OF_MEMORY"
    assert _detail(status, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0


@pytest.mark.parametrize("character", ["x", "%", "\n", "é", "顔", "😀"])
@pytest.mark.parametrize("kind", [errors.InvalidArgument, errors.NotFound, errors.PreconditionFailed])
def test_a_long_message_still_fits_into_headers(kind: type[errors.MienError], character: str) -> None:
    """However long a message and its facts are, in any script, the status takes less than the 8 KiB of headers that
    HTTP/2 peers accept, and keeps code and reason.
    """
    long = character * 100_000
    error = kind(
        long, reason="GALLERY_SO", metadata={"gallery": long, **{f"fact_{number}": long for number in range(9)}}
    )
    if isinstance(error, errors.InvalidArgument):
        error.field = long
    status = status_of(error, source=long)
    header_bytes = len(quote(status.message, safe=PRINTABLE)) + len(b64encode(status.SerializeToString()))
    assert 1000 < header_bytes < 6000
    assert status.code == CODES[kind].value[0]
    assert _detail(status, error_details_pb2.ErrorInfo).reason == "GALLERY_SO"
    assert status.message.endswith("...")


def test_ids_are_never_cut() -> None:
    """The longest id that a store can hold reaches the caller whole, in any script."""
    identity_id = "顔" * (IDENTITY_ID_BYTES_MAX // 3)
    error = errors.NotFound("x" * 5000, reason="IDENTITY_NOT_FOUND", metadata={"identity_id": identity_id})
    status = status_of(error)
    assert _detail(status, error_details_pb2.ErrorInfo).metadata["identity_id"] == identity_id
    assert _detail(status, error_details_pb2.ResourceInfo).resource_name == identity_id


def test_a_message_that_fits_is_not_cut() -> None:
    """Up to its limit a message is answered as it is."""
    assert status_of(errors.NotFound("x" * 1000)).message == "x" * 1000
    assert status_of(errors.NotFound("x" * 1001)).message == "x" * 997 + "..."
