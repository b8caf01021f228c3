"""A server process from start to end: ready, refused, drained, restarted."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import pytest

from mien.v1 import gallery_service_pb2 as pb
from mien.v1 import operations_service_pb2, recognition_service_pb2

DIMENSION = 8
NOT_STARTED_TIMEOUT_S = 60
STUCK_S = 2.0
INFO = operations_service_pb2.GetServerInfoRequest()


def _batch(pack: Any, vectors: Any, sequence: int) -> pb.StreamEnrollRequest:
    ids = [f"person-{sequence}-{row}" for row in range(len(vectors))]
    rows = pb.EnrollRows(embeddings=pack(vectors), identity_ids=ids)
    return pb.StreamEnrollRequest(sequence=sequence, gallery="staff", rows=rows)


def _face_count(server: Any) -> int:
    return server.galleries.GetGallery(pb.GetGalleryRequest(gallery="staff")).gallery.face_count


def _ended(process: Any) -> int:
    code = process.wait(NOT_STARTED_TIMEOUT_S)
    assert process.stdout.read() == "", "nothing says that it is ready"
    return code


def test_what_was_enrolled_is_there_after_a_restart(
    server_process: Any, store_path: Path, pack: Any, unit_vectors: Any
) -> None:
    """A server ends well on SIGTERM, and one started again on the same store has its people."""
    first = server_process(store_path)
    assert f"(store {store_path}, 0 galleries)" in first.ready_line
    first.create_gallery(dimension=DIMENSION)
    answers = list(first.galleries.StreamEnroll(iter([_batch(pack, unit_vectors(20), 1)])))
    before = first.operations.GetServerInfo(INFO)
    assert first.end() == 0
    second = server_process(store_path)
    assert second.ready_line.endswith("1 gallery)")
    after = second.operations.GetServerInfo(INFO, wait_for_ready=True, timeout=60)
    assert (after.store_id, after.revision) == (before.store_id, answers[-1].revision)
    assert _face_count(second) == 20
    assert second.end(signal.SIGINT) == 0


def test_a_second_server_on_the_store_is_refused_by_pid(server_process: Any, store_path: Path) -> None:
    """A store has one server: the second is refused in one line that names the first one's process, which goes on."""
    first = server_process(store_path)
    second = server_process.begin(store_path, "--listen", "127.0.0.1:0")
    assert _ended(second) == 1
    log = server_process.log()
    assert str(first.process.pid) in log
    assert "Traceback" not in log
    assert first.operations.GetServerInfo(INFO, wait_for_ready=True, timeout=60).store_id


def test_a_port_in_use_is_named(server_process: Any, store_path: Path) -> None:
    """A server whose port is taken ends with one line that names the address and makes no store."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert _ended(server_process.begin(store_path, "--listen", address)) == 1
    log = server_process.log()
    assert len(log.strip().splitlines()) == 1
    assert address in log
    assert not store_path.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--set", "server.thread_counts=3"], 2, ["server.thread_counts", "server.thread_count"]),
        (["--listen", "nowhere"], 2, ["nowhere", "HOST:PORT"]),
        (["--listen", "192.0.2.1:0"], 1, ["192.0.2.1:0"]),
        (["--config", "/does/not/exist.toml"], 2, ["/does/not/exist.toml"]),
        (["--set", "tls.key_path=/no/key", "--set", "tls.certificate_path=/no/cert"], 1, ["/no/key", "tls"]),
    ],
)
def test_wrong_settings_end_the_start(
    server_process: Any, store_path: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    """A start that cannot be ends with its exit code and says what is wrong, without a traceback."""
    assert _ended(server_process.begin(store_path, *arguments)) == code
    log = server_process.log()
    assert [word for word in words if word not in log] == []
    assert "Traceback" not in log


def test_a_socket_that_cannot_be_looked_at_is_named(server_process: Any, store_path: Path, tmp_path: Path) -> None:
    """A path of a socket that the system refuses ends the start in one line that names it."""
    (tmp_path / "file").write_text("no folder")
    path = tmp_path / "file" / "mien.sock"
    assert _ended(server_process.begin(store_path, "--listen", "127.0.0.1:0", "--unix", str(path))) == 1
    log = server_process.log()
    assert str(path) in log
    assert "Traceback" not in log
    assert not store_path.exists()


@pytest.mark.parametrize("damage", ["file", "other"])
def test_what_is_no_store_is_refused(server_process: Any, tmp_path: Path, damage: str) -> None:
    """A path that holds something else is refused in one line that names it."""
    path = tmp_path / "not-a-store"
    if damage == "file":
        path.write_text("hello")
    else:
        path.mkdir()
        (path / "letters.txt").write_text("hello")
    assert _ended(server_process.begin(path, "--listen", "127.0.0.1:0")) == 1
    log = server_process.log()
    assert str(path) in log
    assert "Traceback" not in log


def _wait_until_stuck(sent: list[int]) -> None:
    """Wait until nothing more has been sent for a while."""
    count = -1
    while count != len(sent):
        count = len(sent)
        time.sleep(STUCK_S)


@pytest.mark.parametrize("damaged", ["FORMAT", "meta/data.mdb"])
def test_a_damaged_store_is_refused(server_process: Any, store_path: Path, damaged: str) -> None:
    """A store whose files make no sense is refused in one line that names the path, and left as it is."""
    server = server_process(store_path)
    server.create_gallery(dimension=DIMENSION)
    assert server.end() == 0
    file = store_path / damaged
    garbage = b"garbage " * (file.stat().st_size // 8 + 1)
    file.write_bytes(garbage)
    assert _ended(server_process.begin(store_path, "--listen", "127.0.0.1:0")) == 1
    log = server_process.log()
    assert str(store_path) in log
    assert "Traceback" not in log
    assert file.read_bytes() == garbage


def test_a_second_signal_ends_what_still_runs(
    server_process: Any, store_path: Path, pack: Any, unit_vectors: Any, until: Any
) -> None:
    """While a call holds up the end, a second signal ends it, and the store is closed well all the same."""
    server = server_process(store_path, "--drain-seconds", "600")
    server.create_gallery(dimension=DIMENSION)
    list(server.galleries.StreamEnroll(iter([_batch(pack, unit_vectors(50), 1)])))
    probes = recognition_service_pb2.Probes(embeddings=pack(unit_vectors(5000)))
    search = recognition_service_pb2.SearchFacesRequest(gallery="staff", probes=probes, k=40, columnar=True)
    sent: list[int] = []

    def requests() -> Iterator[recognition_service_pb2.StreamSearchRequest]:
        for sequence in range(1, 100):
            sent.append(sequence)
            yield recognition_service_pb2.StreamSearchRequest(sequence=sequence, request=search)

    stream = server.recognition.StreamSearch(requests())
    assert next(stream).sequence == 1
    _wait_until_stuck(sent)  # nobody takes the further answers: 8 MB each, more than the way holds
    server.process.send_signal(signal.SIGTERM)
    until(lambda: "ending" in server_process.log())
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(1.0)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(NOT_STARTED_TIMEOUT_S) == 0
    assert "second signal" in server_process.log()
    stream.cancel()


def test_ending_answers_what_was_taken(server_process: Any, store_path: Path, pack: Any, unit_vectors: Any) -> None:
    """On SIGTERM an open stream gets an answer for every batch it was taken, then UNAVAILABLE; nothing is lost."""
    server = server_process(store_path)
    server.create_gallery(dimension=DIMENSION)
    queue: Queue[pb.StreamEnrollRequest | None] = Queue()
    stream = server.galleries.StreamEnroll(iter(queue.get, None))
    queue.put(_batch(pack, unit_vectors(100, seed=1), 1))
    acknowledged = len(next(stream).face_ids)
    queue.put(_batch(pack, unit_vectors(100, seed=2), 2))
    server.process.send_signal(signal.SIGTERM)
    rest: list[int] = []
    with pytest.raises(grpc.RpcError) as caught:
        rest.extend(len(answer.face_ids) for answer in stream)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    queue.put(None)
    assert server.process.wait(NOT_STARTED_TIMEOUT_S) == 0
    again = server_process(store_path)
    request = pb.GetGalleryRequest(gallery="staff")
    found = again.galleries.GetGallery(request, wait_for_ready=True, timeout=60).gallery
    assert found.face_count == acknowledged + sum(rest)


def test_an_idle_stream_does_not_hold_up_the_end(server_process: Any, store_path: Path) -> None:
    """A stream whose caller says nothing ends with UNAVAILABLE and does not use up the time for draining."""
    server = server_process(store_path, "--drain-seconds", "600")
    queue: Queue[pb.StreamEnrollRequest | None] = Queue()
    stream = server.galleries.StreamEnroll(iter(queue.get, None), wait_for_ready=True)
    assert server.operations.GetServerInfo(INFO, wait_for_ready=True, timeout=60).store_id
    assert server.end() == 0
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    queue.put(None)


def test_a_unix_socket_serves_beside_tcp(server_process: Any, store_path: Path, tmp_path: Path) -> None:
    """The same server answers on its Unix socket, whose file is there while it runs and a stale one is replaced."""
    path = tmp_path / "mien.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = server_process(store_path, "--unix", str(path))
    assert stat.S_ISSOCK(path.stat().st_mode)
    with grpc.insecure_channel(f"unix:{path}") as channel:
        call = channel.unary_unary("/mien.v1.OperationsService/GetServerInfo")
        answer = operations_service_pb2.GetServerInfoResponse.FromString(call(b"", wait_for_ready=True, timeout=60))
    assert answer.store_id == server.operations.GetServerInfo(INFO).store_id
    assert server.end() == 0
    assert not path.exists()


def test_logs_hold_no_names(server_process: Any, store_path: Path, pack: Any, unit_vectors: Any) -> None:
    """At the level of every day, logs as JSON hold no identity and no display name."""
    server = server_process(store_path, "--log-format", "json")
    server.create_gallery(dimension=DIMENSION)
    item = pb.EnrollItem(
        identity_id="secret-identity", identity_display_name="Secret Name", embedding=pack(unit_vectors(1))
    )
    server.galleries.EnrollFaces(pb.EnrollFacesRequest(gallery="staff", items=[item]))
    assert server.end() == 0
    log = server_process.log()
    assert log.splitlines()
    assert all(line.startswith("{") for line in log.splitlines())
    assert "ecret" not in log


def test_concurrent_callers_are_all_answered(
    server_process: Any, store_path: Path, pack: Any, unit_vectors: Any
) -> None:
    """Callers beyond the server's threads wait their turn, and every one is answered."""
    arguments = ("--set", "server.thread_count=2", "--set", "server.stream_count_max=1")
    server = server_process(store_path, *arguments)
    server.create_gallery(dimension=DIMENSION)

    def enroll(number: int) -> int:
        item = pb.EnrollItem(identity_id=f"p{number}", embedding=pack(unit_vectors(1, seed=number)))
        answer = server.galleries.EnrollFaces(pb.EnrollFacesRequest(gallery="staff", items=[item]))
        return answer.outcomes[0].status.code

    with ThreadPoolExecutor(16) as callers:
        assert list(callers.map(enroll, range(16))) == [0] * 16
    assert _face_count(server) == 16


def test_streams_beyond_the_limit_are_refused(
    server_process: Any, store_path: Path, refused: Any, pack: Any, unit_vectors: Any
) -> None:
    """A stream beyond stream_count_max is refused with a time to come back, and single calls still find a thread."""
    arguments = ("--set", "server.thread_count=2", "--set", "server.stream_count_max=1")
    server = server_process(store_path, *arguments)
    server.create_gallery(dimension=DIMENSION)
    queue: Queue[pb.StreamEnrollRequest | None] = Queue()
    stream = server.galleries.StreamEnroll(iter(queue.get, None))
    queue.put(_batch(pack, unit_vectors(2), 1))
    assert next(stream).enrolled_count == 2
    refusal = refused(lambda: list(server.galleries.StreamEnroll(iter([]))))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
    assert "RetryInfo" in refusal.details
    assert _face_count(server) == 2
    queue.put(None)
    assert list(stream) == []


def test_the_command_says_its_version_and_settings(server_process: Any, store_path: Path) -> None:
    """--version and --print-config answer on standard output and make no store."""
    version = server_process.begin(store_path, "--version")
    assert version.communicate()[0].startswith("mien-server ")
    printed = server_process.begin(store_path, "--print-config", "--set", "index.build_thread_count=1")
    assert "build_thread_count = 1\n" in printed.communicate()[0]
    assert (version.returncode, printed.returncode) == (0, 0)
    assert not store_path.exists()


def test_a_store_that_cannot_be_made_is_named(server_process: Any, tmp_path: Path) -> None:
    """A folder in which nothing may be made is named in one line."""
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    assert _ended(server_process.begin(folder / "store", "--listen", "127.0.0.1:0")) == 1
    assert "Traceback" not in server_process.log()
