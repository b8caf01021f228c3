"""Lists that come in pages, and operations that are waited for."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.message import Message

from mien.v1 import gallery_service_pb2 as galleries_v1
from mien.v1 import operations_service_pb2 as operations_v1
from mien_client import OperationState, PreconditionFailed
from tests.client_support import FakeService, client_of, rich_status


def people_in_pages(request: galleries_v1.ListIdentitiesRequest, _context: object) -> Message:
    page = int(request.page_token or 0)
    people = [galleries_v1.Identity(id=f"p{page}{place}") for place in range(2 if page != 1 else 0)]
    return galleries_v1.ListIdentitiesResponse(
        identities=people, next_page_token=str(page + 1) if page < 3 else "", revision=4
    )


def test_a_list_reads_page_after_page() -> None:
    """Items of every page come in order, an empty page in the middle does not end the list."""
    with client_of(FakeService(ListIdentities=people_in_pages)) as client:
        found = list(client.list_identities("people"))
    assert [one.id for one in found] == ["p00", "p01", "p20", "p21", "p30", "p31"]
    assert {one.revision for one in found} == {4}


def test_a_page_is_only_read_when_it_is_needed() -> None:
    """Taking the first item of a list costs one call."""
    service = FakeService(ListIdentities=people_in_pages)
    with client_of(service) as client:
        next(client.list_identities("people"))
    assert len(service.requests) == 1


def test_waiting_shows_progress_until_the_end() -> None:
    """Each answer of the server reaches on_progress, and the last one is returned, failed or not."""

    def wait(_request: object, _context: object) -> operations_v1.WaitOperationResponse:
        done = len(service.requests) == 3
        operation = operations_v1.Operation(name="operations/1", progress=len(service.requests) / 3)
        operation.state = operations_v1.OPERATION_STATE_FAILED if done else operations_v1.OPERATION_STATE_RUNNING
        if done:
            operation.error.CopyFrom(rich_status(grpc.StatusCode.FAILED_PRECONDITION, "no", reason="BUILD_FAILED"))
        return operations_v1.WaitOperationResponse(operation=operation)

    service = FakeService(WaitOperation=wait)
    seen: list[float] = []
    with client_of(service) as client:
        ended = client.wait_operation("operations/1", on_progress=lambda operation: seen.append(operation.progress))
    assert seen == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert ended.state is OperationState.FAILED
    assert isinstance(ended.error, PreconditionFailed)


def test_an_update_of_nothing_is_refused() -> None:
    """An empty field mask means everything in the contract, so the client never sends one by accident."""
    with client_of(FakeService()) as client, pytest.raises(ValueError, match="nothing to update"):
        client.update_identity("people", "ada")


def test_an_update_names_what_was_given() -> None:
    """Only the fields that were given are in the mask, also where they are given as empty."""

    def update(request: galleries_v1.UpdateIdentityRequest, _context: object) -> Message:
        return galleries_v1.UpdateIdentityResponse(identity=request.identity)

    service = FakeService(UpdateIdentity=update)
    with client_of(service) as client:
        client.update_identity("people", "ada", labels={})
    request = service.requests[0]
    assert isinstance(request, galleries_v1.UpdateIdentityRequest)
    assert list(request.update_mask.paths) == ["labels"]
