"""Erasing over gRPC and by the command: a receipt is kept in a file and verified, and the log names nobody."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mien_client import (
    Client,
    Conflict,
    EnrollItem,
    ErasureState,
    NotFound,
    OperationKind,
    OperationState,
)
from mien_client.cli import exits
from mien_client.cli.main import main
from tests.erasure_support import traces
from tests.server_processes import ServerProcess
from tests.unit_rows import unit_rows

GALLERY = "people"
DIMENSION = 32
COUNT = 60
ROWS = unit_rows(COUNT, DIMENSION, 23)
WAIT_S = 60.0

Run = Callable[..., tuple[int, Any]]


def identity_id(person: int) -> str:
    return f"pangolin-{person:04d}"


def wanted(person: int) -> list[bytes]:
    texts = [identity_id(person), f"Name of Pangolin {person:04d}", f"badge-{person:04d}", f"/photo/{person:04d}.png"]
    return [*(text.encode() for text in texts), ROWS[person].tobytes()[:24]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of its own process with some people."""
    with ServerProcess(tmp_path_factory.mktemp("erasure") / "store") as process:
        with Client(process.address) as client:
            client.create_gallery(GALLERY, precomputed="made", dimension=DIMENSION)
            for person in range(COUNT):
                client.enroll_faces(GALLERY, [item(person)], request_id=f"enrol-{person}")
        yield process


def item(person: int) -> EnrollItem:
    return EnrollItem(
        identity_id(person),
        embedding=ROWS[person],
        identity_display_name=f"Name of Pangolin {person:04d}",
        identity_labels={"badge": f"badge-{person:04d}"},
        source=f"/photo/{person:04d}.png",
    )


@pytest.fixture
def client(running: ServerProcess) -> Iterator[Client]:
    with Client(running.address) as made:
        yield made


@pytest.fixture
def mien(running: ServerProcess, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with --json; gives its exit code and its document."""

    def run(*arguments: object) -> tuple[int, Any]:
        code = main(["--server", running.address, "--json", *map(str, arguments)])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_an_identity_is_erased_over_grpc(running: ServerProcess, client: Client) -> None:
    """It is gone when the call answers; the operation ends with a receipt, and no file of the store holds anything."""
    started = client.erase_identity(GALLERY, identity_id(3), request_id="erase-3")
    with pytest.raises(NotFound):
        client.get_identity(GALLERY, identity_id(3), min_revision=started.revision)
    operation = client.wait_operation(started.operation, timeout_s=WAIT_S)
    assert (operation.kind, operation.state) == (OperationKind.ERASE, OperationState.SUCCEEDED)
    erasure = operation.erase_identity
    assert erasure is not None
    assert erasure.state is ErasureState.DONE
    assert traces(running.data, wanted(3)) == []
    assert len({name.split(":")[0] for name in traces(running.data, wanted(4))}) >= 2
    assert client.erase_identity(GALLERY, identity_id(3), request_id="erase-3").operation == started.operation
    receipt = erasure.receipt
    assert receipt is not None
    assert (receipt.face_count, receipt.row_count, receipt.scan.found_count) == (1, 1, 0)
    assert receipt.revision == started.revision
    assert receipt.request_time is not None
    assert receipt.complete_time is not None
    assert receipt.request_time < receipt.complete_time
    checked = client.verify_erasure(receipt.token, identity_id=identity_id(3))
    assert checked.is_valid, checked
    assert not client.verify_erasure(receipt.token, identity_id=identity_id(4)).is_valid
    with pytest.raises(ValueError, match="token"):
        client.verify_erasure(b"\xff\xff")
    assert client.get_erasure(erasure.name) == erasure
    with pytest.raises(NotFound):
        client.get_erasure("erasures/none")
    with pytest.raises(Conflict) as refused:
        client.enroll_faces(GALLERY, [item(3)], request_id="enrol-3")
    assert refused.value.reason == "REQUEST_ERASED"


def test_the_command_erases_lists_and_verifies(running: ServerProcess, mien: Run, tmp_path: Path) -> None:
    """A receipt is written to a file; it holds; one that was changed in the file does not."""
    kept = tmp_path / "receipt.json"
    code, erased = mien("erase", identity_id(5), "--gallery", GALLERY, "--receipt", kept, "--yes")
    assert code == exits.DONE
    assert erased["receipt"]["scan"]["found_count"] == 0
    assert traces(running.data, wanted(5)) == []
    code, listed = mien("erasures", "--gallery", GALLERY)
    assert code == exits.DONE
    assert erased["name"] == listed["erasures"][0]["name"]
    assert mien("erasures", "--pending")[1] == {"erasures": []}
    for file in (kept, tmp_path / "printed.json"):
        if file is not kept:
            file.write_text(json.dumps(erased), encoding="utf-8")
        code, checked = mien("verify-receipt", file, "--id", identity_id(5))
        assert (code, checked["is_valid"]) == (exits.DONE, True), checked
    assert mien("verify-receipt", kept, "--id", identity_id(6))[0] == exits.NOT_ALL
    edited = json.loads(kept.read_text(encoding="utf-8"))
    edited["revision"] += 10
    (tmp_path / "edited.json").write_text(json.dumps(edited), encoding="utf-8")
    code, checked = mien("verify-receipt", tmp_path / "edited.json")
    assert (code, checked["is_valid"], checked["checks"][0]["passed"]) == (exits.NOT_ALL, False, False)
    assert "revision: the file says" in checked["checks"][0]["detail"]
    changed = json.loads(kept.read_text(encoding="utf-8"))
    token = bytes.fromhex(changed["token"])
    changed["token"] = token.replace(GALLERY.encode(), b"nobody").hex()
    kept.write_text(json.dumps(changed), encoding="utf-8")
    code, checked = mien("verify-receipt", kept)
    assert (code, checked["is_valid"]) == (exits.NOT_ALL, False)
    kept.write_text("{}", encoding="utf-8")
    assert mien("verify-receipt", kept)[0] == exits.USAGE
    code, refused = mien("erase", identity_id(5), "--gallery", GALLERY, "--yes")
    assert (code, refused["error"]["reason"]) == (exits.REFUSED, "IDENTITY_NOT_FOUND")


def to_the_gallery(running: ServerProcess) -> list[str]:
    return ["--gallery", GALLERY, "--server", running.address]


def erased_on_a_terminal(running: ServerProcess, person: int, answer: str) -> tuple[int, str]:
    """Run `mien erase` on a terminal and answer its question; gives the exit code and what the terminal showed."""
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "mien_client.cli.main", "erase", identity_id(person), *to_the_gallery(running)],
        stdin=end,
        stdout=end,
        stderr=end,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
    ) as process:
        os.close(end)
        shown = b""
        try:
            while chunk := os.read(terminal, 4096):
                shown += chunk
                if b"[y/N]" in chunk:
                    os.write(terminal, f"{answer}\n".encode())
        except OSError:
            # A terminal that nobody has open any more reads like this.
            pass
        finally:
            os.close(terminal)
        return process.wait(WAIT_S), shown.decode()


def test_on_a_terminal_the_command_asks_first(running: ServerProcess, client: Client) -> None:
    """The question names person and gallery; anything but a yes erases nobody."""
    for answer in ("", "n", "what"):
        code, shown = erased_on_a_terminal(running, 11, answer)
        assert code == exits.NOT_ALL
        assert "Erase pangolin-0011 (Name of Pangolin 0011) with 1 face from people, for good? [y/N]" in shown
        assert "Nothing was erased." in shown
    assert client.get_identity(GALLERY, identity_id(11)).face_count == 1
    code, shown = erased_on_a_terminal(running, 11, "y")
    assert (code, "Erased at revision" in shown) == (exits.DONE, True), shown
    with pytest.raises(NotFound):
        client.get_identity(GALLERY, identity_id(11))
    code, shown = erased_on_a_terminal(running, 11, "y")
    assert code == exits.REFUSED
    assert "people shows nobody called 'pangolin-0011'. Erase whoever has expired or is damaged" in shown


def test_without_a_terminal_the_command_wants_a_yes_in_advance(client: Client, mien: Run, tmp_path: Path) -> None:
    """A script that forgot --yes erases nobody; nor does one whose receipt could not be written."""
    arguments = ("erase", identity_id(13), "-g", GALLERY)
    code, refused = mien(*arguments)
    assert (code, refused["error"]["code"]) == (exits.USAGE, "USAGE")
    assert "--yes" in refused["error"]["message"]
    there = tmp_path / "another.json"
    there.write_text("{}")
    for receipt in (there, tmp_path / "absent" / "receipt.json"):
        code, refused = mien(*arguments, "--yes", "--receipt", receipt)
        assert (code, "Nothing was erased" in refused["error"]["message"]) == (exits.USAGE, True)
    assert there.read_text() == "{}"
    assert client.get_identity(GALLERY, identity_id(13)).face_count == 1


def test_the_command_tells_people(running: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json there are sentences and a table."""
    assert main(["erase", identity_id(7), "-g", GALLERY, "--yes", "--server", running.address]) == exits.DONE
    told = capsys.readouterr().out
    assert "Erased at revision" in told
    assert "0 found" in told
    assert main(["erasures", "--server", running.address]) == exits.DONE
    assert "DONE" in capsys.readouterr().out
    assert main(["erasures", "--pending", "-g", GALLERY, "--server", running.address]) == exits.DONE
    assert capsys.readouterr().out == f"No erasures of {GALLERY} are pending.\n"


def test_the_log_names_nobody(running: ServerProcess, client: Client) -> None:
    """What the server logs of an erasure has neither id nor name."""
    client.wait_operation(client.erase_identity(GALLERY, identity_id(9)).operation, timeout_s=WAIT_S)
    log = running.log()
    assert "erasure" in log
    assert "pangolin" not in log.lower()
