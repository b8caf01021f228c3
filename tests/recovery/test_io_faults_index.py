"""A disk or a system that fails under the index: searches stay right, the gallery says so, and it is made later."""

from __future__ import annotations

import errno
import signal
import time
from pathlib import Path

import psutil
import pytest

from mien_client import OperationState
from tests.faults.faulty_server import GALLERY, FaultyServer
from tests.faults.index_faults import (
    BUILD_FAULTS,
    BUILD_ROW_COUNT,
    SEAL_FAULTS,
    check_failed,
    is_degraded,
    rebuilt,
    refuse_builds,
    refuse_seals,
    wait_until,
)
from tests.faults.library import Call, Fault, Faults
from tests.indexed_gallery import BY_HAND, SMALL_FLAT, WAIT_TIME_MAX_S, is_ready

OUT_OF_MEMORY_BYTES = 64 << 20


def test_a_build_that_the_disk_refuses(store_path: Path, faults: Faults) -> None:
    """What served serves on, the operation says why, and the next build works; tests/stress has further places."""
    names = ("lists written", "CURRENT synced", "folder made")
    refuse_builds(store_path, faults, [BUILD_FAULTS[name] for name in names])


def test_a_seal_that_the_disk_refuses(store_path: Path, faults: Faults) -> None:
    """The tail is searched exactly, the gallery says why it is not sealed, and soon it is; tests/stress has more."""
    refuse_seals(store_path, faults, [SEAL_FAULTS[name] for name in ("lists written", "CURRENT renamed")])


def builder_of(server: FaultyServer) -> psutil.Process:
    """The process that builds, once there is one."""
    end_s = time.monotonic() + WAIT_TIME_MAX_S
    while time.monotonic() < end_s:
        for child in psutil.Process(server.process.pid).children():
            try:
                if "mien_server.index.builder" in child.cmdline():
                    return child
            except psutil.Error:
                continue
        time.sleep(0.001)
    pytest.fail("nobody builds")


def test_a_build_that_runs_out_of_memory(store_path: Path) -> None:
    """A builder that gets no memory, and one that the system kills for it: the old generation serves, the operation
    says what happened, and the next build works.
    """
    with FaultyServer(store_path, None, *BY_HAND) as server:
        server.fill(BUILD_ROW_COUNT)
        assert rebuilt(server).state is OperationState.SUCCEEDED
        before = server.client.get_gallery(GALLERY).index_state.generation
        for end, words in ((limit_memory, "the builder"), (kill, "memory runs out")):
            operation = server.client.rebuild_index(GALLERY)
            end(builder_of(server))
            check_failed(server, server.client.wait_operation(operation.name, timeout_s=WAIT_TIME_MAX_S), words)
            assert server.client.get_gallery(GALLERY).index_state.generation == before
        server.enroll()
        assert rebuilt(server).state is OperationState.SUCCEEDED
        server.check_reads()


def limit_memory(builder: psutil.Process) -> None:
    builder.rlimit(psutil.RLIMIT_AS, (OUT_OF_MEMORY_BYTES, OUT_OF_MEMORY_BYTES))


def kill(builder: psutil.Process) -> None:
    builder.send_signal(signal.SIGKILL)


def test_a_measuring_that_the_system_refuses(store_path: Path, faults: Faults) -> None:
    """What the index finds is not known to be measured, which the gallery says; it serves, and is measured later."""
    with FaultyServer(store_path, faults, *SMALL_FLAT, "index.measured_growth_max=1.2") as server:
        server.fill(BUILD_ROW_COUNT)
        wait_until(server, is_ready)
        with server.failing(Fault(Call.OPEN, "/builder.log", errno.EMFILE)):
            server.fill(400)
            gallery = wait_until(server, lambda one: "could not be measured" in one.index_state.detail)
            assert is_degraded(gallery)
            server.check_reads()
        wait_until(server, lambda one: is_ready(one) and one.index_state.measured_rows > BUILD_ROW_COUNT * 1.2)
        server.check_reads()
