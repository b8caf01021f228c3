"""A server on a damaged store: it does not start, or serves the rest and says what is damaged."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from mien_client import Client, DecisionPolicy, EnrollItem, Filter, OperationState, row_batches
from mien_client.errors import MienClientError, NotFound
from mien_server.storage.vector_file import VECTORS_OFFSET
from tests.erasure_support import traces
from tests.recovery.test_corruption_store import DATA, flip, live_bytes, page_flipped
from tests.server_processes import ServerProcess
from tests.unit_rows import unit_rows

GALLERY, COUNT, DIMENSION = "people", 400, 16
ROWS = unit_rows(COUNT, DIMENSION, 1)
PATROL_AT_ONCE = ("storage.patrol_interval_s=1", "storage.patrol_bytes_per_s=100000000")
WAIT_TIME_MAX_S = 60.0


@pytest.fixture
def store(store_path: Path) -> Path:
    """A store of one gallery, ended well."""
    with ServerProcess(store_path) as server, server.client() as client:
        client.create_gallery(GALLERY, precomputed="made-1", dimension=DIMENSION)
        ids = [f"person-{number // 2:03d}" for number in range(COUNT)]
        faces = [f"face-{number:03d}" for number in range(COUNT)]
        for ack in client.stream_enroll(GALLERY, row_batches(ROWS, ids, face_ids=faces)):
            assert ack.error is None
    return store_path


def damage_vector(store: Path, row: int) -> str:
    """Change a byte of a row; answers with its offset."""
    [file] = store.glob("vectors/*/rows.vec")
    offset = VECTORS_OFFSET + row * DIMENSION * 4
    flip(file, offset + 1)
    return str(offset)


def found(client: Client, row: int) -> str:
    [answer] = client.search_faces(GALLERY, embeddings=ROWS[row], k=1).embeddings
    return answer.neighbors[0].face_id


def test_the_rest_is_served_and_the_damage_is_listed(store: Path) -> None:
    """With `serve_damaged` a damaged vector and a damaged identity are left out of every answer; GetServerInfo and
    the log name them, and all others are found.
    """
    offset = damage_vector(store, 100)
    flip(store / DATA, live_bytes(store, "identity_ids", b"person-060"), 1)
    with ServerProcess(store, "storage.serve_damaged=true") as server, server.client() as client:
        info = client.get_server_info()
        assert info.serves_damaged
        assert info.damage_count >= 2
        assert any(one.reason == "VECTOR_DAMAGED" and one.place["offset"] == offset for one in info.damages)
        assert any(one.place.get("database") == "identity_ids" for one in info.damages)
        assert any("damaged" in reason for reason in info.degraded_reasons)
        assert f"bytes {offset}" in server.log()
        left_out = {100, 120, 121}
        for row in range(0, COUNT, 7):
            assert (found(client, row) == f"face-{row:03d}") == (row not in left_out)
        assert found(client, 100) != "face-100"
        assert found(client, 120) not in {"face-120", "face-121"}


def test_a_damaged_vector_is_refused_without_the_flag(store: Path) -> None:
    """Otherwise a search that would answer with it fails and names the place and the commands; others go on."""
    offset = damage_vector(store, 100)
    with ServerProcess(store, "storage.patrol_interval_s=0") as server, server.client() as client:
        assert client.get_server_info().damages == ()
        assert found(client, 5) == "face-005"
        with pytest.raises(MienClientError) as refused:
            client.get_face(GALLERY, "face-100", include_embedding=True)
        assert refused.value.reason == "VECTOR_DAMAGED"
        assert offset in str(refused.value)
        assert "mien-index verify" in str(refused.value)


def test_the_patrol_finds_what_nobody_reads(store: Path) -> None:
    """What is damaged while the server runs is found without being read by anybody, and shown."""
    with ServerProcess(store, *PATROL_AT_ONCE) as server, server.client() as client:
        end_s = time.monotonic() + WAIT_TIME_MAX_S
        while (first := client.get_server_info().patrol_end_time) is None:
            assert time.monotonic() < end_s
            time.sleep(0.1)
        assert client.get_server_info().damages == ()
        offset = damage_vector(store, 7)
        while not (info := client.get_server_info()).damages:
            assert time.monotonic() < end_s
            time.sleep(0.1)
        [damage] = info.damages
        assert (damage.reason, damage.place["offset"], damage.place["ordinal"]) == ("VECTOR_DAMAGED", offset, "7")
        assert info.degraded_reasons
        assert info.patrol_end_time is not None
        assert info.patrol_end_time >= first
        assert f"bytes {offset}" in server.log()
        assert found(client, 8) == "face-008"


def test_a_server_does_not_start_on_pages_that_would_end_it(store: Path) -> None:
    """Damage to LMDB's pages is refused before LMDB reads them, in one line with the command, whatever is asked for."""
    page_flipped("faces", "root", 10, 3)(store)
    for flags in ([], ["--serve-damaged"]):
        command = [
            sys.executable,
            "-m",
            "mien_server.cli.main",
            "--data",
            str(store),
            "--listen",
            "127.0.0.1:0",
            *flags,
        ]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 1
        assert "data.mdb: page" in ended.stderr
        assert "--repair NEW_STORE" in ended.stderr


DAMAGED = "person-060"
POLICY = DecisionPolicy(similarity=0.5)
PEOPLE = [f"person-{number:03d}" for number in range(COUNT // 2)]
NEW_ROWS = unit_rows(8, DIMENSION, 2)


@pytest.fixture
def store_with_labels(store: Path) -> Path:
    """Ten people with names and labels, one of whom is damaged."""
    with ServerProcess(store) as server, server.client() as client:
        for one in PEOPLE[55:65]:
            client.update_identity(GALLERY, one, display_name=f"Name of {one}", labels={"team": f"team-of-{one[-2]}"})
    flip(store / DATA, live_bytes(store, "identities", f"Name of {DAMAGED}".encode()), 1)
    return store


def test_a_damaged_identity_harms_nobody_else(store_with_labels: Path) -> None:
    """Lists and filters leave it out, a batch and a stream refuse its rows alone, and whoever is named is whole."""
    settings = ("storage.serve_damaged=true", *PATROL_AT_ONCE)
    with ServerProcess(store_with_labels, *settings) as server, server.client() as client:
        others = [one for one in PEOPLE if one != DAMAGED]
        assert [one.id for one in client.list_identities(GALLERY, page_size=7)] == others
        team = Filter(identity_labels={"team": "team-of-6"})
        assert [one.id for one in client.list_identities(GALLERY, filter=team, page_size=1)] == PEOPLE[61:65]
        named = Filter(identity_ids=[DAMAGED, "person-061"])
        [answer] = client.search_faces(GALLERY, embeddings=ROWS[120], k=5, filter=named).embeddings
        assert {one.identity_id for one in answer.neighbors} == {"person-061"}
        assert {one.identity_id for one in client.list_faces(GALLERY)} == set(others)
        [decided] = client.identify(GALLERY, embeddings=ROWS[120], candidate_count=100, policy=POLICY).embeddings
        assert DAMAGED not in {one.identity_id for one in decided.candidates}
        with pytest.raises(MienClientError, match="delete it") as refused:
            client.get_identity(GALLERY, DAMAGED)
        assert refused.value.reason == "RECORD_DAMAGED"
        items = [EnrollItem(one, embedding=NEW_ROWS[at]) for at, one in enumerate(("new", DAMAGED, "person-001"))]
        for _ in range(2):
            # Sent again it has the same outcome.
            outcomes = client.enroll_faces(GALLERY, items, request_id="with-a-damaged-one").outcomes
            assert [outcome.error is None for outcome in outcomes] == [True, False, True]
            error = outcomes[1].error
            assert error is not None
            assert (error.reason, error.metadata["database"]) == ("RECORD_DAMAGED", "identities")
            assert error.metadata["key"].endswith(DAMAGED.encode().hex())
        [ack] = client.stream_enroll(GALLERY, row_batches(NEW_ROWS[3:6], ["new", DAMAGED, "person-002"]))
        assert ack.error is None
        assert (ack.enrolled_count, list(ack.row_errors)) == (2, [1])
        assert ack.row_errors[1].reason == "RECORD_DAMAGED"


def test_a_damaged_identity_is_deleted_and_made_anew(store_with_labels: Path) -> None:
    """After its deletion the store is whole: nothing is known to be damaged, and it opens without the flag."""
    settings = ("storage.serve_damaged=true", *PATROL_AT_ONCE)
    with ServerProcess(store_with_labels, *settings) as server, server.client() as client:
        assert client.get_server_info().damage_count
        assert client.delete_identity(GALLERY, DAMAGED).deleted_faces == 2
        with pytest.raises(NotFound):
            client.get_identity(GALLERY, DAMAGED)
        client.enroll_faces(GALLERY, [EnrollItem(DAMAGED, embedding=ROWS[120])])
        end_s = time.monotonic() + WAIT_TIME_MAX_S
        while client.get_server_info().damage_count:
            assert time.monotonic() < end_s
            time.sleep(0.1)
        assert client.get_server_info().degraded_reasons == ()
    with ServerProcess(store_with_labels) as server, server.client() as client:
        assert [one.id for one in client.list_identities(GALLERY)] == PEOPLE
        gallery = client.get_gallery(GALLERY)
        assert (gallery.identity_count, gallery.face_count) == (COUNT // 2, COUNT - 1)


def test_a_damaged_identity_is_erased(store_with_labels: Path) -> None:
    """Its erasure ends, and no file of the store has its id, its label or its faces any more."""
    with ServerProcess(store_with_labels, "storage.serve_damaged=true") as server, server.client() as client:
        started = client.erase_identity(GALLERY, DAMAGED)
        assert client.wait_operation(started.operation, timeout_s=WAIT_TIME_MAX_S).state is OperationState.SUCCEEDED
        assert [one.id for one in client.list_identities(GALLERY)] == [one for one in PEOPLE if one != DAMAGED]
    wanted = [DAMAGED.encode(), *(ROWS[row].tobytes()[8:32] for row in (120, 121)), b"face-120", b"face-121"]
    assert traces(store_with_labels, wanted) == []
