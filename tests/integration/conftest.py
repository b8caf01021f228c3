"""Real servers for integration tests: one in the test's own process, and ones in processes of their own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc

from mien.v1 import (
    gallery_service_pb2,
    gallery_service_pb2_grpc,
    operations_service_pb2_grpc,
    recognition_service_pb2_grpc,
    types_pb2,
)
from mien_server.engine import Engine, EngineOptions
from mien_server.rpc.server import RpcServer, ServerOptions

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 60.0
MESSAGE_BYTES_MAX = 256 * 1024 * 1024
FREE_PORT = "127.0.0.1:0"
Vectors = npt.NDArray[np.float32]


@dataclass
class Stubs:
    """A channel to a server and the services behind it. Every call waits for the server to be reachable."""

    address: str
    channel: grpc.Channel = field(init=False)

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(
            self.address,
            options=[
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
                ("grpc.enable_retries", 0),
                # A channel of its own: gRPC would share one connection between equal ones.
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self.galleries = gallery_service_pb2_grpc.GalleryServiceStub(self.channel)
        self.recognition = recognition_service_pb2_grpc.RecognitionServiceStub(self.channel)
        self.operations = operations_service_pb2_grpc.OperationsServiceStub(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def create_gallery(self, name: str = "staff", dimension: int = 8) -> gallery_service_pb2.Gallery:
        """A gallery of the caller's own embeddings."""
        model = gallery_service_pb2.EmbeddingModel(
            precomputed=gallery_service_pb2.PrecomputedModel(name="test-model", dimension=dimension)
        )
        request = gallery_service_pb2.CreateGalleryRequest(gallery=gallery_service_pb2.Gallery(name=name, model=model))
        return self.galleries.CreateGallery(request, wait_for_ready=True, timeout=60).gallery

    def close(self) -> None:
        self.channel.close()


@dataclass
class LocalServer(Stubs):
    """A server in the test's own process: its engine can be looked at."""

    engine: Engine
    rpc: RpcServer


@dataclass
class ServerProcess(Stubs):
    """A server in a process of its own, ready when this is made."""

    process: subprocess.Popen[str]
    ready_line: str
    data: Path

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; answers the exit code."""
        self.process.send_signal(number)
        return self.process.wait(END_TIMEOUT_S)


@pytest.fixture
def engine_options() -> EngineOptions:
    """Options of the engine behind `server`; a test module may override it."""
    return EngineOptions()


@pytest.fixture
def server_options() -> ServerOptions:
    """Options of the gRPC server behind `server`; a test module may override it."""
    return ServerOptions(listen_addresses=(FREE_PORT,))


@pytest.fixture
def server(store_path: Path, engine_options: EngineOptions, server_options: ServerOptions) -> Iterator[LocalServer]:
    """A real gRPC server over a real engine on a free port of loopback."""
    rpc = RpcServer(server_options)
    rpc.start()
    with Engine.open(store_path, engine_options) as engine:
        rpc.open(engine)
        local = LocalServer(rpc.addresses[0], engine, rpc)
        yield local
        local.close()
        rpc.begin_drain()
        rpc.stop()


class ServerStarter:
    """Starts servers in processes of their own, and ends those that a test left."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._started: list[subprocess.Popen[str]] = []
        self._stubs: list[ServerProcess] = []

    def __call__(self, data: Path, *arguments: str, environment: dict[str, str] | None = None) -> ServerProcess:
        """Start `mien-server --data DATA ARGUMENTS` on a free port and wait until it says that it is ready."""
        if "--listen" not in arguments:
            arguments = ("--listen", FREE_PORT, *arguments)
        process = self.begin(data, *arguments, environment=environment)
        line = _line(process, START_TIMEOUT_S)
        assert line.startswith("mien-server ready on "), f"not ready: {line!r}\n{self.log()}"
        address = line.removeprefix("mien-server ready on ").split(" (store ")[0].split(", ")[0]
        started = ServerProcess(address, process, line, data)
        self._stubs.append(started)
        return started

    def begin(self, data: Path, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start it without waiting; its standard error goes to `log()`."""
        with (self._logs / f"{len(self._started)}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "mien_server.cli.main", "--data", str(data), *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        self._started.append(process)
        return process

    def log(self, number: int = -1) -> str:
        """Standard error of the server started last, or of another."""
        return (self._logs / f"{number % len(self._started)}.log").read_text()

    def close(self) -> None:
        """End what still runs."""
        for stubs in self._stubs:
            stubs.close()
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _line(process: subprocess.Popen[str], timeout_s: float) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout_s)
    return process.stdout.readline().rstrip("\n") if ready else ""


@pytest.fixture
def server_process(tmp_path: Path) -> Iterator[ServerStarter]:
    """Starts servers in processes of their own: `server_process(store_path, "--set", "log.level=debug")`."""
    logs = tmp_path / "server-logs"
    logs.mkdir()
    starter = ServerStarter(logs)
    yield starter
    starter.close()


@pytest.fixture
def unit_vectors() -> Callable[..., Vectors]:
    """Makes random unit vectors, float32 [count, dimension], the same for the same seed."""

    def make(count: int, dimension: int = 8, seed: int = 0) -> Vectors:
        raw = np.random.default_rng(seed).standard_normal((count, dimension), dtype=np.float32)
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)

    return make


@pytest.fixture
def pack() -> Callable[..., types_pb2.Embeddings]:
    """Packs vectors, float32 [count, dimension], as the message `Embeddings`."""

    def make(vectors: Vectors, **further: object) -> types_pb2.Embeddings:
        count, dimension = vectors.shape
        return types_pb2.Embeddings(data=vectors.tobytes(), dimension=dimension, count=count, **further)

    return make


@dataclass
class Refusal:
    """An error as a caller reads it."""

    code: grpc.StatusCode | int
    message: str
    reason: str
    metadata: dict[str, str]
    fields: list[str]
    details: list[str]


def refusal_of(status: status_pb2.Status) -> Refusal:
    """A google.rpc.Status taken apart."""
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for packed in status.details:
        packed.Unpack(info)
        packed.Unpack(request)
    return Refusal(
        code=status.code,
        message=status.message,
        reason=info.reason,
        metadata=dict(info.metadata),
        fields=[violation.field for violation in request.field_violations],
        details=[packed.type_url.rpartition(".")[2] for packed in status.details],
    )


@pytest.fixture
def refused() -> Callable[[Callable[[], object]], Refusal]:
    """Runs a call that must be refused, and takes the error apart."""

    def run(call: Callable[[], object]) -> Refusal:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        trailers = dict(caught.value.trailing_metadata() or ())
        refusal = refusal_of(status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b"")))
        refusal.code = caught.value.code()
        return refusal

    return run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where snapshots go."""
    return tmp_path / "snapshots"


@pytest.fixture
def status_refusal() -> Callable[[status_pb2.Status], Refusal]:
    """Takes the error of one item apart."""
    return refusal_of


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits until something holds, and fails when it does not within a minute."""

    def wait(holds: Callable[[], bool]) -> None:
        end_s = time.monotonic() + START_TIMEOUT_S
        while not holds():
            assert time.monotonic() < end_s, "it did not come to hold"
            time.sleep(0.01)

    return wait
