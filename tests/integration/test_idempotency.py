"""Requests that are repeated, at once, in another order, over broken streams and after a kill, have one effect."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message

from mien.v1 import gallery_service_pb2 as pb
from mien.v1 import operations_service_pb2 as operations_pb
from mien.v1 import types_pb2
from mien_server.engine import EngineOptions
from mien_server.rpc.absent import ABSENT_METHODS
from mien_server.rpc.methods.table import SERVICES
from mien_server.storage.backup.manifest import name_suffix
from tests.unit_rows import unit_rows

DIMENSION = 8
TIME_MAX_S = 60
AT_ONCE = 8
PEOPLE = ("anna", "anna", "bert", "eric", "fred")
"""Whose faces 1, 2, ... are."""
NO_STORE = "-00000000"
SNAPSHOT = f"20260101T000000000000Z-r1{NO_STORE}"
OTHER_SNAPSHOT = f"20260101T000000000000Z-r2{NO_STORE}"
"""Of the store that is asked, once it is known."""
ALLOW = pb.EnrollmentPolicy(duplicates=pb.DUPLICATES_ALLOW)
"""Equal vectors are enrolled again: only the request id tells a repetition."""


def _embedding(seed: int) -> types_pb2.Embeddings:
    return types_pb2.Embeddings(data=unit_rows(1, DIMENSION, seed).tobytes(), dimension=DIMENSION, count=1)


def _item(person: str, face_id: str = "", seed: int = 1) -> pb.EnrollItem:
    return pb.EnrollItem(identity_id=person, face_id=face_id, embedding=_embedding(seed))


def _rows(gallery: str, request_id: str, count: int, *, sequence: int = 1) -> pb.StreamEnrollRequest:
    embeddings = types_pb2.Embeddings(data=unit_rows(count, DIMENSION).tobytes(), dimension=DIMENSION, count=count)
    return pb.StreamEnrollRequest(
        sequence=sequence,
        gallery=gallery,
        policy=ALLOW,
        request_id=request_id,
        rows=pb.EnrollRows(embeddings=embeddings, identity_ids=[f"row-{row}" for row in range(count)]),
    )


def _gallery(name: str) -> pb.Gallery:
    model = pb.EmbeddingModel(precomputed=pb.PrecomputedModel(name="m", dimension=DIMENSION))
    return pb.Gallery(name=name, model=model)


@pytest.fixture
def engine_options(tmp_path: Path) -> EngineOptions:
    """An engine that may write snapshots."""
    return EngineOptions(snapshot_destinations=(str(tmp_path / "saved"),))


@dataclass(frozen=True)
class Write:
    """A write of a store that `_prepare` made: the request, and one that differs in more than its id."""

    request: Message
    other: Message


WRITES: Mapping[str, Write] = {
    "mien.v1.GalleryService.CreateGallery": Write(
        pb.CreateGalleryRequest(gallery=_gallery("new")), pb.CreateGalleryRequest(gallery=_gallery("newer"))
    ),
    "mien.v1.GalleryService.UpdateGallery": Write(
        pb.UpdateGalleryRequest(gallery=pb.Gallery(name="staff", display_name="Staff")),
        pb.UpdateGalleryRequest(gallery=pb.Gallery(name="staff", display_name="Guests")),
    ),
    "mien.v1.GalleryService.EnrollFaces": Write(
        pb.EnrollFacesRequest(gallery="staff", items=[_item("anna"), _item("")], policy=ALLOW),
        pb.EnrollFacesRequest(gallery="staff", items=[_item("anna")], policy=ALLOW),
    ),
    "mien.v1.GalleryService.StreamEnroll": Write(_rows("staff", "", 3), _rows("staff", "", 4)),
    "mien.v1.GalleryService.UpdateIdentity": Write(
        pb.UpdateIdentityRequest(
            gallery="staff", identity=pb.Identity(id="carl", display_name="C"), allow_missing=True
        ),
        pb.UpdateIdentityRequest(
            gallery="staff", identity=pb.Identity(id="carl", display_name="D"), allow_missing=True
        ),
    ),
    "mien.v1.GalleryService.MoveFaces": Write(
        pb.MoveFacesRequest(gallery="staff", face_ids=["face-1"], target_identity_id="dora"),
        pb.MoveFacesRequest(gallery="staff", face_ids=["face-2"], target_identity_id="dora"),
    ),
    "mien.v1.GalleryService.DeleteFaces": Write(
        pb.DeleteFacesRequest(gallery="staff", face_ids=["face-2"]),
        pb.DeleteFacesRequest(gallery="staff", face_ids=["face-3"]),
    ),
    "mien.v1.GalleryService.DeleteIdentity": Write(
        pb.DeleteIdentityRequest(gallery="staff", identity_id="eric"),
        pb.DeleteIdentityRequest(gallery="staff", identity_id="anna"),
    ),
    "mien.v1.OperationsService.RebuildIndex": Write(
        operations_pb.RebuildIndexRequest(gallery="staff"), operations_pb.RebuildIndexRequest(gallery="spare")
    ),
    "mien.v1.OperationsService.CreateSnapshot": Write(
        operations_pb.CreateSnapshotRequest(), operations_pb.CreateSnapshotRequest(full=True)
    ),
    "mien.v1.OperationsService.DeleteSnapshot": Write(
        operations_pb.DeleteSnapshotRequest(name=SNAPSHOT, allow_missing=True),
        operations_pb.DeleteSnapshotRequest(name=OTHER_SNAPSHOT, allow_missing=True),
    ),
    "mien.v1.OperationsService.EraseIdentity": Write(
        operations_pb.EraseIdentityRequest(gallery="staff", identity_id="fred"),
        operations_pb.EraseIdentityRequest(gallery="staff", identity_id="bert"),
    ),
    "mien.v1.GalleryService.DeleteGallery": Write(
        pb.DeleteGalleryRequest(gallery="spare"), pb.DeleteGalleryRequest(gallery="staff")
    ),
}
VOLATILE = {
    "create_time",
    "update_time",
    "end_time",
    "progress",
    "stage",
    "state",
    "error",
    "index_state",
    "rebuild_index",
    "create_snapshot",
    "erase_identity",
}
NO_REVISION = {"RebuildIndex", "CreateSnapshot", "DeleteSnapshot"}
"""Methods that change nothing of galleries."""


def _prepare(stubs: Any, *names: str) -> None:
    for name in names or ("staff", "spare"):
        stubs.galleries.CreateGallery(
            pb.CreateGalleryRequest(gallery=_gallery(name)), wait_for_ready=True, timeout=TIME_MAX_S
        )
        if name != "spare":
            items = [
                _item(person, f"face-{n}", n)
                for n, person in enumerate(("anna", "anna", "bert", "eric", "fred"), start=1)
            ]
            stubs.galleries.EnrollFaces(pb.EnrollFacesRequest(gallery=name, items=items), timeout=TIME_MAX_S)


def _send(stubs: Any, method: str, request: Any, request_id: str) -> Message:
    """The answer of a write, without what says how an operation stands now."""
    named = type(request)()
    named.CopyFrom(request)
    named.request_id = request_id
    if method.endswith("DeleteSnapshot"):
        info = stubs.operations.GetServerInfo(operations_pb.GetServerInfoRequest(), timeout=TIME_MAX_S)
        named.name = request.name.removesuffix(NO_STORE) + name_suffix(info.store_id)
    service, _, name = method.rpartition(".")
    stub = stubs.operations if service.endswith("OperationsService") else stubs.galleries
    if method.endswith("StreamEnroll"):
        (answer,) = stub.StreamEnroll(iter([named]), timeout=TIME_MAX_S)
        assert not answer.error.code, answer.error
    else:
        answer = getattr(stub, name)(named, timeout=TIME_MAX_S)
    _clear(answer, VOLATILE)
    return answer  # type: ignore[no-any-return]


def _clear(message: Any, names: set[str]) -> None:
    for field, value in message.ListFields():
        if field.name in names:
            message.ClearField(field.name)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for part in value if field.is_repeated else [value]:
                _clear(part, names)


def _content(stubs: Any, gallery: str) -> list[str]:
    """Identities and faces of a gallery, without ids that the server makes and without times."""
    identities = stubs.galleries.ListIdentities(
        pb.ListIdentitiesRequest(gallery=gallery, page_size=1000), timeout=TIME_MAX_S
    ).identities
    faces = stubs.galleries.ListFaces(pb.ListFacesRequest(gallery=gallery, page_size=1000), timeout=TIME_MAX_S).faces
    people = [f"{one.id} {one.display_name} {one.face_count}" for one in identities]
    return sorted([*people, *(f"{face.identity_id} {face.id if len(face.id) < 32 else ''}" for face in faces)])


def _revision(stubs: Any) -> int:
    request = operations_pb.GetServerInfoRequest()
    return stubs.operations.GetServerInfo(request, timeout=TIME_MAX_S).revision  # type: ignore[no-any-return]


def _is_settled(stubs: Any) -> bool:
    """Whether no operation is under way."""
    listed = stubs.operations.ListOperations(operations_pb.ListOperationsRequest(), timeout=TIME_MAX_S)
    return all(one.state >= operations_pb.OPERATION_STATE_SUCCEEDED for one in listed.operations)


def test_every_write_is_repeated_here() -> None:
    """A method of the contract with a request id that this server has is in the table."""
    methods = [method for service in SERVICES for method in service.methods]
    writes = {method.full_name for method in methods if "request_id" in method.input_type.fields_by_name}
    assert WRITES.keys() == writes - ABSENT_METHODS.keys()


@pytest.mark.parametrize("method", WRITES)
def test_a_repeated_write_is_done_once(server: Any, refused: Any, method: str) -> None:
    """The second answer is the first, nothing is written for it, and the id serves no other body."""
    _prepare(server)
    write = WRITES[method]
    first = _send(server, method, write.request, "id-1")
    revision = _revision(server)
    assert _send(server, method, write.request, "id-1") == first
    assert _revision(server) == revision
    if method.endswith("StreamEnroll"):
        with pytest.raises(AssertionError, match="REQUEST_ID_REUSED"):
            _send(server, method, write.other, "id-1")
    else:
        assert refused(lambda: _send(server, method, write.other, "id-1")).reason == "REQUEST_ID_REUSED"
    assert _revision(server) == revision


@pytest.mark.parametrize("method", WRITES)
def test_a_write_sent_several_times_at_once_is_done_once(server: Any, method: str) -> None:
    """Requests of one id that run at the same time all get the answer of the one that was done."""
    _prepare(server)
    before = _revision(server)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        sent = [threads.submit(_send, server, method, WRITES[method].request, "id-1") for _ in range(AT_ONCE)]
        answers = [one.result() for one in sent]
    assert all(answer == answers[0] for answer in answers)
    assert _revision(server) - before == (0 if method.rpartition(".")[2] in NO_REVISION else 1)


def test_an_enrolment_of_nothing_is_remembered(server: Any) -> None:
    """A batch of which every item was refused has the same outcome again: codes, reasons, messages and fields."""
    _prepare(server)
    request = pb.EnrollFacesRequest(gallery="staff", items=[_item(""), _item("anna", "face-1", 99)])
    first = _send(server, "mien.v1.GalleryService.EnrollFaces", request, "id-1")
    assert [outcome.status.code for outcome in first.outcomes] == [3, 6]  # type: ignore[attr-defined]
    # The face that stood in the way has gone: without the memory the item would be enrolled now.
    server.galleries.DeleteFaces(pb.DeleteFacesRequest(gallery="staff", face_ids=["face-1"]), timeout=TIME_MAX_S)
    assert _send(server, "mien.v1.GalleryService.EnrollFaces", request, "id-1") == first


def test_a_batch_of_rows_of_which_nothing_was_enrolled_is_remembered(server: Any) -> None:
    """The same for rows of a stream."""
    _prepare(server)
    request = _rows("staff", "", 2)
    request.rows.embeddings.data = bytes(len(request.rows.embeddings.data))
    first = _send(server, "mien.v1.GalleryService.StreamEnroll", request, "id-1")
    assert [error.row for error in first.row_errors] == [0, 1]  # type: ignore[attr-defined]
    assert _send(server, "mien.v1.GalleryService.StreamEnroll", request, "id-1") == first


@pytest.mark.slow
def test_a_write_that_was_committed_before_a_kill_is_not_done_again(
    server_process: Any, store_path: Path, until: Callable[..., None]
) -> None:
    """A server killed between the commit of a write and its answer gives, when it is back, the answer it owed."""
    settings = ["--set", f"snapshots.destinations=[{json.dumps(str(store_path.with_name('saved')))}]"]
    server = server_process(store_path)
    _prepare(server)
    server.end()
    for number, (method, write) in enumerate(WRITES.items()):
        server = server_process(store_path, *settings, environment={"MIEN_CRASH_AT": "committed"})
        with pytest.raises(grpc.RpcError) as caught:
            _send(server, method, write.request, f"id-{number}")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        server.process.wait(TIME_MAX_S)
        server = server_process(store_path, *settings)
        revision = _revision(server)
        answer = _send(server, method, write.request, f"id-{number}")
        assert _send(server, method, write.request, f"id-{number}") == answer
        assert _revision(server) == revision, f"{method} was done again"
        # What goes on in the background would be gone on with, and commit, before the next server is asked anything.
        until(partial(_is_settled, server))
        server.end()
    server = server_process(store_path)
    enrolled = itertools.chain.from_iterable((f"row-{row} ", f"row-{row}  1") for row in range(3))
    assert _content(server, "staff") == [
        "anna ",
        "anna  1",
        "bert  1",
        "bert face-3",
        "carl C 0",
        "dora  1",
        "dora face-1",
        *enrolled,
    ]


Op = Callable[[Any, str, str], object]


def _ops(choices: random.Random) -> list[Op]:
    """Writes that fit each other in any order, each a function of server, gallery and request id."""

    def enroll(person: str, seed: int) -> Op:
        return lambda stubs, gallery, request_id: stubs.galleries.EnrollFaces(
            pb.EnrollFacesRequest(
                gallery=gallery, items=[_item(person, seed=seed)], policy=ALLOW, request_id=request_id
            )
        )

    def stream(count: int) -> Op:
        return lambda stubs, gallery, request_id: list(
            stubs.galleries.StreamEnroll(iter([_rows(gallery, request_id, count)]))
        )

    def rename(person: str, name: str) -> Op:
        identity = pb.Identity(id=person, display_name=name)
        return lambda stubs, gallery, request_id: stubs.galleries.UpdateIdentity(
            pb.UpdateIdentityRequest(gallery=gallery, identity=identity, allow_missing=True, request_id=request_id)
        )

    def delete(person: str) -> Op:
        return lambda stubs, gallery, request_id: stubs.galleries.DeleteIdentity(
            pb.DeleteIdentityRequest(gallery=gallery, identity_id=person, allow_missing=True, request_id=request_id)
        )

    people = ["anna", "bert", "fred", "gina"]
    makers = [
        lambda: enroll(choices.choice(people), choices.randrange(3)),
        lambda: stream(choices.randint(1, 4)),
        lambda: rename(choices.choice(people), choices.choice("xyz")),
        lambda: delete(choices.choice(people)),
    ]
    return [choices.choice(makers)() for _ in range(12)]


@pytest.mark.parametrize("seed", range(10))
def test_repeated_and_reordered_requests_leave_what_their_first_arrivals_do(server: Any, seed: int) -> None:
    """Requests that arrive in any order, several times each, leave the store as if each had arrived when it first did,
    and no later.
    """
    choices = random.Random(seed)
    _prepare(server, "mixed", "plain")
    ops = list(enumerate(_ops(choices)))
    arrivals = [op for op in ops for _ in range(choices.randint(1, 3))]
    choices.shuffle(arrivals)
    for number, op in arrivals:
        op(server, "mixed", f"mixed-{number}")
    for number, op in dict.fromkeys(arrivals):
        op(server, "plain", f"plain-{number}")
    assert _content(server, "mixed") == _content(server, "plain")


@pytest.mark.parametrize("seed", range(5))
def test_a_stream_broken_anywhere_enrols_each_batch_once(server: Any, seed: int) -> None:
    """Whatever was acknowledged or not when streams broke: sent again, from any place before, every batch is once."""
    choices = random.Random(seed)
    _prepare(server)
    counts = [choices.randint(1, 5) for _ in range(12)]
    done = 0
    while done < len(counts):
        first = choices.randint(0, done)
        batches = [
            _rows("staff", f"batch-{number}", counts[number], sequence=sequence)
            for sequence, number in enumerate(range(first, len(counts)), start=1)
        ]
        stream = server.galleries.StreamEnroll(iter(batches), timeout=TIME_MAX_S)
        with contextlib.suppress(grpc.RpcError):
            for answer in itertools.islice(stream, choices.randint(1, len(batches))):
                assert answer.enrolled_count == counts[first + answer.sequence - 1]
                done = max(done, first + answer.sequence)
        stream.cancel()
    listed = server.galleries.ListFaces(pb.ListFacesRequest(gallery="staff", page_size=1), timeout=TIME_MAX_S)
    assert listed.total_size == len(PEOPLE) + sum(counts)
    assert np.unique(counts).size > 1
