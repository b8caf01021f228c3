"""A real `mien-server` in a process of its own, and what the operating system says of it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from mien_client import Client, ClientOptions

__all__ = ["ServerProcess", "memory_bytes"]

READY = re.compile(r"ready on (\S+?:\d+)")
END_WAIT_S = 60.0
CALL_TIME_MAX_S = 300.0


class ServerProcess:
    """A server on a free port of the loopback, from construction until `end`.

    Args:
        data: the store, made when it is not there.
        settings: further settings, such as "index.rebuilds_automatically=false".
    """

    def __init__(self, data: Path, *settings: str) -> None:
        self._log_path = data.parent / f"{data.name}.server.log"
        command = [sys.executable, "-m", "mien_server.cli.main", "--data", str(data), "--listen", "127.0.0.1:0"]
        command += ["--log-level", "warning"]
        for setting in settings:
            command += ["--set", setting]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self.address = self._wait_for_address()

    def _wait_for_address(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            found = READY.search(line)
            if found:
                return found.group(1)
        code = self._process.wait()
        tail = self._log_path.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"the server ended with {code} before it was ready:\n{tail}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def client(self) -> Client:
        """A client that waits long: a benchmark would rather be late than retried."""
        return Client(self.address, ClientOptions(timeout_s=CALL_TIME_MAX_S, attempts_max=1))

    def end(self) -> None:
        """SIGTERM and wait."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(END_WAIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def memory_bytes(pid: int) -> dict[str, int]:
    """Resident memory of a process by kind: RssAnon is its own, RssFile belongs to the page cache."""
    memory = {}
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.startswith(("Rss", "VmRSS")):
            memory[name] = int(value.split()[0]) * 1024
    return memory
