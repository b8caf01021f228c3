"""What a caller looks up, as unit vectors: embeddings checked, photographs embedded, every face a probe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien_server.engine.context import EngineContext
from mien_server.engine.images import analyse, check_images, gallery_recipe
from mien_server.engine.types import PackedEmbeddings, Probes
from mien_server.engine.validation import check_count
from mien_server.engine.vectors import check_vectors, refuse_bad_rows, unpack
from mien_server.errors import InternalError, InvalidArgument, PreconditionFailed
from mien_server.records.deadline import Deadline
from mien_server.records.faces import FaceAnalysis, Float32Array, ImageAnalysis
from mien_server.storage import GalleryView

__all__ = ["AnalysedImages", "ProbeVectors", "analyse_probes", "embedding_of", "probe_vectors"]


@dataclass(frozen=True, slots=True)
class AnalysedImages:
    """A request's photographs after embedding: analysis and the caller's name of each, in order, and the model."""

    images: tuple[tuple[ImageAnalysis, str], ...] = ()
    model_fingerprint: str = ""


NO_IMAGES = AnalysedImages()


@dataclass(frozen=True, slots=True)
class ProbeVectors:
    """Probes ready for a search.

    Attributes:
        vectors: float32 [n, d], C-contiguous unit rows: the request's embeddings, then every face of every image.
        embedding_count: rows that are the request's embeddings.
    """

    vectors: Float32Array
    embedding_count: int


def embedding_of(face: FaceAnalysis) -> Float32Array:
    """The embedding of a face that was embedded."""
    if face.embedding is None:
        raise InternalError("a face that was to be compared has no embedding")
    return face.embedding


def analyse_probes(context: EngineContext, gallery: str, probes: Probes, deadline: Deadline) -> AnalysedImages:
    """Embed a request's photographs, if it has any, with the gallery's recipe, before the search takes a snapshot.

    Raises:
        InvalidArgument: NO_PROBES.
        NotFound: GALLERY_NOT_FOUND.
        PreconditionFailed: GALLERY_TAKES_EMBEDDINGS, MODEL_CHANGED.
    """
    if not probes.images:
        if probes.embeddings is None or not probes.embeddings.data:
            raise InvalidArgument(
                "probes: nothing to look up; give embeddings or photographs", field="probes", reason="NO_PROBES"
            )
        return NO_IMAGES
    check_images(context, probes.images, "probes.images")
    with context.snapshot(gallery) as snapshot:
        recipe = gallery_recipe(context, snapshot.gallery)
    found = analyse(context, probes.images, recipe.name, deadline)
    pairs = tuple((one, image.source) for one, image in zip(found, probes.images, strict=True))
    return AnalysedImages(pairs, recipe.fingerprint)


def probe_vectors(
    context: EngineContext, gallery: GalleryView, packed: PackedEmbeddings | None, analysed: AnalysedImages
) -> ProbeVectors:
    """Every probe of a request as a unit vector of the gallery's model.

    Raises:
        EmbeddingRefused: an embedding is wrong.
        LimitExceeded: LIMIT_EXCEEDED.
        PreconditionFailed: MODEL_CHANGED, the gallery was made anew with another model meanwhile.
    """
    parts = [] if packed is None else [_packed_vectors(context, gallery, packed)]
    embedding_count = len(parts[0]) if parts else 0
    if parts and not analysed.images:
        return ProbeVectors(parts[0], embedding_count)
    record = gallery.record
    faces = [embedding_of(face) for one, _ in analysed.images for face in one.faces]
    if analysed.images and analysed.model_fingerprint != record.model_fingerprint:
        raise PreconditionFailed(
            f"gallery {gallery.name!r} was made anew with another model meanwhile; ask again", reason="MODEL_CHANGED"
        )
    if faces:
        parts.append(np.stack(faces))
    most = context.limits.embeddings_per_request_max
    check_count(embedding_count + len(faces), most, "embeddings_per_request_max", "probes")
    empty = np.zeros((0, record.dimension), dtype=np.float32)
    return ProbeVectors(np.concatenate([empty, *parts]), embedding_count)


def _packed_vectors(context: EngineContext, gallery: GalleryView, packed: PackedEmbeddings) -> Float32Array:
    record, field = gallery.record, "probes.embeddings"
    raw = unpack(packed, dimension=record.dimension, model=record.model_fingerprint, limits=context.limits, field=field)
    return refuse_bad_rows(check_vectors(raw, normalize=packed.normalize, field=field))
