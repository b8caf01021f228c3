"""From settings, which know no layer above them, to the options of engine and gRPC server."""

from __future__ import annotations

import os
from dataclasses import replace

from mien_server.config.settings import EmbeddingSettings, Settings, StorageSettings
from mien_server.embedding import EmbeddingOptions
from mien_server.embedding.options import Detector, FacenetPreprocessing, FacenetWeights
from mien_server.engine import EngineOptions
from mien_server.engine.patrol import PatrolOptions
from mien_server.index import RebuildPolicy
from mien_server.rpc.patience import PatienceLimits
from mien_server.rpc.server import ServerOptions, TlsFiles
from mien_server.rpc.streams import StreamWindow
from mien_server.storage import StoreOptions

__all__ = ["engine_options", "server_options"]


def engine_options(settings: Settings) -> EngineOptions:
    """How the engine works."""
    limits = settings.limits.to_limits()
    index = settings.index
    return EngineOptions(
        limits=limits,
        store=_store_options(settings.storage),
        embedding=replace(_embedding_options(settings.embedding), limits=limits),
        rebuild=RebuildPolicy(
            flat_bytes_max=index.flat_bytes_max,
            flat_rows_min=index.flat_rows_min,
            tail_rows_max=index.tail_rows_max,
            tombstone_share_max=index.tombstone_share_max,
            growth_max=index.growth_max,
            measured_growth_max=index.measured_growth_max,
            measure_interval_s=index.measure_interval_s,
        ),
        patrol=PatrolOptions(settings.storage.patrol_interval_s, settings.storage.patrol_bytes_per_s),
        default_recipe=settings.embedding.default_recipe,
        search_thread_count=index.search_thread_count or _core_count(),
        build_thread_count=index.build_thread_count or _core_count(),
        operation_age_max_s=settings.storage.operation_age_max_s,
        sweep_interval_s=settings.storage.sweep_interval_s,
        erasure_within_s=settings.storage.erasure_within_s,
        rebuilds_automatically=index.rebuilds_automatically,
        snapshot_destinations=settings.snapshots.destinations,
    )


def server_options(settings: Settings) -> ServerOptions:
    """How the gRPC server listens."""
    server, tls = settings.server, settings.tls
    files = None
    if tls.certificate_path is not None and tls.key_path is not None:
        files = TlsFiles(tls.certificate_path, tls.key_path, tls.client_ca_path)
    return ServerOptions(
        listen_addresses=server.listen,
        unix_socket_path=server.unix_socket_path,
        thread_count=server.thread_count,
        waiting_call_count_max=server.waiting_call_count_max,
        stream_count_max=server.stream_count_max,
        message_bytes_max=settings.limits.message_bytes_max,
        large_call_count_max=server.large_call_count_max or max(1, _core_count() // 2),
        calls_per_connection_max=server.calls_per_connection_max,
        window=StreamWindow(
            server.stream_requests_in_flight_max, server.stream_bytes_in_flight_max, server.stream_idle_max_s
        ),
        patience=PatienceLimits(server.transfer_time_max_s, server.request_bytes_max, server.answer_bytes_max),
        tls=files,
    )


def _core_count() -> int:
    """Cores this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def _store_options(storage: StorageSettings) -> StoreOptions:
    return StoreOptions(
        map_size_bytes=storage.map_size_bytes,
        group_rows_max=storage.group_rows_max,
        group_commands_max=storage.group_commands_max,
        queue_rows_max=storage.queue_rows_max,
        queue_bytes_max=storage.queue_bytes_max,
        journal_revisions_max=storage.journal_revisions_max,
        journal_bytes_max=storage.journal_bytes_max,
        request_age_max_s=storage.request_age_max_s,
        reader_count_max=storage.reader_count_max,
        serve_damaged=storage.serve_damaged,
    )


def _embedding_options(embedding: EmbeddingSettings) -> EmbeddingOptions:
    options = EmbeddingOptions(
        worker_count=embedding.worker_count or None,
        queue_images_max=embedding.queue_images_max,
        queue_bytes_max=embedding.queue_bytes_max,
        batch_images_max=embedding.batch_images_max,
        image_time_max_s=embedding.image_time_max_s,
        detector=Detector(embedding.detector),
        facenet_weights_path=embedding.facenet_weights_path,
        facenet_weights_sha256=embedding.facenet_weights_sha256,
        facenet_weights=FacenetWeights(embedding.facenet_weights),
        facenet_download_allowed=embedding.facenet_download_allowed,
        facenet_preprocessing=FacenetPreprocessing(embedding.facenet_preprocessing),
        preloaded_recipes=embedding.preloaded_recipes,
    )
    if embedding.cache_directory is None:
        return options
    return replace(options, cache_directory=embedding.cache_directory)
