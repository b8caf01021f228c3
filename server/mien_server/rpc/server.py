"""The gRPC server: ports, health, reflection, and the way from starting through serving to drained."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection

from mien_server.engine import Engine
from mien_server.errors import Unavailable
from mien_server.rpc.gate import Gate
from mien_server.rpc.handlers import Admission, add_handlers
from mien_server.rpc.health import Health
from mien_server.rpc.lanes import Lanes, calls_max, waiting_calls_max
from mien_server.rpc.methods.table import SERVICES, service_handlers
from mien_server.rpc.patience import Patience, PatienceLimits
from mien_server.rpc.reflection import add_reflection
from mien_server.rpc.streams import StreamWindow
from mien_server.rpc.turnstile import Turnstile

__all__ = ["RpcServer", "ServerOptions", "TlsFiles"]

HEALTH_THREAD_COUNT = 2
MESSAGE_OVERHEAD_BYTES = 64 * 1024
"""Room above the stated limit, so that a message at the limit is never refused for a rounding."""
KEEPALIVE_TIME_MS = 60_000
KEEPALIVE_TIMEOUT_MS = 20_000
CLIENT_PING_INTERVAL_MIN_MS = 10_000
PING_STRIKES_MAX = 2
"""Pings that come sooner than that, after which a connection is closed."""
METADATA_BYTES_MAX = 16 * 1024
UNREAD_BYTES_MIN = 64 * 1024
"""Of a call that waits for its turn. HTTP/2 grants as much by itself, and gRPC more when the message is read."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of the server; with `client_ca_path`, callers must show a certificate that it signed."""

    certificate_path: Path
    key_path: Path
    client_ca_path: Path | None = None


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How the server listens.

    Attributes:
        listen_addresses: "host:port"; port 0 takes a free one.
        unix_socket_path: a Unix socket beside them.
        thread_count: calls worked on at once; a stream counts for as long as it lasts.
        waiting_call_count_max: calls that may wait for a thread; beyond them RESOURCE_EXHAUSTED.
        stream_count_max: streams and waiting calls at once, less than `thread_count`.
        large_call_count_max: calls on very many entries that are worked on at once.
        calls_per_connection_max: further ones of a connection are refused by HTTP/2; not fewer than may wait, so
            that callers are refused with a reason first.
        message_bytes_max: largest request.
        patience: how long callers may take, and what they may leave lying.
    """

    listen_addresses: tuple[str, ...] = ("127.0.0.1:7311",)
    unix_socket_path: Path | None = None
    thread_count: int = 64
    waiting_call_count_max: int = 1024
    stream_count_max: int = 48
    large_call_count_max: int = 1
    calls_per_connection_max: int = 1024
    message_bytes_max: int = 64 * 1024 * 1024
    window: StreamWindow = field(default_factory=StreamWindow)
    patience: PatienceLimits = field(default_factory=PatienceLimits)
    tls: TlsFiles | None = None


class RpcServer:
    """A server that listens from `start`, answers from `open`, and ends with `stop`."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._gate = Gate(options.stream_count_max)
        self._health_threads = _started_threads(HEALTH_THREAD_COUNT, "mien-health")
        self._lanes = Lanes(options.thread_count, options.waiting_call_count_max)
        limits = replace(options.patience, message_bytes_max=options.message_bytes_max)
        self._patience = Patience(limits, self._lanes.is_pressed)
        lanes: Any = self._lanes
        self._server = grpc.server(
            lanes,
            options=_channel_options(options),
            maximum_concurrent_rpcs=calls_max(options.thread_count, options.waiting_call_count_max),
        )
        turnstile = Turnstile(options.large_call_count_max, options.thread_count)
        handlers = service_handlers(Admission(self._gate, self._patience, turnstile), options.window)
        for service_name, handlers_by_name in handlers.items():
            add_handlers(self._server, service_name, handlers_by_name)
        names = [service.full_name for service in SERVICES]
        self._health = Health(names, self._patience, self._health_threads)
        self._health.add_to(self._server)
        add_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._gate, self._server)
        self._addresses: list[str] = []

    @property
    def addresses(self) -> list[str]:
        """Where it listens, with the ports that were taken; filled by `start`."""
        return list(self._addresses)

    def start(self) -> None:
        """Listen. Calls are answered STARTING, health NOT_SERVING, until `open`.

        Raises:
            Unavailable: ADDRESS_IN_USE, ADDRESS_UNUSABLE.
        """
        for address in self._options.listen_addresses:
            self._addresses.append(self._bind(address))
        if self._options.unix_socket_path is not None:
            self._addresses.append(self._bind_unix(self._options.unix_socket_path))
        self._server.start()

    def open(self, engine: Engine) -> None:
        """Answer from now on."""
        self._gate.open(engine)
        self._health.set(health_pb2.HealthCheckResponse.SERVING)

    def begin_drain(self) -> None:
        """Turn health to NOT_SERVING, refuse new calls, and ask streams to end after what they have taken."""
        self._health.end()
        self._gate.drain()

    def wait_until_idle(self, timeout_s: float) -> int:
        """Wait for the running calls; answers how many still run."""
        return self._gate.wait_until_idle(timeout_s)

    def stop(self) -> None:
        """Close the ports; what still runs is cancelled."""
        self._server.stop(grace=None).wait()
        self._lanes.shutdown(wait=False)
        self._patience.close()
        self._health_threads.shutdown()
        if self._options.unix_socket_path is not None:
            self._options.unix_socket_path.unlink(missing_ok=True)

    def _bind(self, address: str) -> str:
        host, _, port = address.rpartition(":")
        _probe(host.strip("[]"), int(port), address)
        try:
            if self._options.tls is None:
                taken = self._server.add_insecure_port(address)
            else:
                taken = self._server.add_secure_port(address, _credentials(self._options.tls))
        except RuntimeError as error:
            raise Unavailable(f"cannot listen on {address}: {error}", reason="ADDRESS_UNUSABLE") from error
        return f"{host}:{taken}"

    def _bind_unix(self, path: Path) -> str:
        _remove_stale_socket(path)
        address = f"unix:{path}"
        try:
            self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise Unavailable(
                f"cannot listen on the socket {path}: {error}; its folder must exist and be writable",
                reason="ADDRESS_UNUSABLE",
            ) from error
        return address


def _started_threads(count: int, name: str) -> ThreadPoolExecutor:
    """A pool all threads of which run already: one that could not be started would end the thread calls come by."""
    threads = ThreadPoolExecutor(count, thread_name_prefix=name)
    together = threading.Barrier(count)
    for _ in range(count):
        threads.submit(together.wait)
    return threads


def _channel_options(options: ServerOptions) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", options.message_bytes_max + MESSAGE_OVERHEAD_BYTES),
        ("grpc.max_send_message_length", -1),
        # Two servers on one port would share its calls at random.
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", options.calls_per_connection_max),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        # What is kept of a message that nobody reads yet; probing would raise it to megabytes for each call.
        ("grpc.http2.lookahead_bytes", _unread_bytes_max(options)),
        ("grpc.http2.bdp_probe", 0),
        # A peer that is gone without a word is noticed, and all that it holds given back.
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_ping_strikes", PING_STRIKES_MAX),
        ("grpc.http2.min_ping_interval_without_data_ms", CLIENT_PING_INTERVAL_MIN_MS),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _unread_bytes_max(options: ServerOptions) -> int:
    """What a call may send before it is read: all that may wait together no more than what is worked on."""
    waiting_max = waiting_calls_max(options.waiting_call_count_max)
    return max(UNREAD_BYTES_MIN, options.patience.request_bytes_max // waiting_max)


def _credentials(files: TlsFiles) -> grpc.ServerCredentials:
    try:
        pair = (files.key_path.read_bytes(), files.certificate_path.read_bytes())
        client_ca = None if files.client_ca_path is None else files.client_ca_path.read_bytes()
    except OSError as error:
        raise Unavailable(
            f"cannot read the TLS file {error.filename}: {error.strerror}; see tls.* in the settings",
            reason="TLS_FILE_UNREADABLE",
        ) from error
    return grpc.ssl_server_credentials([pair], root_certificates=client_ca, require_client_auth=client_ca is not None)


def _probe(host: str, port: int, address: str) -> None:
    """Bind and let go, because gRPC does not say why it cannot bind.

    Raises:
        Unavailable: ADDRESS_IN_USE, ADDRESS_UNUSABLE.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(
                f"cannot listen on {address}: another program listens there; stop it, or choose another port "
                "with --listen HOST:PORT (port 0 takes a free one)",
                reason="ADDRESS_IN_USE",
            ) from error
        raise Unavailable(
            f"cannot listen on {address}: {os.strerror(error.errno) if error.errno and error.errno > 0 else error}; "
            "choose an address of this machine with --listen HOST:PORT",
            reason="ADDRESS_UNUSABLE",
        ) from error


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket file that nobody listens on any more.

    Raises:
        Unavailable: ADDRESS_IN_USE, ADDRESS_UNUSABLE.
    """
    try:
        _remove_unless_used(path)
    except OSError as error:
        raise Unavailable(
            f"cannot listen on the socket {path}: {error.strerror or error}; remove what is left of an earlier server "
            "as its owner, or choose another path",
            reason="ADDRESS_UNUSABLE",
        ) from error


def _remove_unless_used(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise Unavailable(
                f"cannot listen on the socket {path}: a file that is no socket is there; move it away",
                reason="ADDRESS_UNUSABLE",
            )
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise Unavailable(
        f"cannot listen on the socket {path}: another server listens there; stop it, or choose another path",
        reason="ADDRESS_IN_USE",
    )
