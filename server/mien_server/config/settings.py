"""Every setting of the server, typed, with its unit in its name and its meaning beside it.

A setting comes from, first found first taken: a flag of the command line, an environment variable
(MIEN_SERVER__THREAD_COUNT is server.thread_count), the settings file, the default here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mien_server.config.limits import Limits

__all__ = [
    "ENVIRONMENT_PREFIX",
    "NESTING",
    "EmbeddingSettings",
    "IndexSettings",
    "LimitSettings",
    "LogSettings",
    "ServerSettings",
    "Settings",
    "SnapshotSettings",
    "StorageSettings",
    "TlsSettings",
]

ENVIRONMENT_PREFIX = "MIEN_"
NESTING = "__"
LISTEN_DEFAULT = "127.0.0.1:7311"
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]]+):([0-9]{1,5})")
_DEFAULT_LIMITS = Limits()


def _none_when_empty(value: Any) -> Any:
    return None if value == "" else value


def _list_from_text(value: Any) -> Any:
    """An environment variable holds a list as text with commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


OptionalPath = Annotated[Path | None, BeforeValidator(_none_when_empty)]
TextList = Annotated[tuple[str, ...], BeforeValidator(_list_from_text)]
Count = Annotated[int, Field(ge=1)]
CountOrAutomatic = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Seconds = Annotated[float, Field(gt=0.0)]
Factor = Annotated[float, Field(gt=1.0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(_Section):
    """Ports, threads, streams and shutdown."""

    listen: TextList = Field(
        default=(LISTEN_DEFAULT,),
        description="Addresses HOST:PORT; port 0 takes a free one. Beyond this machine, turn on TLS (below).",
    )
    unix_socket_path: OptionalPath = Field(
        default=None, description="Path of a Unix socket to listen on as well; empty for none."
    )
    thread_count: Count = Field(
        default=64, description="Calls worked on at once. A stream takes a thread for as long as it lasts."
    )
    waiting_call_count_max: CountOrAutomatic = Field(
        default=1024,
        description="Calls that may wait for a thread; beyond them whoever has the most waiting is refused one.",
    )
    large_call_count_max: CountOrAutomatic = Field(
        default=0,
        description="Calls on ten thousand entries or more that are worked on at once; 0 is one for every two cores.",
    )
    calls_per_connection_max: Count = Field(
        default=1024, description="Calls of one connection at once; further ones are refused by HTTP/2 (UNAVAILABLE)."
    )
    request_bytes_max: Count = Field(
        default=512 * 1024 * 1024,
        description="Bytes of requests worked on at once; beyond them a client may have one at a time. Also of "
        "messages that are slow to arrive, each counted as the largest.",
    )
    answer_bytes_max: Count = Field(
        default=512 * 1024 * 1024,
        description="Bytes of answers that clients have not taken; beyond them whoever leaves the most loses some.",
    )
    transfer_time_max_s: Seconds = Field(
        default=300.0,
        description="Seconds in which a message must arrive and an answer be taken; less while others wait for what "
        "the caller holds.",
    )
    stream_count_max: Count = Field(
        default=48,
        description="Streams and calls of WaitOperation at once, fewer than thread_count so that single calls always "
        "find a thread.",
    )
    stream_requests_in_flight_max: Count = Field(
        default=16, description="Requests of one stream that are worked on before their answers are taken."
    )
    stream_bytes_in_flight_max: Count = Field(
        default=64 * 1024 * 1024,
        description="Bytes of one stream's requests in flight; beyond them no further one is read.",
    )
    stream_idle_max_s: Seconds = Field(
        default=600.0, description="Seconds without a request after which a stream is ended."
    )
    drain_s: Annotated[float, Field(ge=0.0)] = Field(
        default=10.0, description="Seconds that running calls get to finish after SIGTERM."
    )

    @field_validator("listen")
    @classmethod
    def _check_addresses(cls, addresses: Sequence[str]) -> Sequence[str]:
        for address in addresses:
            match = _ADDRESS.fullmatch(address)
            if match is None or int(match[2]) > 65_535:
                raise ValueError(f"{address!r} is no HOST:PORT; write 127.0.0.1:7311, [::1]:7311 or 0.0.0.0:7311")
        return addresses

    @model_validator(mode="after")
    def _check_somewhere(self) -> ServerSettings:
        if not self.listen and self.unix_socket_path is None:
            raise ValueError("neither listen nor unix_socket_path is set; set one, or nobody can call")
        if self.stream_count_max >= self.thread_count:
            raise ValueError(
                f"stream_count_max = {self.stream_count_max} must be below thread_count = {self.thread_count}"
            )
        return self


class TlsSettings(_Section):
    """TLS for every TCP address. Without it anybody on the way reads faces and names."""

    certificate_path: OptionalPath = Field(default=None, description="PEM file of the server's certificate chain.")
    key_path: OptionalPath = Field(default=None, description="PEM file of its private key.")
    client_ca_path: OptionalPath = Field(
        default=None, description="PEM file of the authority whose certificates callers must show; empty asks for none."
    )

    @model_validator(mode="after")
    def _check_pair(self) -> TlsSettings:
        if (self.certificate_path is None) != (self.key_path is None):
            raise ValueError("certificate_path and key_path belong together; set both or neither")
        if self.client_ca_path is not None and self.key_path is None:
            raise ValueError("client_ca_path needs certificate_path and key_path")
        return self


class LimitSettings(_Section):
    """What a request may not exceed; GetServerInfo states it. Counts unless the name ends in a unit."""

    message_bytes_max: Count = Field(
        default=_DEFAULT_LIMITS.message_bytes_max, description="One request or stream message."
    )
    image_bytes_max: Count = Field(default=_DEFAULT_LIMITS.image_bytes_max, description="One photograph's file.")
    image_pixels_max: Count = Field(
        default=_DEFAULT_LIMITS.image_pixels_max, description="One photograph, width x height."
    )
    images_per_request_max: Count = Field(
        default=_DEFAULT_LIMITS.images_per_request_max, description="Photographs a request."
    )
    faces_per_image_max: Count = Field(
        default=_DEFAULT_LIMITS.faces_per_image_max, description="Faces answered for one photograph, the largest first."
    )
    embeddings_per_request_max: Count = Field(
        default=_DEFAULT_LIMITS.embeddings_per_request_max, description="Embeddings in one request or stream message."
    )
    dimension_max: Count = Field(default=_DEFAULT_LIMITS.dimension_max, description="Components of an embedding.")
    k_max: Count = Field(default=_DEFAULT_LIMITS.k_max, description="Neighbours of one probe.")
    candidate_count_max: Count = Field(
        default=_DEFAULT_LIMITS.candidate_count_max, description="Candidates of one probe."
    )
    page_size_max: Count = Field(default=_DEFAULT_LIMITS.page_size_max, description="Entries of one page of a list.")
    enroll_items_max: Count = Field(
        default=_DEFAULT_LIMITS.enroll_items_max, description="Items or rows to enrol at once."
    )
    face_ids_per_request_max: Count = Field(
        default=_DEFAULT_LIMITS.face_ids_per_request_max, description="Faces moved or deleted at once."
    )
    identity_id_bytes_max: Count = Field(
        default=_DEFAULT_LIMITS.identity_id_bytes_max, description="An identity's id; at most 256."
    )
    face_id_bytes_max: Count = Field(default=_DEFAULT_LIMITS.face_id_bytes_max, description="A face's id; at most 64.")
    labels_max: Count = Field(default=_DEFAULT_LIMITS.labels_max, description="Labels of one thing.")
    label_value_bytes_max: Count = Field(
        default=_DEFAULT_LIMITS.label_value_bytes_max, description="A label's value; at most 256."
    )
    filter_ids_max: Count = Field(default=_DEFAULT_LIMITS.filter_ids_max, description="Identity ids in one filter.")
    galleries_max: Count = Field(default=_DEFAULT_LIMITS.galleries_max, description="Galleries of the store.")
    source_bytes_max: Count = Field(default=_DEFAULT_LIMITS.source_bytes_max, description="The name of a picture.")
    display_name_bytes_max: Count = Field(default=_DEFAULT_LIMITS.display_name_bytes_max, description="A display name.")
    neighbors_per_request_max: Count = Field(
        default=_DEFAULT_LIMITS.neighbors_per_request_max, description="Neighbours in one answer: probes x k."
    )
    message_elements_max: Count = Field(
        default=_DEFAULT_LIMITS.message_elements_max,
        description="Entries of all lists and maps of one message, those of the messages in it included.",
    )
    operations_waiting_max: Count = Field(
        default=_DEFAULT_LIMITS.operations_waiting_max, description="Operations that are not done yet."
    )

    @field_validator("identity_id_bytes_max", "face_id_bytes_max", "label_value_bytes_max")
    @classmethod
    def _check_keys(cls, bytes_max: int, info: ValidationInfo) -> int:
        # They are parts of the database's keys, whose length LMDB bounds: these limits can only be lowered.
        most: int = getattr(_DEFAULT_LIMITS, str(info.field_name))
        if bytes_max > most:
            raise ValueError(f"{bytes_max} is more than the keys of the database hold; set at most {most}")
        return bytes_max

    def to_limits(self) -> Limits:
        """As the engine takes them."""
        return Limits(**self.model_dump())


class EmbeddingSettings(_Section):
    """How photographs become embeddings."""

    default_recipe: str = Field(default="dlib", min_length=1, description="Recipe of calls that name none.")
    worker_count: CountOrAutomatic = Field(
        default=0,
        description="Worker processes, one core each; 0 is one for each core. They start with the first photograph.",
    )
    queue_images_max: Count = Field(default=512, description="Photographs that may wait; further ones are refused.")
    queue_bytes_max: Count = Field(default=512 * 1024 * 1024, description="Bytes of the photographs that may wait.")
    batch_images_max: Count = Field(default=8, description="Photographs a worker takes at once.")
    image_time_max_s: Annotated[float, Field(gt=0.0)] = Field(
        default=60.0, description="Seconds for one photograph; beyond them its worker is replaced."
    )
    cache_directory: OptionalPath = Field(
        default=None,
        description="Where network graphs and weights are kept; empty is $XDG_CACHE_HOME/mien or ~/.cache/mien.",
    )
    preloaded_recipes: TextList = Field(
        default=("dlib",), description="Recipes whose models a worker loads when it starts."
    )
    detector: Literal["hog", "mtcnn"] = Field(
        default="hog", description="Who finds faces for the dlib recipe: hog, or mtcnn (needs the facenet extra)."
    )
    facenet_weights: Literal["vggface2", "casia-webface"] = Field(
        default="vggface2", description="Published weights of the facenet recipe: vggface2 or casia-webface."
    )
    facenet_weights_path: OptionalPath = Field(
        default=None, description="Your own weights file; empty looks into the cache."
    )
    facenet_weights_sha256: str = Field(
        default="", pattern=r"^([0-9a-f]{64})?$", description="SHA-256 (hex) that file must have; empty accepts any."
    )
    facenet_download_allowed: bool = Field(
        default=False, description="Fetch the published weights on first use, checksum verified."
    )
    facenet_preprocessing: Literal["fixed", "per-image"] = Field(
        default="fixed",
        description="How crops are standardised: fixed, (x - 127.5) / 128, or per-image, (x - mean) / std.",
    )


class StorageSettings(_Section):
    """The store's database and writer."""

    map_size_bytes: Annotated[int, Field(ge=16 * 1024 * 1024)] = Field(
        default=1 << 40,
        description="Address space of the database at first, doubled when it is full. Costs no disk in advance.",
    )
    group_rows_max: Count = Field(default=8_192, description="Rows that one commit takes at most.")
    group_commands_max: Count = Field(default=1_024, description="Writes that one commit takes at most.")
    queue_rows_max: Count = Field(default=65_536, description="Rows that may wait for the writer.")
    queue_bytes_max: Count = Field(
        default=256 * 1024 * 1024, description="Bytes of the vectors and records of the rows that may wait for it."
    )
    journal_revisions_max: Count = Field(default=100_000, description="Entries of the journal that are kept.")
    journal_bytes_max: Count = Field(default=1 << 30, description="Bytes that the journal's entries may take.")
    request_age_max_s: Count = Field(default=86_400, description="Seconds for which a request_id is remembered.")
    operation_age_max_s: Count = Field(
        default=86_400, description="Seconds for which a finished operation is remembered."
    )
    sweep_interval_s: Count = Field(
        default=60, description="Seconds between deletions of what has expired, which nobody finds meanwhile."
    )
    erasure_within_s: Annotated[float, Field(gt=0.0)] = Field(
        default=60.0, description="Seconds after which an erasure that is not done is overdue, and the server says so."
    )
    reader_count_max: Annotated[int, Field(ge=64)] = Field(default=8_192, description="Reads at once.")
    serve_damaged: bool = Field(
        default=False,
        description="Open a store some of whose faces or identities are damaged, without them. Reads all of it first.",
    )
    patrol_interval_s: Annotated[int, Field(ge=0)] = Field(
        default=7 * 86_400, description="Seconds after which all records and vectors are verified again; 0 is never."
    )
    patrol_bytes_per_s: Count = Field(default=20_000_000, description="Bytes a second read for that.")


class IndexSettings(_Section):
    """When indexes are built, and the cores that searches and builds may use."""

    rebuilds_automatically: bool = Field(default=True, description="Build and rebuild indexes without being asked.")
    flat_bytes_max: Count = Field(
        default=20_000 * 512 * 4, description="A gallery whose vectors take more bytes than this gets an index."
    )
    flat_rows_min: Count = Field(default=5_000, description="A gallery of at most this many faces never gets one.")
    tail_rows_max: Count = Field(default=2_048, description="Rows that may be newer than the index.")
    tombstone_share_max: Share = Field(
        default=0.3, description="Share of its rows that may be deleted before they are dropped from it."
    )
    growth_max: Factor = Field(
        default=4.0, description="An index trained on N rows serves up to this many times N; beyond it is built anew."
    )
    measured_growth_max: Factor = Field(
        default=1.5, description="What an index finds is measured again when it has this many times the rows."
    )
    measure_interval_s: Annotated[int, Field(ge=0)] = Field(
        default=86_400, description="Seconds after which it is measured again if its rows have changed; 0 is never."
    )
    search_thread_count: CountOrAutomatic = Field(
        default=0, description="Cores one search of many probes may use; 0 is all. One probe uses one core."
    )
    build_thread_count: CountOrAutomatic = Field(default=0, description="Cores an index build may use; 0 is all.")


class SnapshotSettings(_Section):
    """Where CreateSnapshot may write, and nowhere else. Offline, `mien-index snapshot` writes where you say."""

    destinations: TextList = Field(
        default=(),
        description="Folders outside of the store and URLs (s3://bucket/folder) for snapshots, and below; the first is "
        "the default. None: the server takes no snapshots.",
    )


class LogSettings(_Section):
    """Logs go to standard error; they never hold photographs, embeddings or names of people."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug (every call), info, warning or error."
    )
    format: Literal["text", "json"] = Field(default="text", description="text for people, json for machines.")


class Settings(BaseSettings):
    """All settings of one server."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    data_directory: OptionalPath = Field(
        default=None, description="The store: one directory, made when it is not there."
    )
    server: ServerSettings = Field(default_factory=ServerSettings)
    tls: TlsSettings = Field(default_factory=TlsSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    embedding: EmbeddingSettings = Field(default_factory=EmbeddingSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    index: IndexSettings = Field(default_factory=IndexSettings)
    snapshots: SnapshotSettings = Field(default_factory=SnapshotSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic passes it by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller gives; `load_settings` adds the environment and the file."""
        return (init_settings,)
