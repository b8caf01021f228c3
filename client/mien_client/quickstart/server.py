"""A server of one's own for the length of the tour."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mien_client import Client

__all__ = ["ServerFailure", "free_port", "log_end", "running_server"]

_READY_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 20.0
_LOG_LINES_SHOWN = 15


class ServerFailure(Exception):
    """The server did not start, or ended by itself; the message has the end of its log."""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running_server(store: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `mien-server` that answers; asked to stop, and waited for, at the end.

    Args:
        store: its directory.
        port: on the loopback interface.
        log: the file that gets its log.

    Raises:
        ServerFailure: it did not start.
    """
    command = [sys.executable, "-m", "mien_server.cli.main", "--data", str(store), "--listen", f"127.0.0.1:{port}"]
    with log.open("ab") as log_file:
        # A session of its own: Ctrl-C is for the tour, which then stops the server in order.
        server = subprocess.Popen(command, stdout=log_file, stderr=log_file, start_new_session=True)  # noqa: S603  our own server
    try:
        _wait_until_serving(server, port, log)
        yield server
    finally:
        server.terminate()
        try:
            server.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_serving(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    with Client(f"127.0.0.1:{port}") as client:
        while not client.is_serving(timeout_s=1.0):
            if server.poll() is not None:
                raise ServerFailure(f"mien-server ended with code {server.returncode}; its log says:\n{log_end(log)}")
            if time.monotonic() >= deadline_s:
                raise ServerFailure(f"mien-server was not ready after {_READY_TIMEOUT_S:g} s:\n{log_end(log)}")
            time.sleep(0.05)


def log_end(log: Path) -> str:
    """The last lines of a log."""
    lines = log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES_SHOWN:]
    return "\n".join(f"  {line}" for line in lines) or "  (nothing)"
