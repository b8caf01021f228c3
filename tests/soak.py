"""A server under abuse for a while, with a well-behaved client beside: what it used, and what the client got."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mien_client import Client, ClientOptions, Decision, DecisionPolicy, MienClientError, row_batches
from tests.server_processes import ServerProcess
from tests.soak_load import DIMENSION, GALLERY, PEOPLE_COUNT, REPORT_INTERVAL_S
from tests.unit_rows import Rows, unit_rows

__all__ = ["Soak", "SoakReport"]

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = (
    "server.request_bytes_max=134217728",
    "server.answer_bytes_max=67108864",
)
"""Less than the defaults, so that the bounds are met."""
SAMPLE_INTERVAL_S = 1.0
CALL_INTERVAL_S = 0.02
ENROLL_EVERY = 20
PAGE_BYTES = 4096
POLICY = DecisionPolicy(similarity=0.9)


@dataclass
class SoakReport:
    """What was seen, by interval of ten seconds.

    Attributes:
        resident_mib: of the server, sampled each second.
        latencies_s: of the well-behaved client's calls that were answered, retries included.
        wrong: answers that named the wrong person, or lost an enrolment.
        failures: of the well-behaved client's calls, by reason, after all attempts.
        outcomes: of the abusers' calls.
    """

    resident_mib: list[list[float]] = field(default_factory=lambda: [[]])
    latencies_s: list[list[float]] = field(default_factory=lambda: [[]])
    wrong: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    outcomes: list[Counter[tuple[str, str]]] = field(default_factory=list)

    def table(self) -> str:
        """One line a minute (or an interval, of a short run), then what came of the abuse."""
        count = min(len(self.resident_mib), len(self.latencies_s))
        per_line = 6 if count > 12 else 1
        lines = [
            "| time | RSS MiB, largest | answers | p50 ms | p99 ms | slowest ms |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for start in range(0, count, per_line):
            memory = [one for part in self.resident_mib[start : start + per_line] for one in part]
            waits = [one for part in self.latencies_s[start : start + per_line] for one in part] or [float("nan")]
            quantiles = " | ".join(f"{1000 * np.quantile(waits, q):.0f}" for q in (0.5, 0.99, 1.0))
            ends_s = min(count, start + per_line) * REPORT_INTERVAL_S
            lines.append(f"| {ends_s:.0f} s | {max(memory, default=0):.0f} | {len(waits)} | {quantiles} |")
        total: Counter[tuple[str, str]] = sum(self.outcomes, Counter())
        lines += ["", "| abuse | outcome | count |", "| --- | --- | --- |"]
        lines += [f"| {kind} | {outcome} | {count} |" for (kind, outcome), count in sorted(total.items())]
        return "\n".join(lines)

    def growth_mib(self, warm_up_share: float) -> float:
        """By how much the largest resident memory after the warm-up is beyond the largest in it."""
        samples = [one for part in self.resident_mib for one in part]
        split = max(1, int(len(samples) * warm_up_share))
        return max(samples[split:], default=0.0) - max(samples[:split])


class Soak:
    """One run.

    Args:
        data: the store, made here.
        seconds: how long the abuse lasts.
    """

    def __init__(self, data: Path, seconds: float) -> None:
        self._data = data
        self._seconds = seconds
        self._is_over = threading.Event()
        self.report = SoakReport()

    def run(self) -> SoakReport:
        """Enrol, then abuse, serve and measure at once."""
        server = ServerProcess(self._data, *SETTINGS)
        try:
            rows = unit_rows(PEOPLE_COUNT, DIMENSION)
            with Client(server.address) as client:
                client.create_gallery(GALLERY, precomputed="soak", dimension=DIMENSION)
                ids = [f"person-{number}" for number in range(PEOPLE_COUNT)]
                assert sum(ack.enrolled_count for ack in client.stream_enroll(GALLERY, row_batches(rows, ids))) == len(
                    ids
                )
            command = [sys.executable, "-m", "tests.soak_load", server.address, str(self._seconds)]
            with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as load:
                self._measure(server, load, rows)
            assert load.returncode == 0
            assert server.end() == 0
        finally:
            server.kill()
        return self.report

    def _measure(self, server: ServerProcess, load: subprocess.Popen[str], rows: Rows) -> None:
        helpers = [
            threading.Thread(target=self._sample, args=(server.pid,)),
            threading.Thread(target=self._behave, args=(server.address, rows)),
        ]
        for helper in helpers:
            helper.start()
        assert load.stdout is not None
        for line in load.stdout:
            self.report.outcomes.append(Counter({(kind, outcome): count for kind, outcome, count in json.loads(line)}))
            self.report.resident_mib.append([])
            self.report.latencies_s.append([])
        self._is_over.set()
        for helper in helpers:
            helper.join()

    def _sample(self, pid: int) -> None:
        while not self._is_over.wait(SAMPLE_INTERVAL_S):
            pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
            self.report.resident_mib[-1].append(pages * PAGE_BYTES / 2**20)

    def _behave(self, address: str, rows: Rows) -> None:
        choices = random.Random(1)
        with Client(address, ClientOptions(timeout_s=60.0)) as client:
            number = 0
            while not self._is_over.wait(CALL_INTERVAL_S):
                number += 1
                began_s = time.monotonic()
                try:
                    if number % ENROLL_EVERY:
                        person = choices.randrange(PEOPLE_COUNT)
                        self._identify(client, rows[person], f"person-{person}")
                    else:
                        self._enroll(client, number)
                except MienClientError as error:
                    self.report.failures[error.reason or error.code] += 1
                    continue
                self.report.latencies_s[-1].append(time.monotonic() - began_s)

    def _identify(self, client: Client, probe: np.ndarray[tuple[int], np.dtype[np.float32]], expected: str) -> None:
        found = client.identify(GALLERY, embeddings=probe, policy=POLICY).embeddings[0]
        named = found.candidates[0].identity_id if found.decision is Decision.MATCH else "nobody"
        if named != expected:
            self.report.wrong.append(f"{named} for {expected}")

    def _enroll(self, client: Client, number: int) -> None:
        person, row = f"new-{number}", unit_rows(1, DIMENSION, seed=number)
        for ack in client.stream_enroll(GALLERY, row_batches(row, [person])):
            if ack.enrolled_count != 1:
                self.report.wrong.append(f"{person} was not enrolled")
        self._identify(client, row[0], person)
