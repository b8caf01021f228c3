"""A real `mien-server` in a process of its own, for tests that end it, kill it and start it again on the same store."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from mien_client import Client, ClientOptions

__all__ = ["ServerProcess", "connect"]

READY_LINE = re.compile(r"^mien-server ready on (\S+:\d+)")
START_TIME_MAX_S = 60.0
END_TIME_MAX_S = 60.0
CALL_TIME_MAX_S = 120.0


def connect(address: str) -> Client:
    """A client that tries each call once, so that a test sees every failure; to be closed by the caller."""
    return Client(address, ClientOptions(timeout_s=CALL_TIME_MAX_S, attempts_max=1))


class ServerProcess:
    """A server on a free port of loopback, answering from construction until `end` or `kill`.

    Args:
        data: the store, made when it is not there. The log lies beside it and is added to by each start.
        settings: as `--set` takes them, such as "index.tail_rows_max=100".
        crash_at: the named step at which it kills itself; see `mien_server.storage.steps`. Its address is empty when
            that comes before it is ready.
        environment: variables beside those of this process.
        prefix: a command that runs the server.
    """

    def __init__(
        self,
        data: Path,
        *settings: str,
        crash_at: str = "",
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.data = data
        self.log_path = data.with_name(f"{data.name}.log")
        command = [
            *prefix,
            sys.executable,
            "-m",
            "mien_server.cli.main",
            "--data",
            str(data),
            "--listen",
            "127.0.0.1:0",
        ]
        for setting in settings:
            command += ["--set", setting]
        with self.log_path.open("ab") as log:
            variables = {**os.environ, "MIEN_CRASH_AT": crash_at, **(environment or {})}
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=variables)
        self.address = self._wait_until_ready(may_crash=bool(crash_at))

    def _wait_until_ready(self, *, may_crash: bool) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_TIME_MAX_S)
        found = READY_LINE.match(self._process.stdout.readline()) if ready else None
        if found is None:
            if may_crash and self._process.wait(START_TIME_MAX_S) == -signal.SIGKILL:
                return ""
            self.kill()
            raise AssertionError(f"the server did not become ready:\n{self.log()[-2000:]}")
        return found[1]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def client(self) -> Client:
        """A client of it, to be closed by the caller."""
        return connect(self.address)

    def log(self) -> str:
        """What this server and those before it on the same store wrote to standard error."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, as the out-of-memory killer sends it, and wait until it is gone."""
        self._process.kill()
        self._reap()

    def end(self) -> int:
        """SIGTERM and wait; answers the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._reap()

    def wait_until_dead(self) -> None:
        """Wait until it has ended by itself."""
        self._reap()

    def _reap(self) -> int:
        try:
            code = self._process.wait(END_TIME_MAX_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
