"""Rounds of load, SIGKILL, restart and comparison: what a store must still hold is known to the last face.

Each worker writes faces that nobody else touches, so that it knows what every write makes of them. A write that was
acknowledged must be there after the restart. One that was under way must be wholly there or wholly absent; it is then
sent again under its request id and must have happened once.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mien_client import Client, Effort, Operation
from tests.recovery.kill_worker import DIMENSION, GALLERY, Faces, KnownFace, Worker, leaves
from tests.server_processes import ServerProcess
from tests.unit_rows import nearest

__all__ = ["SEED_VARIABLE", "KillRounds"]

SEED_VARIABLE = "MIEN_KILL_SEED"
"""Environment variable that repeats the choices of an earlier run."""

WORKER_COUNT = 4
LOAD_TIME_MAX_S = 0.8
BUILD_TIME_MAX_S = 5.0
PAGE_SIZE = 1000
SIMILARITY_TOLERANCE = 1e-5

INDEX_SETTINGS = ("index.flat_rows_min=300", "index.flat_bytes_max=1", "index.tail_rows_max=200")
"""A gallery of more than 300 faces gets an index."""


class KillRounds:
    """One store through many rounds.

    Args:
        data: the store, made here.
        seed: of every random choice; the moment of each kill differs by what the machine does meanwhile.
    """

    def __init__(self, data: Path, seed: int) -> None:
        self._data = data
        self._seed = seed
        self._choices = random.Random(seed)
        self._round = 0
        self.workers = [Worker(f"w{number}") for number in range(WORKER_COUNT)]
        self.pending_count = 0
        """Writes that were under way at a kill."""
        self.builds_killed = 0

    def run_round(self, *, builds_index: bool) -> None:
        """Start, compare with what is known, load, kill."""
        self._round += 1
        server = ServerProcess(self._data, *(INDEX_SETTINGS if builds_index else ()))
        try:
            self._compare(server)
            with ThreadPoolExecutor(WORKER_COUNT) as threads:
                runs = [
                    threads.submit(worker.run, server.address, f"{self._seed}-{self._round}-{worker.name}")
                    for worker in self.workers
                ]
                try:
                    self._wait_for_the_moment(server, builds_index=builds_index)
                finally:
                    server.kill()
            for run in runs:
                run.result()
        finally:
            server.kill()
        self.pending_count += sum(len(worker.pending) for worker in self.workers)

    def finish(self) -> None:
        """Compare once more, and end the server well."""
        with ServerProcess(self._data) as server:
            self._compare(server)
            assert server.end() == 0
        with ServerProcess(self._data) as server:
            self._compare(server)

    def report(self) -> str:
        """What the rounds so far came to."""
        write_count = sum(worker.write_count for worker in self.workers)
        face_count = sum(len(worker.faces) for worker in self.workers)
        return (
            f"{write_count} writes answered, {self.pending_count} under way at a kill, {self.builds_killed} builds "
            f"killed, {face_count} faces now"
        )

    def _wait_for_the_moment(self, server: ServerProcess, *, builds_index: bool) -> None:
        """Let the workers write for a while; with an index build, until that has come to some point."""
        if not builds_index:
            time.sleep(self._choices.uniform(0.02, LOAD_TIME_MAX_S))
            return
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
                worker.settle(found, client)
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
            return operation.create_time is not None and operation.create_time < start_time

        assert [one.name for one in client.list_operations() if is_older(one) and not one.is_done] == []


def _listed_faces(client: Client) -> dict[str, KnownFace]:
    found = {}
    for face in client.list_faces(GALLERY, include_embedding=True, page_size=PAGE_SIZE):
        assert face.embedding is not None
        assert face.id not in found
        found[face.id] = KnownFace(face.identity_id, face.embedding)
    return found
