"""Methods that add faces."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mien.v1 import gallery_service_pb2 as galleries_v1
from mien_client._calls.base import CallGroup
from mien_client._rpc.caller import new_request_id
from mien_client._rpc.window import StreamedCall, windowed
from mien_client._types import galleries, requests
from mien_client._wire import decode_galleries, encode

__all__ = ["EnrollmentCalls", "row_batches"]

# 500 rows of 512 components are 1 MiB: large enough to share one commit, small enough that a window of them is no
# burden. Sixteen of them at once: one half is written as one commit while the other arrives.
ROWS_PER_BATCH = 500


def row_batches(
    vectors: requests.Vectors,
    identity_ids: Sequence[str],
    *,
    face_ids: Sequence[str] = (),
    sources: Sequence[str] = (),
    normalize: bool = False,
    expire_times: Sequence[datetime.datetime | None] = (),
    rows_per_batch: int = ROWS_PER_BATCH,
) -> Iterator[requests.EnrollRows]:
    """Cuts columns into batches for `Client.stream_enroll`.

    Args:
        vectors: [n, d]; a memory-mapped array is read batch by batch.
        identity_ids: n ids.
        face_ids: none, or n ids.
        sources: none, or n names.
        normalize: let the server divide each vector by its norm.
        expire_times: none, or n; see EnrollRows.
        rows_per_batch: rows of each batch but the last.

    Raises:
        ValueError: the columns differ in length.
    """
    rows = np.atleast_2d(vectors)
    if len(rows) != len(identity_ids):
        raise ValueError(f"{len(rows)} vectors came with {len(identity_ids)} identity_ids; there must be one a row")
    for first in range(0, len(rows), rows_per_batch):
        part = slice(first, first + rows_per_batch)
        yield requests.EnrollRows(
            rows[part],
            identity_ids[part],
            face_ids[part],
            sources[part],
            normalize=normalize,
            expire_times=expire_times[part],
        )


class EnrollmentCalls(CallGroup):
    """Add faces to one identity or to many."""

    def enroll_faces(
        self,
        gallery: str,
        items: Sequence[requests.EnrollItem],
        *,
        policy: requests.EnrollmentPolicy | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> galleries.EnrollAnswer:
        """Adds faces from photographs and embeddings; one bad item never fails the others.

        Args:
            gallery: its name.
            items: see EnrollItem; at most `limits.enroll_items_max`.
            policy: replaces the gallery's for this call.
            request_id: makes the write idempotent; one is made when empty.
            timeout_s: seconds; None means the client's default.

        Raises:
            NotFound: there is no such gallery.
            Overloaded: the server's queue is full, also after the client's own retries.
        """
        request = galleries_v1.EnrollFacesRequest(
            gallery=gallery,
            items=[encode.enroll_item(item) for item in items],
            policy=encode.enrollment_policy(policy),
            request_id=request_id or new_request_id(),
        )
        answer = self._caller.call(self._caller.galleries.EnrollFaces, request, timeout_s)
        return decode_galleries.enroll_answer(answer)

    def stream_enroll(
        self,
        gallery: str,
        batches: Iterable[requests.EnrollRows | Sequence[requests.EnrollItem]],
        *,
        policy: requests.EnrollmentPolicy | None = None,
        window: int = 16,
        timeout_s: float | None = None,
    ) -> Iterator[galleries.EnrollAck]:
        """Adds batches of rows or items through one stream; acknowledgements come back in order.

        Batches are read in another thread, at most `window` ahead of the acknowledgements. A broken connection is
        opened again and what was not acknowledged is sent again; nothing is written twice.

        Args:
            gallery: its name.
            batches: blocks of vectors with their ids (see `row_batches`), or lists of items.
            policy: replaces the gallery's for this stream.
            window: batches that may be unacknowledged at once.
            timeout_s: seconds for the whole stream; None: no limit.

        Yields:
            One acknowledgement a batch: everything it counts is durable. A batch that was refused as a whole (there
            is no such gallery, ...) has an `error`, and the stream goes on.

        Raises:
            Unavailable: the server went away and did not come back.
        """
        packed_policy = encode.enrollment_policy(policy)

        def packed() -> Iterator[galleries_v1.StreamEnrollRequest]:
            for batch in batches:
                yield _stream_request(batch, gallery, packed_policy)

        call = StreamedCall(self._caller.galleries.StreamEnroll, self._caller.address)
        for number, answer in windowed(call, packed(), self._stream_options(window, timeout_s)):
            yield decode_galleries.enroll_ack(answer, number)


def _stream_request(
    batch: requests.EnrollRows | Sequence[requests.EnrollItem],
    gallery: str,
    policy: galleries_v1.EnrollmentPolicy | None,
) -> galleries_v1.StreamEnrollRequest:
    """A batch with the request id that it keeps however often it is sent."""
    if isinstance(batch, requests.EnrollRows):
        return galleries_v1.StreamEnrollRequest(
            gallery=gallery,
            rows=encode.enroll_rows(batch),
            policy=policy,
            request_id=batch.request_id or new_request_id(),
        )
    return galleries_v1.StreamEnrollRequest(
        gallery=gallery,
        items=galleries_v1.EnrollItems(items=[encode.enroll_item(item) for item in batch]),
        policy=policy,
        request_id=new_request_id(),
    )
