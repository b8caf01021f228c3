"""Retention over gRPC, by a clock that is set by hand: what has expired is in no answer, and is deleted soon after."""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mien_client import (
    Client,
    DecisionPolicy,
    Effort,
    EmbeddingBlock,
    EnrolledFace,
    EnrolledIdentity,
    EnrollItem,
    EnrollRows,
    Filter,
    InvalidArgument,
    MienClientError,
    NotFound,
    row_batches,
)
from mien_client.cli import exits
from mien_client.cli.main import main
from mien_server.engine import EngineOptions
from mien_server.engine.expiring import SWEPT_ROWS
from mien_server.storage import StoreOptions

TICK_US = 1_000_000
START_US = 1_800_000_000 * TICK_US
DIMENSION = 8
NEVER = datetime.timedelta(0)
POLICY = DecisionPolicy(similarity=0.9)


class FakeClock:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: int) -> None:
        self.now_us += seconds * TICK_US

    def after_s(self, seconds: int) -> datetime.datetime:
        """That many seconds after the start."""
        return datetime.datetime.fromtimestamp(START_US // TICK_US + seconds, datetime.UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def engine_options(clock: FakeClock) -> EngineOptions:
    """An engine that lives by that clock and sweeps only when it is asked to."""
    return EngineOptions(store=StoreOptions(clock_us=clock), sweep_interval_s=3600.0)


@pytest.fixture
def client(server: Any) -> Iterator[Client]:
    """A client of it, with an empty gallery `people`."""
    with Client(server.address) as opened:
        opened.create_gallery("people", precomputed="model-1", dimension=DIMENSION)
        yield opened


def found_by(client: Client, probe: np.ndarray) -> list[str]:
    """Face ids, nearest first."""
    [found] = client.search_faces("people", embeddings=probe, k=50, effort=Effort(exact=True)).embeddings
    return [one.face_id for one in found.neighbors]


def test_an_expired_face_is_in_no_answer(
    client: Client, clock: FakeClock, unit_vectors: Callable[..., np.ndarray]
) -> None:
    """The moment its time comes, and not before, a face is gone from searches, lists, counts and single reads."""
    rows = unit_vectors(3)
    items = [
        EnrollItem("ada", embedding=rows[0], face_id="short", expire_time=clock.after_s(10)),
        EnrollItem("ada", embedding=rows[1], face_id="long", expire_time=clock.after_s(1000)),
        EnrollItem("bob", embedding=rows[2], face_id="always"),
    ]
    answer = client.enroll_faces("people", items)
    assert [one.faces[0].expire_time for one in answer.outcomes] == [clock.after_s(10), clock.after_s(1000), None]
    clock.pass_s(9)
    assert found_by(client, rows[0])[0] == "short"
    assert client.get_face("people", "short").expire_time == clock.after_s(10)
    clock.pass_s(1)
    assert sorted(found_by(client, rows[0])) == ["always", "long"]
    assert [face.id for face in client.list_faces("people")] == ["long", "always"]
    assert client.count_faces("people", identity_id="ada") == client.get_identity("people", "ada").face_count == 1
    assert client.get_gallery("people").face_count == 2
    identified = client.identify("people", embeddings=rows[0], policy=POLICY, explain=True)
    assert not identified.embeddings[0].match
    assert identified.info.explanation.matching_faces == 2
    for read in (
        lambda: client.get_face("people", "short"),
        lambda: client.delete_faces("people", ["short"]),
        lambda: client.move_faces("people", ["short"], "bob"),
        lambda: client.verify_faces(EnrolledFace("short"), rows[0], gallery="people", policy=POLICY),
    ):
        with pytest.raises(NotFound) as refusal:
            read()
        assert refusal.value.reason == "FACE_NOT_FOUND"


def test_an_identity_expires_with_all_its_faces(
    client: Client, clock: FakeClock, unit_vectors: Callable[..., np.ndarray]
) -> None:
    """Setting, moving and clearing an identity's time takes effect at once, and it ends faces without one."""
    rows = unit_vectors(2)
    client.enroll_faces("people", [EnrollItem(name, embedding=row) for name, row in zip("ab", rows, strict=True)])
    assert client.update_identity("people", "a", expire_time=clock.after_s(5)).expire_time == clock.after_s(5)
    client.update_identity("people", "a", display_name="Ada")
    assert client.get_identity("people", "a").expire_time == clock.after_s(5)
    assert client.update_identity("people", "a", never_expires=True).expire_time is None
    clock.pass_s(10)
    assert client.get_gallery("people").identity_count == 2
    client.update_identity("people", "a", expire_time=clock.after_s(20))
    clock.pass_s(10)
    assert [one.id for one in client.list_identities("people")] == ["b"]
    assert client.count_identities("people", filter=Filter(excluded_identity_ids=["a"])) == 1
    assert len(found_by(client, rows[0])) == 1
    gallery = client.get_gallery("people")
    assert (gallery.identity_count, gallery.face_count) == (1, 1)
    for read in (
        lambda: client.get_identity("people", "a"),
        lambda: client.update_identity("people", "a", never_expires=True),
        lambda: client.delete_identity("people", "a"),
        lambda: client.verify_faces(EnrolledIdentity("a"), rows[0], gallery="people", policy=POLICY),
    ):
        with pytest.raises(NotFound) as refusal:
            read()
        assert refusal.value.reason == "IDENTITY_NOT_FOUND"


def test_who_expired_can_be_enrolled_again_before_the_sweep(
    client: Client, clock: FakeClock, unit_vectors: Callable[..., np.ndarray]
) -> None:
    """The same person, picture and face id are new after the time, whatever of them is still to be deleted."""
    [row] = unit_vectors(1)
    client.enroll_faces("people", [EnrollItem("ada", embedding=row, face_id="one", identity_display_name="Ada")])
    client.update_identity("people", "ada", expire_time=clock.after_s(5))
    again = EnrollItem("ada", embedding=row, face_id="one", expire_time=clock.after_s(100))
    assert client.enroll_faces("people", [again]).outcomes[0].duplicate
    clock.pass_s(5)
    [outcome] = client.enroll_faces("people", [again]).outcomes
    assert not outcome.duplicate
    assert outcome.identity_created
    assert client.get_identity("people", "ada").display_name == ""
    clock.pass_s(95)
    [outcome] = client.enroll_faces("people", [EnrollItem("ada", embedding=row, face_id="two")]).outcomes
    assert (outcome.duplicate, outcome.identity_created) == (False, False)
    assert found_by(client, row) == ["two"]


def test_the_default_holds_for_faces_enrolled_after_it(
    client: Client, clock: FakeClock, unit_vectors: Callable[..., np.ndarray]
) -> None:
    """A gallery's default gives a time to faces that name none, in items and in rows, and moves nobody's time."""
    rows = unit_vectors(5)
    client.enroll_faces("people", [EnrollItem("p0", embedding=rows[0], face_id="before")])
    updated = client.update_gallery("people", default_time_to_live=datetime.timedelta(seconds=30))
    assert updated.default_time_to_live == datetime.timedelta(seconds=30)
    [outcome] = client.enroll_faces("people", [EnrollItem("p1", embedding=rows[1], face_id="item")]).outcomes
    assert outcome.faces[0].expire_time == clock.after_s(30)
    times = [None, clock.after_s(7)]
    for ack in client.stream_enroll(
        "people", row_batches(rows[2:4], ["p2", "p3"], face_ids=["row", "own"], expire_times=times)
    ):
        assert not ack.row_errors
    assert client.update_gallery("people", default_time_to_live=NEVER).default_time_to_live is None
    client.enroll_faces("people", [EnrollItem("p4", embedding=rows[4], face_id="after")])
    expected = {"before": None, "item": 30, "row": 30, "own": 7, "after": None}
    shown = {face.id: face.expire_time for face in client.list_faces("people")}
    assert shown == {one: None if seconds is None else clock.after_s(seconds) for one, seconds in expected.items()}
    clock.pass_s(30)
    assert sorted(found_by(client, rows[0])) == ["after", "before"]


def test_what_cannot_be_a_time_of_expiry_is_refused(
    client: Client, clock: FakeClock, unit_vectors: Callable[..., np.ndarray]
) -> None:
    """Times that have passed and lengths that are absurd are refused, for one item alone where there are several."""
    rows = unit_vectors(3)
    past, epoch = clock.after_s(0), datetime.datetime.fromtimestamp(0, datetime.UTC)
    items = [
        EnrollItem("a", embedding=rows[0], expire_time=past),
        EnrollItem("b", embedding=rows[1], expire_time=epoch),
        EnrollItem("c", embedding=rows[2]),
    ]
    outcomes = client.enroll_faces("people", items).outcomes
    assert [one.error and one.error.reason for one in outcomes] == ["EXPIRE_TIME_PAST", "TIME_INVALID", None]
    batch = EnrollRows(rows, ["a", "b", "d"], expire_times=[past, epoch, clock.after_s(1)])
    [ack] = client.stream_enroll("people", [batch])
    assert {row: error.reason for row, error in ack.row_errors.items()} == {0: "EXPIRE_TIME_PAST", 1: "TIME_INVALID"}
    calls: list[tuple[str, Callable[[], object]]] = [
        ("EXPIRE_TIME_PAST", lambda: client.update_identity("people", "c", expire_time=past)),
        ("TIME_INVALID", lambda: client.update_identity("people", "c", expire_time=epoch)),
    ]
    calls += [
        ("TIME_TO_LIVE_INVALID", lambda length=length: client.update_gallery("people", default_time_to_live=length))
        for length in (datetime.timedelta(microseconds=1), datetime.timedelta(days=36_501))
    ]
    calls.append(
        ("TIME_INVALID", lambda: client.update_gallery("people", default_time_to_live=-datetime.timedelta(days=1)))
    )
    for reason, call in calls:
        with pytest.raises(InvalidArgument) as refusal:
            call()
        assert refusal.value.reason == reason
    with pytest.raises(ValueError, match="time zone"):
        client.update_identity("people", "c", expire_time=datetime.datetime(2100, 1, 1))  # noqa: DTZ001 - the point


def test_a_change_sent_again_after_its_time_has_one_outcome(
    client: Client, clock: FakeClock, unit_vectors: Callable[..., np.ndarray]
) -> None:
    """A repeated request id is answered as before, though what it asked for would be refused by now."""
    client.enroll_faces("people", [EnrollItem("ada", embedding=unit_vectors(1)[0])])
    first = client.update_identity("people", "ada", expire_time=clock.after_s(5), request_id="once")
    clock.pass_s(10)
    again = client.update_identity("people", "ada", expire_time=clock.after_s(5), request_id="once")
    assert (again.expire_time, again.revision) == (first.expire_time, first.revision)


def test_the_sweep_deletes_what_nobody_finds(
    client: Client,
    clock: FakeClock,
    server: Any,
    unit_vectors: Callable[..., np.ndarray],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A sweep deletes faces and identities, more than one commit takes, changes no answer and logs counts alone."""
    count = SWEPT_ROWS + 50
    rows = unit_vectors(2 * count)
    owners = [f"person-{row}" for row in range(count)]
    times = [clock.after_s(1 + row % 7) for row in range(count)]
    for ack in client.stream_enroll("people", row_batches(rows[:count], owners, expire_times=times)):
        assert not ack.row_errors
    for ack in client.stream_enroll("people", row_batches(rows[count:], ["crowd"] * count)):
        assert not ack.row_errors
    client.update_identity("people", "crowd", expire_time=clock.after_s(3))
    clock.pass_s(10)
    before = client.get_gallery("people")
    assert (before.identity_count, before.face_count) == (count, 0)
    with caplog.at_level(logging.DEBUG, "mien_server"):
        swept = server.engine.sweeper.sweep()
    assert swept == (2 * count, 1)
    assert "crowd" not in caplog.text
    after = client.get_gallery("people")
    assert (after.identity_count, after.face_count) == (count, 0)
    assert server.engine.sweeper.sweep() == (0, 0)
    assert after.revision > before.revision


def test_a_deletion_counts_what_was_to_be_seen(
    client: Client, clock: FakeClock, unit_vectors: Callable[..., np.ndarray]
) -> None:
    """Deleting somebody of whose faces some have expired, and were not swept, answers with the number of the others."""
    rows = unit_vectors(3)
    times = [clock.after_s(5), clock.after_s(5), clock.after_s(0) + datetime.timedelta(days=9)]
    for ack in client.stream_enroll("people", row_batches(rows, ["ann"] * 3, expire_times=times)):
        assert not ack.row_errors
    clock.pass_s(6)
    assert client.get_identity("people", "ann").face_count == 1
    assert client.delete_identity("people", "ann").deleted_faces == 1


def test_a_gallery_of_nothing_but_the_expired_is_empty(
    client: Client, clock: FakeClock, unit_vectors: Callable[..., np.ndarray]
) -> None:
    """It is deleted without force, and nothing is counted as deleted with it."""
    client.enroll_faces("people", [EnrollItem("ada", embedding=unit_vectors(1)[0])])
    with pytest.raises(MienClientError):
        client.delete_gallery("people")
    client.update_identity("people", "ada", expire_time=clock.after_s(1))
    clock.pass_s(1)
    gone = client.delete_gallery("people")
    assert (gone.deleted_identities, gone.deleted_faces) == (0, 0)


def test_the_command_line_sets_and_shows_times(client: Client, server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`mien gallery create|update --ttl` set the default, and listings show it."""

    def mien(*arguments: str) -> Any:
        assert main(["--server", server.address, "--json", *arguments]) == exits.DONE
        return json.loads(capsys.readouterr().out)

    made = mien("gallery", "create", "visitors", "--precomputed", "m", "--dimension", "8", "--ttl", "30d")
    assert made["default_time_to_live"] == 30 * 86400
    assert mien("gallery", "update", "visitors", "--ttl", "12h")["default_time_to_live"] == 12 * 3600
    assert main(["--server", server.address, "gallery", "list"]) == exits.DONE
    assert "12h" in capsys.readouterr().out
    assert mien("gallery", "update", "visitors", "--ttl", "never")["default_time_to_live"] is None
    vector = EmbeddingBlock(np.eye(8, dtype=np.float32)[0])
    client.enroll_faces("visitors", [EnrollItem("ada", embedding=vector)])
    assert mien("list", "faces", "--gallery", "visitors")["faces"][0]["expire_time"] is None
