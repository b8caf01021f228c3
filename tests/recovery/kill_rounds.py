"""Rounds of load, SIGKILL, restart and comparison: what a store must still hold is known to the last face.

Each worker writes faces that nobody else touches, so that it knows what every write makes of them. A write that was
acknowledged must be there after the restart. One that was under way must be wholly there or wholly absent; it is then
sent again under its request id and must have happened once.
"""

from __future__ import annotations

import enum
import itertools
import json
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien_client import Client, Effort, Operation, OperationKind, OperationState, Unavailable
from mien_index_tools.cli.main import main as mien_index
from mien_server.index.crash_points import STEPS as INDEX_STEPS
from mien_server.storage.steps import ERASURE_STEPS, SNAPSHOT_STEPS
from mien_server.storage.steps import STEPS as COMMIT_STEPS
from tests.recovery.kill_worker import DIMENSION, GALLERY, Faces, KnownFace, Worker, leaves
from tests.server_processes import ServerProcess
from tests.unit_rows import nearest

__all__ = ["SEED_VARIABLE", "KillRounds", "RoundKind"]

SEED_VARIABLE = "MIEN_KILL_SEED"
"""Environment variable that repeats the choices of an earlier run."""

WORKER_COUNT = 4
LOAD_TIME_MAX_S = 0.8
BUILD_TIME_MAX_S = 5.0
STEP_TIME_MAX_S = 6.0
END_TIME_MAX_S = 120.0
ERASURES_WAITED_EVERY = 10
PAGE_SIZE = 1000
SIMILARITY_TOLERANCE = 1e-5

INDEX_SETTINGS = ("index.flat_rows_min=300", "index.flat_bytes_max=1", "index.tail_rows_max=50")
"""A gallery of more than 300 faces gets an index."""


class RoundKind(enum.Enum):
    """What a round's kill waits for."""

    TIME = "a random moment"
    BUILD = "a build of the index"
    STEP = "a named step"


@dataclass(frozen=True)
class Crash:
    """A named step at which the server kills itself, the last of up to `passes_max` times that it gets there."""

    step: str
    passes_max: int = 1

    def at(self, choices: random.Random) -> str:
        """As the environment variable says it."""
        return f"{self.step}:{choices.randint(1, self.passes_max)}"


# Commits come by the hundred in a round, seals by the dozen.
CRASHES = [
    *(Crash(step, 50) for step in COMMIT_STEPS),
    *(Crash(step, 2) for step in INDEX_STEPS),
    *(Crash(step) for step in SNAPSHOT_STEPS),
    *(Crash(step) for step in ERASURE_STEPS),
]


class KillRounds:
    """One store through many rounds.

    Args:
        data: the store, made here.
        seed: of every random choice; the moment of each kill differs by what the machine does meanwhile.
    """

    def __init__(self, data: Path, seed: int) -> None:
        self._data = data
        self._saved = data.with_name(f"{data.name}-saved")
        self._saved.mkdir()
        self._seed = seed
        self._choices = random.Random(seed)
        self._round = 0
        self._crashes = itertools.cycle(self._choices.sample(CRASHES, len(CRASHES)))
        self.workers = [Worker(f"w{number}") for number in range(WORKER_COUNT)]
        self.pending_count = 0
        """Writes that were under way at a kill."""
        self.builds_killed = 0
        self.steps_reached: Counter[str] = Counter()
        """Rounds in which the server killed itself, by step."""
        self.steps_missed: Counter[str] = Counter()
        """Rounds that ended before the server came to the step."""

    def run_round(self, kind: RoundKind) -> None:
        """Start, compare with what is known, load, kill."""
        self._round += 1
        crash_at = next(self._crashes).at(self._choices) if kind is RoundKind.STEP else ""
        has_index = kind is not RoundKind.TIME
        settings = (f"snapshots.destinations=[{json.dumps(str(self._saved))}]", *(INDEX_SETTINGS if has_index else ()))
        server = ServerProcess(self._data, *settings)
        try:
            self._compare(server)
            if self._round % ERASURES_WAITED_EVERY == 0:
                # Rounds are shorter than an erasure takes: without a pause they would only pile up.
                with server.client() as client:
                    self._wait_for_erasures(client)
            if crash_at:
                # Comparing writes too, and must not be cut off.
                server.kill()
                server = ServerProcess(self._data, *settings, crash_at=crash_at)
            with ThreadPoolExecutor(WORKER_COUNT) as threads:
                runs = [
                    threads.submit(worker.run, server.address, f"{self._seed}-{self._round}-{worker.name}")
                    for worker in self.workers
                    if server.address
                ]
                try:
                    match kind:
                        case RoundKind.TIME:
                            time.sleep(self._choices.uniform(0.02, LOAD_TIME_MAX_S))
                        case RoundKind.BUILD:
                            self._wait_for_the_build(server)
                        case RoundKind.STEP:
                            self._wait_for_the_step(server, crash_at)
                finally:
                    server.kill()
            for run in runs:
                run.result()
        except BaseException:
            print(f"round {self._round}, {kind.value} {crash_at}; again with {SEED_VARIABLE}={self._seed}")
            raise
        finally:
            server.kill()
        self.pending_count += sum(len(worker.pending) for worker in self.workers)

    def finish(self) -> None:
        """Compare once more, and end the server well; then the tools find nothing wrong with it and its snapshots."""
        destinations = f"snapshots.destinations=[{json.dumps(str(self._saved))}]"
        with ServerProcess(self._data, destinations) as server:
            self._compare(server)
            with server.client() as client:
                self._wait_for_erasures(client)
                operation = client.wait_operation(client.create_snapshot().name, timeout_s=END_TIME_MAX_S)
                assert operation.state is OperationState.SUCCEEDED, operation
            assert server.end() == 0
        assert mien_index(["verify", str(self._data), "--deep"]) == 0
        for snapshot in sorted(path.name for path in self._saved.iterdir()):
            assert mien_index(["verify-snapshot", f"{self._saved}/{snapshot}"]) == 0
        restored = self._data.with_name(f"{self._data.name}-restored")
        newest = max(path.name for path in self._saved.iterdir())
        assert mien_index(["restore", f"{self._saved}/{newest}", str(restored)]) == 0
        for data in (self._data, restored):
            with ServerProcess(data) as server:
                self._compare(server)

    @staticmethod
    def _wait_for_erasures(client: Client) -> None:
        """Those cut off by kills go on by themselves."""
        end_s = time.monotonic() + END_TIME_MAX_S
        while pending := list(client.list_erasures(pending_only=True)):
            assert time.monotonic() < end_s, f"{len(pending)} erasures do not end, such as {pending[0]}"
            time.sleep(0.1)

    def report(self) -> str:
        """What the rounds so far came to."""
        write_count = sum(worker.write_count for worker in self.workers)
        face_count = sum(len(worker.faces) for worker in self.workers)
        search_count = sum(worker.search_count for worker in self.workers)
        return (
            f"{write_count} writes answered, {self.pending_count} under way at a kill, {search_count} searches right, "
            f"{self.builds_killed} builds killed, killed at {self.steps_reached.total()} steps "
            f"({len(self.steps_reached)} different; {self.steps_missed.total()} rounds ended before), "
            f"{face_count} faces now"
        )

    def _wait_for_the_step(self, server: ServerProcess, crash_at: str) -> None:
        """Let the workers write until the server has killed itself at the step, if it comes to that."""
        if crash_at.startswith("snapshot."):
            with server.client() as client, suppress(Unavailable):
                client.create_snapshot()
        end_s = time.monotonic() + STEP_TIME_MAX_S
        while not server.has_ended and time.monotonic() < end_s:
            time.sleep(0.01)
        if server.has_ended:
            self.steps_reached[crash_at.partition(":")[0]] += 1
        else:
            self.steps_missed[crash_at.partition(":")[0]] += 1

    def _wait_for_the_build(self, server: ServerProcess) -> None:
        """Let the workers write until an index build has come to some point."""
        share = self._choices.uniform(0.0, 1.05)
        with server.client() as client:
            operation = client.rebuild_index(GALLERY)
            end_s = time.monotonic() + BUILD_TIME_MAX_S
            while not operation.is_done and operation.progress < share and time.monotonic() < end_s:
                time.sleep(0.01)
                operation = client.get_operation(operation.name)
        self.builds_killed += not operation.is_done

    # --- comparing ----------------------------------------------------------------------------------------------

    def _compare(self, server: ServerProcess) -> None:
        """Everything acknowledged is there, nothing is half there, and searches answer with the right people."""
        with server.client() as client:
            if self._round <= 1 and not any(worker.write_count for worker in self.workers):
                client.create_gallery(GALLERY, precomputed="made-1", dimension=DIMENSION)
                return
            found = _listed_faces(client)
            for worker in self.workers:
                worker.settle(found, _display_names(client), client)
            found = _listed_faces(client)
            known = {face_id: face for worker in self.workers for face_id, face in worker.faces.items()}
            assert sorted(known.keys() - found.keys()) == [], "acknowledged faces are lost"
            assert sorted(found.keys() - known.keys()) == [], "faces are there that were deleted or never enrolled"
            assert leaves(known, found)
            self._compare_identities(client, known)
            self._compare_searches(client, known)
            self._compare_operations(client)

    def _compare_identities(self, client: Client, known: Faces) -> None:
        face_counts = Counter(face.identity_id for face in known.values())
        identities = set().union(*(worker.identities for worker in self.workers))
        listed = {one.id: one.face_count for one in client.list_identities(GALLERY, page_size=PAGE_SIZE)}
        assert listed == {identity_id: face_counts[identity_id] for identity_id in identities}
        newest = max(worker.revision for worker in self.workers)
        gallery = client.get_gallery(GALLERY, min_revision=newest)
        assert (gallery.face_count, gallery.identity_count) == (len(known), len(listed))

        names = {identity_id: name for worker in self.workers for identity_id, name in worker.names.items()}
        shown = _display_names(client)
        assert {identity_id: shown[identity_id] for identity_id in names} == names, "acknowledged names are lost"

    def _compare_searches(self, client: Client, known: Faces) -> None:
        face_ids = list(known)
        rows = np.stack([known[face_id].vector for face_id in face_ids])
        gone = [vector for worker in self.workers for vector in worker.gone[-5:]]
        numbers = self._choices.sample(range(len(rows)), min(len(rows), 40))
        probes = np.concatenate([rows[numbers], np.reshape(gone, (len(gone), DIMENSION))])
        wanted, similarities = nearest(rows, probes, 5)
        answer = client.search_faces(GALLERY, embeddings=probes, k=5, effort=Effort(exact=True))
        for probe, neighbors in enumerate(answer.embeddings):
            assert [one.face_id for one in neighbors.neighbors] == [face_ids[number] for number in wanted[probe]]
            found = [one.similarity for one in neighbors.neighbors]
            assert np.allclose(found, similarities[probe], atol=SIMILARITY_TOLERANCE)
            assert [one.identity_id for one in neighbors.neighbors] == [
                known[one.face_id].identity_id for one in neighbors.neighbors
            ]
        # One probe a call goes through the index where there is one: each hit must be the person of that row.
        for probe in probes[:8]:
            for one in client.search_faces(GALLERY, embeddings=probe, k=5).embeddings[0].neighbors:
                face = known[one.face_id]
                assert one.identity_id == face.identity_id
                assert abs(one.similarity - float(face.vector @ probe)) < SIMILARITY_TOLERANCE

    @staticmethod
    def _compare_operations(client: Client) -> None:
        start_time = client.get_server_info().start_time
        assert start_time is not None

        def is_older(operation: Operation) -> bool:
            # Erasures go on where a kill cut them off.
            is_cut_off = operation.kind is not OperationKind.ERASE
            return is_cut_off and operation.create_time is not None and operation.create_time < start_time

        left = [one for one in client.list_operations() if is_older(one) and not one.is_done]
        assert left == [], "operations of a server that is gone"


def _display_names(client: Client) -> dict[str, str]:
    return {one.id: one.display_name for one in client.list_identities(GALLERY, page_size=PAGE_SIZE)}


def _listed_faces(client: Client) -> dict[str, KnownFace]:
    found = {}
    for face in client.list_faces(GALLERY, include_embedding=True, page_size=PAGE_SIZE):
        assert face.embedding is not None
        assert face.id not in found
        found[face.id] = KnownFace(face.identity_id, face.embedding)
    return found
