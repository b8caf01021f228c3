"""Callers that do a server harm, in a process of their own: `python -m tests.soak_load ADDRESS SECONDS`.

Each kind of abuse has its threads. Every ten seconds one line of JSON says what came of it: outcomes by kind, counted.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from mien.v1 import gallery_service_pb2 as pb
from mien.v1 import recognition_service_pb2, types_pb2
from tests.raw_http2 import RawConnection, grpc_message
from tests.unit_rows import unit_rows

__all__ = ["DIMENSION", "GALLERY", "PEOPLE_COUNT", "REPORT_INTERVAL_S"]

GALLERY = "staff"
DIMENSION = 64
PEOPLE_COUNT = 2000
REPORT_INTERVAL_S = 10.0
CALL_TIME_MAX_S = 30.0
CALLS_IN_FLIGHT = 200
HELD_S = 10.0
"""How long a connection that does nothing useful is kept before another takes its place."""
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
SEARCH = "/mien.v1.RecognitionService/SearchFaces"
IDENTIFY = "/mien.v1.RecognitionService/Identify"
GET = "/mien.v1.GalleryService/GetGallery"
STREAM = "/mien.v1.GalleryService/StreamEnroll"

Tally = Callable[[str, str], None]


def _channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(
        address,
        [
            ("grpc.enable_retries", 0),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
        ],
    )


def _outcome(error: Any) -> str:
    """The code and, where the server gave one, the reason."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    info = error_details_pb2.ErrorInfo()
    for packed in status_pb2.Status.FromString(details).details:
        packed.Unpack(info)
    return f"{error.code().name} {info.reason}".strip()


def _search(probe_count: int, k: int, *, columnar: bool = False) -> bytes:
    rows = unit_rows(probe_count, DIMENSION)
    embeddings = types_pb2.Embeddings(data=rows.tobytes(), dimension=DIMENSION, count=probe_count)
    probes = recognition_service_pb2.Probes(embeddings=embeddings)
    request = recognition_service_pb2.SearchFacesRequest(gallery=GALLERY, probes=probes, k=k, columnar=columnar)
    return request.SerializeToString()


def _identification() -> bytes:
    rows = unit_rows(1, DIMENSION)
    embeddings = types_pb2.Embeddings(data=rows.tobytes(), dimension=DIMENSION, count=1)
    request = recognition_service_pb2.IdentifyRequest(
        gallery=GALLERY,
        probes=recognition_service_pb2.Probes(embeddings=embeddings),
        policy=types_pb2.DecisionPolicy(similarity=0.9),
    )
    return request.SerializeToString()


def flood_of_small_calls(address: str, ends_s: float, tally: Tally) -> None:
    """One connection with hundreds of calls under way, each followed by another at once."""
    bodies = {
        GET: pb.GetGalleryRequest(gallery=GALLERY).SerializeToString(),
        SEARCH: _search(1, 10),
        IDENTIFY: _identification(),
    }
    places = threading.Semaphore(CALLS_IN_FLIGHT)
    with _channel(address) as channel:
        methods = {path: channel.unary_unary(path) for path in bodies}

        def done(call: Any) -> None:
            tally("small", "OK" if call.code() is grpc.StatusCode.OK else _outcome(call))
            places.release()

        while time.monotonic() < ends_s:
            path = random.choice((GET, SEARCH, IDENTIFY))
            places.acquire()
            methods[path].future(bodies[path], timeout=CALL_TIME_MAX_S).add_done_callback(done)


def huge_messages(address: str, ends_s: float, tally: Tally) -> None:
    """Messages as large as may be, larger, and ones that would be larger still once they are parsed."""
    no_picture = types_pb2.Image(content=b"\0" * (30 * 1024 * 1024))
    detect = recognition_service_pb2.DetectFacesRequest(images=[no_picture, no_picture]).SerializeToString()
    requests = [
        ("/mien.v1.RecognitionService/DetectFaces", detect),
        (GET, b"\x0a" + b"\xff" * 4 + b"\x07" + b"x" * (MESSAGE_BYTES_MAX - 6)),
        (GET, b"\0" * (MESSAGE_BYTES_MAX + 1024 * 1024)),
        ("/mien.v1.GalleryService/EnrollFaces", b"\x12\x00" * (MESSAGE_BYTES_MAX // 2)),
        ("/mien.v1.GalleryService/DeleteFaces", b"\x12\x00" * (MESSAGE_BYTES_MAX // 2)),
    ]
    with _channel(address) as channel:
        while time.monotonic() < ends_s:
            path, body = random.choice(requests)
            try:
                channel.unary_unary(path)(body, timeout=CALL_TIME_MAX_S)
                tally("huge", "OK")
            except grpc.RpcError as error:
                tally("huge", _outcome(error))


def large_calls(address: str, ends_s: float, tally: Tally) -> None:
    """Answers as large as may be, one after another, each read."""
    body = _search(200, 1000)
    with _channel(address) as channel:
        while time.monotonic() < ends_s:
            try:
                channel.unary_unary(SEARCH)(body, timeout=CALL_TIME_MAX_S)
                tally("large", "OK")
            except grpc.RpcError as error:
                tally("large", _outcome(error))


def slow_readers(address: str, ends_s: float, tally: Tally) -> None:
    """Connections that ask for large answers and never read them."""
    body = grpc_message(_search(200, 1000, columnar=True))

    def hold(connection: RawConnection) -> None:
        for _ in range(20):
            connection.send(connection.begin(SEARCH), body, ends=True)

    _hold_connections("slow reader", hold, address, ends_s, tally)


def half_open(address: str, ends_s: float, tally: Tally) -> None:
    """Connections whose calls have no message, or half of one, and whose streams say nothing."""

    def hold(connection: RawConnection) -> None:
        for number in range(60):
            call = connection.begin(STREAM if number % 3 == 0 else GET)
            if number % 3 == 1:
                connection.send(call, grpc_message(b"half", 1_000_000))

    _hold_connections("half open", hold, address, ends_s, tally)


def _hold_connections(
    kind: str, hold: Callable[[RawConnection], None], address: str, ends_s: float, tally: Tally
) -> None:
    while time.monotonic() < ends_s:
        with contextlib.suppress(OSError):
            connection = RawConnection(address)
            try:
                hold(connection)
                tally(kind, "connection held")
                time.sleep(min(HELD_S, max(0.0, ends_s - time.monotonic())))
            finally:
                connection.close()


def idle_streams(address: str, ends_s: float, tally: Tally) -> None:
    """Streams of a real client that are opened, say nothing, and are opened again when the server ends them."""

    def nothing(is_over: threading.Event) -> Iterator[bytes]:
        is_over.wait()
        yield from ()

    with _channel(address) as channel:
        while time.monotonic() < ends_s:
            is_over = threading.Event()
            stream = channel.stream_stream(STREAM)(nothing(is_over), timeout=CALL_TIME_MAX_S)
            try:
                for _ in stream:
                    pass
            except grpc.RpcError as error:
                tally("idle stream", _outcome(error))
            is_over.set()
            time.sleep(0.1)


KINDS = {flood_of_small_calls: 4, huge_messages: 3, large_calls: 2, slow_readers: 4, half_open: 4, idle_streams: 30}
"""Threads of each."""


def main() -> None:
    """Do all of it at once until the time is up."""
    address, seconds = sys.argv[1], float(sys.argv[2])
    ends_s = time.monotonic() + seconds
    counts: Counter[tuple[str, str]] = Counter()
    lock = threading.Lock()

    def tally(kind: str, outcome: str) -> None:
        with lock:
            counts[kind, outcome] += 1

    for kind, count in KINDS.items():
        for _ in range(count):
            threading.Thread(target=kind, args=(address, ends_s, tally), daemon=True).start()
    while (left_s := ends_s - time.monotonic()) > 0:
        time.sleep(min(left_s, REPORT_INTERVAL_S))
        with lock:
            found, counts = counts, Counter()
        print(json.dumps([[kind, outcome, count] for (kind, outcome), count in sorted(found.items())]), flush=True)


if __name__ == "__main__":
    main()
