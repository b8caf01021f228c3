"""How calls run over a real channel: deadlines, cancellation, flow control, limits, TLS."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import numpy as np
import pytest

from mien.v1 import gallery_service_pb2 as pb
from mien.v1 import operations_service_pb2, operations_service_pb2_grpc, recognition_service_pb2
from mien_server.rpc.server import ServerOptions
from mien_server.rpc.streams import StreamWindow

DIMENSION = 8
INFO = operations_service_pb2.GetServerInfoRequest()
WINDOW_REQUESTS = 4
READ_AHEAD_MAX = 40
"""What the transport itself may hold of small messages, beyond the window."""


@pytest.fixture
def server_options() -> ServerOptions:
    """A small window, so that a test can fill it."""
    return ServerOptions(listen_addresses=("127.0.0.1:0",), window=StreamWindow(requests_max=WINDOW_REQUESTS))


@pytest.fixture
def people(server: Any, pack: Any, unit_vectors: Any) -> Any:
    """A server with twenty people, one face each, of `unit_vectors(20)`."""
    server.create_gallery(dimension=DIMENSION)
    (answer,) = server.galleries.StreamEnroll(iter([_batch(pack(unit_vectors(20)), 1, 20)]))
    assert answer.enrolled_count == 20
    return server


def _batch(embeddings: Any, sequence: int, count: int) -> pb.StreamEnrollRequest:
    rows = pb.EnrollRows(embeddings=embeddings, identity_ids=[f"person-{sequence}-{row}" for row in range(count)])
    return pb.StreamEnrollRequest(sequence=sequence, gallery="staff", rows=rows)


def _search(embeddings: Any, **further: Any) -> recognition_service_pb2.SearchFacesRequest:
    probes = recognition_service_pb2.Probes(embeddings=embeddings)
    return recognition_service_pb2.SearchFacesRequest(gallery="staff", probes=probes, **further)


def test_a_deadline_that_has_passed_stops_the_work(people: Any, pack: Any, unit_vectors: Any) -> None:
    """A call whose time is up is answered DEADLINE_EXCEEDED, and the server goes on."""
    many = _search(pack(np.tile(unit_vectors(1000), (10, 1))), k=20)
    with pytest.raises(grpc.RpcError) as caught:
        people.recognition.SearchFaces(many, timeout=0.001)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert people.recognition.SearchFaces(_search(pack(unit_vectors(1)))).embeddings


def test_waiting_for_an_operation_ends_with_its_timeout(people: Any, refused: Any) -> None:
    """Waiting for an operation that is not there is refused at once, whatever the timeout."""
    request = operations_service_pb2.WaitOperationRequest(name="operations/none")
    request.timeout.FromSeconds(600)
    assert refused(lambda: people.operations.WaitOperation(request)).reason == "OPERATION_NOT_FOUND"


def test_a_stream_that_is_cancelled_lets_go(people: Any, pack: Any, unit_vectors: Any) -> None:
    """When a caller goes away in the middle of a stream, the server holds nothing of it any more."""
    queue: Queue[pb.StreamEnrollRequest | None] = Queue()
    stream = people.galleries.StreamEnroll(iter(queue.get, None))
    queue.put(_batch(pack(unit_vectors(2, seed=1)), 1, 2))
    assert next(stream).enrolled_count == 2
    assert people.rpc.wait_until_idle(0.0) == 1
    stream.cancel()
    queue.put(None)
    assert people.rpc.wait_until_idle(60.0) == 0


def test_a_slow_reader_stops_the_server_from_reading(people: Any, pack: Any, unit_vectors: Any, until: Any) -> None:
    """While a caller takes no answers the server reads no further, so that the memory of a stream is bounded."""
    probes = np.tile(unit_vectors(1000), (10, 1))  # 320 KB a request, 2 MB an answer: more than buffers on the way hold
    sent: list[int] = []
    may_end = threading.Event()

    def requests() -> Iterator[recognition_service_pb2.StreamSearchRequest]:
        for sequence in range(1, 200):
            sent.append(sequence)
            yield recognition_service_pb2.StreamSearchRequest(
                sequence=sequence, request=_search(pack(probes), k=20, columnar=True)
            )

    stream = people.recognition.StreamSearch(requests())
    assert next(stream).sequence == 1
    until(lambda: len(sent) > WINDOW_REQUESTS)
    may_end.wait(1.0)
    assert len(sent) < READ_AHEAD_MAX
    assert [next(stream).sequence for _ in range(20)] == list(range(2, 22)), "and goes on when answers are taken"
    stream.cancel()


def test_columns_and_messages_agree(people: Any, pack: Any, unit_vectors: Any) -> None:
    """A search answers the same faces, people and similarities in columns and in messages, and they are true."""
    vectors = unit_vectors(20)
    messages = people.recognition.SearchFaces(_search(pack(vectors), k=3))
    columns = people.recognition.SearchFaces(_search(pack(vectors), k=3, columnar=True)).columns
    rows = [row for probe in messages.embeddings for row in probe.neighbors]
    assert list(columns.counts) == [3] * 20
    assert [row.face_id for row in rows] == list(columns.face_ids)
    assert [row.identity_id for row in rows] == [columns.identity_ids[index] for index in columns.identities]
    assert [row.similarity for row in rows] == list(columns.similarities)
    expected = np.sort(vectors @ vectors.T, axis=1)[:, ::-1][:, :3]
    assert np.abs(np.array(columns.similarities).reshape(20, 3) - expected).max() < 1e-6


def test_answers_of_a_stream_come_in_order(people: Any, pack: Any, unit_vectors: Any) -> None:
    """Every request of a search stream is answered in its place, as a call of its own would be."""
    vectors = unit_vectors(20)
    requests = [
        recognition_service_pb2.StreamSearchRequest(
            sequence=row + 1, request=_search(pack(vectors[row : row + 1]), k=1)
        )
        for row in range(20)
    ]
    answers = list(people.recognition.StreamSearch(iter(requests)))
    assert [answer.sequence for answer in answers] == list(range(1, 21))
    found = [answer.response.embeddings[0].neighbors[0].identity_id for answer in answers]
    assert found == [f"person-1-{row}" for row in range(20)]


def test_a_stream_sent_again_enrols_once(people: Any, pack: Any, unit_vectors: Any) -> None:
    """A batch with a request id is enrolled once, also when it is sent again elsewhere in another stream."""
    first = _batch(pack(unit_vectors(5, seed=3)), 1, 5)
    first.request_id = "batch-a"
    policy = pb.EnrollmentPolicy(duplicates=pb.DUPLICATES_ALLOW)
    first.policy.CopyFrom(policy)
    (before,) = people.galleries.StreamEnroll(iter([first]))
    again = pb.StreamEnrollRequest()
    again.CopyFrom(first)
    again.sequence = 2
    other = _batch(pack(unit_vectors(1, seed=4)), 1, 1)
    _, after = people.galleries.StreamEnroll(iter([other, again]))
    assert (list(after.face_ids), after.revision) == (list(before.face_ids), before.revision)
    gallery = people.galleries.GetGallery(pb.GetGalleryRequest(gallery="staff")).gallery
    assert gallery.face_count == 20 + 5 + 1


def test_pages_stay_valid_while_others_write(people: Any, pack: Any, unit_vectors: Any) -> None:
    """A list read page by page has everyone who was there all the time exactly once, though others come and go."""
    seen: list[str] = []
    token = ""
    for page in range(5):
        request = pb.ListIdentitiesRequest(gallery="staff", page_size=5 + page, page_token=token)
        answer = people.galleries.ListIdentities(request)
        seen += [identity.id for identity in answer.identities]
        item = pb.EnrollItem(identity_id=f"a-{page}", embedding=pack(unit_vectors(1, seed=100 + page)))
        people.galleries.EnrollFaces(pb.EnrollFacesRequest(gallery="staff", items=[item]))
        token = answer.next_page_token
        if not token:
            break
    assert [name for name in seen if name.startswith("person-")] == sorted(f"person-1-{row}" for row in range(20))


def test_faces_are_paged(people: Any) -> None:
    """Faces come page by page in the order of enrolment, with their embeddings when asked."""
    request = pb.ListFacesRequest(gallery="staff", page_size=8, include_embedding=True)
    pages = []
    while True:
        answer = people.galleries.ListFaces(request)
        pages.append([face.identity_id for face in answer.faces])
        assert all(face.embedding.dimension == DIMENSION for face in answer.faces)
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert [len(page) for page in pages] == [8, 8, 4]
    assert [name for page in pages for name in page] == [f"person-1-{row}" for row in range(20)]


def test_calls_beyond_what_may_wait_are_refused(server_process: Any, store_path: Path, until: Any) -> None:
    """When every thread is taken and nobody else may wait, a call is refused at once, and served when there is room."""
    arguments = ["server.thread_count=2", "server.stream_count_max=1", "server.waiting_call_count_max=0"]
    server = server_process(store_path, *(part for argument in arguments for part in ("--set", argument)))
    assert server.operations.GetServerInfo(INFO, wait_for_ready=True, timeout=60).store_id
    queues: list[Queue[pb.ListGalleriesRequest | None]] = [Queue(), Queue()]
    slowly_sent = server.channel.stream_unary(
        "/mien.v1.GalleryService/ListGalleries",
        pb.ListGalleriesRequest.SerializeToString,
        pb.ListGalleriesResponse.FromString,
    )
    calls = [slowly_sent.future(iter(queue.get, None), timeout=60) for queue in queues]
    until(lambda: _code(server) is grpc.StatusCode.RESOURCE_EXHAUSTED)
    for queue, call in zip(queues, calls, strict=True):
        queue.put(pb.ListGalleriesRequest())
        queue.put(None)
        assert list(call.result().galleries) == []
        until(lambda: _code(server) is grpc.StatusCode.OK)


def _code(server: Any) -> grpc.StatusCode:
    try:
        server.galleries.ListGalleries(pb.ListGalleriesRequest(), timeout=60)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def _make_certificate(folder: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; it makes the test's certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    options = ["-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run(
        ["openssl", "req", *options, *kind, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.mark.parametrize("asks_for_clients", [False, True])
def test_tls(server_process: Any, store_path: Path, tmp_path: Path, asks_for_clients: bool) -> None:
    """With a certificate only TLS is answered; with an authority for callers only those that show a certificate."""
    certificate, key = _make_certificate(tmp_path)
    arguments = [
        "--listen",
        "localhost:0",
        "--set",
        f"tls.certificate_path={certificate}",
        "--set",
        f"tls.key_path={key}",
    ]
    if asks_for_clients:
        arguments += ["--set", f"tls.client_ca_path={certificate}"]
    server = server_process(store_path, *arguments)
    own = (key.read_bytes(), certificate.read_bytes()) if asks_for_clients else (None, None)
    with grpc.secure_channel(server.address, grpc.ssl_channel_credentials(certificate.read_bytes(), *own)) as channel:
        assert operations_service_pb2_grpc.OperationsServiceStub(channel).GetServerInfo(INFO, timeout=60).store_id
    strangers = [grpc.insecure_channel(server.address)]
    if asks_for_clients:
        strangers.append(grpc.secure_channel(server.address, grpc.ssl_channel_credentials(certificate.read_bytes())))
    for channel in strangers:
        with channel, pytest.raises(grpc.RpcError):
            operations_service_pb2_grpc.OperationsServiceStub(channel).GetServerInfo(INFO, timeout=60)


def test_listening_to_others_without_tls_is_warned_of(server_process: Any, store_path: Path) -> None:
    """A server that other machines can reach without TLS says so when it starts; one on loopback does not."""
    assert server_process(store_path / "a").end() == 0
    assert "without TLS" not in server_process.log()
    assert server_process(store_path / "b", "--listen", "0.0.0.0:0").end() == 0
    assert "without TLS" in server_process.log()
