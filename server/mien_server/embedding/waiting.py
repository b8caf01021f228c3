"""The photographs that wait for a worker, and which of them are taken next. Pure: no clock, no thread, no I/O.

Requests take turns, one photograph each, so that a request of a hundred photographs does not hold up one of a single
one; only photographs of one kind are taken together, and never more than a fair share of what waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from mien_server.embedding.work import WorkKind

__all__ = ["Job", "WaitingJobs"]

Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class Job(Generic[Owner]):
    """One photograph of a request.

    Attributes:
        owner: the request; compared by identity.
        position: which of the request's photographs.
        attempt_count: workers that died before reading it.
        arrival: of its request, counted by the queue.
    """

    owner: Owner
    position: int
    content: bytes
    kind: WorkKind
    attempt_count: int = 0
    arrival: int = 0


class WaitingJobs(Generic[Owner]):
    """Jobs of many requests in a fair order."""

    def __init__(self) -> None:
        self._urgent: deque[Job[Owner]] = deque()
        self._requests: deque[deque[Job[Owner]]] = deque()
        self._count = 0
        self._bytes = 0
        self._arrival_count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def byte_count(self) -> int:
        """Bytes of the photographs that wait."""
        return self._bytes

    def add(self, jobs: Sequence[Job[Owner]]) -> None:
        """A request's photographs, behind the requests that wait."""
        if jobs:
            self._arrival_count += 1
            self._requests.append(deque(replace(job, arrival=self._arrival_count) for job in jobs))
            self._grow(jobs)

    def owners(self) -> list[tuple[Owner, int]]:
        """The requests that wait, oldest first, and how many of their photographs do; of those put back not."""
        newest_last = sorted(self._requests, key=lambda jobs: jobs[0].arrival)
        return [(jobs[0].owner, len(jobs)) for jobs in newest_last]

    def put_back(self, jobs: Sequence[Job[Owner]]) -> None:
        """Photographs that a worker did not finish: ahead of everything, and each in a batch of its own."""
        self._urgent.extendleft(reversed(jobs))
        self._grow(jobs)

    def drop(self, owner: Owner) -> None:
        """Forget the photographs of a request that nobody waits for any more."""
        waiting = [self._urgent, *self._requests]
        self._urgent = deque(job for job in self._urgent if job.owner is not owner)
        kept = (deque(job for job in jobs if job.owner is not owner) for jobs in self._requests)
        self._requests = deque(jobs for jobs in kept if jobs)
        dropped = [job for jobs in waiting for job in jobs if job.owner is owner]
        self._count -= len(dropped)
        self._bytes -= sum(len(job.content) for job in dropped)

    def take(self, images_max: int, worker_count: int) -> list[Job[Owner]]:
        """The next batch, at most `images_max` and at most a worker's share of what waits; empty when none waits."""
        count_max = min(images_max, -(-self._count // worker_count))
        batch: list[Job[Owner]] = []
        if self._urgent:
            batch.append(self._urgent.popleft())
        else:
            passes_without = 0
            while self._requests and len(batch) < count_max and passes_without < len(self._requests):
                jobs = self._requests.popleft()
                if batch and jobs[0].kind != batch[0].kind:
                    self._requests.append(jobs)
                    passes_without += 1
                    continue
                passes_without = 0
                batch.append(jobs.popleft())
                if jobs:
                    self._requests.append(jobs)
        self._count -= len(batch)
        self._bytes -= sum(len(job.content) for job in batch)
        return batch

    def _grow(self, jobs: Sequence[Job[Owner]]) -> None:
        self._count += len(jobs)
        self._bytes += sum(len(job.content) for job in jobs)
