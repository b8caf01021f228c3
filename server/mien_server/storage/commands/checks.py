"""What several commands refuse."""

from __future__ import annotations

from mien_server.errors import Conflict, InvalidArgument
from mien_server.storage.expiry import has_expired
from mien_server.storage.keys import IDENTITY_ID_BYTES_MAX

__all__ = ["require_future", "require_identity_id", "require_version"]


def require_version(expected: int | None, found: int, what: str) -> None:
    """Refuse when someone else wrote in between. Raises Conflict (ETAG_MISMATCH)."""
    if expected is not None and expected != found:
        raise Conflict(
            f"the {what} was changed at revision {found}, after it was read; read it again and repeat the change",
            reason="ETAG_MISMATCH",
            metadata={"expected_version": str(expected), "version": str(found)},
        )


def require_identity_id(identity_id: str) -> None:
    """Refuse an id that no identity can have. Raises InvalidArgument (IDENTITY_ID_INVALID)."""
    length = len(identity_id.encode())
    if not 0 < length <= IDENTITY_ID_BYTES_MAX:
        raise InvalidArgument(
            f"an identity id has 1 to {IDENTITY_ID_BYTES_MAX} bytes of UTF-8, this one {length}",
            reason="IDENTITY_ID_INVALID",
            field="identity_id",
        )


def require_future(expire_time_us: int, now_us: int, field: str) -> None:
    """Refuse a time of expiry that has passed. Raises InvalidArgument (EXPIRE_TIME_PAST)."""
    if has_expired(expire_time_us, now_us):
        raise InvalidArgument(
            f"{field} has passed already; give a later one, or delete what is to go",
            field=field,
            reason="EXPIRE_TIME_PAST",
        )
