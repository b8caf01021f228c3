"""Identities: read, list, change, delete. They are made by enrolment, or by an update that allows it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import numpy as np

from mien_server.engine import translation
from mien_server.engine.context import EngineContext
from mien_server.engine.filters import IdentityChoice, allowed_identities
from mien_server.engine.outcomes import counts_of, encode_counts
from mien_server.engine.types import (
    ConditionSubject,
    Filter,
    IdentityInfo,
    IdentityListing,
    RemovedFaces,
    RequestToken,
)
from mien_server.engine.validation import (
    check_expire_time,
    check_filter,
    check_identity_id,
    check_labels,
    check_text,
)
from mien_server.errors import InvalidArgument, NotFound
from mien_server.records.deadline import Deadline
from mien_server.records.store_pb2 import IdentityRecord
from mien_server.storage import Committed, DeleteIdentity, GalleryView, PutIdentity

__all__ = ["Identities", "identity_not_found"]

Page = list[tuple[str, IdentityRecord]]

NO_DEADLINE = Deadline()
WALK_IDENTITIES_MAX = 4096
"""Identities read between two looks at the deadline."""

_FACE_SUBJECTS = {ConditionSubject.FACE_LABEL, ConditionSubject.FACE_CREATE_TIME}


def identity_not_found(gallery: str, identity_id: str) -> NotFound:
    """The error for an identity that the gallery does not have."""
    return NotFound(
        f"gallery {gallery!r} has no identity {identity_id!r}",
        reason="IDENTITY_NOT_FOUND",
        metadata={"gallery": gallery, "identity_id": identity_id},
    )


class Identities:
    """The people of a store's galleries."""

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def get(self, gallery: str, identity_id: str, min_revision: int = 0) -> tuple[IdentityInfo, int]:
        """An identity and the revision it is shown at.

        Raises:
            NotFound: GALLERY_NOT_FOUND, IDENTITY_NOT_FOUND.
        """
        check_identity_id(identity_id, self._context.limits, "identity_id")
        with self._context.snapshot(gallery, min_revision) as snapshot:
            record = snapshot.gallery.identity(identity_id)
            if record is None:
                raise identity_not_found(gallery, identity_id)
            return translation.identity_info(identity_id, record), snapshot.revision

    def list(
        self,
        gallery: str,
        row_filter: Filter,
        after: str,
        limit: int,
        min_revision: int = 0,
        deadline: Deadline = NO_DEADLINE,
    ) -> IdentityListing:
        """A page of identities in the byte order of their ids, those after `after` that the filter allows.

        Raises:
            NotFound: GALLERY_NOT_FOUND.
            InvalidArgument: FILTER_INVALID, also for conditions on faces, which do not choose identities;
                LABEL_KEY_INVALID.
            Cancelled, DeadlineExceeded: between blocks of the work.
        """
        check_filter(row_filter, self._context.limits, "filter")
        if any(condition.subject in _FACE_SUBJECTS for condition in row_filter.conditions):
            raise InvalidArgument(
                "filter.conditions: conditions on faces do not choose identities",
                field="filter.conditions",
                reason="FILTER_INVALID",
            )
        with self._context.snapshot(gallery, min_revision) as snapshot:
            view = snapshot.gallery
            choice = allowed_identities(view, row_filter, deadline)
            found = _page(view, choice, after, limit + 1, deadline)
            infos = tuple(translation.identity_info(identity_id, record) for identity_id, record in found[:limit])
            identity_count = view.counts.identity_count
            total = identity_count if choice is None else choice.count(identity_count)
            return IdentityListing(infos, infos[-1].id if len(found) > limit else "", snapshot.revision, total)

    def update(
        self,
        gallery: str,
        identity_id: str,
        *,
        display_name: str | None = None,
        labels: Mapping[str, str] | None = None,
        expire_time_us: int | None = None,
        version: int | None = None,
        allow_missing: bool = False,
        request: RequestToken | None = None,
    ) -> tuple[IdentityInfo, int]:
        """Change what is not None; with `allow_missing` make the identity, without faces, when it does not exist.

        Args:
            expire_time_us: 0: never.

        Raises:
            NotFound: GALLERY_NOT_FOUND, IDENTITY_NOT_FOUND.
            InvalidArgument: EXPIRE_TIME_PAST.
            Conflict: ETAG_MISMATCH.
        """
        limits = self._context.limits
        check_identity_id(identity_id, limits, "identity.id")
        if display_name is not None:
            field = "identity.display_name"
            check_text(display_name, limits.display_name_bytes_max, "display_name_bytes_max", field)
        if labels is not None:
            check_labels(labels, limits, "identity.labels")
        if expire_time_us is not None:
            # Whether it has passed is for the write to say: its first outcome is given again later.
            check_expire_time(expire_time_us, 0, "identity.expire_time")
        written = self._context.write(
            lambda key: PutIdentity(
                gallery=gallery,
                identity_id=identity_id,
                display_name=display_name,
                labels=labels,
                allow_missing=allow_missing,
                expected_version=version,
                update_time_us=self._context.store.now_us(),
                expire_time_us=expire_time_us,
                request=key,
            ),
            request,
            IdentityRecord.SerializeToString,
        )
        # What the write made, whatever was written since.
        record = written.result if isinstance(written, Committed) else IdentityRecord.FromString(written.outcome)
        return translation.identity_info(identity_id, record), written.revision

    def delete(
        self,
        gallery: str,
        identity_id: str,
        *,
        version: int | None = None,
        allow_missing: bool = False,
        request: RequestToken | None = None,
    ) -> RemovedFaces:
        """Delete an identity and all its faces.

        Raises:
            NotFound: GALLERY_NOT_FOUND, IDENTITY_NOT_FOUND.
            Conflict: ETAG_MISMATCH.
        """
        check_identity_id(identity_id, self._context.limits, "identity_id")
        written = self._context.write(
            lambda key: DeleteIdentity(
                gallery=gallery,
                identity_id=identity_id,
                expected_version=version,
                allow_missing=allow_missing,
                request=key,
            ),
            request,
            lambda face_count: encode_counts(1, face_count),
        )
        if isinstance(written, Committed):
            return RemovedFaces(written.result, (), written.revision)
        return RemovedFaces(counts_of(written.outcome).face_count, (), written.revision)


def _page(view: GalleryView, choice: IdentityChoice | None, after: str, limit: int, deadline: Deadline) -> Page:
    """Up to `limit` of the chosen identities after `after`, in byte order of their ids."""
    if choice is None:
        return view.identities(after, limit)
    chosen_count = len(choice.numbers)
    # Looking up each one chosen reads as many records as there are; walking over all of them, on the average, as many
    # as it takes to meet `limit` chosen ones.
    # What is damaged is passed over by a walk alone.
    is_short = not choice.is_inverted and chosen_count * chosen_count <= limit * view.counts.identity_count
    if is_short and not view.serves_damaged:
        return _page_by_lookup(view, choice, after, limit, deadline)
    return _page_by_walk(view, choice, after, limit, deadline)


def _page_by_lookup(view: GalleryView, choice: IdentityChoice, after: str, limit: int, deadline: Deadline) -> Page:
    best: list[str] = []
    for start in range(0, len(choice.numbers), WALK_IDENTITIES_MAX):
        deadline.check()
        ids = view.identity_ids(choice.numbers[start : start + WALK_IDENTITIES_MAX])
        # Code points order texts as the bytes of their UTF-8 do.
        best = heapq.nsmallest(limit, best + [identity_id for identity_id in ids if identity_id > after])
    return view.identities_named(best)


def _page_by_walk(view: GalleryView, choice: IdentityChoice, after: str, limit: int, deadline: Deadline) -> Page:
    found: Page = []
    block = limit
    deadline.check()
    while page := view.identities(after, block):
        is_allowed = choice.allows(np.array([record.number for _, record in page]))
        found += [item for item, is_wanted in zip(page, is_allowed.tolist(), strict=True) if is_wanted]
        if len(found) >= limit or len(page) < block:
            break
        after = page[-1][0]
        block = max(limit, min(2 * block, WALK_IDENTITIES_MAX))
        deadline.check()
    return found[:limit]
