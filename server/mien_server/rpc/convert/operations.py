"""Operations and what the server says of itself."""

from __future__ import annotations

import dataclasses

from google.protobuf.duration_pb2 import Duration

from mien.v1 import operations_service_pb2 as pb
from mien_server.config.limits import Limits
from mien_server.engine.types import (
    OperationInfo,
    OperationKind,
    OperationState,
    RecipeInfo,
    ServerInfo,
    SnapshotResult,
    SnapshotSummary,
)
from mien_server.rpc.absent import absent_features
from mien_server.rpc.convert.erasures import erasure_message
from mien_server.rpc.convert.galleries import index_state_message
from mien_server.rpc.convert.values import enum_number, timestamp
from mien_server.rpc.errors import status_of

__all__ = ["operation_message", "server_info_response", "snapshot_message"]


def operation_message(operation: OperationInfo) -> pb.Operation:
    """Long-running work as a message."""
    snapshot = operation.result_snapshot
    has_succeeded = operation.state is OperationState.SUCCEEDED
    is_rebuild = operation.kind is OperationKind.REBUILD_INDEX
    return pb.Operation(
        name=operation.name,
        kind=enum_number(operation.kind),
        gallery=operation.gallery,
        state=enum_number(operation.state),
        progress=operation.progress,
        stage=operation.stage,
        create_time=timestamp(operation.create_time_us),
        end_time=timestamp(operation.end_time_us),
        error=None if operation.error is None else status_of(operation.error),
        create_snapshot=None if snapshot is None else _snapshot_result(snapshot),
        rebuild_index=_rebuild_result(operation) if has_succeeded and is_rebuild else None,
        erase_identity=None
        if operation.erasure is None
        else pb.EraseIdentityResult(erasure=erasure_message(operation.erasure)),
    )


def _rebuild_result(operation: OperationInfo) -> pb.RebuildIndexResult:
    duration = Duration()
    duration.FromMicroseconds(operation.end_time_us - operation.create_time_us)
    return pb.RebuildIndexResult(
        generation=operation.result_generation,
        rows=operation.result_rows,
        index_state=None if operation.index_state is None else index_state_message(operation.index_state),
        duration=duration,
    )


def _snapshot_result(snapshot: SnapshotResult) -> pb.CreateSnapshotResult:
    duration = Duration()
    duration.FromMicroseconds(snapshot.duration_us)
    return pb.CreateSnapshotResult(
        name=snapshot.name,
        destination_uri=snapshot.destination,
        revision=snapshot.revision,
        size_bytes=snapshot.size_bytes,
        new_bytes=snapshot.new_bytes,
        file_count=snapshot.file_count,
        duration=duration,
    )


def snapshot_message(snapshot: SnapshotSummary) -> pb.Snapshot:
    """A snapshot of a list as a message."""
    return pb.Snapshot(
        name=snapshot.name,
        destination_uri=snapshot.destination,
        store_id=snapshot.store_id,
        revision=snapshot.revision,
        format_version=snapshot.format_version,
        create_time=timestamp(snapshot.time_us),
        size_bytes=snapshot.size_bytes,
        file_count=snapshot.file_count,
        verify_time=timestamp(snapshot.verify_time_us),
        damage=snapshot.damage,
        face_count=snapshot.face_count,
    )


def server_info_response(info: ServerInfo, limits: Limits) -> pb.GetServerInfoResponse:
    """What this server is, and what it does not do, as a message."""
    return pb.GetServerInfoResponse(
        version=info.version,
        store_id=info.store_id,
        revision=info.revision,
        start_time=timestamp(info.start_time_us),
        limits=pb.Limits(**dataclasses.asdict(limits)),
        recipes=[_recipe_message(recipe) for recipe in info.recipes],
        default_recipe=info.default_recipe,
        galleries=[
            pb.GalleryInfo(
                name=gallery.name,
                identity_count=gallery.identity_count,
                face_count=gallery.face_count,
                index_state=index_state_message(gallery.index_state),
            )
            for gallery in info.galleries
        ],
        absent=[pb.AbsentFeature(name=feature.name, reason=feature.reason) for feature in absent_features()],
        format_version=info.format_version,
        library_versions=info.library_versions,
        degraded_reasons=info.degraded_reasons,
        damages=[pb.Damage(reason=one.reason, message=one.message, place=one.place) for one in info.damages],
        damage_count=info.damage_count,
        serves_damaged=info.serves_damaged,
        patrol_end_time=timestamp(info.patrol_end_time_us),
    )


def _recipe_message(recipe: RecipeInfo) -> pb.RecipeInfo:
    return pb.RecipeInfo(
        name=recipe.name,
        fingerprint=recipe.fingerprint,
        dimension=recipe.dimension,
        detector=recipe.detector,
        embedder=recipe.embedder,
        available=recipe.available,
        unavailable_reason=recipe.unavailable_reason,
        default_threshold=recipe.default_threshold,
        threshold_detail=recipe.threshold_detail,
        notices=recipe.notices,
    )
