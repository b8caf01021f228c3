"""A server whose disk and system can be broken and healed, and what must hold of it whatever happens to them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from mien_client import Client, Effort, EnrollAck, EnrollRows, MienClientError
from mien_server.storage import Store
from tests.faults.library import Fault, Faults
from tests.server_processes import ServerProcess
from tests.unit_rows import nearest, unit_rows

__all__ = ["DIMENSION", "GALLERY", "FaultyServer"]

GALLERY = "people"
DIMENSION, ROW_COUNT, PERSON_COUNT = 32, 16_000, 900
ROWS = unit_rows(ROW_COUNT, DIMENSION, 23)
READER_COUNT = 6
SIMILARITY_TOLERANCE = 1e-5
SETTLE_TIME_MAX_S = 30.0


class FaultyServer:
    """A server, a client of it, and the rows that it acknowledged: rows [0, acknowledged_count) of ROWS.

    Args:
        data: the store, made here.
        faults: the switch; None for faults of another kind.
        settings: of the server.
        prefix: a command that runs the server.
        outside: where the store is found from outside, when `prefix` leads to mounts of its own.
    """

    def __init__(
        self,
        data: Path,
        faults: Faults | None,
        *settings: str,
        prefix: Sequence[str] = (),
        outside: Path | None = None,
    ) -> None:
        self.data = data
        self._outside = outside or data
        self._faults = faults
        environment = None if faults is None else faults.environment
        self.process = ServerProcess(data, *settings, environment=environment, prefix=prefix)
        self.client: Client = self.process.client()
        self.acknowledged_count = 0
        self._request_count = 0
        self.client.create_gallery(GALLERY, precomputed="made-1", dimension=DIMENSION)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.process.kill()

    def failing(self, *faults: Fault) -> AbstractContextManager[None]:
        """See `Faults.failing`."""
        assert self._faults is not None
        return self._faults.failing(*faults)

    def next_write(self, row_count: int = 20) -> EnrollRows:
        """An enrolment of the next rows under a new request id."""
        self._request_count += 1
        numbers = range(self.acknowledged_count, self.acknowledged_count + row_count)
        assert numbers[-1] < ROW_COUNT
        return EnrollRows(
            ROWS[numbers[0] : numbers[-1] + 1],
            [identity_id(number) for number in numbers],
            face_ids=[f"face-{number}" for number in numbers],
            request_id=f"request-{self._request_count}",
        )

    def send(self, write: EnrollRows) -> EnrollAck:
        """Send an enrolment and give its answer, whatever it is."""
        [ack] = self.client.stream_enroll(GALLERY, [write])
        return ack

    def enroll(self, write: EnrollRows | None = None) -> EnrollAck:
        """Send an enrolment that must be acknowledged."""
        write = write or self.next_write()
        ack = self.send(write)
        assert ack.error is None, ack.error
        assert not ack.row_errors
        assert list(ack.face_ids) == list(write.face_ids)
        assert ack.enrolled_count == len(write.face_ids)
        self.acknowledged_count += ack.enrolled_count
        return ack

    def refused(self, write: EnrollRows) -> MienClientError:
        """Send an enrolment that must be refused."""
        error = self.send(write).error
        assert error is not None
        return error

    def fill(self, row_count: int) -> None:
        """Enrol so many rows."""
        while row_count:
            count = min(row_count, 500)
            self.enroll(self.next_write(count))
            row_count -= count

    def check_reads(self, client: Client | None = None) -> None:
        """What was acknowledged is there and is found, nothing else is, by exact search and by the default one."""
        client = client or self.client
        gallery = client.get_gallery(GALLERY)
        assert gallery.face_count == self.acknowledged_count
        if not self.acknowledged_count:
            return
        step = max(1, self.acknowledged_count // 20)
        probes = np.concatenate([ROWS[: self.acknowledged_count : step], unit_rows(5, DIMENSION, 3)])
        k = min(3, self.acknowledged_count)
        wanted, similarities = nearest(ROWS[: self.acknowledged_count], probes, k)
        answer = client.search_faces(GALLERY, embeddings=probes, k=k, effort=Effort(exact=True))
        for numbers, expected, found in zip(wanted, similarities, answer.embeddings, strict=True):
            assert [one.face_id for one in found.neighbors] == [f"face-{number}" for number in numbers]
            assert [one.identity_id for one in found.neighbors] == [identity_id(int(number)) for number in numbers]
            found_similarities = [one.similarity for one in found.neighbors]
            assert np.allclose(found_similarities, expected, atol=SIMILARITY_TOLERANCE)
        # One probe a call goes through the index where there is one.
        for number in range(0, self.acknowledged_count, step):
            [first] = client.search_faces(GALLERY, embeddings=ROWS[number], k=1).embeddings[0].neighbors
            assert (first.face_id, first.identity_id) == (f"face-{number}", identity_id(number))

    def check_many_reads(self) -> None:
        """As `check_reads`, from several callers at once."""
        with ThreadPoolExecutor(READER_COUNT) as threads:
            list(threads.map(lambda _: self.check_reads(), range(READER_COUNT)))

    def wait_until_settled(self) -> None:
        """Wait until what the last write in doubt came to can be read, without sending a further one."""
        end_s = time.monotonic() + SETTLE_TIME_MAX_S
        while self.client.get_gallery(GALLERY).face_count != self.acknowledged_count:
            assert time.monotonic() < end_s
            time.sleep(0.05)

    def wait_for_log(self, words: str) -> None:
        """Wait until the server has written these words to its log."""
        end_s = time.monotonic() + SETTLE_TIME_MAX_S
        while words not in self.process.log():
            assert time.monotonic() < end_s, self.process.log()[-2000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL."""
        self.client.close()
        self.process.kill()

    def check_store(self, data: Path | None = None) -> None:
        """The store, with the server gone, or a copy contradicts itself nowhere and holds what was acknowledged, no
        more and to the bit.
        """
        with Store.open(data or self._outside) as store, store.view() as view:
            assert view.check() == []
            gallery = view.gallery(GALLERY)
            ordinals = gallery.live_ordinals(-1, ROW_COUNT)
            assert ordinals.tolist() == list(range(self.acknowledged_count))
            assert np.array_equal(gallery.vectors(ordinals), ROWS[: self.acknowledged_count])
            names = [f"face-{number}" for number in range(self.acknowledged_count)]
            assert gallery.face_ordinals(names) == dict(zip(names, range(self.acknowledged_count), strict=True))


def identity_id(number: int) -> str:
    return f"person-{number % PERSON_COUNT}"
