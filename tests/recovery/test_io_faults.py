"""A disk that fails under a running server: the write is refused, reads go on, and nobody has to start it again."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mien_client import Unavailable
from tests.faults.faulty_server import FaultyServer
from tests.faults.library import Call, Effect, Fault, Faults

META_PAGES_END = 2 * os.sysconf("SC_PAGESIZE")
VECTORS, RECORDS = "rows.vec", "data.mdb"


@dataclass(frozen=True)
class Case:
    """A fault that lasts until it is healed.

    Attributes:
        reason: what a write is refused with meanwhile; `later` says it of every further one, where that differs.
        words: what the message holds beside the path: what to do.
    """

    name: str
    faults: tuple[Fault, ...]
    reason: str
    words: str
    later: str = ""


def case(
    name: str, calls: Call, path: str, error: int, reason: str, words: str, effect: Effect = Effect.NOTHING
) -> Case:
    return Case(name, (Fault(calls, path, error, effect),), reason, words)


def in_doubt(name: str, *faults: Fault) -> Case:
    return Case(name, faults, "STORAGE_OUTCOME_UNKNOWN", "request_id", "STORAGE_WRITE_FAILED")


def meta_fault(error: int, effect: Effect = Effect.NOTHING, times: int = -1) -> Fault:
    return Fault(Call.WRITE, RECORDS, error, effect, offset_end=META_PAGES_END, times=times)


FULL = ("STORAGE_FULL", "free some")
READ_ONLY = ("STORAGE_READ_ONLY", "make it writable")
FAILED = ("STORAGE_WRITE_FAILED", "look after it")
NO_FILES = ("STORAGE_WRITE_FAILED", "ulimit -n")

CASES = {
    "rows written": [
        case("full", Call.WRITE, VECTORS, errno.ENOSPC, *FULL),
        case("over quota", Call.WRITE, VECTORS, errno.EDQUOT, *FULL),
        case("read-only", Call.WRITE, VECTORS, errno.EROFS, *READ_ONLY),
        case("broken", Call.WRITE, VECTORS, errno.EIO, *FAILED),
        Case(
            "full after a short write",
            (Fault(Call.WRITE, VECTORS, short_bytes=1000, times=1), Fault(Call.WRITE, VECTORS, errno.ENOSPC)),
            *FULL,
        ),
    ],
    "rows synced": [
        case("broken", Call.SYNC, VECTORS, errno.EIO, *FAILED),
        case("broken, blocks torn", Call.SYNC, VECTORS, errno.EIO, *FAILED, effect=Effect.TORN),
        case("broken and kept", Call.SYNC, VECTORS, errno.EIO, *FAILED, effect=Effect.DURABLE),
        case("full", Call.SYNC, VECTORS, errno.ENOSPC, *FULL),
    ],
    "records written": [
        case("full", Call.WRITE, RECORDS, errno.ENOSPC, *FULL),
        case("read-only", Call.WRITE, RECORDS, errno.EROFS, *READ_ONLY),
        case("broken", Call.WRITE, RECORDS, errno.EIO, *FAILED),
        Case("short writes", (Fault(Call.WRITE, RECORDS, short_bytes=1000),), *FAILED),
    ],
    "records synced": [
        case("broken", Call.SYNC, RECORDS, errno.EIO, *FAILED),
        case("broken, blocks torn", Call.SYNC, RECORDS, errno.EIO, *FAILED, effect=Effect.TORN),
        case("broken and kept", Call.SYNC, RECORDS, errno.EIO, *FAILED, effect=Effect.DURABLE),
        case("full", Call.SYNC, RECORDS, errno.ENOSPC, *FULL),
    ],
    "commit written": [
        in_doubt("broken", meta_fault(errno.EIO)),
        in_doubt("full", meta_fault(errno.ENOSPC)),
        in_doubt("read-only", meta_fault(errno.EROFS)),
        in_doubt("seen here only", meta_fault(errno.EIO, Effect.DONE)),
        in_doubt("seen here only, not to be undone", meta_fault(errno.EIO, Effect.DONE, 1), meta_fault(errno.EIO)),
        in_doubt("kept, and not to be undone", meta_fault(errno.EIO, Effect.DURABLE, 1), meta_fault(errno.EIO)),
        in_doubt(
            "kept, undone here only", meta_fault(errno.EIO, Effect.DURABLE, 1), meta_fault(errno.EIO, Effect.DONE)
        ),
    ],
}


@pytest.fixture
def server(store_path: Path, faults: Faults) -> Iterator[FaultyServer]:
    with FaultyServer(store_path, faults) as started:
        yield started


@pytest.mark.parametrize("place", CASES)
def test_a_write_that_the_disk_refuses(server: FaultyServer, faults: Faults, place: str) -> None:
    """It is refused with what to do, reads go on, and the same request succeeds once the disk does, for each fault in
    turn. After a kill, and after a loss of power, what was acknowledged is there and nothing else.
    """
    server.enroll()
    for one in CASES[place]:
        write = server.next_write()
        with server.failing(*one.faults):
            for attempt, reason in enumerate((one.reason, one.later or one.reason)):
                error = server.refused(write)
                assert isinstance(error, Unavailable), one.name
                assert error.reason == reason, one.name
                assert str(server.data) in error.message, one.name
                assert attempt or one.words in error.message, one.name
            server.check_many_reads()
        first = server.enroll(write)
        again = server.send(write)
        assert (again.revision, again.face_ids) == (first.revision, first.face_ids), one.name
        server.check_reads()
    server.kill()
    server.check_store()
    faults.lose_power(server.data)
    server.check_store()


def test_a_loss_of_power_after_each_acknowledgement(server: FaultyServer, faults: Faults, tmp_path: Path) -> None:
    """Whatever the sync before it came to, an acknowledged write is on the disk; a refused one left nothing."""
    server.enroll()
    for number, one in enumerate([*CASES["rows synced"], *CASES["records synced"], *CASES["commit written"]]):
        write = server.next_write()
        with server.failing(*one.faults):
            server.refused(write)
        server.enroll(write)
        image = faults.image(server.data, tmp_path / f"image-{number}")
        server.check_store(image)


def test_rows_beside_those_of_a_torn_block_are_mended(server: FaultyServer, faults: Faults) -> None:
    """Committed rows that share a block with those of a failed sync are made durable again without a further write."""
    server.enroll()
    with server.failing(*CASES["rows synced"][1].faults):
        server.refused(server.next_write())
    server.wait_for_log("synced again after a failure")
    server.kill()
    faults.lose_power(server.data)
    server.check_store()


@pytest.mark.parametrize("kept", [True, False])
def test_a_commit_in_doubt_is_settled_without_a_further_write(server: FaultyServer, *, kept: bool) -> None:
    """Once the disk works, readers see what the last write came to though nobody writes; then it is as answered."""
    server.enroll()
    write = server.next_write()
    done = [meta_fault(errno.EIO, Effect.DURABLE, 1)] if kept else []
    with server.failing(*done, meta_fault(errno.EIO)):
        assert server.refused(write).reason == "STORAGE_OUTCOME_UNKNOWN"
        server.check_many_reads()
    if kept:
        server.acknowledged_count += 20
    server.wait_for_log("writing goes on")
    server.wait_until_settled()
    server.check_reads()
    if kept:
        assert server.send(write).enrolled_count == 20
    else:
        server.enroll(write)
    server.kill()
    server.check_store()


def test_a_passing_fault_of_a_commit_is_not_noticed(server: FaultyServer) -> None:
    """When the disk fails once at the commit, and then works, the write is acknowledged and there once."""
    for effect in (Effect.NOTHING, Effect.DONE, Effect.DURABLE):
        write = server.next_write()
        with server.failing(meta_fault(errno.EIO, effect, times=1)):
            server.enroll(write)
        server.check_reads()
    server.kill()
    server.check_store()


def test_a_kill_while_a_commit_is_in_doubt(server: FaultyServer, faults: Faults) -> None:
    """The next start finds the write wholly or not at all."""
    server.enroll()
    with server.failing(meta_fault(errno.EIO, Effect.DURABLE)):
        server.refused(server.next_write())
        server.kill()
    server.check_store()
    faults.lose_power(server.data)
    # Nobody settled it: the disk kept what this machine undid.
    server.acknowledged_count += 20
    server.check_store()


PLACES_OF_A_GALLERY = [
    Fault(Call.MAKE_FOLDER, "vectors/", errno.ENOSPC),
    Fault(Call.OPEN, VECTORS, errno.EMFILE),
    Fault(Call.WRITE, VECTORS, errno.ENOSPC),
    Fault(Call.SYNC, VECTORS, errno.EIO),
    Fault(Call.SYNC, "/vectors", errno.EIO),
]


def test_a_gallery_that_cannot_be_made(server: FaultyServer) -> None:
    """Nothing of it is there; the same request makes it once that can be."""
    reasons = []
    for number, fault in enumerate(PLACES_OF_A_GALLERY):
        name = f"gallery-{number}"

        def make(name: str = name) -> None:
            server.client.create_gallery(name, precomputed="made-1", dimension=8, request_id=f"make-{name}")

        with server.failing(fault):
            with pytest.raises(Unavailable) as refused:
                make()
            assert name not in [one.name for one in server.client.list_galleries()]
        reasons.append(refused.value.reason)
        make()
        make()
    assert reasons == ["STORAGE_FULL", "STORAGE_WRITE_FAILED", "STORAGE_FULL", *["STORAGE_WRITE_FAILED"] * 2]
    server.enroll()
    server.kill()
    server.check_store()


def test_a_file_of_vectors_whose_header_is_written_in_pieces(server: FaultyServer) -> None:
    """A write that is cut short without an error is gone on with: the file has its whole header."""
    with server.failing(Fault(Call.WRITE, VECTORS, short_bytes=30)):
        server.client.create_gallery("other", precomputed="made-1", dimension=8)
    server.enroll()
    server.kill()
    server.check_store()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(Call.TRUNCATE, VECTORS, errno.ENOSPC), "STORAGE_FULL"),
        (Fault(Call.TRUNCATE, VECTORS, errno.EFBIG), "STORAGE_FULL"),
        (Fault(Call.MAP, VECTORS, errno.ENOMEM), "STORAGE_WRITE_FAILED"),
        (Fault(Call.OPEN, VECTORS, errno.EMFILE), "STORAGE_WRITE_FAILED"),
    ],
)
def test_a_file_of_vectors_that_cannot_grow(server: FaultyServer, fault: Fault, reason: str) -> None:
    """Rows that need more room are refused where readers could not map them, not acknowledged and then unreadable."""
    server.check_reads()
    # Somebody reads the gallery, so that its file is mapped ahead for them.
    server.client.search_faces("people", embeddings=server.next_write().vectors[:1], k=1)
    write = server.next_write()
    with server.failing(fault):
        assert server.refused(write).reason == reason
        server.check_reads()
    server.enroll(write)
    server.check_reads()
    server.kill()
    server.check_store()
