"""1:1: are two sides the same person? Sides are photographs, embeddings, enrolled faces or enrolled identities."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from mien_server.embedding import Calibration, RecipeDescription
from mien_server.engine.context import EngineContext, GallerySnapshot
from mien_server.engine.decisions import distances, verification_threshold
from mien_server.engine.faces import face_not_found
from mien_server.engine.identities import identity_not_found
from mien_server.engine.images import analyse, check_images, gallery_recipe, image_error
from mien_server.engine.probes import embedding_of
from mien_server.engine.templates import template_of
from mien_server.engine.translation import decision_policy_of
from mien_server.engine.types import ImageInput, VerificationAnswer, VerifySide
from mien_server.engine.validation import check_decision_policy
from mien_server.engine.vectors import check_vectors, refuse_bad_rows, unpack
from mien_server.errors import InvalidArgument, NotFound, PreconditionFailed
from mien_server.records.deadline import Deadline
from mien_server.records.faces import Float32Array, ImageAnalysis
from mien_server.records.policies import DecisionPolicy, IdentityScoring

__all__ = ["verify"]

COMPARISONS_PER_BLOCK = 1 << 22
"""Pairs of faces compared at a time: 16 MiB of similarities."""


@dataclass(frozen=True, slots=True)
class _Model:
    """What both sides are embedded and compared with."""

    fingerprint: str
    dimension: int
    recipe: RecipeDescription | None
    calibration: Calibration | None
    gallery_policy: DecisionPolicy


def verify(
    context: EngineContext,
    left: VerifySide,
    right: VerifySide,
    *,
    gallery: str,
    recipe: str,
    policy: DecisionPolicy | None,
    min_revision: int,
    deadline: Deadline,
) -> VerificationAnswer:
    """Compare two sides and decide. An identity is scored by the policy: its best face, or its template.

    Raises:
        InvalidArgument: a side that is missing, or a photograph without a usable face (IMAGE_...).
        NotFound: GALLERY_NOT_FOUND, FACE_NOT_FOUND, IDENTITY_NOT_FOUND.
        PreconditionFailed: NO_THRESHOLD.
    """
    if policy is not None:
        check_decision_policy(policy, "policy")
    sides = {"left": left, "right": right}
    for name, side in sides.items():
        _check_side(side, name, has_gallery=bool(gallery))
    model = _model(context, gallery, recipe, has_images=left.image is not None or right.image is not None)
    images = {name: side.image for name, side in sides.items() if side.image is not None}
    analyses = _analysed(context, images, model, deadline)
    scope = context.snapshot(gallery, min_revision) if gallery else nullcontext(None)
    with scope as snapshot:
        if snapshot is not None:
            _check_model(snapshot, model)
        chosen = policy or model.gallery_policy
        vectors = {
            name: _vectors(context, snapshot, side, name, model, analyses.get(name), chosen.scoring, deadline)
            for name, side in sides.items()
        }
        revision = snapshot.revision if snapshot is not None else 0
    similarity = _best_similarity(vectors["left"], vectors["right"], deadline)
    # A request's policy replaces the gallery's as a whole.
    gallery_policy = model.gallery_policy if policy is None else DecisionPolicy()
    threshold = verification_threshold(policy, gallery_policy, model.calibration)
    distance = distances(np.array([similarity], dtype=np.float32), chosen.metric)
    return VerificationAnswer(
        is_same=bool(np.float32(similarity) >= np.float32(threshold.similarity)),
        similarity=similarity,
        distance=None if distance is None else float(distance[0]),
        threshold=threshold,
        left_image=analyses.get("left"),
        right_image=analyses.get("right"),
        revision=revision,
        model_fingerprint=model.fingerprint,
    )


def _check_model(snapshot: GallerySnapshot, model: _Model) -> None:
    """Refuse to compare what two models made: the gallery may have been deleted and made again since it was asked."""
    name, fingerprint = snapshot.gallery.name, snapshot.gallery.record.model_fingerprint
    if fingerprint != model.fingerprint:
        raise PreconditionFailed(
            f"gallery {name!r} was made anew with another model meanwhile; ask again", reason="MODEL_CHANGED"
        )


def _best_similarity(left: Float32Array, right: Float32Array, deadline: Deadline) -> float:
    """The largest cosine between a row of one and a row of the other, in blocks of bounded memory."""
    best = -1.0
    block = max(1, COMPARISONS_PER_BLOCK // max(1, len(right)))
    for start in range(0, len(left), block):
        deadline.check()
        best = max(best, float((left[start : start + block] @ right.T).max()))
    return min(1.0, best)


def _check_side(side: VerifySide, name: str, *, has_gallery: bool) -> None:
    given = sum([side.image is not None, side.embedding is not None, bool(side.face_id), bool(side.identity_id)])
    if given != 1:
        raise InvalidArgument(
            f"{name}: exactly one of image, embedding, face_id and identity_id is needed",
            field=name,
            reason="SIDE_INVALID",
        )
    if (side.face_id or side.identity_id) and not has_gallery:
        raise InvalidArgument(
            f"{name}: an enrolled face or identity needs its gallery named", field="gallery", reason="SIDE_INVALID"
        )


def _model(context: EngineContext, gallery: str, recipe: str, *, has_images: bool) -> _Model:
    if not gallery:
        description = context.usable_recipe(recipe or context.options.default_recipe)
        return _Model(
            description.fingerprint, description.dimension, description, description.calibration, DecisionPolicy()
        )
    with context.snapshot(gallery) as snapshot:
        record = snapshot.gallery.record
        return _Model(
            fingerprint=record.model_fingerprint,
            dimension=record.dimension,
            recipe=gallery_recipe(context, snapshot.gallery) if has_images else None,
            calibration=context.calibration(snapshot.gallery),
            gallery_policy=decision_policy_of(record.decision_policy),
        )


def _analysed(
    context: EngineContext, images: dict[str, ImageInput], model: _Model, deadline: Deadline
) -> dict[str, ImageAnalysis]:
    """Both photographs in one go, by side."""
    if not images or model.recipe is None:
        return {}
    for name, image in images.items():
        check_images(context, [image], name)
    found = analyse(context, list(images.values()), model.recipe.name, deadline)
    analyses = dict(zip(images, found, strict=True))
    for name, analysis in analyses.items():
        error = image_error(analysis, f"{name}.image")
        if error is not None:
            raise error
    return analyses


def _vectors(
    context: EngineContext,
    snapshot: GallerySnapshot | None,
    side: VerifySide,
    name: str,
    model: _Model,
    analysis: ImageAnalysis | None,
    scoring: IdentityScoring,
    deadline: Deadline,
) -> Float32Array:
    """The side as unit vectors, float32 [m, d]: one, or every face of an identity scored by its best."""
    if analysis is not None:
        return embedding_of(analysis.faces[0])[None, :]
    if side.embedding is not None:
        field = f"{name}.embedding"
        raw = unpack(
            side.embedding, dimension=model.dimension, model=model.fingerprint, limits=context.limits, field=field
        )
        if raw.shape[0] != 1:
            raise InvalidArgument(f"{field}: one vector, {raw.shape[0]} given", field=field, reason="EMBEDDING_SIZE")
        return refuse_bad_rows(check_vectors(raw, normalize=side.embedding.normalize, field=field))
    if snapshot is None:
        raise InvalidArgument(f"{name}: needs a gallery", field="gallery", reason="SIDE_INVALID")
    return _enrolled_vectors(snapshot, side, scoring, deadline)


def _enrolled_vectors(
    snapshot: GallerySnapshot, side: VerifySide, scoring: IdentityScoring, deadline: Deadline
) -> Float32Array:
    gallery = snapshot.gallery
    if side.face_id:
        ordinal = gallery.face_ordinal(side.face_id)
        if ordinal is None:
            raise face_not_found(gallery.name, side.face_id)
        return gallery.vectors(np.array([ordinal], dtype=np.int64))
    record = gallery.identity(side.identity_id)
    if record is None:
        raise identity_not_found(gallery.name, side.identity_id)
    if not record.face_count:
        raise NotFound(
            f"identity {side.identity_id!r} of gallery {gallery.name!r} has no faces to compare with; enrol one",
            reason="FACE_NOT_FOUND",
            metadata={"gallery": gallery.name, "identity_id": side.identity_id},
        )
    if scoring is IdentityScoring.TEMPLATE_MEAN:
        return template_of(gallery, record.number, deadline)[None, :]
    return gallery.vectors(gallery.faces_of(record.number))
