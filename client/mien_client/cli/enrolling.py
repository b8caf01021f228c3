"""Sends photographs to a gallery, several requests at once, and counts what became of them."""

from __future__ import annotations

import datetime
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from mien_client import Client, EnrollItem, EnrollmentPolicy, EnrollOutcome, Limits, Overloaded
from mien_client.cli.folders import Photograph
from mien_client.cli.pictures import LoadedPicture, Rejection, load, plain_message, requests_of, shown

__all__ = ["EnrolmentReport", "Warned", "enrol"]

# How long one request keeps knocking at a full queue.
_OVERLOADED_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Warned:
    """A file whose face was enrolled and is not fit for much."""

    file: str
    identity_id: str
    warnings: tuple[str, ...]


@dataclass(slots=True)
class EnrolmentReport:
    """What became of every file; the keys of `--json`."""

    gallery: str
    files: int = 0
    enrolled: int = 0
    already_there: int = 0
    identities_created: int = 0
    revision: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    warned: list[Warned] = field(default_factory=list)

    def add(self, photograph: Photograph, outcome: EnrollOutcome) -> None:
        """Counts one answer."""
        name = shown(photograph.path)
        self.identities_created += outcome.identity_created
        if outcome.error is not None:
            reason = outcome.error.reason or outcome.error.code
            self.rejected.append(Rejection(name, reason, plain_message(outcome.error), photograph.identity_id))
        elif outcome.duplicate:
            self.already_there += 1
        else:
            self.enrolled += 1
            if outcome.warnings:
                words = tuple(str(warning) for warning in outcome.warnings)
                self.warned.append(Warned(name, photograph.identity_id, words))


def enrol(
    client: Client,
    report: EnrolmentReport,
    photographs: Iterable[Photograph],
    *,
    limits: Limits,
    policy: EnrollmentPolicy | None,
    expire_time: datetime.datetime | None,
    jobs: int,
    advance: Callable[[int], None],
) -> None:
    """Sends every photograph and fills the report.

    Args:
        client: to the server.
        report: names the gallery; gets the counts.
        photographs: read when their turn comes; at most `jobs` requests are in memory.
        limits: the server's.
        policy: replaces the gallery's.
        expire_time: of each face; None: as the gallery's default says.
        jobs: requests at once.
        advance: told how many files are done.

    Raises:
        MienClientError: a request failed as a whole. What was answered before stays enrolled, and running again is
            safe.
    """

    def send(group: list[tuple[Photograph, LoadedPicture]]) -> tuple[list[Photograph], list[EnrollOutcome], int]:
        items = [
            EnrollItem(
                one.identity_id,
                image=picture.image,
                identity_display_name=one.display_name,
                expire_time=expire_time,
            )
            for one, picture in group
        ]
        request_id = str(uuid.uuid4())
        outcomes, revision = _patiently(lambda: _enroll(client, report.gallery, items, policy, request_id))
        return [one for one, _ in group], outcomes, revision

    def collect(done: Future[tuple[list[Photograph], list[EnrollOutcome], int]]) -> None:
        sent, outcomes, revision = done.result()
        for photograph, outcome in zip(sent, outcomes, strict=True):
            report.add(photograph, outcome)
        report.revision = max(report.revision, revision)
        advance(len(sent))

    running: deque[Future[tuple[list[Photograph], list[EnrollOutcome], int]]] = deque()
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="enrol")
    try:
        for group in _groups(photographs, report, limits, advance):
            running.append(pool.submit(send, group))
            while len(running) > jobs or (running and running[0].done()):
                collect(running.popleft())
        while running:
            collect(running.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _groups(
    photographs: Iterable[Photograph], report: EnrolmentReport, limits: Limits, advance: Callable[[int], None]
) -> Iterator[list[tuple[Photograph, LoadedPicture]]]:
    owners: deque[Photograph] = deque()

    def loaded() -> Iterator[LoadedPicture | Rejection]:
        for photograph in photographs:
            report.files += 1
            picture = load(photograph.path, limits, photograph.source)
            if isinstance(picture, LoadedPicture):
                owners.append(photograph)
                yield picture
            else:
                advance(1)
                yield replace(picture, identity_id=photograph.identity_id)

    for group in requests_of(loaded(), report.rejected, limits):
        yield [(owners.popleft(), picture) for picture in group]


def _enroll(
    client: Client, gallery: str, items: list[EnrollItem], policy: EnrollmentPolicy | None, request_id: str
) -> tuple[list[EnrollOutcome], int]:
    answer = client.enroll_faces(gallery, items, policy=policy, request_id=request_id)
    return list(answer.outcomes), answer.revision


def _patiently(call: Callable[[], tuple[list[EnrollOutcome], int]]) -> tuple[list[EnrollOutcome], int]:
    """Calls again while the server's queue is full; its request id keeps the write single."""
    deadline_s = time.monotonic() + _OVERLOADED_PATIENCE_S
    while True:
        try:
            return call()
        except Overloaded as error:
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(error.retry_after_s or 0.5)
