"""Galleries and the state of their index."""

from __future__ import annotations

from mien.v1 import gallery_service_pb2 as pb
from mien_server.engine.types import GalleryInfo, GallerySpec, IndexState
from mien_server.rpc.convert.policies import (
    decision_policy,
    decision_policy_message,
    enrollment_policy,
    enrollment_policy_message,
    index_policy,
    index_policy_message,
    vector_type,
)
from mien_server.rpc.convert.values import duration_message, duration_microseconds, enum_number, missing, timestamp
from mien_server.rpc.requests import etag_of

__all__ = ["gallery_message", "gallery_spec", "index_state_message", "time_to_live"]


def gallery_spec(message: pb.Gallery) -> GallerySpec:
    """The gallery to be made; fields that only answers carry are passed over.

    Raises:
        InvalidArgument: FIELD_REQUIRED, when nothing says where embeddings come from; ENUM_UNKNOWN.
    """
    model = message.model
    if model.WhichOneof("source") is None:
        raise missing("gallery.model", "set `recipe` to one of the server's, or `precomputed` for your own embeddings")
    return GallerySpec(
        name=message.name,
        display_name=message.display_name,
        labels=dict(message.labels),
        recipe=model.recipe,
        precomputed_name=model.precomputed.name,
        precomputed_dimension=model.precomputed.dimension,
        decision_policy=decision_policy(message.decision_policy, "gallery.decision_policy"),
        enrollment_policy=enrollment_policy(message.enrollment_policy, "gallery.enrollment_policy"),
        index_policy=index_policy(message.index_policy, "gallery.index_policy"),
        vector_type=vector_type(message.vector_type, "gallery.vector_type"),
        default_time_to_live_us=time_to_live(message),
    )


def time_to_live(message: pb.Gallery) -> int:
    """How long faces are kept by default, in microseconds; 0: for ever.

    Raises:
        InvalidArgument: TIME_INVALID.
    """
    return duration_microseconds(message.default_time_to_live, "gallery.default_time_to_live")


def gallery_message(gallery: GalleryInfo) -> pb.Gallery:
    """A gallery as a message."""
    return pb.Gallery(
        name=gallery.name,
        display_name=gallery.display_name,
        labels=gallery.labels,
        model=_model_message(gallery),
        decision_policy=decision_policy_message(gallery.decision_policy),
        enrollment_policy=enrollment_policy_message(gallery.enrollment_policy),
        index_policy=index_policy_message(gallery.index_policy),
        identity_count=gallery.identity_count,
        face_count=gallery.face_count,
        index_state=index_state_message(gallery.index_state),
        create_time=timestamp(gallery.create_time_us),
        update_time=timestamp(gallery.update_time_us),
        etag=etag_of(gallery.version),
        vector_type=enum_number(gallery.vector_type),
        default_time_to_live=duration_message(gallery.default_time_to_live_us),
    )


def _model_message(gallery: GalleryInfo) -> pb.EmbeddingModel:
    model = pb.EmbeddingModel(dimension=gallery.dimension, fingerprint=gallery.model_fingerprint)
    if gallery.recipe:
        model.recipe = gallery.recipe
    else:
        model.precomputed.name = gallery.precomputed_name
        model.precomputed.dimension = gallery.dimension
    return model


def index_state_message(state: IndexState) -> pb.IndexState:
    """The state of an index as a message."""
    return pb.IndexState(
        state=enum_number(state.kind),
        detail=state.detail,
        generation=state.generation,
        indexed_rows=state.indexed_rows,
        tail_rows=state.tail_rows,
        tombstones=state.tombstones,
        lists=state.lists,
        code=state.code,
        ladder=[
            pb.EffortStep(
                step=step.step,
                lists=step.lists,
                rescored=step.rescored,
                rank1_agreement=step.rank1_agreement,
                recall_at_10=step.recall_at_10,
                milliseconds=step.milliseconds,
            )
            for step in state.ladder
        ],
        build_time=timestamp(state.build_time_us),
        segment_count=state.segment_count,
        list_imbalance=state.list_imbalance,
        trained_rows=state.trained_rows,
        measured_rows=state.measured_rows,
        measure_time=timestamp(state.measure_time_us),
        drift=state.drift,
        default_agreement=state.default_agreement,
    )
