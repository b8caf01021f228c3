"""Faces: read, list, move, delete. They are made by enrolment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien_server.engine import translation
from mien_server.engine.context import EngineContext, GallerySnapshot
from mien_server.engine.filters import matching_faces
from mien_server.engine.identities import identity_not_found
from mien_server.engine.outcomes import counts_of, encode_counts
from mien_server.engine.types import FaceInfo, FaceListing, Filter, RemovedFaces, RequestToken
from mien_server.engine.validation import check_count, check_face_id, check_filter, check_identity_id, check_ids
from mien_server.errors import NotFound
from mien_server.records.deadline import Deadline
from mien_server.storage import Committed, DeleteFaces, MoveFaces

__all__ = ["Faces", "face_infos", "face_not_found"]

EVERYBODY = Filter()
NO_DEADLINE = Deadline()


def face_not_found(gallery: str, face_id: str) -> NotFound:
    """The error for a face that the gallery does not have."""
    return NotFound(
        f"gallery {gallery!r} has no face {face_id!r}",
        reason="FACE_NOT_FOUND",
        metadata={"gallery": gallery, "face_id": face_id},
    )


def face_infos(snapshot: GallerySnapshot, ordinals: Sequence[int], *, include_embedding: bool) -> list[FaceInfo]:
    """Faces by ordinal, in the order given.

    Raises:
        CorruptStore: ROW_NOT_RESOLVED.
    """
    view = snapshot.gallery
    faces = view.faces(ordinals)
    identity_ids = view.identity_ids([face.identity_number for face in faces])
    embeddings = view.vectors(np.array(ordinals, dtype=np.int64)) if include_embedding else [None] * len(faces)
    fingerprint = view.record.model_fingerprint
    return [
        translation.face_info(face, identity_id, fingerprint, embedding)
        for face, identity_id, embedding in zip(faces, identity_ids, embeddings, strict=True)
    ]


class Faces:
    """The enrolled faces of a store's galleries."""

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def get(
        self, gallery: str, face_id: str, *, include_embedding: bool = False, min_revision: int = 0
    ) -> tuple[FaceInfo, int]:
        """A face and the revision it is shown at.

        Raises:
            NotFound: GALLERY_NOT_FOUND, FACE_NOT_FOUND.
        """
        check_face_id(face_id, self._context.limits, "face_id")
        with self._context.snapshot(gallery, min_revision) as snapshot:
            ordinal = snapshot.gallery.face_ordinal(face_id)
            if ordinal is None:
                raise face_not_found(gallery, face_id)
            return face_infos(snapshot, [ordinal], include_embedding=include_embedding)[0], snapshot.revision

    def list(
        self,
        gallery: str,
        identity_id: str = "",
        *,
        row_filter: Filter = EVERYBODY,
        after: int = -1,
        limit: int = 100,
        include_embedding: bool = False,
        min_revision: int = 0,
        deadline: Deadline = NO_DEADLINE,
    ) -> FaceListing:
        """A page of faces in the order of enrolment, of one identity or of the gallery, that the filter allows.

        Raises:
            NotFound: GALLERY_NOT_FOUND, IDENTITY_NOT_FOUND.
            InvalidArgument: FILTER_INVALID, LABEL_KEY_INVALID.
            Cancelled, DeadlineExceeded: between blocks of a filter's work.
        """
        check_filter(row_filter, self._context.limits, "filter")
        with self._context.snapshot(gallery, min_revision) as snapshot:
            view = snapshot.gallery
            record = view.identity(identity_id) if identity_id else None
            if identity_id and record is None:
                raise identity_not_found(gallery, identity_id)
            if not row_filter.is_empty:
                owned = view.faces_of(record.number) if record is not None else None
                chosen = matching_faces(view, row_filter, deadline, snapshot.filters, owned)
                ordinals, total = chosen[np.searchsorted(chosen, after, "right") :][: limit + 1], len(chosen)
            elif record is not None:
                ordinals, total = view.faces_of(record.number, after, limit + 1), record.face_count
            else:
                ordinals, total = view.live_ordinals(after, limit + 1), view.counts.face_count
            page = [int(ordinal) for ordinal in ordinals[:limit]]
            infos = tuple(face_infos(snapshot, page, include_embedding=include_embedding))
            return FaceListing(infos, page[-1] if len(ordinals) > limit else -1, snapshot.revision, total)

    def move(
        self,
        gallery: str,
        face_ids: Sequence[str],
        target_identity_id: str,
        *,
        delete_emptied_identities: bool = False,
        request: RequestToken | None = None,
    ) -> RemovedFaces:
        """Give faces to another identity, made when it does not exist. All or none.

        Raises:
            NotFound: GALLERY_NOT_FOUND, FACE_NOT_FOUND.
        """
        self._check_face_ids(face_ids)
        check_identity_id(target_identity_id, self._context.limits, "target_identity_id")
        written = self._context.write(
            lambda key: MoveFaces(
                gallery=gallery,
                face_ids=face_ids,
                target_identity_id=target_identity_id,
                delete_emptied_identities=delete_emptied_identities,
                request=key,
            ),
            request,
            lambda result: encode_counts(0, result.moved_count, result.emptied_identity_ids),
        )
        if isinstance(written, Committed):
            result = written.result
            return RemovedFaces(result.moved_count, tuple(result.emptied_identity_ids), written.revision)
        return _replayed(written.outcome, written.revision)

    def delete(
        self,
        gallery: str,
        face_ids: Sequence[str],
        *,
        allow_missing: bool = False,
        delete_emptied_identities: bool = False,
        request: RequestToken | None = None,
    ) -> RemovedFaces:
        """Delete faces. All or none, unless `allow_missing` skips those that are not there.

        Raises:
            NotFound: GALLERY_NOT_FOUND, FACE_NOT_FOUND.
        """
        self._check_face_ids(face_ids)
        written = self._context.write(
            lambda key: DeleteFaces(
                gallery=gallery,
                face_ids=face_ids,
                allow_missing=allow_missing,
                delete_emptied_identities=delete_emptied_identities,
                request=key,
            ),
            request,
            lambda result: encode_counts(0, result.deleted_count, result.emptied_identity_ids),
        )
        if isinstance(written, Committed):
            result = written.result
            return RemovedFaces(result.deleted_count, tuple(result.emptied_identity_ids), written.revision)
        return _replayed(written.outcome, written.revision)

    def _check_face_ids(self, face_ids: Sequence[str]) -> None:
        limits = self._context.limits
        check_count(len(face_ids), limits.face_ids_per_request_max, "face_ids_per_request_max", "face_ids", 1)
        check_ids(face_ids, limits, "face_ids")


def _replayed(outcome: bytes, revision: int) -> RemovedFaces:
    counts = counts_of(outcome)
    return RemovedFaces(counts.face_count, tuple(counts.identity_ids), revision)
