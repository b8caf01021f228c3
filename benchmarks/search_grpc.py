"""A search over gRPC on the loopback beside its parts: an empty call of the same bytes and the engine's own time.

Three processes: this one calls; a real `mien-server`; an empty server that answers the same number of bytes. The
engine's time is taken in this process on a copy of the store. All three in turn, in rounds of many calls: there the
empty call finds the caches warm, as no search leaves them, which is the stricter baseline; the ratio of calls taken one
by one is said beside it. Messages are protobuf: reading and writing them, on both sides, is our part and not the empty
call's. The client library's own work (numpy and typed results) is a figure of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from benchmarks import engine_calls
from benchmarks.echo_server import OPTIONS, EchoServer
from benchmarks.figures import Figure, Target
from benchmarks.raw_faiss import Float32Array
from benchmarks.timing import percentile_ms, seconds_in_turn
from benchmarks.workbench import GALLERY, Workbench
from mien.v1 import recognition_service_pb2 as pb
from mien.v1 import recognition_service_pb2_grpc as pb_grpc
from mien.v1 import types_pb2
from mien_client import Client
from mien_server.engine import Engine

__all__ = ["run"]

BATCH_PROBES = 1000
SINGLE_PROBES = 500
ROUND_CALLS = 50
CALLS_IN_TURN = 300
RATIO_MAX = 1.3


@dataclass(frozen=True, slots=True)
class _Case:
    """One kind of call in all its forms.

    Attributes:
        requests: one for each call, to be taken in a circle.
        probes: the same as arrays.
        columnar: whether the client library asks for columns.
    """

    name: str
    verb: str
    requests: list[pb.SearchFacesRequest] | list[pb.IdentifyRequest]
    probes: list[Float32Array]
    columnar: bool = False

    @property
    def is_single(self) -> bool:
        return len(self.probes) > 1


def run(bench: Workbench) -> list[Figure]:
    """Single probes and batches, for search and identify, with the stub and with the client library."""
    probes = bench.mated_probes(BATCH_PROBES).vectors
    figures = []
    with (
        bench.engine() as engine,
        bench.server() as server,
        server.client() as client,
        EchoServer() as echo,
        grpc.insecure_channel(server.address, [*OPTIONS, ("grpc.enable_http_proxy", 0)]) as channel,
    ):
        stub: Any = pb_grpc.RecognitionServiceStub(channel)
        for case in _cases(probes):
            figures += _measure(bench, case, engine, stub, client, echo)
    return figures


def _cases(probes: Float32Array) -> list[_Case]:
    singles = [np.ascontiguousarray(probes[number : number + 1]) for number in range(SINGLE_PROBES)]
    batch = [np.ascontiguousarray(probes)]
    return [
        _Case("one_probe", "search", [_search_request(one, columnar=False) for one in singles], singles),
        _Case("one_probe", "identify", [_identify_request(one) for one in singles], singles),
        _Case("batch", "search", [_search_request(batch[0], columnar=True)], batch, columnar=True),
        _Case("batch", "identify", [_identify_request(batch[0])], batch),
    ]


def _probes(vectors: Float32Array) -> pb.Probes:
    return pb.Probes(
        embeddings=types_pb2.Embeddings(data=vectors.tobytes(), dimension=vectors.shape[1], count=len(vectors))
    )


def _search_request(vectors: Float32Array, *, columnar: bool) -> pb.SearchFacesRequest:
    return pb.SearchFacesRequest(gallery=GALLERY, probes=_probes(vectors), k=engine_calls.NEIGHBORS, columnar=columnar)


def _identify_request(vectors: Float32Array) -> pb.IdentifyRequest:
    return pb.IdentifyRequest(gallery=GALLERY, probes=_probes(vectors), candidate_count=engine_calls.CANDIDATES)


def _measure(
    bench: Workbench, case: _Case, engine: Engine, stub: Any, client: Client, echo: EchoServer
) -> list[Figure]:
    method = stub.SearchFaces if case.verb == "search" else stub.Identify
    body, answer_bytes = case.requests[0].SerializeToString(), method(case.requests[0]).ByteSize()
    empty_call = echo.call(answer_bytes)
    engine_call: Callable[..., object] = getattr(engine_calls, case.verb)
    packed = [engine_calls.packed(one) for one in case.probes]
    count = len(case.requests)
    calls = [
        lambda number: method(case.requests[number % count]),
        lambda _number: empty_call(body),
        lambda number: engine_call(engine, packed[number % count]),
        lambda number: _client_call(client, case, number % count),
    ]
    rounds, calls_per_round = (10, ROUND_CALLS) if case.is_single else (9, 1)
    taken = seconds_in_turn(calls, rounds, calls_per_round, warm_up_calls=20 if case.is_single else 2)
    over_grpc, empty, in_process, with_client = (np.median(one, axis=1) * 1000.0 for one in taken)
    # By rounds, for within a round the machine is equally busy for all of them.
    ratio, client_ratio = (float(np.median(one / (empty + in_process))) for one in (over_grpc, with_client))
    parts = float(np.median(empty + in_process))
    detail = (
        f"{len(case.probes[0])} probes a call, {len(body)} bytes there and {answer_bytes} back: empty call "
        f"{np.median(empty):.2f} ms, engine {np.median(in_process):.2f} ms; medians of {rounds} rounds of "
        f"{calls_per_round}"
    )
    if case.is_single:
        detail += f"; call by call in turn the ratio is {_ratio_call_by_call(calls[:3]):.2f}"
    return [
        Figure(
            name=f"{case.verb}.grpc.{bench.size}.{case.name}.ratio_to_parts",
            value=parts * ratio,
            unit="ms",
            baseline=parts,
            detail=f"{detail}; p99 {percentile_ms(taken[0], 99):.2f} ms",
            target=Target.at_most(ratio, RATIO_MAX),
        ),
        Figure(
            name=f"{case.verb}.client.{bench.size}.{case.name}.ratio_to_parts",
            value=parts * client_ratio,
            unit="ms",
            baseline=parts,
            detail=f"the Python client's {case.verb}{' in columns' if case.columnar else ''}; {detail}",
        ),
    ]


def _ratio_call_by_call(calls: Sequence[Callable[[int], object]]) -> float:
    """The ratio when no call follows one of its own kind: then the empty call meets caches as cold as a search does."""
    over_grpc, empty, in_process = (percentile_ms(one, 50) for one in seconds_in_turn(calls, CALLS_IN_TURN))
    return over_grpc / (empty + in_process)


def _client_call(client: Client, case: _Case, number: int) -> object:
    vectors = case.probes[number]
    if case.verb == "search":
        return client.search_faces(GALLERY, embeddings=vectors, k=engine_calls.NEIGHBORS, columnar=case.columnar)
    return client.identify(GALLERY, embeddings=vectors, candidate_count=engine_calls.CANDIDATES)
