"""Galleries: make, read, list, change, delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mien_server.engine import translation
from mien_server.engine.context import EngineContext
from mien_server.engine.outcomes import counts_of, encode_counts
from mien_server.engine.types import (
    DeletedGallery,
    GalleryInfo,
    GalleryListing,
    GallerySpec,
    IndexState,
    IndexStateKind,
    RequestToken,
)
from mien_server.engine.validation import (
    check_count,
    check_decision_policy,
    check_enrollment_policy,
    check_gallery_name,
    check_index_policy,
    check_labels,
    check_text,
    check_time_to_live,
)
from mien_server.errors import InvalidArgument
from mien_server.records.policies import DecisionPolicy, EnrollmentPolicy, IndexPolicy
from mien_server.records.store_pb2 import GalleryCounts, GalleryRecord
from mien_server.storage import Committed, CreateGallery, DeleteGallery, Replayed, UpdateGallery

__all__ = ["Galleries"]


class Galleries:
    """The galleries of a store."""

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def create(self, spec: GallerySpec, request: RequestToken | None) -> tuple[GalleryInfo, int]:
        """Make a gallery. Its revision comes with it.

        Raises:
            InvalidArgument: a name, label, policy or model that cannot be.
            AlreadyExists: GALLERY_EXISTS.
            NotFound: RECIPE_NOT_FOUND.
            Unavailable: RECIPE_UNAVAILABLE, with what to do.
        """
        self._check_spec(spec)
        dimension, fingerprint = self._model_of(spec)
        if not spec.precomputed_name and not spec.recipe:
            spec = replace(spec, recipe=self._context.options.default_recipe)
        record = translation.gallery_record(
            spec, dimension=dimension, model_fingerprint=fingerprint, now_us=self._context.store.now_us()
        )
        galleries_max = self._context.limits.galleries_max
        written = self._context.write(
            lambda key: CreateGallery(record=record, galleries_max=galleries_max, request=key),
            request,
            GalleryRecord.SerializeToString,
        )
        return self._written(written), written.revision

    def _check_spec(self, spec: GallerySpec) -> None:
        limits = self._context.limits
        check_gallery_name(spec.name, "gallery.name")
        self._check_texts(spec.display_name, spec.labels)
        check_decision_policy(spec.decision_policy, "gallery.decision_policy")
        check_enrollment_policy(spec.enrollment_policy, "gallery.enrollment_policy")
        check_index_policy(spec.index_policy, "gallery.index_policy")
        check_time_to_live(spec.default_time_to_live_us, "gallery.default_time_to_live")
        if spec.recipe and spec.precomputed_name:
            raise InvalidArgument(
                "a gallery has a recipe or a precomputed model, not both", field="gallery.model", reason="MODEL_INVALID"
            )
        if spec.precomputed_name:
            check_text(spec.precomputed_name, limits.display_name_bytes_max, "display_name_bytes_max", "gallery.model")
            dimension = spec.precomputed_dimension
            check_count(dimension, limits.dimension_max, "dimension_max", "gallery.model.precomputed.dimension", 2)
        elif spec.precomputed_dimension:
            raise InvalidArgument(
                "a precomputed model needs a name, the caller's own for the model and its version",
                field="gallery.model.precomputed.name",
                reason="MODEL_INVALID",
            )

    def _check_texts(self, display_name: str | None, labels: Mapping[str, str] | None) -> None:
        limits = self._context.limits
        if display_name is not None:
            field = "gallery.display_name"
            check_text(display_name, limits.display_name_bytes_max, "display_name_bytes_max", field)
        if labels is not None:
            check_labels(labels, limits, "gallery.labels")

    def _model_of(self, spec: GallerySpec) -> tuple[int, str]:
        """Dimension and fingerprint of the gallery's model."""
        if spec.precomputed_name:
            return spec.precomputed_dimension, f"precomputed:{spec.precomputed_name}"
        recipe = self._context.usable_recipe(spec.recipe or self._context.options.default_recipe)
        return recipe.dimension, recipe.fingerprint

    def get(self, name: str, min_revision: int = 0) -> tuple[GalleryInfo, int]:
        """A gallery and the revision it is shown at.

        Raises:
            NotFound: GALLERY_NOT_FOUND.
            PreconditionFailed: REVISION_NOT_REACHED.
        """
        with self._context.snapshot(name, min_revision) as snapshot:
            state = self._context.index_state(snapshot.gallery)
            return translation.gallery_info(snapshot.gallery.record, snapshot.gallery.counts, state), snapshot.revision

    def _written(self, written: Committed[GalleryRecord] | Replayed) -> GalleryInfo:
        """The gallery as the write left it, whatever was written since, with its counts as they are now."""
        record = written.result if isinstance(written, Committed) else GalleryRecord.FromString(written.outcome)
        with self._context.store.view() as view:
            found = view.gallery_by_number(record.number)
            if found is None:
                return translation.gallery_info(record, GalleryCounts(), IndexState(IndexStateKind.FLAT))
            return translation.gallery_info(record, found.counts, self._context.index_state(found))

    def list(self, after: str, limit: int, min_revision: int = 0) -> GalleryListing:
        """A page of galleries by name, those after `after`."""
        with self._context.store.view(min_revision) as view:
            found = view.galleries(after, limit + 1)
            infos = tuple(
                translation.gallery_info(one.record, one.counts, self._context.index_state(one))
                for one in found[:limit]
            )
            next_after = infos[-1].name if len(found) > limit else ""
            return GalleryListing(infos, next_after, view.revision)

    def update(
        self,
        name: str,
        *,
        display_name: str | None = None,
        labels: Mapping[str, str] | None = None,
        decision_policy: DecisionPolicy | None = None,
        enrollment_policy: EnrollmentPolicy | None = None,
        index_policy: IndexPolicy | None = None,
        default_time_to_live_us: int | None = None,
        version: int | None = None,
        request: RequestToken | None = None,
    ) -> tuple[GalleryInfo, int]:
        """Change what is not None.

        Args:
            default_time_to_live_us: of faces that are enrolled from now on; 0: for ever.

        Raises:
            NotFound: GALLERY_NOT_FOUND.
            Conflict: ETAG_MISMATCH, `version` is not the gallery's.
        """
        self._check_texts(display_name, labels)
        decision = enrollment = index = None
        if decision_policy is not None:
            check_decision_policy(decision_policy, "gallery.decision_policy")
            decision = translation.decision_policy_record(decision_policy)
        if enrollment_policy is not None:
            check_enrollment_policy(enrollment_policy, "gallery.enrollment_policy")
            enrollment = translation.enrollment_policy_record(enrollment_policy)
        if index_policy is not None:
            check_index_policy(index_policy, "gallery.index_policy")
            index = translation.index_policy_record(index_policy)
        if default_time_to_live_us is not None:
            check_time_to_live(default_time_to_live_us, "gallery.default_time_to_live")
        written = self._context.write(
            lambda key: UpdateGallery(
                name=name,
                display_name=display_name,
                labels=labels,
                decision_policy=decision,
                enrollment_policy=enrollment,
                index_policy=index,
                default_time_to_live_us=default_time_to_live_us,
                expected_version=version,
                update_time_us=self._context.store.now_us(),
                request=key,
            ),
            request,
            GalleryRecord.SerializeToString,
        )
        return self._written(written), written.revision

    def delete(
        self, name: str, *, force: bool = False, version: int | None = None, request: RequestToken | None = None
    ) -> DeletedGallery:
        """Delete a gallery; one that holds faces only with `force`.

        Raises:
            NotFound: GALLERY_NOT_FOUND.
            PreconditionFailed: GALLERY_NOT_EMPTY.
            Conflict: ETAG_MISMATCH.
        """
        written = self._context.write(
            lambda key: DeleteGallery(name=name, force=force, expected_version=version, request=key),
            request,
            lambda result: encode_counts(result.identity_count, result.face_count),
        )
        if isinstance(written, Committed):
            return DeletedGallery(written.result.identity_count, written.result.face_count, written.revision)
        counts = counts_of(written.outcome)
        return DeletedGallery(counts.identity_count, counts.face_count, written.revision)
