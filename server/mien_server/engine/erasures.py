"""Erasing identities: asked for, followed, and their receipts checked."""

from __future__ import annotations

from collections.abc import Iterator

from mien_server.engine.context import EngineContext, now_us
from mien_server.engine.eraser import Eraser
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
from mien_server.errors import Conflict, NotFound
from mien_server.records.deadline import Deadline
from mien_server.records.store_pb2 import ErasureReceiptRecord, ErasureRecord
from mien_server.storage import (
    Committed,
    EraseFaces,
    ErasureState,
    Replayed,
    RequestKey,
    StoreView,
    check_receipt,
    delete_rest,
    is_pending,
)

__all__ = ["Erasures"]

NO_DEADLINE = Deadline()
LOOKED_AT_MAX = 4096
"""Records read for one page, whatever a filter leaves of them."""


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
        encoded = name.encode()
        key: RequestKey[bool] | None = None
        if request is not None:
            key = RequestKey(request.request_id, request.fingerprint, lambda _: encoded)
        self._log.adopt(operation)
        is_answered = is_begun = is_refused = False
        try:
            first = EraseFaces(gallery, identity_id, erasure_of(name), operation, request=key)
            written = self._context.store.write(first)
            is_answered, is_begun = True, isinstance(written, Committed)
            if isinstance(written, Replayed):
                name = written.outcome.decode()
            revision = max(written.revision, self._delete_rest(gallery, identity_id, erasure_of(name)))
        except (NotFound, Conflict):
            is_refused = True
            raise
        finally:
            if not is_begun:
                self._log.drop(operation.name)
            if not is_refused:
                # Whatever became of the call, what is in the store is carried to its end.
                self._eraser.wake(erasure_of(name), gallery, is_in_doubt=not is_answered)
        self._log.adopt_kept([name])
        return self._operations.get(name), revision

    def _delete_rest(self, gallery: str, identity_id: str, erasure: str) -> int:
        """Go on with a deletion that is not at its end; answers with the revision that has nothing of it."""
        with self._context.store.view() as view:
            record = view.erasure(erasure)
        if record is None or record.state != ErasureState.DELETING:
            return 0 if record is None else record.revision
        revision = delete_rest(self._context.store, gallery, identity_id, erasure)
        return self._context.store.revision if revision is None else revision

    def get(self, name: str) -> ErasureInfo:
        """An erasure as it stands.

        Raises:
            NotFound: ERASURE_NOT_FOUND.
        """
        with self._context.store.view() as view:
            record = view.erasure(name) if name else None
        if record is None:
            raise NotFound(f"there is no erasure {name!r}", reason="ERASURE_NOT_FOUND", metadata={"erasure": name})
        return self._info(record)

    def list(self, gallery: str, after: str, limit: int, *, pending_only: bool = False) -> ErasureListing:
        """A page of erasures, the newest first, those after the one named `after`.

        A page of a gallery's may have fewer than `limit`, and be followed by others.
        """
        page: list[ErasureInfo] = []
        last = ""
        with self._context.store.view() as view:
            found = self._pending_before(view, after) if pending_only else view.erasures_before(after)
            for count, record in enumerate(found):
                if len(page) == limit or count == LOOKED_AT_MAX:
                    return ErasureListing(tuple(page), last)
                last = record.name
                if not gallery or record.gallery_name == gallery:
                    page.append(self._info(record))
        return ErasureListing(tuple(page), "")

    def _pending_before(self, view: StoreView, name: str) -> Iterator[ErasureRecord]:
        names = (one for one in self._eraser.pending() if not name or one < name)
        for record in map(view.erasure, names):
            if record is not None and is_pending(record):
                yield record

    def _info(self, record: ErasureRecord) -> ErasureInfo:
        return erasure_info(record, now_us(), self._eraser.within_us, self._eraser.trouble_of(record.name))

    def verify(
        self, receipt: ErasureReceiptRecord, identity_id: str = "", deadline: Deadline = NO_DEADLINE
    ) -> tuple[ErasureCheck, ...]:
        """What the receipt says, and whether it still holds; with the identity's id, also that it is gone.

        Searches every file of the store where the id is given: some seconds for each gigabyte.

        Raises:
            Cancelled, DeadlineExceeded: between blocks of the search.
        """
        if identity_id:
            check_identity_id(identity_id, self._context.limits, "identity_id")
        checks = check_receipt(self._context.store, receipt, identity_id, deadline.check)
        return tuple(ErasureCheck(one.name, one.passed, one.detail) for one in checks)
