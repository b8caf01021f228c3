"""The server's side of a build: a low-priority process, its progress, its end."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

import mien_server
from mien_server.errors import Cancelled, DeadlineExceeded, InternalError, MienError
from mien_server.index.build_job import BuildJob
from mien_server.index.measurement import Measurement
from mien_server.index.publish import LOCK_FILE_NAME, WORK_PREFIX

__all__ = ["BuildFailed", "BuildProcess"]

TERMINATE_TIMEOUT_S = 5.0
LOG_FILE_NAME = "builder.log"
LOG_BYTES_SHOWN = 2_000


class BuildFailed(InternalError):
    """A generation could not be built; the message says why. The gallery is served as before."""

    default_reason = "BUILD_FAILED"


class BuildProcess:
    """One build under way. Its methods may be called from any thread."""

    def __init__(self, process: subprocess.Popen[bytes], work_folder: Path) -> None:
        self._process = process
        self._work_folder = work_folder
        self._lock = threading.Lock()
        self._progress = (0.0, "starting")
        self._generation: str | None = None
        self._measurement: Measurement | None = None
        self._failure: tuple[str, str] | None = None
        self._is_cancelled = False
        self._ended = threading.Event()
        threading.Thread(target=self._follow, name="mien-index-build", daemon=True).start()

    @classmethod
    def start(cls, index_directory: Path, job: BuildJob) -> Self:
        """Start building in a folder of its own below `index_directory`, which is made when absent.

        Raises:
            BuildFailed: the folder cannot be written or the process cannot be started.
        """
        work_folder = index_directory / f"{WORK_PREFIX}{secrets.token_hex(4)}"
        try:
            work_folder.mkdir(parents=True)
            with (work_folder / LOCK_FILE_NAME).open("wb") as lock, (work_folder / LOG_FILE_NAME).open("wb") as log:
                fcntl.flock(lock, fcntl.LOCK_EX)
                job_path = job.write(work_folder)
                process = subprocess.Popen(  # noqa: S603  (our own module, paths of our own)
                    [*_idle_prefix(), sys.executable, "-m", "mien_server.index.builder", str(job_path.resolve())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=_environment(job.threads),
                    # The builder holds the lock on, so that nobody prunes its folder while it lives.
                    pass_fds=[lock.fileno()],
                    # Ctrl-C at the server's terminal is the server's to handle.
                    start_new_session=True,
                )
        except OSError as error:
            shutil.rmtree(work_folder, ignore_errors=True)
            raise BuildFailed(f"cannot start building in {work_folder}: {error}") from error
        return cls(process, work_folder)

    def progress(self) -> tuple[float, str]:
        """Share done, 0 to 1, and the stage: starting, training, adding, measuring, writing, done."""
        with self._lock:
            return self._progress

    def is_done(self) -> bool:
        """Whether `result` answers at once."""
        return self._ended.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, at most `timeout_s` seconds; whether it has come."""
        return self._ended.wait(timeout_s)

    def result(self, timeout_s: float | None = None) -> str:
        """Name of the finished generation, ready to be loaded and published.

        Raises:
            BuildFailed: it could not be built.
            Cancelled: `cancel` was called; reason BUILD_CANCELLED.
            DeadlineExceeded: it is not done after `timeout_s` seconds.
        """
        if not self._ended.wait(timeout_s):
            raise DeadlineExceeded(f"the build is not done after {timeout_s} s; wait longer or cancel it")
        if self._generation is None:
            raise self._why_not()
        return self._generation

    def measurement(self) -> Measurement:
        """What was measured, by a job that names a generation. Waits for the end; raises as `result`."""
        self._ended.wait()
        if self._measurement is None:
            raise self._why_not()
        return self._measurement

    def _why_not(self) -> MienError:
        if self._is_cancelled:
            return Cancelled("the build was cancelled", reason="BUILD_CANCELLED")
        reason, message = self._failure or ("BUILD_FAILED", "the builder ended without saying why")
        return BuildFailed(message, reason=reason)

    def cancel(self) -> None:
        """Stop the build and remove what it wrote; does nothing once it is done. Returns when the process is gone."""
        self._is_cancelled = True
        self._process.terminate()
        if not self._ended.wait(TERMINATE_TIMEOUT_S):
            self._process.kill()
            self._ended.wait()

    def _follow(self) -> None:
        """Read what the builder prints until it ends, then clean up."""
        if self._process.stdout is None or self._process.stdin is None:
            raise InternalError("the builder was started without pipes")
        for line in self._process.stdout:
            self._read_line(line)
        return_code = self._process.wait()
        self._process.stdout.close()
        self._process.stdin.close()
        if self._generation is None and self._measurement is None and self._failure is None:
            self._failure = ("BUILD_FAILED", f"the builder {_ending(return_code)}: {self._log_end()}")
        shutil.rmtree(self._work_folder, ignore_errors=True)
        self._ended.set()

    def _read_line(self, line: bytes) -> None:
        try:
            fields = json.loads(line)
        except ValueError:
            return
        if not isinstance(fields, dict):
            return
        with self._lock:
            if "generation" in fields:
                self._generation = str(fields["generation"])
                self._progress = (1.0, "done")
            elif "measurement" in fields:
                self._read_measurement(fields["measurement"])
            elif "message" in fields:
                self._failure = (str(fields.get("reason", "BUILD_FAILED")), str(fields["message"]))
            elif "fraction" in fields:
                self._progress = (float(fields["fraction"]), str(fields.get("stage", "")))

    def _read_measurement(self, fields: object) -> None:
        try:
            self._measurement = Measurement.of_fields(fields)
        except MienError as error:
            self._failure = (error.reason, error.message)
        self._progress = (1.0, "done")

    def _log_end(self) -> str:
        try:
            return (self._work_folder / LOG_FILE_NAME).read_bytes()[-LOG_BYTES_SHOWN:].decode("utf-8", "replace")
        except OSError as error:
            return str(error)


def _ending(return_code: int) -> str:
    if return_code == -signal.SIGKILL:
        return "was killed by SIGKILL, as the system does where memory runs out"
    if return_code < 0:
        return f"was killed by {signal.Signals(-return_code).name}"
    return f"ended with {return_code}"


def _idle_prefix() -> list[str]:
    """Disk access only when nobody else wants it, where the system has the tool and allows it."""
    tool = shutil.which("ionice")
    return [tool, "-t", "-c", "3"] if tool else []


def _environment(threads: int) -> dict[str, str]:
    """The server's environment, able to import this package wherever it was imported from."""
    package_folder = str(Path(mien_server.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([package_folder, inherited] if inherited else [package_folder]),
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
    }
