"""Many gRPC clients at once on one server, each asking one probe after the other on a channel of its own.

Requests are packed beforehand and answers left unread, so that the clients take as little as they can of the cores they
share with the server. Beside it, as many threads that ask raw FAISS the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import grpc
import numpy as np

from benchmarks.echo_server import OPTIONS
from benchmarks.timing import percentile_ms

__all__ = ["IDENTIFY", "clients_of", "measured"]

IDENTIFY = "/mien.v1.RecognitionService/Identify"
DURATION_S = 5.0
WARM_UP_S = 0.5
CALL_TIME_MAX_S = 60.0


@contextmanager
def clients_of(address: str, count: int, requests: Sequence[bytes]) -> Iterator[list[Callable[[int], object]]]:
    """So many callers, each a function of the number of its call, connected for the length of the block."""
    callers: list[Callable[[int], object]] = []
    with ExitStack() as channels:
        for client in range(count):
            # Channels with equal arguments would share one connection.
            options = [*OPTIONS, ("grpc.enable_http_proxy", 0), ("benchmark.client", client)]
            channel = channels.enter_context(grpc.insecure_channel(address, options))
            method = channel.unary_unary(IDENTIFY, None, None)

            def call(number: int, method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = method) -> object:
                return method(requests[number % len(requests)], timeout=CALL_TIME_MAX_S)

            callers.append(call)
        yield callers


def measured(callers: Sequence[Callable[[int], object]]) -> dict[str, float]:
    """All of them at once for some seconds: calls a second, and how long one took."""
    _run(callers, WARM_UP_S)
    seconds = _run(callers, DURATION_S)
    return {
        "probes_per_s": len(seconds) / DURATION_S,
        "p50_ms": percentile_ms(seconds, 50),
        "p99_ms": percentile_ms(seconds, 99),
    }


def _run(callers: Sequence[Callable[[int], object]], duration_s: float) -> list[float]:
    until_s = time.perf_counter() + duration_s
    first = np.random.default_rng(0).integers(0, 1 << 20, len(callers)).tolist()

    def ask(place: int) -> list[float]:
        seconds, number = [], first[place]
        while (started_s := time.perf_counter()) < until_s:
            callers[place](number)
            seconds.append(time.perf_counter() - started_s)
            number += 1
        return seconds

    with ThreadPoolExecutor(len(callers)) as pool:
        return [one for part in pool.map(ask, range(len(callers))) for one in part]
