"""What many requests have in common: request ids, etags, field masks, page sizes and page tokens."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from mien_server.config.limits import Limits
from mien_server.engine.types import RequestToken
from mien_server.errors import InvalidArgument, LimitExceeded

__all__ = [
    "PAGE_SIZE_DEFAULT",
    "etag_of",
    "masked_paths",
    "next_page_token",
    "page_cursor",
    "page_ordinal",
    "page_size",
    "request_token",
    "version_of",
]

PAGE_SIZE_DEFAULT = 100
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_ETAG = re.compile(r"v([1-9][0-9]{0,18})")
_ORDINAL = re.compile(r"[0-9]{1,18}")
_TOKEN_DIGEST_BYTES = 8
_TOKEN_CHARACTERS_MAX = 4096
_FIELDS_THAT_MAY_CHANGE_BETWEEN_PAGES = ("page_token", "page_size", "min_revision")


def request_token(method: str, request: Message, request_id: str) -> RequestToken | None:
    """The request's id and a fingerprint of everything else in it; None when it has no id.

    Args:
        method: full name, such as "mien.v1.GalleryService.CreateGallery".
        request: the message; its field `request_id`, if it has one, does not count.

    Raises:
        InvalidArgument: REQUEST_ID_INVALID.
    """
    if not request_id:
        return None
    if not _REQUEST_ID.fullmatch(request_id):
        raise InvalidArgument(
            f"request_id {request_id[:80]!r} is not allowed: 1 to 64 of A-Z, a-z, 0-9, '_', '.', ':' and '-'",
            field="request_id",
            reason="REQUEST_ID_INVALID",
        )
    return RequestToken(request_id, hashlib.sha256(_canonical(method, request, ("request_id",))).digest())


def _canonical(method: str, request: Message, left_out: Collection[str]) -> bytes:
    """Method and request as bytes that are equal for equal requests, some fields left out."""
    kept = {name: getattr(request, name) for name in left_out if name in request.DESCRIPTOR.fields_by_name}
    try:
        for name in kept:
            request.ClearField(name)
        body = request.SerializeToString(deterministic=True)
    finally:
        for name, value in kept.items():
            setattr(request, name, value)
    return b"%b\0%b" % (method.encode(), body)


def etag_of(version: int) -> str:
    """The etag of a record's version."""
    return f"v{version}"


def version_of(etag: str, field: str) -> int | None:
    """The version an etag stands for; None for the empty etag, which guards nothing.

    Raises:
        InvalidArgument: ETAG_INVALID, when no answer can have carried it.
    """
    if not etag:
        return None
    match = _ETAG.fullmatch(etag)
    if match is None:
        raise InvalidArgument(
            f"{field}: {etag[:80]!r} is no etag of this server; give one as it was read, or none",
            field=field,
            reason="ETAG_INVALID",
        )
    return int(match[1])


def masked_paths(mask: FieldMask, known: Collection[str], filled: Collection[str], prefix: str) -> frozenset[str]:
    """Fields that an update changes: those of the mask, or, when it is empty, those that are filled in.

    Args:
        known: fields that can be updated.
        filled: fields of `known` that the message sets.
        prefix: full name of the message, for the error.

    Raises:
        InvalidArgument: FIELD_MASK_INVALID, for a path that is not known.
    """
    for path in mask.paths:
        if path not in known:
            raise InvalidArgument(
                f"update_mask: {path[:80]!r} is no field of {prefix} that can be updated; those are {', '.join(known)}",
                field="update_mask",
                reason="FIELD_MASK_INVALID",
                metadata={"path": path},
            )
    return frozenset(mask.paths or filled)


def page_size(requested: int, limits: Limits) -> int:
    """Entries of a page; zero asks for the default.

    Raises:
        LimitExceeded: LIMIT_EXCEEDED, beyond `page_size_max`.
    """
    if requested > limits.page_size_max:
        raise LimitExceeded(
            f"page_size: {requested} is more than page_size_max = {limits.page_size_max}",
            field="page_size",
            metadata={"limit": "page_size_max", "maximum": str(limits.page_size_max), "given": str(requested)},
        )
    return requested or min(PAGE_SIZE_DEFAULT, limits.page_size_max)


def next_page_token(method: str, request: Message, cursor: str) -> str:
    """The token that goes on after `cursor`, bound to the request; empty for an empty cursor, the end."""
    if not cursor:
        return ""
    encoded = cursor.encode()
    return base64.urlsafe_b64encode(_token_digest(method, request, encoded) + encoded).decode()


def page_cursor(method: str, request: Message, token: str) -> str:
    """The cursor in a page token; empty for the empty token, the first page.

    Raises:
        InvalidArgument: PAGE_TOKEN_INVALID, when this server never gave this token for such a request.
    """
    if not token:
        return ""
    try:
        if len(token) > _TOKEN_CHARACTERS_MAX:
            raise ValueError("too long")
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        digest, encoded = raw[:_TOKEN_DIGEST_BYTES], raw[_TOKEN_DIGEST_BYTES:]
        if not encoded or digest != _token_digest(method, request, encoded):
            raise ValueError("another request's")
        return encoded.decode()
    except (binascii.Error, ValueError) as error:
        raise _page_token_invalid() from error


def page_ordinal(method: str, request: Message, token: str) -> int:
    """The ordinal in a page token; -1 for the empty token, the first page.

    Raises:
        InvalidArgument: PAGE_TOKEN_INVALID, also for a token whose cursor is no ordinal.
    """
    cursor = page_cursor(method, request, token)
    if not cursor:
        return -1
    if not _ORDINAL.fullmatch(cursor):
        raise _page_token_invalid()
    return int(cursor)


def _page_token_invalid() -> InvalidArgument:
    return InvalidArgument(
        "page_token: not a token this server gave for this request; repeat the request that gave it, with only "
        "page_token and page_size changed, or start again without one",
        field="page_token",
        reason="PAGE_TOKEN_INVALID",
    )


def _token_digest(method: str, request: Message, encoded_cursor: bytes) -> bytes:
    body = _canonical(method, request, _FIELDS_THAT_MAY_CHANGE_BETWEEN_PAGES)
    digested = b"%d\0%b%b" % (len(encoded_cursor), encoded_cursor, body)
    return hashlib.blake2b(digested, digest_size=_TOKEN_DIGEST_BYTES).digest()
