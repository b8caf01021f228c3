"""What a failed call raises."""

from __future__ import annotations

import socket
import threading

import grpc
import pytest
from google.rpc import status_pb2

from mien_client import (
    Client,
    ClientOptions,
    DeadlineExceeded,
    FieldViolation,
    InvalidArgument,
    MienClientError,
    NotFound,
    Overloaded,
    ServerFailure,
    Unavailable,
    Unimplemented,
)
from mien_client import errors as errors_module
from mien_client._rpc import failures
from mien_client._rpc.failures import from_status, optional_error
from tests.client_support import QUICK, FakeService, client_of, refuse, rich_status

ONE_ATTEMPT = ClientOptions(attempts_max=1)


def test_an_error_carries_what_the_server_said() -> None:
    """Message, code, reason, metadata and violations of a refused call are on the error, and its text shows them."""
    status = rich_status(
        grpc.StatusCode.INVALID_ARGUMENT, "the name is too long", reason="NAME_INVALID", field="gallery.name"
    )
    service = FakeService(GetGallery=lambda _, context: refuse(context, status))
    with client_of(service) as client, pytest.raises(InvalidArgument) as caught:
        client.get_gallery("x")
    error = caught.value
    assert (error.code, error.reason, error.metadata) == ("INVALID_ARGUMENT", "NAME_INVALID", {"limit": "7"})
    assert error.violations == (FieldViolation("gallery.name", "is wrong"),)
    assert str(error) == "the name is too long; gallery.name: is wrong [NAME_INVALID]"


def test_an_overloaded_server_says_when_to_come_back() -> None:
    """RetryInfo becomes retry_after_s."""
    error = from_status(rich_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", reason="OVERLOADED", retry_after_s=0.5))
    assert isinstance(error, Overloaded)
    assert error.retry_after_s == pytest.approx(0.5)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_has_an_error_of_the_tree(code: grpc.StatusCode) -> None:
    """Each canonical code becomes a named subclass of MienClientError, never the base class itself."""
    error = from_status(rich_status(code, "no"))
    assert type(error) is not MienClientError
    assert error.code == code.name


def test_every_error_of_the_tree_is_exported_and_drawn() -> None:
    """The public names and the tree in the module's docstring are all of the classes."""
    classes = {
        name
        for name, value in vars(errors_module).items()
        if isinstance(value, type) and issubclass(value, MienClientError)
    }
    assert classes | {"FieldViolation"} == set(errors_module.__all__)
    assert [name for name in sorted(classes) if name not in (errors_module.__doc__ or "")] == []


def test_a_status_of_no_known_code_is_a_server_failure() -> None:
    """A number that no gRPC code has does not break the client."""
    assert isinstance(from_status(status_pb2.Status(code=99, message="odd")), ServerFailure)


def test_code_zero_is_no_error() -> None:
    """The status of an item that succeeded is None."""
    assert optional_error(rich_status(grpc.StatusCode.OK, "")) is None


def test_nobody_at_the_address_is_said_in_a_sentence() -> None:
    """A refused connection names the address and has no reason, for Mien did not answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with Client(address, ONE_ATTEMPT) as client, pytest.raises(Unavailable, match=address) as caught:
        client.get_server_info()
    assert caught.value.reason == ""


def test_the_cause_of_a_name_not_found_has_no_stray_bracket() -> None:
    """gRPC puts its chain of attempts in brackets; what is shown of it has none that was never opened."""
    details = "DNS resolution failed for foo:1: [attempts: C-ares: UNKNOWN: Domain name not found])"
    told = failures._explained(grpc.StatusCode.UNAVAILABLE, details, "foo:1", None)
    assert "(Domain name not found);" in told


def test_a_method_the_server_lacks_is_unimplemented() -> None:
    """A server that does not know a method raises Unimplemented."""
    with client_of(FakeService()) as client, pytest.raises(Unimplemented):
        client.import_faces("people", "folder")


def test_a_call_ends_at_its_timeout() -> None:
    """A call that is not answered in time raises DeadlineExceeded and says how long it waited."""

    def never(_request: object, context: grpc.ServicerContext) -> None:
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(30)

    with client_of(FakeService(GetGallery=never)) as client, pytest.raises(DeadlineExceeded, match=r"0\.2 s"):
        client.get_gallery("people", timeout_s=0.2)


def test_not_found_is_not_tried_again() -> None:
    """Only UNAVAILABLE and RESOURCE_EXHAUSTED are worth another attempt."""
    status = rich_status(grpc.StatusCode.NOT_FOUND, "no", reason="GALLERY_NOT_FOUND")
    service = FakeService(GetGallery=lambda _, context: refuse(context, status))
    with client_of(service, QUICK) as client, pytest.raises(NotFound):
        client.get_gallery("people")
    assert len(service.requests) == 1
