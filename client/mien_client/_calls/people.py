"""Methods about identities and their faces, once they are enrolled."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence

from mien.v1 import gallery_service_pb2 as galleries_v1
from mien_client._calls.base import CallGroup, field_mask, pages
from mien_client._rpc.caller import new_request_id
from mien_client._types import faces, galleries, requests
from mien_client._wire import decode_faces, decode_galleries, encode
from mien_client._wire.encode import whole

__all__ = ["PeopleCalls"]


class PeopleCalls(CallGroup):
    """Read, change, move and delete identities and faces."""

    def get_identity(
        self, gallery: str, identity_id: str, *, min_revision: int = 0, timeout_s: float | None = None
    ) -> galleries.Identity:
        """One person of a gallery.

        Raises:
            NotFound: there is no such gallery or identity.
        """
        request = galleries_v1.GetIdentityRequest(
            gallery=gallery, identity_id=identity_id, min_revision=whole("min_revision", min_revision, 64)
        )
        answer = self._caller.call(self._caller.galleries.GetIdentity, request, timeout_s)
        return decode_galleries.identity(answer.identity, answer.revision)

    def list_identities(
        self,
        gallery: str,
        *,
        filter: requests.Filter | None = None,  # noqa: A002  the contract's name
        page_size: int = 0,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[galleries.Identity]:
        """Identities in the byte order of their ids; pages are read as they are needed, `timeout_s` is for each."""

        def read_page(token: str) -> tuple[list[galleries.Identity], str]:
            request = galleries_v1.ListIdentitiesRequest(
                gallery=gallery,
                page_size=whole("page_size", page_size),
                page_token=token,
                filter=encode.search_filter(filter),
                min_revision=whole("min_revision", min_revision, 64),
            )
            answer = self._caller.call(self._caller.galleries.ListIdentities, request, timeout_s)
            found = [decode_galleries.identity(identity, answer.revision) for identity in answer.identities]
            return found, answer.next_page_token

        return pages(read_page)

    def count_identities(
        self,
        gallery: str,
        *,
        filter: requests.Filter | None = None,  # noqa: A002  the contract's name
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> int:
        """How many identities a filter allows."""
        request = galleries_v1.ListIdentitiesRequest(
            gallery=gallery,
            page_size=1,
            filter=encode.search_filter(filter),
            min_revision=whole("min_revision", min_revision, 64),
        )
        return self._caller.call(self._caller.galleries.ListIdentities, request, timeout_s).total_size

    def update_identity(
        self,
        gallery: str,
        identity_id: str,
        *,
        display_name: str | None = None,
        labels: Mapping[str, str] | None = None,
        expire_time: datetime.datetime | None = None,
        never_expires: bool = False,
        allow_missing: bool = False,
        etag: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> galleries.Identity:
        """Replaces what is given and keeps what is None; `allow_missing` makes an identity that is not there.

        Args:
            gallery: its name.
            identity_id: whose.
            display_name: for people.
            labels: replace all labels.
            expire_time: when neither the identity nor any of its faces is found any more; with a time zone.
            never_expires: take that time away.
            allow_missing: make the identity, without faces.
            etag: as last read, to be refused when someone else wrote in between.
            request_id: makes the write idempotent; one is made when empty.
            timeout_s: seconds; None means the client's default.

        Raises:
            NotFound: there is no such gallery, or no such identity without `allow_missing`.
            InvalidArgument: the time has passed.
            Conflict: the etag is not the current one.
            ValueError: both `expire_time` and `never_expires`, a time without a zone, or nothing to change.
        """
        if expire_time is not None and never_expires:
            raise ValueError("give expire_time or never_expires, not both")
        request = galleries_v1.UpdateIdentityRequest(
            gallery=gallery,
            identity=galleries_v1.Identity(
                id=identity_id,
                display_name=display_name or "",
                labels=dict(labels or {}),
                expire_time=encode.timestamp(expire_time),
                etag=etag,
            ),
            update_mask=field_mask(
                display_name=display_name, labels=labels, expire_time=True if never_expires else expire_time
            ),
            allow_missing=allow_missing,
            request_id=request_id or new_request_id(),
        )
        answer = self._caller.call(self._caller.galleries.UpdateIdentity, request, timeout_s)
        return decode_galleries.identity(answer.identity, answer.revision)

    def delete_identity(
        self,
        gallery: str,
        identity_id: str,
        *,
        allow_missing: bool = False,
        etag: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> galleries.DeletedIdentity:
        """Deletes an identity and all its faces; nobody is found by them from the very next search on.

        Raises:
            NotFound: there is no such gallery, or no such identity without `allow_missing`.
            Conflict: the etag is not the current one.
        """
        request = galleries_v1.DeleteIdentityRequest(
            gallery=gallery,
            identity_id=identity_id,
            etag=etag,
            allow_missing=allow_missing,
            request_id=request_id or new_request_id(),
        )
        answer = self._caller.call(self._caller.galleries.DeleteIdentity, request, timeout_s)
        return galleries.DeletedIdentity(answer.deleted_faces, answer.revision)

    def get_face(
        self,
        gallery: str,
        face_id: str,
        *,
        include_embedding: bool = False,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> faces.Face:
        """One enrolled face.

        Raises:
            NotFound: there is no such gallery or face.
        """
        request = galleries_v1.GetFaceRequest(
            gallery=gallery,
            face_id=face_id,
            include_embedding=include_embedding,
            min_revision=whole("min_revision", min_revision, 64),
        )
        answer = self._caller.call(self._caller.galleries.GetFace, request, timeout_s)
        return decode_faces.face(answer.face)

    def list_faces(
        self,
        gallery: str,
        *,
        identity_id: str = "",
        filter: requests.Filter | None = None,  # noqa: A002  the contract's name
        include_embedding: bool = False,
        page_size: int = 0,
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> Iterator[faces.Face]:
        """Faces of an identity, or of the gallery, that a filter allows, in the order of enrolment, page by page."""

        def read_page(token: str) -> tuple[list[faces.Face], str]:
            request = galleries_v1.ListFacesRequest(
                gallery=gallery,
                identity_id=identity_id,
                page_size=whole("page_size", page_size),
                page_token=token,
                include_embedding=include_embedding,
                filter=encode.search_filter(filter),
                min_revision=whole("min_revision", min_revision, 64),
            )
            answer = self._caller.call(self._caller.galleries.ListFaces, request, timeout_s)
            return [decode_faces.face(face) for face in answer.faces], answer.next_page_token

        return pages(read_page)

    def count_faces(
        self,
        gallery: str,
        *,
        identity_id: str = "",
        filter: requests.Filter | None = None,  # noqa: A002  the contract's name
        min_revision: int = 0,
        timeout_s: float | None = None,
    ) -> int:
        """How many faces an identity has, or the whole gallery, that a filter allows."""
        request = galleries_v1.ListFacesRequest(
            gallery=gallery,
            identity_id=identity_id,
            page_size=1,
            filter=encode.search_filter(filter),
            min_revision=whole("min_revision", min_revision, 64),
        )
        return self._caller.call(self._caller.galleries.ListFaces, request, timeout_s).total_size

    def move_faces(
        self,
        gallery: str,
        face_ids: Sequence[str],
        target_identity_id: str,
        *,
        delete_emptied_identities: bool = False,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> galleries.MovedFaces:
        """Gives faces, all or none, to another identity, made when it does not exist.

        Raises:
            NotFound: there is no such gallery, or one of the faces is not there.
        """
        request = galleries_v1.MoveFacesRequest(
            gallery=gallery,
            face_ids=face_ids,
            target_identity_id=target_identity_id,
            delete_emptied_identities=delete_emptied_identities,
            request_id=request_id or new_request_id(),
        )
        answer = self._caller.call(self._caller.galleries.MoveFaces, request, timeout_s)
        return galleries.MovedFaces(answer.moved_count, tuple(answer.emptied_identity_ids), answer.revision)

    def delete_faces(
        self,
        gallery: str,
        face_ids: Sequence[str],
        *,
        allow_missing: bool = False,
        delete_emptied_identities: bool = False,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> galleries.DeletedFaces:
        """Deletes faces; nobody is found by them from the very next search on.

        Raises:
            NotFound: there is no such gallery, or no such face without `allow_missing`.
        """
        request = galleries_v1.DeleteFacesRequest(
            gallery=gallery,
            face_ids=face_ids,
            allow_missing=allow_missing,
            delete_emptied_identities=delete_emptied_identities,
            request_id=request_id or new_request_id(),
        )
        answer = self._caller.call(self._caller.galleries.DeleteFaces, request, timeout_s)
        return galleries.DeletedFaces(answer.deleted_count, tuple(answer.emptied_identity_ids), answer.revision)
