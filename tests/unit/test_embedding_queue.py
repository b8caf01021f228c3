"""Which photographs are taken next, and what travels back from a worker: pure logic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien_server.embedding.messages import decode_answer, encode_analyses, encode_error
from mien_server.embedding.waiting import Job, WaitingJobs
from mien_server.embedding.work import WorkKind
from mien_server.errors import InternalError, MienError, NotFound, Unavailable
from mien_server.records.faces import Box, FaceAnalysis, ImageAnalysis, ImageStatus, Quality, QualityReason

EMBED = WorkKind("dlib", "dlib-0", embed=True, sixty_eight_landmarks=False, aligned_png=False)
DETECT = WorkKind("dlib", "dlib-0", embed=False, sixty_eight_landmarks=False, aligned_png=False)


def jobs(owner: str, count: int, kind: WorkKind = EMBED) -> list[Job[str]]:
    return [Job(owner, position, b"x" * (position + 1), kind) for position in range(count)]


def names(batch: list[Job[str]]) -> list[str]:
    return [f"{job.owner}{job.position}" for job in batch]


def test_requests_take_turns() -> None:
    """A single photograph behind a request of many is in the first batch."""
    waiting: WaitingJobs[str] = WaitingJobs()
    waiting.add(jobs("a", 20))
    waiting.add(jobs("b", 1))
    assert names(waiting.take(4, worker_count=1)) == ["a0", "b0", "a1", "a2"]


def test_a_batch_is_a_fair_share() -> None:
    """With two workers and four photographs a worker takes two, so that both are busy."""
    waiting: WaitingJobs[str] = WaitingJobs()
    waiting.add(jobs("a", 4))
    assert len(waiting.take(8, worker_count=2)) == 2
    assert len(waiting.take(8, worker_count=2)) == 1


def test_a_batch_is_of_one_kind() -> None:
    """Photographs to embed and photographs to look at only are never taken together, and neither is left behind."""
    waiting: WaitingJobs[str] = WaitingJobs()
    waiting.add(jobs("a", 2))
    waiting.add(jobs("b", 2, DETECT))
    waiting.add(jobs("c", 1))
    assert names(waiting.take(8, worker_count=1)) == ["a0", "c0", "a1"]
    assert names(waiting.take(8, worker_count=1)) == ["b0", "b1"]
    assert waiting.take(8, worker_count=1) == []


def test_what_is_put_back_goes_first_and_alone() -> None:
    """Photographs of a batch that crashed a worker come before all others, each in a batch of its own."""
    waiting: WaitingJobs[str] = WaitingJobs()
    waiting.add(jobs("a", 6))
    crashed = waiting.take(3, worker_count=1)
    waiting.put_back(crashed)
    assert [names(waiting.take(3, worker_count=1)) for _ in range(4)] == [["a0"], ["a1"], ["a2"], ["a3", "a4", "a5"]]


def test_a_dropped_request_leaves_nothing() -> None:
    """After a request is dropped none of its photographs is taken and the counts are those of the others."""
    waiting: WaitingJobs[str] = WaitingJobs()
    waiting.add(jobs("a", 5))
    waiting.add(jobs("b", 2))
    waiting.put_back(waiting.take(2, worker_count=1))
    waiting.drop("a")
    assert len(waiting) == 2
    assert waiting.byte_count == 1 + 2
    assert names(waiting.take(8, worker_count=1) + waiting.take(8, worker_count=1)) == ["b0", "b1"]
    assert (len(waiting), waiting.byte_count) == (0, 0)


@given(
    requests=st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=8),
    images_max=st.integers(1, 5),
    worker_count=st.integers(1, 4),
)
def test_every_photograph_is_taken_once(requests: list[tuple[int, bool]], images_max: int, worker_count: int) -> None:
    """Whatever waits, every photograph is taken exactly once, in batches of one kind within the limit."""
    waiting: WaitingJobs[str] = WaitingJobs()
    expected = []
    for number, (count, embed) in enumerate(requests):
        added = jobs(f"r{number}-", count, EMBED if embed else DETECT)
        waiting.add(added)
        expected += names(added)
    taken = []
    while batch := waiting.take(images_max, worker_count):
        assert len(batch) <= images_max
        assert len({job.kind for job in batch}) == 1
        taken += names(batch)
    assert sorted(taken) == sorted(expected)
    assert (len(waiting), waiting.byte_count) == (0, 0)


def analysis() -> ImageAnalysis:
    generator = np.random.default_rng(4)
    faces = tuple(
        FaceAnalysis(
            box=Box(1.25, -3.5, 80.1, 81.7),
            landmarks_five=generator.normal(size=(5, 2)).astype(np.float32),
            landmarks_sixty_eight=generator.normal(size=(68, 2)).astype(np.float32) if whole else None,
            detector_score=1.2345678901234567,
            quality=Quality(0.4, (QualityReason.BLURRED, QualityReason.CUT_OFF), 80.1, 12.3, 0.5, 0.2, 0.1, -90.0),
            rotation_degrees=270,
            embedding=generator.normal(size=128).astype(np.float32) if whole else None,
            aligned_png=b"\x89PNG\0\xff" if whole else None,
        )
        for whole in (True, False)
    )
    return ImageAnalysis(ImageStatus.OK, "", 640, 480, bytes(range(32)), faces)


def assert_same_face(left: FaceAnalysis, right: FaceAnalysis) -> None:
    for name in FaceAnalysis.__slots__:
        mine, other = getattr(left, name), getattr(right, name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == other.dtype == np.float32
            assert np.array_equal(mine, other)
        else:
            assert mine == other


def test_an_answer_arrives_as_it_was_sent() -> None:
    """An encoded analysis decodes to the same facts, arrays bit for bit."""
    sent = analysis()
    refused = ImageAnalysis(ImageStatus.TRUNCATED, "it ends “early”", 0, 0, bytes(32), ())
    arrived, refused_arrived = decode_answer(encode_analyses([sent, refused]))
    assert refused_arrived == refused
    assert (arrived.status, arrived.width, arrived.height, arrived.sha256) == (ImageStatus.OK, 640, 480, sent.sha256)
    for mine, other in zip(sent.faces, arrived.faces, strict=True):
        assert_same_face(mine, other)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unavailable("no weights", reason="RECIPE_UNAVAILABLE"), Unavailable),
        (InternalError("a defect", reason="EMBEDDING_NOT_FINITE"), InternalError),
        (NotFound("odd", reason="ODD"), InternalError),
    ],
)
def test_a_workers_error_is_raised_with_its_reason(error: MienError, expected: type[MienError]) -> None:
    """What a worker could not do is raised on the other side with the same reason and message."""
    with pytest.raises(expected) as caught:
        decode_answer(encode_error(error))
    assert (caught.value.reason, caught.value.message) == (error.reason, error.message)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"images": [{}]}',
        b'{"images": [{"status": 99}]}',
        b'{"error": 1}',
        b"\x80\x04K\x01.",
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error(answer: bytes) -> None:
    """Whatever a worker that went astray says, the server reads it as data and reports WORKER_ANSWER_INVALID."""
    with pytest.raises(InternalError) as caught:
        decode_answer(answer)
    assert caught.value.reason == "WORKER_ANSWER_INVALID"
