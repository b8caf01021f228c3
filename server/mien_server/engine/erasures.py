"""Erasing identities: asked for, followed, and their receipts checked."""

from __future__ import annotations

from mien_server.engine.context import EngineContext, now_us
from mien_server.engine.eraser import Eraser, is_pending
from mien_server.engine.operations import Operations
from mien_server.engine.translation import erasure_info, erasure_of
from mien_server.engine.types import (
    ErasureCheck,
    ErasureInfo,
    ErasureListing,
    OperationInfo,
    OperationKind,
    RequestToken,
)
from mien_server.engine.validation import check_gallery_name, check_identity_id
from mien_server.errors import NotFound
from mien_server.records.store_pb2 import ErasureReceiptRecord
from mien_server.storage import Committed, EraseFaces, RequestKey, check_receipt

__all__ = ["Erasures"]


class Erasures:
    """The erasures of a store."""

    def __init__(self, context: EngineContext, eraser: Eraser, operations: Operations) -> None:
        self._context = context
        self._eraser = eraser
        self._operations = operations
        self._log = context.indexes.log

    def erase(self, gallery: str, identity_id: str, request: RequestToken | None = None) -> tuple[OperationInfo, int]:
        """Delete an identity with all its faces, and have all that is left of it in files removed.

        When this returns nobody finds the identity from the revision given on, also after a crash; the operation ends
        when everything is gone.

        Raises:
            NotFound: GALLERY_NOT_FOUND, IDENTITY_NOT_FOUND.
            Conflict: REQUEST_ID_REUSED.
        """
        check_gallery_name(gallery, "gallery")
        check_identity_id(identity_id, self._context.limits, "identity_id")
        with self._context.snapshot(gallery) as snapshot:
            number = snapshot.gallery.number
        operation = self._context.indexes.new_operation(number, gallery, OperationKind.ERASE)
        name = operation.name
        key: RequestKey[bool] | None = None
        if request is not None:
            key = RequestKey(request.request_id, request.fingerprint, lambda _: name.encode())
        self._log.adopt(operation)
        is_begun = False
        try:
            first = EraseFaces(gallery, identity_id, erasure_of(name), operation, request=key)
            written = self._context.store.write(first)
            is_begun = isinstance(written, Committed)
        finally:
            if not is_begun:
                self._log.drop(name)
        if not isinstance(written, Committed):
            return self._operations.get(written.outcome.decode()), written.revision
        while not written.result:
            following = EraseFaces(gallery, identity_id, erasure_of(name))
            next_one = self._context.store.write(following, is_internal=True)
            assert isinstance(next_one, Committed)
            written = next_one
        self._eraser.wake()
        return self._operations.get(name), written.revision

    def get(self, name: str) -> ErasureInfo:
        """An erasure as it stands.

        Raises:
            NotFound: ERASURE_NOT_FOUND.
        """
        with self._context.store.view() as view:
            record = view.erasure(name) if name else None
        if record is None:
            raise NotFound(f"there is no erasure {name!r}", reason="ERASURE_NOT_FOUND", metadata={"erasure": name})
        return erasure_info(record, now_us(), self._eraser.within_us)

    def list(self, gallery: str, after: str, limit: int, *, pending_only: bool = False) -> ErasureListing:
        """A page of erasures, the newest first, those after the one named `after`."""
        with self._context.store.view() as view:
            records = [one for one in view.erasures() if not gallery or one.gallery_name == gallery]
        if pending_only:
            records = [one for one in records if is_pending(one)]
        if after:
            records = [one for one in records if one.name < after]
        time_us = now_us()
        page = tuple(erasure_info(one, time_us, self._eraser.within_us) for one in records[:limit])
        return ErasureListing(page, page[-1].name if len(records) > limit else "")

    def verify(self, receipt: ErasureReceiptRecord, identity_id: str = "") -> tuple[ErasureCheck, ...]:
        """What the receipt says, and whether it still holds; with the identity's id, also that it is gone.

        Searches every file of the store where the id is given: some seconds for each gigabyte.
        """
        if identity_id:
            check_identity_id(identity_id, self._context.limits, "identity_id")
        checks = check_receipt(self._context.store, receipt, identity_id)
        return tuple(ErasureCheck(one.name, one.passed, one.detail) for one in checks)
