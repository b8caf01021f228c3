"""The channel: message sizes, keepalive and retries, as gRPC's own options and service config."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import grpc

from mien_client._rpc.address import channel_target

__all__ = ["ClientOptions", "TlsOptions", "open_channel", "service_config"]

_SERVICES = ("mien.v1.GalleryService", "mien.v1.RecognitionService", "mien.v1.OperationsService")
# Streams are resumed by StreamWindow, which knows what was acknowledged. gRPC would replay from the first message,
# and keep every message in memory to be able to.
_STREAMS = (
    ("mien.v1.GalleryService", "StreamEnroll"),
    ("mien.v1.RecognitionService", "StreamIdentify"),
    ("mien.v1.RecognitionService", "StreamSearch"),
)
# gRPC caps attempts at five whatever is asked.
_ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """Encryption of the connection. All certificates and keys are the bytes of PEM files.

    Attributes:
        authority: certificates that the server's must lead to; None: those that gRPC trusts by itself.
        certificate: the client's own chain, for a server that asks for one; with `key`.
        key: the client's private key.
        server_name: the name in the server's certificate, where it is not the address's host.
    """

    authority: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client's certificate and its key go together")


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How a client talks to its server.

    Attributes:
        timeout_s: seconds after which a call is given up when the call names no timeout of its own; retries and
            the waits between them are within it. Streams have none unless asked.
        message_bytes_max: largest request that is sent. The server's own limit is in
            `ServerInfo.limits.message_bytes_max`.
        answer_bytes_max: largest answer that is read.
        attempts_max: how often a call is tried when the server is away or overloaded, 1 to 5; 1 turns retries off.
            Every write carries a request id, so that a second attempt never writes twice.
        initial_backoff_s: wait before the second attempt; doubled for each further one, with jitter.
        backoff_max_s: longest wait between attempts.
        keepalive_s: seconds of silence after which an open call asks whether the server is still there.
        tls: None: plaintext, for loopback, sockets and private networks.
        client_id: who this client is among those that the server sees behind the same proxy or socket, which share
            its turns otherwise; visible ASCII, empty for none. It proves nothing.
    """

    timeout_s: float = 30.0
    message_bytes_max: int = 64 * 1024 * 1024
    answer_bytes_max: int = 256 * 1024 * 1024
    attempts_max: int = 5
    initial_backoff_s: float = 0.2
    backoff_max_s: float = 5.0
    keepalive_s: float = 30.0
    tls: TlsOptions | None = None
    client_id: str = ""

    def __post_init__(self) -> None:
        if not (self.client_id.isascii() and self.client_id.isprintable()):
            raise ValueError(f"client_id is {self.client_id!r}; give printable ASCII")
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s is {self.timeout_s}; give seconds above zero")
        if not 1 <= self.attempts_max <= _ATTEMPTS_MAX:
            raise ValueError(f"attempts_max is {self.attempts_max}; give 1 to {_ATTEMPTS_MAX}")


def service_config(options: ClientOptions) -> str:
    """The gRPC service config (JSON) with the retry policy of every method."""
    streams = {"name": [{"service": service, "method": method} for service, method in _STREAMS]}
    calls: dict[str, object] = {"name": [{"service": service} for service in _SERVICES]}
    if options.attempts_max > 1:
        calls["retryPolicy"] = {
            "maxAttempts": options.attempts_max,
            "initialBackoff": f"{options.initial_backoff_s:.3f}s",
            "maxBackoff": f"{options.backoff_max_s:.3f}s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
        }
    return json.dumps({"methodConfig": [streams, calls]})


def open_channel(address: str, options: ClientOptions) -> grpc.Channel:
    """A channel to a server; connects with the first call.

    Raises:
        ValueError: the address is not `host:port` or `unix:/path`.
    """
    target = channel_target(address)
    arguments: list[tuple[str, str | int]] = [
        ("grpc.service_config", service_config(options)),
        # Without it a name server may replace the retry policy.
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_send_message_length", options.message_bytes_max),
        ("grpc.max_receive_message_length", options.answer_bytes_max),
        # A request larger than this buffer is never retried; gRPC's own default is 256 KiB, less than a photograph.
        ("grpc.per_rpc_retry_buffer_size", options.message_bytes_max),
        ("grpc.keepalive_time_ms", int(options.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A server that restarts is back within the retries of a call.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Each client has a connection of its own; gRPC would share one, and its troubles, between equal channels.
        ("grpc.use_local_subchannel_pool", 1),
        # Loopback and private networks: a proxy for the web is none for this.
        ("grpc.enable_http_proxy", 0),
    ]
    tls = options.tls
    if tls is None:
        return grpc.insecure_channel(target, options=arguments)
    if tls.server_name:
        arguments.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(tls.authority, tls.key, tls.certificate)
    return grpc.secure_channel(target, credentials, options=arguments)
