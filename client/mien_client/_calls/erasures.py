"""Methods about erasing identities."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from mien.v1 import operations_service_pb2 as operations_v1
from mien_client._calls.base import CallGroup, pages
from mien_client._rpc.caller import new_request_id
from mien_client._types import erasures
from mien_client._wire import decode_erasures
from mien_client._wire.encode import whole

__all__ = ["ErasureCalls"]


class ErasureCalls(CallGroup):
    """Removing whatever a store holds of an identity, with a receipt."""

    def erase_identity(
        self, gallery: str, identity_id: str, *, request_id: str = "", timeout_s: float | None = None
    ) -> erasures.StartedErasure:
        """Deletes an identity and begins to remove whatever the store's files still hold of it.

        Nobody finds it any more when this returns. `wait_operation` waits for the end; the operation's
        `erase_identity` then has the receipt.

        Raises:
            NotFound: there is no such gallery or identity.
        """
        request = operations_v1.EraseIdentityRequest(
            gallery=gallery, identity_id=identity_id, request_id=request_id or new_request_id()
        )
        answer = self._caller.call(self._caller.operations.EraseIdentity, request, timeout_s)
        return erasures.StartedErasure(answer.operation.name, answer.revision)

    def get_erasure(self, name: str, *, timeout_s: float | None = None) -> erasures.Erasure:
        """An erasure as it is now.

        Raises:
            NotFound: there is none of that name.
        """
        request = operations_v1.GetErasureRequest(name=name)
        answer = self._caller.call(self._caller.operations.GetErasure, request, timeout_s)
        return decode_erasures.erasure(answer.erasure)

    def list_erasures(
        self, *, gallery: str = "", pending_only: bool = False, page_size: int = 0, timeout_s: float | None = None
    ) -> Iterator[erasures.Erasure]:
        """Erasures, newest first, of one gallery or of all; page by page."""

        def read_page(token: str) -> tuple[list[erasures.Erasure], str]:
            request = operations_v1.ListErasuresRequest(
                page_size=whole("page_size", page_size), page_token=token, gallery=gallery, pending_only=pending_only
            )
            answer = self._caller.call(self._caller.operations.ListErasures, request, timeout_s)
            return [decode_erasures.erasure(one) for one in answer.erasures], answer.next_page_token

        return pages(read_page)

    def verify_erasure(
        self, token: bytes, *, identity_id: str = "", timeout_s: float | None = None
    ) -> erasures.ErasureVerification:
        """Whether a receipt is the store's own and unchanged, and what it says still holds.

        Args:
            token: of the receipt.
            identity_id: whom it is about: checked against the receipt, and searched for in every file of the store,
                some seconds for each gigabyte.

        Raises:
            ValueError: the token is no receipt's.
        """
        try:
            receipt = operations_v1.ErasureReceipt.FromString(token)
        except DecodeError as error:
            raise ValueError("these bytes are no receipt's token") from error
        request = operations_v1.VerifyErasureRequest(receipt=receipt, identity_id=identity_id)
        answer = self._caller.call(self._caller.operations.VerifyErasure, request, timeout_s)
        return decode_erasures.verification(answer)
