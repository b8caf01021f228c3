"""A disk that does not read some blocks any more: what is read by a call is refused with its place.

What is read through a mapping ends the process, which nothing here can stage: the opening, the patrol and `verify` look
before that.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mien_client import Client, row_batches
from mien_server.storage.vector_file import VECTORS_OFFSET
from tests.faults.library import Call, Fault, Faults
from tests.server_processes import ServerProcess
from tests.unit_rows import unit_rows

GALLERY, COUNT, DIMENSION = "people", 300, 64
ROWS = unit_rows(COUNT, DIMENSION, 3)
UNREADABLE_ROWS = 3
WAIT_TIME_MAX_S = 60.0
ROW_FAULT = Fault(Call.READ, "rows.vec", errno.EIO, offset_end=VECTORS_OFFSET + UNREADABLE_ROWS * DIMENSION * 4)
RECORDS_FAULT = Fault(Call.READ, "data.mdb", errno.EIO, offset_end=2 * 4096)


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[Faults]:
    (tmp_path / "switch").mkdir()
    switch = Faults(tmp_path / "switch")
    yield switch
    switch.close()


@pytest.fixture
def store(store_path: Path) -> Path:
    """A store of one gallery, ended well."""
    with ServerProcess(store_path) as server, server.client() as client:
        client.create_gallery(GALLERY, precomputed="made-1", dimension=DIMENSION)
        ids = [f"person-{number:03d}" for number in range(COUNT)]
        for ack in client.stream_enroll(GALLERY, row_batches(ROWS, ids)):
            assert ack.error is None
    return store_path


def command(store: Path, *arguments: str) -> list[str]:
    serve = ["-m", "mien_server.cli.main", "--data", str(store), "--listen", "127.0.0.1:0"]
    return [sys.executable, *(arguments or serve)]


def ended(arguments: list[str], faults: Faults) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **faults.environment}
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, env=environment, check=False)


def test_a_server_does_not_start_on_records_that_cannot_be_read(store: Path, faults: Faults) -> None:
    """It says which bytes of which file the disk does not read, in place of being ended by the system."""
    with faults.failing(RECORDS_FAULT):
        refused = ended(command(store), faults)
    assert refused.returncode == 1
    assert "data.mdb: bytes 0 to 4096 cannot be read: Input/output error" in refused.stderr
    assert "copy what the disk still reads" in refused.stderr


def test_a_store_with_rows_that_cannot_be_read_is_not_served_without_them(store: Path, faults: Faults) -> None:
    """Searches look at every row of the mapping, so that leaving out those does not help: the start is refused."""
    with faults.failing(ROW_FAULT):
        refused = ended([*command(store), "--serve-damaged"], faults)
    assert refused.returncode == 1
    assert f"row 0, bytes {VECTORS_OFFSET} to" in refused.stderr
    assert "Input/output error" in refused.stderr


def test_verify_names_each_row_that_cannot_be_read(store: Path, faults: Faults) -> None:
    """The rows that the disk reads are compared all the same, and those that it does not are doubts."""
    arguments = ["-m", "mien_index_tools.cli.main", "--json", "verify", str(store), "--deep"]
    with faults.failing(ROW_FAULT):
        doubted = ended(command(store, *arguments), faults)
    assert doubted.returncode == 1
    [vectors] = [one for one in json.loads(doubted.stdout)["checks"] if one["what"].endswith(": vectors")]
    assert [one["reason"] for one in vectors["listed"]] == ["VECTOR_UNREADABLE"] * UNREADABLE_ROWS
    assert [one["place"]["ordinal"] for one in vectors["listed"]] == ["0", "1", "2"]
    with faults.failing(RECORDS_FAULT):
        doubted = ended(command(store, *arguments), faults)
    assert doubted.returncode == 1
    assert "RECORDS_UNREADABLE" in doubted.stdout


def test_the_patrol_finds_rows_that_cannot_be_read(store: Path, faults: Faults) -> None:
    """It reads by calls: the server lives on, lists the rows and answers with others; healed, they are forgotten."""
    settings = ("storage.patrol_interval_s=1", "storage.patrol_bytes_per_s=100000000")
    with ServerProcess(store, *settings, environment=faults.environment) as server, server.client() as client:
        with faults.failing(ROW_FAULT):
            wait_for_damages(client, UNREADABLE_ROWS)
            damages = client.get_server_info().damages
            assert {one.reason for one in damages} == {"VECTOR_UNREADABLE"}
            assert {one.place["ordinal"] for one in damages} == {"0", "1", "2"}
            [answer] = client.search_faces(GALLERY, embeddings=ROWS[9], k=1).embeddings
            assert answer.neighbors[0].identity_id == "person-009"
        wait_for_damages(client, 0)


def wait_for_damages(client: Client, count: int) -> None:
    end_s = time.monotonic() + WAIT_TIME_MAX_S
    while client.get_server_info().damage_count != count:
        assert time.monotonic() < end_s
        time.sleep(0.1)
