"""One worker process as its parent sees it: started, given a batch, ended.

A fresh interpreter, never a fork: the server holds LMDB environments and gRPC threads that do not survive one. It is
started by its own program and not through multiprocessing, which would import the caller's main module again.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Final

from mien_server.embedding.messages import ANSWER_BYTES_MAX, READY, TAKEN
from mien_server.embedding.options import EmbeddingOptions
from mien_server.embedding.work import Batch
from mien_server.errors import Unavailable

__all__ = ["BatchNotTaken", "WorkerCrashed", "WorkerProcess"]

START_TIME_MAX_S: Final = 180.0
TAKE_TIME_MAX_S: Final = 30.0
END_TIME_MAX_S: Final = 5.0
WORKER_MODULE: Final = "mien_server.embedding.worker"
ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


class WorkerCrashed(Exception):
    """The process ended, or had to be ended, while it worked on a batch. Stays within the pool."""


class BatchNotTaken(Exception):
    """The process had ended before it read the batch, which is not to blame. Stays within the pool."""


class WorkerProcess:
    """A started worker. Used by one thread.

    Raises:
        Unavailable: WORKER_START_FAILED.
    """

    def __init__(self, options: EmbeddingOptions) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", WORKER_MODULE, str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        except OSError as error:
            ours.close()
            raise _start_failed(str(error)) from error
        finally:
            theirs.close()
        self._connection: Connection[object, object] = Connection(ours.detach())
        try:
            self._connection.send(options)
            self._expect(READY, START_TIME_MAX_S)
        except (OSError, EOFError, TimeoutError) as error:
            self.kill()
            raise _start_failed(self._how_it_ended()) from error

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def run(self, batch: Batch, time_max_s: float) -> bytes:
        """The encoded answer to a batch. After any exception the process is gone.

        Raises:
            BatchNotTaken: it never read the batch.
            WorkerCrashed: it ended, or took too long.
        """
        try:
            self._connection.send(batch)
            self._expect(TAKEN, TAKE_TIME_MAX_S)
        except (OSError, EOFError, TimeoutError) as error:
            self.kill()
            raise BatchNotTaken(self._how_it_ended()) from error
        try:
            if not self._connection.poll(time_max_s):
                raise WorkerCrashed(f"it took more than {time_max_s:g} s")
            return self._connection.recv_bytes(ANSWER_BYTES_MAX)
        except (OSError, EOFError) as error:
            self.kill()
            raise WorkerCrashed(self._how_it_ended()) from error
        except WorkerCrashed:
            self.kill()
            raise

    def end(self) -> None:
        """Let an idle worker leave; insist after a while."""
        self._connection.close()
        self._close_lifeline()
        try:
            self._process.wait(END_TIME_MAX_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def stop(self) -> None:
        """End the process at once. From any thread: the one that uses the worker sees it crash."""
        self._process.kill()

    def kill(self) -> None:
        """End the process at once and wait for it."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._close_lifeline()

    def _close_lifeline(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _expect(self, message: bytes, time_max_s: float) -> None:
        if not self._connection.poll(time_max_s):
            raise TimeoutError
        if self._connection.recv_bytes(len(message)) != message:
            raise EOFError

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        return f"it was ended by signal {-code}" if code < 0 else f"it left with code {code}"


def _start_failed(how: str) -> Unavailable:
    return Unavailable(
        f"an embedding worker could not be started: {how}; its own message stands in the server's error output",
        reason="WORKER_START_FAILED",
    )
