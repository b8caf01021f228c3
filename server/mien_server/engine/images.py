"""Photographs for the engine's verbs: limits checked, every face found, statuses turned into errors."""

from __future__ import annotations

from collections.abc import Sequence

from mien_server.embedding import RecipeDescription
from mien_server.engine.context import EngineContext
from mien_server.engine.types import ImageInput
from mien_server.engine.validation import check_count, check_text
from mien_server.errors import InternalError, InvalidArgument, MienError, PreconditionFailed
from mien_server.records.deadline import Deadline
from mien_server.records.faces import ImageAnalysis, ImageStatus
from mien_server.storage import GalleryView

__all__ = ["analyse", "check_images", "gallery_recipe", "image_error"]

LIMITS_OF_STATUSES = {
    ImageStatus.TOO_MANY_BYTES: "image_bytes_max",
    ImageStatus.TOO_MANY_PIXELS: "image_pixels_max",
}
"""The limit that a photograph of such a status is beyond."""


def check_images(context: EngineContext, images: Sequence[ImageInput], field: str) -> None:
    """Refuse too many photographs or names that are too long. Their bytes are judged one by one, as their status.

    Raises:
        LimitExceeded: LIMIT_EXCEEDED.
    """
    limits = context.limits
    check_count(len(images), limits.images_per_request_max, "images_per_request_max", field)
    for position, image in enumerate(images):
        check_text(image.source, limits.source_bytes_max, "source_bytes_max", f"{field}[{position}].source")


def analyse(
    context: EngineContext, images: Sequence[ImageInput], recipe: str, deadline: Deadline, *, embed: bool = True
) -> list[ImageAnalysis]:
    """Every photograph's status and faces, in order.

    Raises:
        Overloaded: the queue is full.
        Unavailable: RECIPE_UNAVAILABLE.
        DeadlineExceeded, Cancelled: nobody waits any more.
    """
    if not images:
        return []
    return context.embedding.analyse([image.content for image in images], recipe, embed=embed, deadline=deadline)


def image_error(analysis: ImageAnalysis, field: str) -> MienError | None:
    """Why no face of the photograph can be used, or None."""
    match analysis.status:
        case ImageStatus.OK:
            return None
        case ImageStatus.WORKER_CRASHED:
            return InternalError(f"{field}: {analysis.message}", reason="IMAGE_WORKER_CRASHED")
        case status:
            limit = LIMITS_OF_STATUSES.get(status)
            metadata = {} if limit is None else {"limit": limit}
            message = f"{field}: {analysis.message}"
            return InvalidArgument(message, field=field, reason=f"IMAGE_{status.name}", metadata=metadata)


def gallery_recipe(context: EngineContext, gallery: GalleryView) -> RecipeDescription:
    """The recipe whose photographs can be compared with the gallery's faces.

    Raises:
        PreconditionFailed: GALLERY_TAKES_EMBEDDINGS, MODEL_CHANGED.
        Unavailable: RECIPE_UNAVAILABLE.
    """
    record = gallery.record
    if not record.recipe:
        raise PreconditionFailed(
            f"gallery {record.name!r} holds the caller's own embeddings ({record.model_fingerprint}); "
            "it takes embeddings, not photographs",
            reason="GALLERY_TAKES_EMBEDDINGS",
            metadata={"gallery": record.name},
        )
    recipe = context.usable_recipe(record.recipe)
    if recipe.fingerprint != record.model_fingerprint:
        raise PreconditionFailed(
            f"gallery {record.name!r} was made with {record.model_fingerprint}, recipe {record.recipe!r} is now "
            f"{recipe.fingerprint}: their embeddings cannot be compared; "
            "make a new gallery and enrol the photographs again",
            reason="MODEL_CHANGED",
            metadata={"gallery": record.name, "gallery_model": record.model_fingerprint, "recipe": recipe.fingerprint},
        )
    return recipe
