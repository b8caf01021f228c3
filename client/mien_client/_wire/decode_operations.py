"""Messages -> types: the server, long-running operations."""

from __future__ import annotations

from dataclasses import fields

from mien.v1 import operations_service_pb2 as operations_v1
from mien_client._rpc.failures import optional_error
from mien_client._types import enums, operations
from mien_client._wire.decode_erasures import erasure
from mien_client._wire.decode_faces import moment
from mien_client._wire.decode_galleries import index_state
from mien_client._wire.enums import enum_value

__all__ = ["operation", "server_info", "snapshot"]


def server_info(message: operations_v1.GetServerInfoResponse) -> operations.ServerInfo:
    """What a server is and holds."""
    return operations.ServerInfo(
        version=message.version,
        store_id=message.store_id,
        revision=message.revision,
        start_time=moment(message.start_time),
        # Every limit has the same name on both sides; test_client_types holds it.
        limits=operations.Limits(**{one.name: getattr(message.limits, one.name) for one in fields(operations.Limits)}),
        recipes=tuple(_recipe(recipe) for recipe in message.recipes),
        default_recipe=message.default_recipe,
        galleries=tuple(
            operations.GalleryInfo(one.name, one.identity_count, one.face_count, index_state(one.index_state))
            for one in message.galleries
        ),
        absent=tuple(operations.AbsentFeature(one.name, one.reason) for one in message.absent),
        format_version=message.format_version,
        library_versions=dict(message.library_versions),
        degraded_reasons=tuple(message.degraded_reasons),
        damages=tuple(operations.Damage(one.reason, one.message, dict(one.place)) for one in message.damages),
        damage_count=message.damage_count,
        serves_damaged=message.serves_damaged,
        patrol_end_time=moment(message.patrol_end_time),
    )


def _recipe(message: operations_v1.RecipeInfo) -> operations.RecipeInfo:
    return operations.RecipeInfo(
        name=message.name,
        fingerprint=message.fingerprint,
        dimension=message.dimension,
        detector=message.detector,
        embedder=message.embedder,
        available=message.available,
        unavailable_reason=message.unavailable_reason,
        default_threshold=message.default_threshold,
        threshold_detail=message.threshold_detail,
        notices=tuple(message.notices),
    )


def snapshot(message: operations_v1.Snapshot) -> operations.Snapshot:
    """A snapshot of a list."""
    return operations.Snapshot(
        name=message.name,
        destination_uri=message.destination_uri,
        store_id=message.store_id,
        revision=message.revision,
        format_version=message.format_version,
        create_time=moment(message.create_time),
        size_bytes=message.size_bytes,
        file_count=message.file_count,
        face_count=message.face_count,
        verify_time=moment(message.verify_time),
        damage=message.damage,
    )


def _snapshot_result(message: operations_v1.CreateSnapshotResult) -> operations.CreateSnapshotResult:
    return operations.CreateSnapshotResult(
        name=message.name,
        destination_uri=message.destination_uri,
        revision=message.revision,
        size_bytes=message.size_bytes,
        new_bytes=message.new_bytes,
        file_count=message.file_count,
        duration_s=message.duration.seconds + message.duration.nanos / 1e9,
    )


def operation(message: operations_v1.Operation) -> operations.Operation:
    """Long-running work."""
    rebuilt = message.rebuild_index
    return operations.Operation(
        name=message.name,
        kind=enum_value(enums.OperationKind, message.kind),
        gallery=message.gallery,
        state=enum_value(enums.OperationState, message.state),
        progress=message.progress,
        stage=message.stage,
        create_time=moment(message.create_time),
        end_time=moment(message.end_time),
        error=optional_error(message.error),
        rebuild_index=operations.RebuildIndexResult(
            generation=rebuilt.generation,
            rows=rebuilt.rows,
            index_state=index_state(rebuilt.index_state),
            duration_s=rebuilt.duration.seconds + rebuilt.duration.nanos / 1e9,
        )
        if message.HasField("rebuild_index")
        else None,
        create_snapshot=_snapshot_result(message.create_snapshot) if message.HasField("create_snapshot") else None,
        erase_identity=erasure(message.erase_identity.erasure) if message.HasField("erase_identity") else None,
    )
