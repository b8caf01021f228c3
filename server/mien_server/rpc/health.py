"""gRPC's health service: Check and Watch, refused unread and waited for without a thread, as Mien's own calls are.

gRPC's own servicer reads a Watch on one of few threads, and sends under the lock that a Check needs: two callers that
begin a Watch and do not finish it, or one that takes no answer, would keep health from everybody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2

from mien_server.errors import Overloaded
from mien_server.rpc.clients import Client
from mien_server.rpc.errors import as_mien_error
from mien_server.rpc.handlers import Method, add_handlers, arrived, client_behind, end_with, refuse_overflow
from mien_server.rpc.patience import Patience

__all__ = ["Health"]

CHECK = Method(f"{health.SERVICE_NAME}.Check", health_pb2.HealthCheckRequest)
WATCH = Method(f"{health.SERVICE_NAME}.Watch", health_pb2.HealthCheckRequest)
ELEMENTS_MAX = 100
"""Entries of a request that is parsed; one that was sent right has a single text."""
TAKEN_WITHIN_S = 10.0
"""In which a watcher must take an answer, which is of a few bytes."""

WATCHERS_OF_HOST_MAX, WATCHERS_MAX = 256, 2048
"""Each takes some 20 KB for as long as it is open, and no thread."""

Status: TypeAlias = "health_pb2.HealthCheckResponse.ServingStatus"
NOT_SERVING, SERVICE_UNKNOWN = (
    health_pb2.HealthCheckResponse.NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
)


class Health:
    """The state of each service. Safe for many threads.

    Args:
        service_names: what there is to ask for.
        threads: tell watchers of changes.
    """

    def __init__(self, service_names: Iterable[str], patience: Patience, threads: Executor) -> None:
        self._status: dict[str, Status] = dict.fromkeys([health.OVERALL_HEALTH, *service_names], NOT_SERVING)
        self._patience = patience
        self._threads = threads
        self._lock = threading.Lock()
        self._watchers: set[_Watcher] = set()
        self._is_ending = False

    def set(self, status: Status) -> None:
        """All services are of this state now, unless `end` was called."""
        with self._lock:
            if self._is_ending:
                return
            self._status = dict.fromkeys(self._status, status)
            watchers = list(self._watchers)
        for watcher in watchers:
            self._threads.submit(watcher.tell)

    def end(self) -> None:
        """Nothing is served from now on, whatever is set."""
        self.set(NOT_SERVING)
        with self._lock:
            self._is_ending = True

    def status(self, service: str) -> Status | None:
        """The state of a service; None for one that there is not."""
        return self._status.get(service)

    def add_to(self, server: grpc.Server) -> None:
        """Answer Check and Watch. There is no List, so that is UNIMPLEMENTED, unread."""

        def watch(bodies: Iterator[bytes], context: grpc.ServicerContext, send: Callable[[bytes], None]) -> None:
            self._watch(bodies, context, send)

        # gRPC's word for a stream that ends its thread, and goes on by the function it was given.
        marked: Any = watch
        marked.experimental_non_blocking = True
        handlers: dict[str, Any] = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check),
            "Watch": grpc.stream_stream_rpc_method_handler(marked),
        }
        add_handlers(server, health.SERVICE_NAME, handlers)

    def _check(self, bodies: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        service = self._service(CHECK, bodies, context)
        status = self.status(service)
        if status is None:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return b""
        return _answer(status)

    def _watch(self, bodies: Iterator[bytes], context: grpc.ServicerContext, send: Callable[[bytes], None]) -> None:
        service = self._service(WATCH, bodies, context)
        client = client_behind(context)
        watcher = _Watcher(self, service, _sending(send, client, context, self._patience), client.host)
        with self._lock:
            theirs = sum(one.host == client.host for one in self._watchers)
            is_full = theirs >= WATCHERS_OF_HOST_MAX or len(self._watchers) >= WATCHERS_MAX
            if not is_full:
                self._watchers.add(watcher)
        if is_full:
            refusal = Overloaded(
                f"{theirs} Watches of {client.host} are open, the most are {WATCHERS_OF_HOST_MAX} of a host and "
                f"{WATCHERS_MAX} of all; close one, or call Check",
                reason="TOO_MANY_STREAMS",
                metadata={"maximum": str(WATCHERS_OF_HOST_MAX)},
            )
            end_with(refusal, WATCH.full_name, time.monotonic(), context)

        def forget() -> None:
            with self._lock:
                self._watchers.discard(watcher)

        if not context.add_callback(forget):
            forget()
            return
        watcher.tell()

    def _service(self, method: Method, bodies: Iterator[bytes], context: grpc.ServicerContext) -> str:
        """The service that a call asks for."""
        start_s = time.monotonic()
        try:
            refuse_overflow(context)
            body = arrived(bodies, client_behind(context), context, self._patience)
            service: str = method.parse(body, ELEMENTS_MAX).service
        except Exception as raised:  # noqa: BLE001 - whatever it was, the caller gets a status
            end_with(as_mien_error(raised, method.full_name), method.full_name, start_s, context)
        return service


class _Watcher:
    """One Watch: it is told of each state that it has not been told of last."""

    def __init__(self, health_of: Health, service: str, send: Callable[[bytes], None], host: str) -> None:
        self.host = host
        self._health = health_of
        self._service = service
        self._send = send
        self._lock = threading.Lock()
        self._told: Status | None = None

    def tell(self) -> None:
        """Send the state, where it is news."""
        with self._lock:
            status = self._health.status(self._service)
            status = SERVICE_UNKNOWN if status is None else status
            if status != self._told:
                self._send(_answer(status))
                self._told = status


def _sending(
    send: Callable[[bytes], None], client: Client, context: grpc.ServicerContext, patience: Patience
) -> Callable[[bytes], None]:
    """`send`, which waits until the caller takes the answer, with an end to it."""

    def sending(answer: bytes) -> None:
        with patience.arriving(client, context.cancel, longest_s=TAKEN_WITHIN_S):
            send(answer)

    return sending


def _answer(status: Status) -> bytes:
    answer: bytes = health_pb2.HealthCheckResponse(status=status).SerializeToString()
    return answer
