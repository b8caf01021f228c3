"""The pool of worker processes: batches, crashes, deadlines, overload, the end."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from mien_server.embedding import EmbeddingOptions, EmbeddingService
from mien_server.errors import Cancelled, DeadlineExceeded, LimitExceeded, Overloaded, Unavailable
from mien_server.records.caller import CALLER
from mien_server.records.deadline import Deadline
from mien_server.records.faces import ImageAnalysis, ImageStatus

PATIENCE_S = 100.0
BEGUN_S = 0.15


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def shared_service(cache: Path) -> Iterator[EmbeddingService]:
    with EmbeddingService(EmbeddingOptions(worker_count=1, cache_directory=cache)) as service:
        yield service


def options(cache: Path, **changed: object) -> EmbeddingOptions:
    return EmbeddingOptions(**{"worker_count": 1, "cache_directory": cache, **changed})  # type: ignore[arg-type]


def picture(width: int = 64, height: int = 64, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.NEAREST).save(buffer, format="PNG")
    return buffer.getvalue()


def slow_picture() -> bytes:
    """Keeps a worker busy for seconds: many pixels, no face, so that every size and turn is searched."""
    return picture(1600, 1200)


def wait_for(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.01)


def processor_time_s(pid: int) -> float:
    return psutil.Process(pid).cpu_times().user


class Call(threading.Thread):
    """An `analyse` on a thread of its own, with its answer or its error."""

    def __init__(self, service: EmbeddingService, images: list[bytes], caller: str = "") -> None:
        super().__init__()
        self._service, self._images, self._caller = service, images, caller
        self.refusal = ""
        self.answer: list[ImageAnalysis] = []
        self._held_pid: int | None = None

    def run(self) -> None:
        CALLER.set(self._caller)
        try:
            self.answer = self._service.analyse(self._images, "dlib", embed=True)
        except Overloaded as error:
            self.refusal = error.reason

    def begin(self) -> Call:
        """Return once the only worker computes on the first picture, well beyond reading it, and hold it there."""
        wait_for(lambda: bool(self._service.worker_pids()))
        (pid,) = self._service.worker_pids()
        before_s = processor_time_s(pid)
        self.start()
        wait_for(lambda: processor_time_s(pid) > before_s + BEGUN_S)
        os.kill(pid, signal.SIGSTOP)
        self._held_pid = pid
        return self

    def result(self) -> list[ImageAnalysis]:
        if self._held_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._held_pid, signal.SIGCONT)
        self.join(PATIENCE_S)
        assert not self.is_alive()
        return self.answer


def test_answers_come_in_the_order_of_the_pictures(shared_service: EmbeddingService) -> None:
    """Each picture is answered at its place, with its own size, whatever became of its neighbours."""
    images = [picture(64 + 8 * number, 64) for number in range(20)]
    images[3], images[7], images[11] = b"", b"no picture", images[11][:200]
    answers = shared_service.analyse(images, "dlib", embed=True)
    assert answers[3].status is ImageStatus.EMPTY
    assert answers[7].status is ImageStatus.UNSUPPORTED_TYPE
    assert answers[11].status is ImageStatus.TRUNCATED
    usable = [number for number in range(20) if number not in {3, 7, 11}]
    assert [answers[number].width for number in usable] == [64 + 8 * number for number in usable]
    assert {answers[number].status for number in usable} == {ImageStatus.NO_FACE}


def test_no_pictures_give_no_answers(shared_service: EmbeddingService) -> None:
    """An empty request is answered, empty."""
    assert shared_service.analyse([], "dlib", embed=True) == []


def test_a_picture_that_kills_its_worker_fails_alone(cache: Path) -> None:
    """A worker killed over one picture costs that picture; the next is answered by a new worker."""
    with EmbeddingService(options(cache)) as service:
        service.analyse([picture()], "dlib", embed=True)
        (first,) = service.worker_pids()
        call = Call(service, [slow_picture()]).begin()
        os.kill(first, signal.SIGKILL)
        (answer,) = call.result()
        assert answer.status is ImageStatus.WORKER_CRASHED
        assert "signal 9" in answer.message
        assert service.analyse([picture()], "dlib", embed=True)[0].status is ImageStatus.NO_FACE
        assert service.worker_pids() != [first]


def test_pictures_that_shared_a_crash_are_tried_again(cache: Path) -> None:
    """When a worker dies over a batch, its pictures are tried one by one and the innocent are answered."""
    with EmbeddingService(options(cache, batch_images_max=4)) as service:
        service.analyse([picture()], "dlib", embed=True)
        (first,) = service.worker_pids()
        call = Call(service, [slow_picture(), *(picture(80, 80, seed) for seed in range(3))]).begin()
        os.kill(first, signal.SIGKILL)
        assert [answer.status for answer in call.result()] == [ImageStatus.NO_FACE] * 4


def test_an_idle_worker_that_dies_is_replaced_without_blame(cache: Path) -> None:
    """A worker killed while it has nothing to do costs no picture anything."""
    with EmbeddingService(options(cache)) as service:
        service.analyse([picture()], "dlib", embed=True)
        (first,) = service.worker_pids()
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: psutil.Process(first).status() == psutil.STATUS_ZOMBIE)
        assert service.analyse([picture()], "dlib", embed=True)[0].status is ImageStatus.NO_FACE


def test_a_worker_that_takes_too_long_is_ended(cache: Path) -> None:
    """A picture that keeps a worker beyond the time allowed counts as one that crashed it."""
    with EmbeddingService(options(cache, image_time_max_s=0.05)) as service:
        (answer,) = service.analyse([slow_picture()], "dlib", embed=True)
        assert answer.status is ImageStatus.WORKER_CRASHED
        assert "0.05 s" in answer.message


def test_a_full_queue_refuses_and_says_when_to_come_back(cache: Path) -> None:
    """Beyond the queue a request is Overloaded with a time to wait, and the requests in it are still answered."""
    with EmbeddingService(options(cache, queue_images_max=2, batch_images_max=1)) as service:
        service.analyse([picture()], "dlib", embed=True)
        busy = Call(service, [slow_picture()]).begin()
        waiting = Call(service, [picture(), picture()])
        waiting.start()
        wait_for(lambda: len(service._pool._waiting) == 2)
        with pytest.raises(Overloaded) as caught:
            service.analyse([picture()], "dlib", embed=True)
        assert caught.value.reason == "EMBEDDING_QUEUE_FULL"
        assert caught.value.retry_after_s > 0
        assert [len(call.result()) for call in (busy, waiting)] == [1, 2]


def test_whoever_has_the_most_photographs_waiting_makes_room(cache: Path) -> None:
    """Where one caller's photographs fill the queue another's few are taken, and its newest request is refused."""
    with EmbeddingService(options(cache, queue_images_max=4, batch_images_max=1)) as service:
        service.analyse([picture()], "dlib", embed=True)
        busy = Call(service, [slow_picture()]).begin()
        greedy = [Call(service, [picture(), picture()], caller="greedy") for _ in range(2)]
        for position, call in enumerate(greedy, start=1):
            call.start()
            wait_for(lambda position=position: len(service._pool._waiting) == 2 * position)
        modest = Call(service, [picture()], caller="modest")
        modest.start()
        greedy[1].join(PATIENCE_S)
        assert greedy[1].refusal == "EMBEDDING_QUEUE_FULL"
        assert [len(call.result()) for call in (busy, greedy[0], modest)] == [1, 2, 1]


@pytest.mark.parametrize("changed", [{"queue_images_max": 3}, {"queue_bytes_max": 500}])
def test_more_than_the_queue_can_hold_is_a_limit(cache: Path, changed: dict[str, int]) -> None:
    """A request that could never be queued is refused for good, not asked to come back."""
    with EmbeddingService(options(cache, **changed)) as service, pytest.raises(LimitExceeded):
        service.analyse([picture()] * 4, "dlib", embed=True)


def test_what_nobody_waits_for_is_dropped(cache: Path) -> None:
    """When the deadline passes or the caller goes away, pictures not begun leave the queue."""
    with EmbeddingService(options(cache, batch_images_max=1)) as service:
        service.analyse([picture()], "dlib", embed=True)
        busy = Call(service, [slow_picture()]).begin()
        with pytest.raises(DeadlineExceeded):
            service.analyse([picture()] * 5, "dlib", embed=True, deadline=Deadline.after(0.05))
        with pytest.raises(Cancelled):
            service.analyse([picture()] * 5, "dlib", embed=True, deadline=Deadline(is_cancelled=lambda: True))
        assert len(service._pool._waiting) == 0
        assert busy.result()[0].status is ImageStatus.NO_FACE


def test_closing_leaves_no_process_and_refuses(cache: Path) -> None:
    """After close no worker runs, what waits is told, and a new request is refused."""
    service = EmbeddingService(options(cache, worker_count=2))
    service.start()
    wait_for(lambda: len(service.worker_pids()) == 2)
    pids = service.worker_pids()
    service.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(Unavailable) as caught:
        service.analyse([picture()], "dlib", embed=True)
    assert caught.value.reason == "SHUTTING_DOWN"
    service.close()


def test_workers_end_with_a_parent_that_is_killed(cache: Path) -> None:
    """Workers of a process that is killed, and can say nothing, end by themselves."""
    program = (
        "import sys, time; from pathlib import Path; from mien_server.embedding import *\n"
        "service = EmbeddingService(EmbeddingOptions(worker_count=1, cache_directory=Path(sys.argv[1])))\n"
        "service.analyse([b'GIF89a'], 'dlib', embed=True)\n"
        "print(service.worker_pids()[0], flush=True); time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(cache)], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_workers_outlive_the_signals_of_a_terminal(cache: Path) -> None:
    """SIGINT and SIGTERM, which reach a whole process group, do not end a worker: its parent decides."""
    with EmbeddingService(options(cache)) as service:
        service.analyse([picture()], "dlib", embed=True)
        before = service.worker_pids()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(before[0], number)
        assert service.analyse([picture()], "dlib", embed=True)[0].status is ImageStatus.NO_FACE
        assert service.worker_pids() == before


def test_a_worker_that_cannot_start_is_reported(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the interpreter cannot run workers, requests fail with WORKER_START_FAILED instead of waiting."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with EmbeddingService(options(cache)) as service, pytest.raises(Unavailable) as caught:
        service.analyse([picture()], "dlib", embed=True)
    assert caught.value.reason == "WORKER_START_FAILED"


def test_the_serving_process_loads_no_foreign_library(cache: Path) -> None:
    """A process that only serves never imports a decoder, a detector or a network."""
    program = (
        "import sys; from pathlib import Path; from mien_server.embedding import *\n"
        "service = EmbeddingService(EmbeddingOptions(worker_count=1, cache_directory=Path(sys.argv[1])))\n"
        "service.recipes(); service.analyse([b'GIF89a'], 'dlib', embed=True); service.close()\n"
        "print(sorted({'PIL', 'dlib', 'onnx', 'onnxruntime', 'torch', 'facenet_pytorch'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run(
        [sys.executable, "-c", program, str(cache)], capture_output=True, text=True, check=True, env=environment
    )
    assert answer.stdout.strip() == "[]"
