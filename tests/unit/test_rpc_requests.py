"""Request ids, etags, field masks, pages and their tokens."""

from __future__ import annotations

import base64

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from mien.v1 import gallery_service_pb2 as pb
from mien_server.config.limits import Limits
from mien_server.errors import InvalidArgument, LimitExceeded
from mien_server.rpc.requests import (
    etag_of,
    masked_paths,
    next_page_token,
    page_cursor,
    page_ordinal,
    page_size,
    request_token,
    version_of,
)

METHOD = "mien.v1.GalleryService.ListIdentities"
LABELS = {f"key{number}": "value" for number in range(20)}


def test_no_request_id_is_no_token() -> None:
    """A request without an id is not idempotent and gets no token."""
    assert request_token(METHOD, pb.CreateGalleryRequest(), "") is None


@pytest.mark.parametrize("request_id", ["a" * 65, "with space", "slash/", "ümlaut", "line\n"])
def test_bad_request_ids_are_refused(request_id: str) -> None:
    """A request id outside its syntax is refused by name."""
    with pytest.raises(InvalidArgument) as caught:
        request_token(METHOD, pb.CreateGalleryRequest(), request_id)
    assert (caught.value.reason, caught.value.field) == ("REQUEST_ID_INVALID", "request_id")


def test_fingerprint_ignores_the_id_and_the_order_of_labels() -> None:
    """Equal bodies have one fingerprint, whatever their request id and the order in which labels were set."""
    one = pb.CreateGalleryRequest(gallery=pb.Gallery(name="staff", labels=LABELS), request_id="a")
    other = pb.CreateGalleryRequest(
        gallery=pb.Gallery(name="staff", labels=dict(reversed(LABELS.items()))), request_id="b"
    )
    tokens = [request_token(METHOD, message, message.request_id) for message in (one, other)]
    assert tokens[0] is not None
    assert tokens[1] is not None
    assert tokens[0].fingerprint == tokens[1].fingerprint
    assert one.request_id == "a", "the message itself is unchanged"


def test_fingerprint_differs_by_body_and_method() -> None:
    """Another body or another method is another request."""
    one = pb.CreateGalleryRequest(gallery=pb.Gallery(name="staff"))
    other = pb.CreateGalleryRequest(gallery=pb.Gallery(name="stuff"))
    tokens = [request_token(method, message, "id") for method, message in ((METHOD, one), (METHOD, other), ("m", one))]
    assert len({token.fingerprint for token in tokens if token is not None}) == 3


@given(st.integers(min_value=1, max_value=2**63))
def test_etags_come_back(version: int) -> None:
    """The etag of a version is read back as that version."""
    assert version_of(etag_of(version), "etag") == version


@pytest.mark.parametrize("etag", ["x", "v", "v-1", "7", "v0", "v1 ", "v" + "9" * 30])
def test_foreign_etags_are_refused(etag: str) -> None:
    """An etag that this server cannot have given is refused, not compared."""
    with pytest.raises(InvalidArgument) as caught:
        version_of(etag, "gallery.etag")
    assert caught.value.reason == "ETAG_INVALID"


def test_mask_selects_and_an_empty_one_takes_what_is_filled() -> None:
    """A field mask says what changes; without one everything that is filled in does."""
    assert masked_paths(FieldMask(paths=["labels"]), ("labels", "display_name"), ["display_name"], "x") == {"labels"}
    assert masked_paths(FieldMask(), ("labels", "display_name"), ["display_name"], "x") == {"display_name"}


def test_unknown_mask_paths_are_refused() -> None:
    """A path that cannot be updated is refused, with those that can."""
    with pytest.raises(InvalidArgument) as caught:
        masked_paths(FieldMask(paths=["name"]), ("labels", "display_name"), [], "gallery")
    assert (caught.value.reason, caught.value.field) == ("FIELD_MASK_INVALID", "update_mask")


def test_page_sizes() -> None:
    """Zero asks for the default; more than the limit is refused by the limit's name."""
    assert page_size(0, Limits()) == 100
    assert page_size(7, Limits()) == 7
    with pytest.raises(LimitExceeded) as caught:
        page_size(1001, Limits())
    assert caught.value.metadata["limit"] == "page_size_max"


@given(st.text(min_size=1, max_size=64))
def test_page_tokens_come_back(cursor: str) -> None:
    """A token gives the cursor back to the request it came from, with another page size too."""
    token = next_page_token(METHOD, pb.ListIdentitiesRequest(gallery="staff", page_size=5), cursor)
    again = pb.ListIdentitiesRequest(gallery="staff", page_size=9, page_token=token, min_revision=3)
    assert page_cursor(METHOD, again, token) == cursor


@pytest.mark.parametrize(
    "token",
    ["!!!!", "YQ==", "a", "x" * 5000, base64.urlsafe_b64encode(b"12345678cursor").decode(), "ümlaut", "\u0000"],
)
def test_foreign_page_tokens_are_refused(token: str) -> None:
    """A token that this server never gave is refused."""
    with pytest.raises(InvalidArgument) as caught:
        page_cursor(METHOD, pb.ListIdentitiesRequest(gallery="staff"), token)
    assert (caught.value.reason, caught.value.field) == ("PAGE_TOKEN_INVALID", "page_token")


def test_a_token_belongs_to_its_request() -> None:
    """A token of one gallery's list is refused in another's, and in another method."""
    token = next_page_token(METHOD, pb.ListIdentitiesRequest(gallery="staff"), "anna")
    for method, gallery in ((METHOD, "stuff"), ("mien.v1.GalleryService.ListFaces", "staff")):
        with pytest.raises(InvalidArgument):
            page_cursor(method, pb.ListIdentitiesRequest(gallery=gallery), token)


@pytest.mark.parametrize("cursor", ["anna", "-2", "1.5", "٣", "9" * 19, " 1"])
def test_a_cursor_that_is_no_ordinal_is_refused(cursor: str) -> None:
    """A token with a good digest whose cursor is no ordinal is refused like any other that was never given."""
    method, request = "mien.v1.GalleryService.ListFaces", pb.ListFacesRequest(gallery="staff")
    with pytest.raises(InvalidArgument) as caught:
        page_ordinal(method, request, next_page_token(method, request, cursor))
    assert (caught.value.reason, caught.value.field) == ("PAGE_TOKEN_INVALID", "page_token")


def test_ordinals_come_back() -> None:
    """A token gives the ordinal back, and no token the place before the first one."""
    method, request = "mien.v1.GalleryService.ListFaces", pb.ListFacesRequest(gallery="staff")
    assert page_ordinal(method, request, next_page_token(method, request, "41")) == 41
    assert page_ordinal(method, request, "") == -1
