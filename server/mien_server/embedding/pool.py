"""The queue between requests and worker processes: admission, fairness, blame for a crash."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mien_server.embedding.messages import decode_answer
from mien_server.embedding.options import EmbeddingOptions
from mien_server.embedding.waiting import Job, WaitingJobs
from mien_server.embedding.work import Batch, WorkKind
from mien_server.embedding.worker_process import BatchNotTaken, WorkerCrashed, WorkerProcess
from mien_server.errors import InternalError, LimitExceeded, MienError, Overloaded, Unavailable
from mien_server.records.caller import CALLER
from mien_server.records.deadline import Deadline
from mien_server.records.faces import ImageAnalysis, ImageStatus

__all__ = ["WorkerPool"]

LOGGER: Final = logging.getLogger(__name__)

CANCELLATION_POLL_S: Final = 0.05
CLOSE_TIME_MAX_S: Final = 10.0
RETRY_AFTER_MIN_S: Final = 0.1
RETRY_AFTER_MAX_S: Final = 30.0
FIRST_GUESS_SECONDS_PER_IMAGE: Final = 0.05
SMOOTHING: Final = 0.2
ATTEMPTS_MAX: Final = 3
"""Workers that may die before reading a photograph until its request is told that they do."""


class _Request:
    """Photographs of one caller and the answers so far. Guarded by the pool's lock, but for `done`."""

    def __init__(self, count: int, caller: str) -> None:
        self.caller = caller
        self.answers: list[ImageAnalysis | None] = [None] * count
        self.missing_count = count
        self.error: MienError | None = None
        self.done = threading.Event()

    def answer(self, position: int, analysis: ImageAnalysis) -> None:
        self.answers[position] = analysis
        self.missing_count -= 1
        if self.missing_count == 0:
            self.done.set()

    def fail(self, error: MienError) -> None:
        self.error = self.error or error
        self.done.set()


_Job = Job[_Request]


class WorkerPool:
    """Runs photographs on worker processes. Safe from any thread.

    A worker that dies is replaced. The photograph it worked on alone is answered WORKER_CRASHED; photographs that
    shared its batch are tried again one by one, so that only the one to blame fails.
    """

    def __init__(self, options: EmbeddingOptions) -> None:
        self._options = options
        self.worker_count = options.worker_count or len(os.sched_getaffinity(0))
        self._condition = threading.Condition()
        self._waiting: WaitingJobs[_Request] = WaitingJobs()
        self._threads: list[threading.Thread] = []
        self._workers: dict[int, WorkerProcess] = {}
        self._is_closing = False
        self._seconds_per_image = FIRST_GUESS_SECONDS_PER_IMAGE

    def start(self) -> None:
        """Start the workers in the background; does nothing the second time."""
        with self._condition:
            if self._threads or self._is_closing:
                return
            self._threads = [
                threading.Thread(target=self._serve, args=(number,), name=f"embedding-{number}", daemon=True)
                for number in range(self.worker_count)
            ]
            for thread in self._threads:
                thread.start()

    def close(self) -> None:
        """Refuse what waits, let workers finish their batch, end them."""
        with self._condition:
            self._is_closing = True
            while jobs := self._waiting.take(len(self._waiting), 1):
                for job in jobs:
                    job.owner.fail(_closing())
            self._condition.notify_all()
            threads = list(self._threads)
        limit_s = time.monotonic() + CLOSE_TIME_MAX_S
        for thread in threads:
            thread.join(max(0.0, limit_s - time.monotonic()))
        with self._condition:
            overdue = list(self._workers.values())
        for worker in overdue:
            worker.stop()
        for thread in threads:
            thread.join()

    def pids(self) -> list[int]:
        """Process ids of the workers that run now."""
        with self._condition:
            return [worker.pid for worker in self._workers.values()]

    def run(self, contents: Sequence[bytes], kind: WorkKind, deadline: Deadline) -> list[ImageAnalysis]:
        """The analyses in order, once all are there.

        Raises:
            Overloaded: the queue is full. LimitExceeded: it could never hold these.
            Cancelled, DeadlineExceeded: nobody waits any more; what was not begun is dropped.
            Unavailable: the recipe cannot be loaded, no worker can be started, or the pool is closing.
        """
        if not contents:
            return []
        request = _Request(len(contents), CALLER.get())
        self.start()
        with self._condition:
            self._admit(contents, request.caller)
            self._waiting.add([Job(request, position, content, kind) for position, content in enumerate(contents)])
            self._condition.notify_all()
        try:
            while not request.done.wait(min(CANCELLATION_POLL_S, deadline.remaining_s())):
                deadline.check()
        finally:
            with self._condition:
                self._waiting.drop(request)
        if request.error is not None:
            raise request.error
        answers = [answer for answer in request.answers if answer is not None]
        assert len(answers) == len(contents)
        return answers

    def _admit(self, contents: Sequence[bytes], caller: str) -> None:
        if self._is_closing:
            raise _closing()
        count_max, bytes_max = self._options.queue_images_max, self._options.queue_bytes_max
        byte_count = sum(len(content) for content in contents)
        if len(contents) > count_max or byte_count > bytes_max:
            raise LimitExceeded(
                f"{len(contents)} photographs of {byte_count:,} bytes at once; the queue holds {count_max} of "
                f"{bytes_max:,} bytes: send them in several requests",
                reason="EMBEDDING_QUEUE_TOO_SMALL",
            )
        while (
            len(self._waiting) + len(contents) > count_max or self._waiting.byte_count + byte_count > bytes_max
        ) and not self._crowd_out(len(contents), caller):
            raise self._full()

    def _crowd_out(self, count: int, caller: str) -> bool:
        """Refuse the newest request of the caller with the most photographs waiting, if it would still have more."""
        owners = self._waiting.owners()
        held: Counter[str] = Counter()
        for owner, waiting_count in owners:
            held[owner.caller] += waiting_count
        greediest = max(held, key=held.__getitem__, default=caller)
        if greediest == caller or held[greediest] <= held[caller] + count:
            return False
        newest = next(owner for owner, _ in reversed(owners) if owner.caller == greediest)
        self._waiting.drop(newest)
        newest.fail(self._full())
        return True

    def _full(self) -> Overloaded:
        waiting = len(self._waiting)
        wait_s = waiting * self._seconds_per_image / self.worker_count
        return Overloaded(
            f"{waiting} photographs wait to be embedded, the queue holds {self._options.queue_images_max}; try again "
            "later",
            retry_after_s=min(RETRY_AFTER_MAX_S, max(RETRY_AFTER_MIN_S, wait_s)),
            reason="EMBEDDING_QUEUE_FULL",
        )

    def _serve(self, number: int) -> None:
        """Keep worker `number` running and fed, until the pool closes. The body of its thread."""
        worker = self._started_early(number)
        while jobs := self._next_jobs():
            try:
                worker = worker or self._start_worker(number)
                self._finish(jobs, worker)
            except (WorkerCrashed, BatchNotTaken) as failure:
                self._blame(jobs, failure)
                worker = self._started_early(number)
            except MienError as error:
                self._fail(jobs, error)
            except Exception as error:
                # Whatever it is, it must end neither this thread nor the wait of those who sent the photographs.
                LOGGER.exception("feeding embedding worker %d failed", number)
                self._fail(jobs, InternalError(f"a photograph could not be embedded: {type(error).__name__}"))
                worker = self._replaced(number, worker)
        with self._condition:
            self._workers.pop(number, None)
        if worker is not None:
            worker.end()

    def _replaced(self, number: int, worker: WorkerProcess | None) -> WorkerProcess | None:
        if worker is not None:
            worker.kill()
        return self._started_early(number)

    def _start_worker(self, number: int) -> WorkerProcess:
        worker = WorkerProcess(self._options)
        with self._condition:
            self._workers[number] = worker
        return worker

    def _started_early(self, number: int) -> WorkerProcess | None:
        """A worker before there is work. One that cannot be started is tried again, and reported, with work."""
        with self._condition:
            self._workers.pop(number, None)
            if self._is_closing:
                return None
        try:
            return self._start_worker(number)
        except Unavailable:
            return None

    def _next_jobs(self) -> list[_Job]:
        """The next batch, once there is one; empty when the pool closes."""
        with self._condition:
            while not len(self._waiting) and not self._is_closing:
                self._condition.wait()
            if self._is_closing:
                return []
            return self._waiting.take(self._options.batch_images_max, self.worker_count)

    def _finish(self, jobs: list[_Job], worker: WorkerProcess) -> None:
        began_s = time.monotonic()
        batch = Batch(jobs[0].kind, tuple(job.content for job in jobs))
        answer = worker.run(batch, self._options.image_time_max_s * len(jobs))
        analyses = decode_answer(answer)
        if len(analyses) != len(jobs):
            raise InternalError("a worker's answer makes no sense", reason="WORKER_ANSWER_INVALID")
        seconds_per_image = (time.monotonic() - began_s) / len(jobs)
        with self._condition:
            self._seconds_per_image += SMOOTHING * (seconds_per_image - self._seconds_per_image)
            for job, analysis in zip(jobs, analyses, strict=True):
                job.owner.answer(job.position, analysis)

    def _blame(self, jobs: list[_Job], failure: WorkerCrashed | BatchNotTaken) -> None:
        """Answer the photograph that crashed its worker; try again those that only may have."""
        with self._condition:
            if self._is_closing:
                for job in jobs:
                    job.owner.fail(_closing())
            elif isinstance(failure, WorkerCrashed) and len(jobs) == 1:
                jobs[0].owner.answer(jobs[0].position, _crashed(jobs[0].content, failure))
            elif isinstance(failure, WorkerCrashed):
                self._waiting.put_back(jobs)
            else:
                self._retry(jobs, failure)
            self._condition.notify_all()

    def _retry(self, jobs: list[_Job], failure: BatchNotTaken) -> None:
        again = [replace(job, attempt_count=job.attempt_count + 1) for job in jobs]
        for job in again:
            if job.attempt_count >= ATTEMPTS_MAX:
                job.owner.fail(Unavailable(f"embedding workers die before they work: {failure}", reason="WORKERS_DIE"))
        self._waiting.put_back([job for job in again if job.attempt_count < ATTEMPTS_MAX])

    def _fail(self, jobs: list[_Job], error: MienError) -> None:
        with self._condition:
            for job in jobs:
                job.owner.fail(error)


def _closing() -> Unavailable:
    return Unavailable(
        "the server is shutting down; send the photographs to it when it is back", reason="SHUTTING_DOWN"
    )


def _crashed(content: bytes, failure: WorkerCrashed) -> ImageAnalysis:
    return ImageAnalysis(
        status=ImageStatus.WORKER_CRASHED,
        message=f"the picture ended the worker that read it ({failure}); save it anew as JPEG or PNG, or leave it out",
        width=0,
        height=0,
        sha256=hashlib.sha256(content).digest(),
        faces=(),
    )
