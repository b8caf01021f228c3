"""An empty gRPC server, `python -m benchmarks.echo_server`: takes bytes, answers as many as the method's name asks for.

The plainest server that grpcio offers, in a process of its own, with the thread pool and message limits of the real
one: what a call of the same bytes costs without any work.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc

__all__ = ["EchoServer"]

THREAD_COUNT = 64
PREFIX = "/benchmark.Echo/Answer"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class _Handler(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # a type parameter in stubs only
    """Answers `/benchmark.Echo/Answer<n>` with n bytes."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        method = handler_call_details.method
        if not method.startswith(PREFIX):
            return None
        answer = bytes(int(method.removeprefix(PREFIX)))
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer)


class EchoServer:
    """The server as a child process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.echo_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._channel = grpc.insecure_channel(
            self._process.stdout.readline().strip(), [*OPTIONS, ("grpc.enable_http_proxy", 0)]
        )

    def call(self, answer_bytes: int) -> Callable[[bytes], bytes]:
        """A method that sends bytes and is answered that many."""
        return self._channel.unary_unary(f"{PREFIX}{answer_bytes}", bytes, bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def main() -> None:
    """Serve until standard input ends."""
    server = grpc.server(ThreadPoolExecutor(THREAD_COUNT), options=[*OPTIONS, ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
