"""Handlers between wire and method: over a real channel, with methods that do what a test needs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import status_pb2

from mien_server.config.limits import Limits
from mien_server.engine import Engine
from mien_server.errors import Cancelled, DeadlineExceeded, MienError, Overloaded, Unavailable
from mien_server.rpc.gate import Call, Gate
from mien_server.rpc.handlers import Admission, Method, add_handlers, unary_handler
from mien_server.rpc.patience import Patience, PatienceLimits
from mien_server.rpc.turnstile import Turnstile

METHOD = Method("test.Service.Do", StringValue)
Do = Callable[[StringValue, Call], Message]


@pytest.fixture
def serve() -> Iterator[Callable[[Do], Any]]:
    """Serves one method on loopback; answers a function that calls it with a text."""
    servers: list[grpc.Server] = []
    channels: list[grpc.Channel] = []
    watchers: list[Patience] = []

    def start(do: Do) -> Any:
        gate = Gate(1)
        gate.open(cast("Engine", SimpleNamespace(limits=Limits())))
        server = grpc.server(ThreadPoolExecutor(4))
        patience = Patience(PatienceLimits(), lambda: False)
        handlers = {"Do": unary_handler(METHOD, do, Admission(gate, patience, Turnstile(1, 1)))}
        add_handlers(server, "test.Service", handlers)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_retries", 0)])
        servers.append(server)
        watchers.append(patience)
        channels.append(channel)
        return channel.unary_unary("/test.Service/Do", StringValue.SerializeToString, StringValue.FromString)

    yield start
    for channel in channels:
        channel.close()
    for server in servers:
        server.stop(None).wait()
    for patience in watchers:
        patience.close()


def _works_until_stopped(seen: list[MienError], stopped: threading.Event) -> Do:
    """A method that works for ever, unless its deadline stops it."""

    def do(_: StringValue, call: Call) -> Message:
        while True:
            try:
                call.deadline.check()
            except MienError as error:
                seen.append(error)
                stopped.set()
                raise
            stopped.wait(0.005)

    return do


def test_work_stops_at_the_deadline(serve: Any) -> None:
    """When the caller's time is up the method is stopped at its next check."""
    seen: list[MienError] = []
    stopped = threading.Event()
    with pytest.raises(grpc.RpcError) as caught:
        serve(_works_until_stopped(seen, stopped))(StringValue(), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert stopped.wait(60)
    assert isinstance(seen[0], (DeadlineExceeded, Cancelled))


def test_work_stops_when_the_caller_goes(serve: Any) -> None:
    """When the caller cancels, the method is stopped at its next check."""
    seen: list[MienError] = []
    begun, stopped = threading.Event(), threading.Event()
    work = _works_until_stopped(seen, stopped)

    def do(request: StringValue, call: Call) -> Message:
        begun.set()
        return work(request, call)

    future = serve(do).future(StringValue())
    assert begun.wait(60)
    future.cancel()
    assert stopped.wait(60)
    assert isinstance(seen[0], Cancelled)


def test_a_call_without_deadline_has_none(serve: Any) -> None:
    """A caller that names no deadline is worked for as long as it takes."""
    deadlines: list[float | None] = []

    def do(request: StringValue, call: Call) -> Message:
        deadlines.append(call.deadline.at_s)
        return request

    assert serve(do)(StringValue(value="x")).value == "x"
    assert deadlines == [None]


@pytest.mark.parametrize(
    ("error", "shortest_ms", "longest_ms"),
    [
        (Overloaded("busy", retry_after_s=0.25), 250, 313),
        (Unavailable("starting", reason="STARTING"), 1000, 1250),
        (Unavailable("no weights", reason="RECIPE_UNAVAILABLE"), -1, -1),
    ],
)
def test_retries_are_told_when_to_come_back(serve: Any, error: MienError, shortest_ms: int, longest_ms: int) -> None:
    """gRPC's own retries are told after how long to try again, not all the same, or that it is no use."""

    def do(_: StringValue, __: Call) -> Message:
        raise error

    with pytest.raises(grpc.RpcError) as caught:
        serve(do)(StringValue())
    assert shortest_ms <= int(dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"]) <= longest_ms


def test_a_defect_is_logged_with_the_id_that_the_caller_gets(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What nobody foresaw is in the log with its traceback, under the id that the caller was given."""

    def do(_: StringValue, __: Call) -> Message:
        raise KeyError("what went wrong inside")

    with pytest.raises(grpc.RpcError) as caught:
        serve(do)(StringValue())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "inside" not in caught.value.details()
    status = status_pb2.Status.FromString(dict(caught.value.trailing_metadata())["grpc-status-details-bin"])
    (record,) = [record for record in caplog.records if record.name.startswith("mien_server.rpc")]
    assert record.exc_info is not None
    assert record.error_id in status.message  # type: ignore[attr-defined]
