"""The Python client against a real server, with the caller's own embeddings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from mien_client import (
    AlreadyExists,
    Client,
    ClientOptions,
    Condition,
    ConditionSubject,
    Conflict,
    Decision,
    DecisionPolicy,
    Effort,
    EmbeddingBlock,
    EnrolledFace,
    EnrolledIdentity,
    EnrollItem,
    EnrollRows,
    Filter,
    InvalidArgument,
    NotFound,
    OperationState,
    PreconditionFailed,
    Probes,
    Unimplemented,
    VectorType,
    row_batches,
)
from tests.server_processes import ServerProcess

DIMENSION = 16
_numbers = itertools.count()

Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the module; each test makes a gallery of its own."""
    with ServerProcess(tmp_path_factory.mktemp("client") / "store") as process:
        yield process


@pytest.fixture
def client(running: ServerProcess) -> Iterator[Client]:
    with Client(running.address) as connected:
        yield connected


@pytest.fixture
def gallery(client: Client) -> str:
    """The name of an empty gallery with a threshold of 0.8."""
    name = f"gallery-{next(_numbers)}"
    policy = DecisionPolicy(similarity=0.8)
    client.create_gallery(name, precomputed="m", dimension=DIMENSION, decision_policy=policy)
    return name


def unit(count: int, seed: int = 0) -> Vectors:
    raw = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def names(count: int) -> list[str]:
    return [f"person-{number:05d}" for number in range(count)]


def test_a_gallery_comes_back_as_it_was_made(client: Client) -> None:
    """Everything given at creation is in the answer, in a later read and in the list."""
    made = client.create_gallery(
        "kept",
        precomputed="my-model",
        dimension=DIMENSION,
        display_name="Kept",
        labels={"team": "a"},
        decision_policy=DecisionPolicy(target_fpir=0.01),
        vector_type=VectorType.FLOAT16,
    )
    read = client.get_gallery("kept", min_revision=made.revision)
    assert (read.model.precomputed, read.model.dimension, read.model.recipe) == ("my-model", DIMENSION, "")
    assert (read.display_name, dict(read.labels), read.vector_type) == ("Kept", {"team": "a"}, VectorType.FLOAT16)
    assert read.decision_policy.target_fpir == pytest.approx(0.01)
    assert "kept" in [gallery.name for gallery in client.list_galleries(page_size=1)]
    with pytest.raises(AlreadyExists) as caught:
        client.create_gallery("kept", precomputed="my-model", dimension=DIMENSION)
    assert caught.value.reason == "GALLERY_EXISTS"


def test_an_update_keeps_what_it_does_not_name(client: Client, gallery: str) -> None:
    """Only what is given changes, and a stale etag is a Conflict."""
    before = client.get_gallery(gallery)
    client.update_gallery(gallery, display_name="New", etag=before.etag)
    after = client.get_gallery(gallery)
    assert after.display_name == "New"
    assert after.decision_policy.similarity == pytest.approx(0.8)
    with pytest.raises(Conflict) as caught:
        client.update_gallery(gallery, display_name="Newer", etag=before.etag)
    assert caught.value.reason == "ETAG_MISMATCH"


def test_rows_stream_in_and_are_found(client: Client, gallery: str) -> None:
    """Every row of a stream is acknowledged in order and found by its own vector, with similarity one."""
    vectors = unit(1200)
    acks = list(client.stream_enroll(gallery, row_batches(vectors, names(1200), rows_per_batch=250), window=3))
    assert [ack.batch for ack in acks] == list(range(5))
    assert sum(ack.enrolled_count for ack in acks) == 1200
    assert sorted(ack.revision for ack in acks) == [ack.revision for ack in acks]
    answer = client.search_faces(gallery, embeddings=vectors, k=1, min_revision=acks[-1].revision, columnar=True)
    assert answer.columns is not None
    assert answer.columns.counts.tolist() == [1] * 1200
    found = [answer.columns.identity_ids[place] for place in answer.columns.identities]
    assert found == names(1200)
    assert np.allclose(answer.columns.similarities, 1, atol=1e-5)


def test_enrolling_again_adds_nothing(client: Client, gallery: str) -> None:
    """The same rows are counted as duplicates and answered with the faces that are there."""
    batches = list(row_batches(unit(10), names(10)))
    first = next(iter(client.stream_enroll(gallery, batches)))
    again = next(iter(client.stream_enroll(gallery, batches)))
    assert (again.enrolled_count, again.duplicate_count) == (0, 10)
    assert again.face_ids == first.face_ids
    assert client.get_gallery(gallery).face_count == 10


def test_one_bad_row_fails_alone(client: Client, gallery: str) -> None:
    """A row that is no unit vector is in row_errors under its number, the others are enrolled."""
    vectors = unit(3)
    vectors[1] *= 2
    ack = next(iter(client.stream_enroll(gallery, [EnrollRows(vectors, names(3))])))
    assert ack.error is None
    assert ack.enrolled_count == 2
    assert list(ack.row_errors) == [1]
    assert ack.row_errors[1].reason == "EMBEDDING_NOT_UNIT_NORM"
    assert [bool(face_id) for face_id in ack.face_ids] == [True, False, True]


def test_a_batch_for_no_gallery_is_refused_and_the_stream_goes_on(client: Client) -> None:
    """Each acknowledgement carries the error, and nothing is counted as enrolled."""
    acks = list(client.stream_enroll("nowhere", row_batches(unit(4), names(4), rows_per_batch=2)))
    assert [type(ack.error) for ack in acks] == [NotFound, NotFound]
    assert [ack.enrolled_count for ack in acks] == [0, 0]


def test_raw_network_output_is_normalised_when_asked(client: Client, gallery: str) -> None:
    """Without the wish it is refused with the reason; with it the face is enrolled."""
    raw = unit(1)[0] * 7
    refused = client.enroll_faces(gallery, [EnrollItem("ada", embedding=raw)]).outcomes[0]
    assert isinstance(refused.error, InvalidArgument)
    assert refused.error.reason == "EMBEDDING_NOT_UNIT_NORM"
    taken = client.enroll_faces(gallery, [EnrollItem("ada", embedding=EmbeddingBlock(raw, normalize=True))])
    assert taken.outcomes[0].error is None
    face = client.get_face(gallery, taken.outcomes[0].faces[0].id, include_embedding=True)
    assert face.embedding is not None
    assert np.allclose(face.embedding, raw / 7, atol=1e-6)


def test_a_wrong_dimension_names_the_field(client: Client, gallery: str) -> None:
    """Probes of another dimension are refused with a violation that names the part of the request."""
    with pytest.raises(InvalidArgument) as caught:
        client.identify(gallery, embeddings=np.eye(1, 4))
    assert caught.value.violations
    assert "embedding" in caught.value.violations[0].field


def test_identify_decides_match_and_unknown(client: Client, gallery: str) -> None:
    """A probe near an identity is a MATCH with it, one near nobody is UNKNOWN and still lists the nearest."""
    vectors = np.eye(3, DIMENSION, dtype=np.float32)
    client.enroll_faces(
        gallery,
        [
            EnrollItem(name, embedding=vector, identity_display_name=name.title(), identity_labels={"team": name[0]})
            for name, vector in zip(("ada", "bob", "cyd"), vectors, strict=True)
        ],
    )
    near = vectors[0] + 0.1 * vectors[1]
    stranger = np.eye(1, DIMENSION, 9)[0]
    answer = client.identify(gallery, embeddings=EmbeddingBlock(np.stack([near, stranger]), normalize=True))
    assert [who.decision for who in answer.embeddings] == [Decision.MATCH, Decision.UNKNOWN]
    match = answer.embeddings[0].match
    assert match is not None
    assert (match.identity_id, match.name, dict(match.labels)) == ("ada", "Ada", {"team": "a"})
    assert answer.embeddings[1].match is None
    assert answer.embeddings[1].candidates
    assert answer.threshold.similarity == pytest.approx(0.8)


def test_a_filter_and_a_threshold_of_the_call_count(client: Client, gallery: str) -> None:
    """A filter leaves others out, and a policy given with the call replaces the gallery's."""
    client.enroll_faces(gallery, [EnrollItem("ada", embedding=unit(2)[0]), EnrollItem("bob", embedding=unit(2)[1])])
    answer = client.identify(
        gallery,
        embeddings=unit(2)[0],
        filter=Filter(excluded_identity_ids=["ada"]),
        policy=DecisionPolicy(similarity=-1.0),
        effort=Effort(exact=True),
        explain=True,
    )
    assert [candidate.identity_id for candidate in answer.embeddings[0].candidates] == ["bob"]
    assert answer.embeddings[0].decision is Decision.MATCH
    assert answer.info.explanation is not None
    assert answer.info.explanation.recall_estimate == 1


def test_streams_answer_like_calls(client: Client, gallery: str) -> None:
    """stream_identify and stream_search give, block after block, what single calls give."""
    vectors = unit(300)
    list(client.stream_enroll(gallery, row_batches(vectors, names(300))))
    blocks = [vectors[first : first + 50] for first in range(0, 300, 50)]
    for streamed, block in zip(client.stream_identify(gallery, blocks, window=2), blocks, strict=True):
        assert streamed.answer is not None
        single = client.identify(gallery, embeddings=block)
        assert [who.candidates for who in streamed.answer.embeddings] == [who.candidates for who in single.embeddings]
    probes = [Probes(embeddings=block) for block in blocks]
    for found, block in zip(client.stream_search(gallery, probes, k=3), blocks, strict=True):
        assert found.answer is not None
        neighbors = client.search_faces(gallery, embeddings=block, k=3).embeddings
        assert [one.neighbors for one in found.answer.embeddings] == [one.neighbors for one in neighbors]


def test_sides_of_a_verification(client: Client, gallery: str) -> None:
    """An embedding is compared with an enrolled face and an enrolled identity, with decision and threshold."""
    vectors = unit(2)
    outcomes = client.enroll_faces(gallery, [EnrollItem("ada", embedding=vectors[0])]).outcomes
    same = client.verify_faces(vectors[0], EnrolledIdentity("ada"), gallery=gallery)
    assert same.is_same
    assert same.similarity == pytest.approx(1, abs=1e-5)
    other = client.verify_faces(EnrolledFace(outcomes[0].faces[0].id), vectors[1], gallery=gallery)
    assert other.decision is Decision.DIFFERENT
    assert other.threshold.similarity == pytest.approx(0.8)


def test_what_a_filter_allows_is_listed_and_counted(client: Client, gallery: str) -> None:
    """The lists, the counts and a search's explanation agree on who and how many faces match, deleted ones left out."""
    vectors = unit(9)
    items = [
        EnrollItem(
            f"p{row % 3}",
            embedding=vectors[row],
            face_id=f"f{row}",
            identity_labels={"site": "north" if row % 3 else "south"},
            face_labels={"year": str(2000 + row)},
        )
        for row in range(9)
    ]
    client.enroll_faces(gallery, items)
    client.delete_faces(gallery, ["f4"])
    north = Filter(identity_labels={"site": "north"})
    recent = Filter(conditions=[Condition(ConditionSubject.FACE_LABEL, "year", minimum=2003)])
    assert [one.id for one in client.list_identities(gallery, filter=north, page_size=1)] == ["p1", "p2"]
    assert client.count_identities(gallery, filter=north) == 2
    assert client.count_identities(gallery) == 3
    assert [one.id for one in client.list_faces(gallery, filter=north, page_size=2)] == ["f1", "f2", "f5", "f7", "f8"]
    assert [one.id for one in client.list_faces(gallery, identity_id="p1", filter=recent)] == ["f7"]
    counted = [client.count_faces(gallery, filter=chosen) for chosen in (north, recent, None)]
    assert counted == [5, 5, 8]
    assert client.count_faces(gallery, identity_id="p1") == 2
    for chosen, count in ((north, 5), (recent, 5), (None, 8)):
        found = client.search_faces(gallery, embeddings=vectors[:1], k=2, filter=chosen, explain=True)
        assert found.info.explanation is not None
        assert found.info.explanation.matching_faces == count


def test_people_are_read_moved_and_deleted(client: Client, gallery: str) -> None:
    """Identities and faces can be listed, updated, moved and deleted, and every answer has its revision."""
    list(client.stream_enroll(gallery, row_batches(unit(5), ["ada", "ada", "bob", "cyd", "cyd"])))
    assert [(one.id, one.face_count) for one in client.list_identities(gallery, page_size=2)] == [
        ("ada", 2),
        ("bob", 1),
        ("cyd", 2),
    ]
    updated = client.update_identity(gallery, "ada", display_name="Ada", labels={"vip": "yes"})
    assert client.get_identity(gallery, "ada", min_revision=updated.revision).display_name == "Ada"
    bobs = [face.id for face in client.list_faces(gallery, identity_id="bob")]
    moved = client.move_faces(gallery, bobs, "ada", delete_emptied_identities=True)
    assert (moved.moved_count, moved.emptied_identity_ids) == (1, ("bob",))
    cyds = [face.id for face in client.list_faces(gallery, identity_id="cyd", page_size=1)]
    assert client.delete_faces(gallery, cyds[:1]).deleted_count == 1
    assert client.delete_identity(gallery, "ada").deleted_faces == 3
    assert client.get_gallery(gallery).face_count == 1
    with pytest.raises(NotFound) as caught:
        client.get_identity(gallery, "ada")
    assert caught.value.reason == "IDENTITY_NOT_FOUND"
    with pytest.raises(PreconditionFailed):
        client.delete_gallery(gallery)
    assert client.delete_gallery(gallery, force=True).deleted_faces == 1


def test_a_request_id_makes_a_write_happen_once(client: Client, gallery: str) -> None:
    """The same id with the same body changes nothing, with another body it is refused."""
    item = EnrollItem("ada", embedding=unit(1)[0])
    first = client.enroll_faces(gallery, [item], request_id=f"{gallery}-once")
    again = client.enroll_faces(gallery, [item], request_id=f"{gallery}-once")
    assert again.outcomes[0].faces[0].id == first.outcomes[0].faces[0].id
    assert again.outcomes[0].duplicate is False
    with pytest.raises(Conflict) as caught:
        client.enroll_faces(gallery, [EnrollItem("bob", embedding=unit(1)[0])], request_id=f"{gallery}-once")
    assert caught.value.reason == "REQUEST_ID_REUSED"


def test_a_rebuild_is_waited_for(client: Client, gallery: str) -> None:
    """rebuild_index starts an operation, wait_operation ends with its result, and the list has it."""
    list(client.stream_enroll(gallery, row_batches(unit(50), names(50))))
    started = client.rebuild_index(gallery)
    ended = client.wait_operation(started.name, timeout_s=120)
    assert ended.state is OperationState.SUCCEEDED
    assert started.name in [one.name for one in client.list_operations(gallery=gallery)]
    assert client.get_operation(started.name).is_done


def test_the_server_says_what_it_is(client: Client, gallery: str) -> None:
    """Limits, recipes and galleries are told; what is absent is told too, and raises Unimplemented."""
    info = client.get_server_info()
    assert info.limits.k_max > 0
    assert info.default_recipe in [recipe.name for recipe in info.recipes]
    assert gallery in [one.name for one in info.galleries]
    assert "mien.v1.OperationsService.ImportFaces" in [one.name for one in info.absent]
    with pytest.raises(Unimplemented) as caught:
        client.import_faces(gallery, "folder")
    assert caught.value.reason == "NOT_IMPLEMENTED"
    assert client.is_serving()


def test_a_client_is_shared_between_threads(client: Client, gallery: str) -> None:
    """Many threads enrol and identify through one client at once, and nothing is lost."""
    vectors = unit(80)

    def one(number: int) -> Decision:
        client.enroll_faces(gallery, [EnrollItem(f"p{number}", embedding=vectors[number])])
        return client.identify(gallery, embeddings=vectors[number]).embeddings[0].decision

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(80))) == {Decision.MATCH}
    assert client.get_gallery(gallery).identity_count == 80


def test_a_stream_goes_on_when_the_server_comes_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server killed in the middle of a stream and started again on its socket gets the rest, and no row twice."""
    folder = tmp_path_factory.mktemp("restarted")
    # The second server must be found where the first was.
    socket = f"server.unix_socket_path={folder / 'mien.sock'}"
    count = 6000
    process = ServerProcess(folder / "store", socket)
    with Client(f"unix:{folder / 'mien.sock'}", ClientOptions(initial_backoff_s=0.5)) as client:
        client.create_gallery("people", precomputed="m", dimension=DIMENSION)
        enrolled = 0
        for ack in client.stream_enroll("people", row_batches(unit(count), names(count), rows_per_batch=50)):
            enrolled += ack.enrolled_count + ack.duplicate_count
            if ack.batch == 10:
                process.kill()
                process = ServerProcess(folder / "store", socket)
        assert enrolled == count
        assert client.get_gallery("people").face_count == count
    process.end()
