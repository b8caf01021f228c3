"""Faults made by the system itself: a file system that is full or read-only, and limits of files and of memory."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mien_client import DeadlineExceeded, EnrollRows, OperationState, Unavailable
from tests.faults.faulty_server import GALLERY, FaultyServer
from tests.faults.index_faults import BUILD_ROW_COUNT, rebuilt
from tests.faults.library import Call, Fault, Faults
from tests.faults.mounts import MountNamespace
from tests.indexed_gallery import BY_HAND
from tests.server_processes import ServerProcess

WRITE_COUNT_MAX = 100
CONNECT_TIME_MAX_S = 60.0
SOURCE_BYTES = 1000
MAP_BYTES = 16 << 20
MEMORY_LEFT_BYTES = 14 << 20


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[MountNamespace]:
    with MountNamespace(tmp_path) as namespace:
        yield namespace


@contextmanager
def limited(server: FaultyServer, resource: int, soft: int) -> Iterator[None]:
    """The running server has a lower limit for the length of the block."""
    process = psutil.Process(server.process.pid)
    before = process.rlimit(resource)
    process.rlimit(resource, (soft, before[1]))
    try:
        yield
    finally:
        process.rlimit(resource, before)


def fill_disk(path: Path) -> None:
    """Write a file until there is no room for another byte."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 20)):
            pass
    assert shutil.disk_usage(path).free == 0


def refused_in_the_end(server: FaultyServer, write: Callable[[], EnrollRows]) -> tuple[EnrollRows, Unavailable]:
    """Enrol until a write is refused; that write and why."""
    for _ in range(WRITE_COUNT_MAX):
        sent = write()
        ack = server.send(sent)
        if ack.error is not None:
            assert isinstance(ack.error, Unavailable)
            return sent, ack.error
        server.acknowledged_count += ack.enrolled_count
    pytest.fail("nothing was refused")


def test_a_file_system_without_room(mounts: MountNamespace, tmp_path: Path) -> None:
    """Writes and builds are refused and reads go on; with room they work."""
    disk = mounts.mount("disk", "-t", "tmpfs", "-o", "size=48m", "none")
    store, outside = tmp_path / "disk" / "store", disk / "store"
    with FaultyServer(store, None, *BY_HAND, prefix=mounts.prefix, outside=outside) as server:
        server.fill(BUILD_ROW_COUNT)
        fill_disk(disk / "filler")
        write, error = refused_in_the_end(server, server.next_write)
        assert error.reason == "STORAGE_FULL"
        assert "free some" in error.message
        with pytest.raises(Unavailable, match="free some"):
            server.client.create_gallery("other", precomputed="made-1", dimension=8)
        assert rebuilt(server).state is OperationState.FAILED
        server.check_many_reads()
        (disk / "filler").unlink()
        server.enroll(write)
        assert rebuilt(server).state is OperationState.SUCCEEDED
        server.check_reads()
        server.kill()
        server.check_store()


def test_a_file_system_that_the_kernel_made_read_only(mounts: MountNamespace, tmp_path: Path) -> None:
    """As ext4 does when it finds itself damaged: writes are refused, reads go on, and once it is mounted again
    everything acknowledged is there.
    """
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    mounts.run("mkfs.ext4", "-q", "-F", str(image))
    disk = mounts.mount("disk", "-o", "loop,errors=remount-ro", str(image))
    device = Path(mounts.run("findmnt", "-no", "SOURCE", str(tmp_path / "disk")).strip()).name
    trigger = Path("/sys/fs/ext4") / device / "trigger_fs_error"
    if not trigger.exists():
        pytest.skip("this kernel's ext4 cannot be told to find itself damaged")
    store, outside = tmp_path / "disk" / "store", disk / "store"
    with FaultyServer(store, None, prefix=mounts.prefix, outside=outside) as server:
        server.enroll()
        trigger.write_text("1")
        error = server.refused(server.next_write())
        assert error.reason == "STORAGE_READ_ONLY"
        assert "make it writable" in error.message
        server.check_many_reads()
        server.kill()
    mounts.unmount("disk")
    mounts.mount("disk", "-o", "loop", str(image))
    server.check_store()


@pytest.mark.parametrize("name", ["meta/data.mdb", "vectors/00000001/rows.vec"])
def test_a_limit_of_the_size_of_files(store_path: Path, name: str) -> None:
    """Beyond it writes are refused, as on a full disk; the same write succeeds once the limit is raised."""
    with FaultyServer(store_path, None) as server:
        server.fill(1000)
        used = server.acknowledged_count * 4 * 32 if name.endswith(".vec") else (store_path / name).stat().st_size
        with limited(server, psutil.RLIMIT_FSIZE, used):
            write, error = refused_in_the_end(server, lambda: server.next_write(300))
            assert error.reason in {"STORAGE_FULL", "STORAGE_WRITE_FAILED"}
            server.check_many_reads()
        server.enroll(write)
        server.check_reads()
        server.kill()
        server.check_store()


def lowest_free_descriptor(server: FaultyServer) -> int:
    """The number that the next file of the server would get."""
    used = {int(one.name) for one in Path(f"/proc/{server.process.pid}/fd").iterdir()}
    return next(number for number in range(len(used) + 1) if number not in used)


def connect_in_the_end(server: FaultyServer) -> None:
    """Somebody new is served soon."""
    end_s = time.monotonic() + CONNECT_TIME_MAX_S
    while True:
        with server.process.client() as other:
            try:
                other.get_gallery(GALLERY, timeout_s=1.0)
            except (Unavailable, DeadlineExceeded):
                assert time.monotonic() < end_s
            else:
                server.check_reads(other)
                return


def test_a_limit_of_open_files(store_path: Path) -> None:
    """Without a file to open, callers that are there are served, galleries and builds are refused, and nobody can
    connect; with more files all of it works.
    """
    with FaultyServer(store_path, None, *BY_HAND) as server:
        server.fill(BUILD_ROW_COUNT)
        server.check_many_reads()
        with limited(server, psutil.RLIMIT_NOFILE, lowest_free_descriptor(server)):
            with pytest.raises(Unavailable, match="ulimit -n"):
                server.client.create_gallery("other", precomputed="made-1", dimension=8)
            operation = rebuilt(server)
            assert operation.state is OperationState.FAILED
            assert operation.error is not None
            assert "Too many open files" in operation.error.message
            server.enroll()
            server.check_many_reads()
            with server.process.client() as other, pytest.raises((Unavailable, DeadlineExceeded)):
                other.get_gallery(GALLERY, timeout_s=1.0)
            server.check_reads()
        connect_in_the_end(server)
        server.client.create_gallery("other", precomputed="made-1", dimension=8)
        assert rebuilt(server).state is OperationState.SUCCEEDED
        server.check_reads()
        server.kill()
        server.check_store()


def bulky_write(server: FaultyServer) -> EnrollRows:
    """An enrolment whose records take much room."""
    rows = server.next_write(200)
    return replace(rows, sources=["x" * SOURCE_BYTES] * len(rows.identity_ids))


def test_records_that_outgrow_the_address_space(store_path: Path) -> None:
    """A map that is full grows; where the system lends no address space the write is refused, and later succeeds."""
    with FaultyServer(store_path, None, f"storage.map_size_bytes={MAP_BYTES}") as server:
        server.enroll(bulky_write(server))
        server.check_many_reads()
        process = psutil.Process(server.process.pid)
        with limited(server, psutil.RLIMIT_AS, process.memory_info().vms + MEMORY_LEFT_BYTES):
            sent, error = refused_in_the_end(server, lambda: bulky_write(server))
            assert error.reason == "STORAGE_FULL"
            assert "ulimit -v" in error.message
            server.check_reads()
        server.enroll(sent)
        server.enroll(bulky_write(server))
        assert (store_path / "meta" / "data.mdb").stat().st_size > MAP_BYTES * 0.9
        server.check_many_reads()
        server.kill()
        server.check_store()


def test_records_that_cannot_be_opened_again(store_path: Path, faults: Faults) -> None:
    """When the system takes back even the address space that LMDB had, reads are refused as passing; once it lends some
    the server goes on by itself.
    """
    with FaultyServer(store_path, faults, f"storage.map_size_bytes={MAP_BYTES}") as server:
        with server.failing(Fault(Call.MAP, "data.mdb", errno.ENOMEM)):
            sent, error = refused_in_the_end(server, lambda: bulky_write(server))
            assert error.reason == "STORAGE_FULL"
            with pytest.raises(Unavailable) as refused:
                server.check_reads()
            assert refused.value.reason == "STORAGE_READ_FAILED"
            assert refused.value.retry_after_s is not None
        server.wait_for_log("writing goes on")
        server.check_reads()
        server.enroll(sent)
        server.check_reads()
        server.kill()
        server.check_store()


def test_a_store_that_cannot_be_made(store_path: Path, faults: Faults) -> None:
    """The start says why in one line, and leaves nothing that hinders the next one."""
    for fault in (
        Fault(Call.WRITE, "FORMAT.new", errno.ENOSPC),
        Fault(Call.SYNC, "data.mdb", errno.EIO),
    ):
        with faults.failing(fault), pytest.raises(AssertionError, match=os.strerror(fault.error)):
            ServerProcess(store_path, environment=faults.environment)
    with FaultyServer(store_path, faults) as server:
        server.enroll()
        assert [one.name for one in server.client.list_galleries()] == [GALLERY]
        server.kill()
        server.check_store()
