"""Calls that are tried again."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from mien.v1 import gallery_service_pb2 as galleries_v1
from mien_client import ClientOptions, EnrollItem, Overloaded
from mien_client._rpc.channel import service_config
from tests.client_support import QUICK, FakeService, client_of, refuse, rich_status

BUSY = rich_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", reason="OVERLOADED", retry_after_s=0.25)


def failing_first(failures: int, code: grpc.StatusCode) -> FakeService:
    def enroll(_request: object, context: grpc.ServicerContext) -> galleries_v1.EnrollFacesResponse:
        if len(service.requests) <= failures:
            context.abort(code, "not now")
        return galleries_v1.EnrollFacesResponse(revision=5)

    service = FakeService(EnrollFaces=enroll)
    return service


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_a_write_is_tried_again_with_the_same_request_id(code: grpc.StatusCode) -> None:
    """Each attempt carries the request id of the first, so that the write happens once."""
    service = failing_first(2, code)
    with client_of(service) as client:
        answer = client.enroll_faces("people", [EnrollItem("ada", embedding=[1.0, 0.0])])
    assert answer.revision == 5
    ids = [request.request_id for request in service.requests if isinstance(request, galleries_v1.EnrollFacesRequest)]
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert ids[0]


def test_a_request_larger_than_grpc_would_keep_is_tried_again() -> None:
    """A photograph of megabytes is retried too: gRPC by itself keeps only 256 KiB for another attempt."""
    service = failing_first(1, grpc.StatusCode.UNAVAILABLE)
    with client_of(service) as client:
        answer = client.enroll_faces("people", [EnrollItem("ada", image=bytes(5_000_000))])
    assert answer.revision == 5


def test_attempts_end() -> None:
    """A server that stays overloaded is believed after attempts_max attempts, and its details reach the caller."""
    service = FakeService(GetGallery=lambda _, context: refuse(context, BUSY))
    with client_of(service) as client, pytest.raises(Overloaded) as caught:
        client.get_gallery("people")
    assert len(service.requests) == QUICK.attempts_max
    assert caught.value.retry_after_s == pytest.approx(0.25)


def test_retries_can_be_turned_off() -> None:
    """With attempts_max 1 the first failure is the caller's."""
    service = FakeService(GetGallery=lambda _, context: refuse(context, BUSY))
    with client_of(service, ClientOptions(attempts_max=1)) as client, pytest.raises(Overloaded):
        client.get_gallery("people")
    assert len(service.requests) == 1


def test_streams_are_not_replayed_by_grpc() -> None:
    """The service config has no retry policy for the streaming methods, which the client resumes itself."""
    methods = json.loads(service_config(ClientOptions()))["methodConfig"]
    streams = next(method for method in methods if any("method" in name for name in method["name"]))
    assert {name["method"] for name in streams["name"]} == {"StreamEnroll", "StreamIdentify", "StreamSearch"}
    assert "retryPolicy" not in streams


@pytest.mark.parametrize(
    "options", [{"attempts_max": 0}, {"attempts_max": 6}, {"timeout_s": 0}, {"client_id": "line\n"}]
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    """A number that gRPC would silently change is a ValueError."""
    with pytest.raises(ValueError, match="give"):
        ClientOptions(**options)  # type: ignore[arg-type]
