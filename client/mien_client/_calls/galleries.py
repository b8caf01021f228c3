"""Methods about galleries."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping

from mien.v1 import gallery_service_pb2 as galleries_v1
from mien.v1 import operations_service_pb2 as operations_v1
from mien_client._calls.base import CallGroup, field_mask, pages
from mien_client._rpc.caller import new_request_id
from mien_client._types import enums, galleries, requests
from mien_client._wire import decode_galleries, encode
from mien_client._wire.encode import whole
from mien_client._wire.enums import enum_name

__all__ = ["GalleryCalls"]


class GalleryCalls(CallGroup):
    """Create, read, change and delete galleries."""

    def create_gallery(
        self,
        name: str,
        *,
        recipe: str = "",
        precomputed: str = "",
        dimension: int = 0,
        display_name: str = "",
        labels: Mapping[str, str] | None = None,
        decision_policy: requests.DecisionPolicy | None = None,
        enrollment_policy: requests.EnrollmentPolicy | None = None,
        index_policy: requests.IndexPolicy | None = None,
        vector_type: enums.VectorType = enums.VectorType.UNSPECIFIED,
        default_time_to_live: datetime.timedelta | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> galleries.Gallery:
        """Makes a gallery, of a recipe of the server or of the caller's own embeddings.

        Args:
            name: [a-z0-9][a-z0-9_-]{0,62}, unique in the store.
            recipe: such as "dlib"; the server's default when neither this nor `precomputed` is given.
            precomputed: the caller's name for its model, with `dimension`.
            dimension: components of a precomputed embedding.
            display_name: for people.
            labels: for programs.
            decision_policy: how matches are decided.
            enrollment_policy: what happens to photographs that are not simply one good face.
            index_policy: how it is indexed.
            vector_type: how vectors are kept.
            default_time_to_live: how long faces that name no time of their own are kept, at least 1 s; None: for ever.
            request_id: makes the write idempotent; one is made when empty.
            timeout_s: seconds; None means the client's default.

        Raises:
            AlreadyExists: a gallery of that name is there.
            InvalidArgument: a name, label, policy or dimension that the server refuses.
            ValueError: both or half of recipe and precomputed were given.
        """
        if recipe and precomputed:
            raise ValueError("give a recipe or a precomputed model, not both")
        if bool(precomputed) != bool(dimension):
            raise ValueError("a precomputed model needs its name and its dimension, a recipe neither")
        if precomputed:
            own = galleries_v1.PrecomputedModel(name=precomputed, dimension=whole("dimension", dimension))
            model = galleries_v1.EmbeddingModel(precomputed=own)
        else:
            model = galleries_v1.EmbeddingModel(recipe=recipe or self._default_recipe(timeout_s))
        request = galleries_v1.CreateGalleryRequest(
            gallery=galleries_v1.Gallery(
                name=name,
                display_name=display_name,
                labels=dict(labels or {}),
                model=model,
                decision_policy=encode.decision_policy(decision_policy),
                enrollment_policy=encode.enrollment_policy(enrollment_policy),
                index_policy=encode.index_policy(index_policy),
                vector_type=enum_name(vector_type),
                default_time_to_live=encode.duration(default_time_to_live),
            ),
            request_id=request_id or new_request_id(),
        )
        answer = self._caller.call(self._caller.galleries.CreateGallery, request, timeout_s)
        return decode_galleries.gallery(answer.gallery, answer.revision)

    def _default_recipe(self, timeout_s: float | None) -> str:
        request = operations_v1.GetServerInfoRequest()
        return self._caller.call(self._caller.operations.GetServerInfo, request, timeout_s).default_recipe

    def get_gallery(self, gallery: str, *, min_revision: int = 0, timeout_s: float | None = None) -> galleries.Gallery:
        """One gallery with its exact counts.

        Raises:
            NotFound: there is none of that name.
        """
        request = galleries_v1.GetGalleryRequest(gallery=gallery, min_revision=whole("min_revision", min_revision, 64))
        answer = self._caller.call(self._caller.galleries.GetGallery, request, timeout_s)
        return decode_galleries.gallery(answer.gallery, answer.revision)

    def list_galleries(
        self, *, page_size: int = 0, min_revision: int = 0, timeout_s: float | None = None
    ) -> Iterator[galleries.Gallery]:
        """Every gallery by name; pages are read as they are needed, `timeout_s` is for each."""

        def read_page(token: str) -> tuple[list[galleries.Gallery], str]:
            request = galleries_v1.ListGalleriesRequest(
                page_size=whole("page_size", page_size),
                page_token=token,
                min_revision=whole("min_revision", min_revision, 64),
            )
            answer = self._caller.call(self._caller.galleries.ListGalleries, request, timeout_s)
            found = [decode_galleries.gallery(gallery, answer.revision) for gallery in answer.galleries]
            return found, answer.next_page_token

        return pages(read_page)

    def update_gallery(
        self,
        gallery: str,
        *,
        display_name: str | None = None,
        labels: Mapping[str, str] | None = None,
        decision_policy: requests.DecisionPolicy | None = None,
        enrollment_policy: requests.EnrollmentPolicy | None = None,
        index_policy: requests.IndexPolicy | None = None,
        default_time_to_live: datetime.timedelta | None = None,
        etag: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> galleries.Gallery:
        """Replaces what is given and keeps what is None.

        Args:
            gallery: its name.
            display_name: for people.
            labels: replace all labels.
            decision_policy: replaces the whole policy, as do the other two.
            enrollment_policy: see `decision_policy`.
            index_policy: see `decision_policy`.
            default_time_to_live: of faces enrolled from now on; timedelta(0): for ever.
            etag: as last read, to be refused when someone else wrote in between.
            request_id: makes the write idempotent; one is made when empty.
            timeout_s: seconds; None means the client's default.

        Raises:
            NotFound: there is none of that name.
            Conflict: the etag is not the current one.
        """
        request = galleries_v1.UpdateGalleryRequest(
            gallery=galleries_v1.Gallery(
                name=gallery,
                display_name=display_name or "",
                labels=dict(labels or {}),
                decision_policy=encode.decision_policy(decision_policy),
                enrollment_policy=encode.enrollment_policy(enrollment_policy),
                index_policy=encode.index_policy(index_policy),
                default_time_to_live=encode.duration(default_time_to_live),
                etag=etag,
            ),
            update_mask=field_mask(
                display_name=display_name,
                labels=labels,
                decision_policy=decision_policy,
                enrollment_policy=enrollment_policy,
                index_policy=index_policy,
                default_time_to_live=default_time_to_live,
            ),
            request_id=request_id or new_request_id(),
        )
        answer = self._caller.call(self._caller.galleries.UpdateGallery, request, timeout_s)
        return decode_galleries.gallery(answer.gallery, answer.revision)

    def delete_gallery(
        self,
        gallery: str,
        *,
        force: bool = False,
        etag: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> galleries.DeletedGallery:
        """Deletes a gallery, with `force` together with the identities and faces in it.

        Raises:
            NotFound: there is none of that name.
            PreconditionFailed: it holds faces and `force` was not given.
            Conflict: the etag is not the current one.
        """
        request = galleries_v1.DeleteGalleryRequest(
            gallery=gallery, etag=etag, force=force, request_id=request_id or new_request_id()
        )
        answer = self._caller.call(self._caller.galleries.DeleteGallery, request, timeout_s)
        return galleries.DeletedGallery(answer.deleted_identities, answer.deleted_faces, answer.revision)
