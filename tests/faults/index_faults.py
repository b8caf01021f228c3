"""What must hold of a gallery while the disk fails under its index, and after; for a list of faults each."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from mien_client import Gallery, IndexStateName, Operation, OperationState
from tests.faults.faulty_server import GALLERY, FaultyServer
from tests.faults.library import Call, Fault, Faults
from tests.indexed_gallery import BY_HAND, SMALL_FLAT, WAIT_TIME_MAX_S, is_ready, only_one_generation

__all__ = [
    "BUILD_FAULTS",
    "BUILD_ROW_COUNT",
    "SEAL_FAULTS",
    "check_failed",
    "is_degraded",
    "rebuilt",
    "refuse_builds",
    "refuse_seals",
    "wait_until",
]

BUILD_ROW_COUNT = 1200

BUILD_FAULTS = {
    "lists written": Fault(Call.WRITE, "/lists-", errno.ENOSPC),
    "lists synced": Fault(Call.SYNC, "/lists-", errno.EIO),
    "manifest written": Fault(Call.WRITE, "/manifest.json", errno.ENOSPC),
    "generation moved": Fault(Call.RENAME, "/generation", errno.EROFS),
    "CURRENT written": Fault(Call.WRITE, "/CURRENT.new", errno.ENOSPC),
    "CURRENT synced": Fault(Call.SYNC, "/CURRENT.new", errno.EIO),
    "CURRENT renamed": Fault(Call.RENAME, "/CURRENT.new", errno.EIO),
    "folder made": Fault(Call.MAKE_FOLDER, "/index/", errno.ENOSPC),
}
SEAL_FAULTS = {
    "lists written": Fault(Call.WRITE, "/lists-", errno.ENOSPC),
    "files linked": Fault(Call.LINK, "/index/", errno.EIO),
    "manifest synced": Fault(Call.SYNC, "/manifest.json", errno.EIO),
    "CURRENT renamed": Fault(Call.RENAME, "/CURRENT.new", errno.EROFS),
}


def wait_until(server: FaultyServer, holds: Callable[[Gallery], bool]) -> Gallery:
    end_s = time.monotonic() + WAIT_TIME_MAX_S
    while not holds(gallery := server.client.get_gallery(GALLERY)):
        assert time.monotonic() < end_s, gallery.index_state
        time.sleep(0.02)
    return gallery


def is_degraded(gallery: Gallery) -> bool:
    return gallery.index_state.state is IndexStateName.DEGRADED


def rebuilt(server: FaultyServer) -> Operation:
    return server.client.wait_operation(server.client.rebuild_index(GALLERY).name, timeout_s=WAIT_TIME_MAX_S)


def check_failed(server: FaultyServer, operation: Operation, words: str) -> None:
    """The operation says why, the gallery too, and neither where the files lie; searches are right."""
    assert operation.state is OperationState.FAILED
    assert operation.error is not None
    assert operation.error.reason == "BUILD_FAILED"
    assert words in operation.error.message
    state = server.client.get_gallery(GALLERY).index_state
    assert state.state is IndexStateName.DEGRADED
    assert words in state.detail
    assert str(server.data) not in state.detail
    server.check_reads()


def refuse_builds(store: Path, faults: Faults, refusals: Iterable[Fault]) -> None:
    """What served serves on and the operation says why; then a build works, without a restart."""
    with FaultyServer(store, faults, *BY_HAND) as server:
        server.fill(BUILD_ROW_COUNT)
        for fault in refusals:
            before = server.client.get_gallery(GALLERY).index_state.generation
            with server.failing(fault):
                check_failed(server, rebuilt(server), f"[Errno {fault.error}]")
                assert server.client.get_gallery(GALLERY).index_state.generation == before
            server.enroll()
        assert rebuilt(server).state is OperationState.SUCCEEDED
        assert is_ready(server.client.get_gallery(GALLERY))
        server.check_reads()
        server.kill()
        assert only_one_generation(store)
        server.check_store()


def refuse_seals(store: Path, faults: Faults, refusals: Iterable[Fault]) -> None:
    """The tail is searched exactly and the gallery says why it is not sealed; soon after the disk works it is."""
    with FaultyServer(store, faults, *SMALL_FLAT) as server:
        server.fill(BUILD_ROW_COUNT)
        wait_until(server, is_ready)
        for fault in refusals:
            with server.failing(fault):
                server.fill(150)
                gallery = wait_until(server, is_degraded)
                assert "the newest rows are not sealed" in gallery.index_state.detail
                assert str(store) not in gallery.index_state.detail
                server.check_reads()
            wait_until(server, lambda one: is_ready(one) and one.index_state.tail_rows <= 100)
            server.check_reads()
        server.kill()
        assert only_one_generation(store)
        server.check_store()
