"""The `mien` command where no server is needed: usage, exit codes, output for machines."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mien_client import (
    BoundingBox,
    DeadlineExceeded,
    Decision,
    Identity,
    InvalidArgument,
    MienClientError,
    NotFound,
    ServerFailure,
    Unavailable,
)
from mien_client.cli import exits
from mien_client.cli.jsonable import jsonable
from mien_client.cli.main import main
from mien_client.cli.output import Output


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address at which no server answers, set as MIEN_SERVER."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("MIEN_SERVER", address)
    return address


def test_no_server_is_exit_code_3_and_says_how_to_start_one(nobody: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody at the address: the message has the address and the next step, standard output stays empty."""
    assert main(["info", "--timeout", "1"]) == exits.UNREACHABLE
    told = capsys.readouterr()
    assert nobody in told.err
    assert "mien-server --data" in told.err
    assert told.out == ""


def test_an_error_is_json_too(nobody: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json a failure is one document with code, reason and message."""
    assert main(["--json", "--timeout", "1", "gallery", "list"]) == exits.UNREACHABLE
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert nobody in error["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["gallery"],
        ["info", "--timeout", "0"],
        ["info", "--timeout", "soon"],
        ["identify", "a.jpg"],
        ["gallery", "create", "x", "--recipe", "dlib", "--precomputed", "m"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str]) -> None:
    """argparse's own refusals have the documented code."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == exits.USAGE


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--server", "http://x", "info"], "HOST:PORT"),
        (["gallery", "create", "x", "--dimension", "4"], "go together"),
        (["search", "--gallery", "g"], "photograph or --embedding"),
        (["search", "--embedding", "absent.npy", "--gallery", "g"], "absent.npy"),
        (["list", "identities", "--gallery", "g", "--identity", "x"], "mien list faces"),
        (["enroll", "absent", "--gallery", "g"], "is no folder"),
        (["identify", "a.jpg", "b.jpg", "--gallery", "g", "--annotate", __file__], "need a folder"),
    ],
)
@pytest.mark.usefixtures("nobody")
def test_a_wrong_use_is_exit_code_2_before_any_call(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with the command line is said without a server, and says what to do."""
    assert main(arguments) == exits.USAGE
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("x"), exits.UNREACHABLE),
        (DeadlineExceeded("x", reason="DEADLINE_EXCEEDED"), exits.UNREACHABLE),
        (Unavailable("x", reason="RECIPE_UNAVAILABLE"), exits.REFUSED),
        (NotFound("x"), exits.REFUSED),
        (InvalidArgument("x"), exits.REFUSED),
        (ServerFailure("x"), exits.SERVER_FAILED),
    ],
)
def test_an_error_has_its_exit_code(error: MienClientError, code: int) -> None:
    """Whether nobody answered, the server refused or the server failed can be told apart by a script."""
    assert exits.exit_code(error) == code


def test_the_help_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Codes are documented where people look."""
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    assert [code for code in ("0  ", "1  ", "2  ", "3  ", "4  ", "5  ", "130") if f"\n  {code}" not in told] == []


def test_results_are_plain_data() -> None:
    """Dataclasses, enums, bytes, arrays and errors become JSON under the names of their fields."""
    identity = Identity("ada", "Ada", {"team": "a"}, 2, None, None, "e1", 3)
    document = jsonable([identity, Decision.MATCH, b"\x0f", np.ones(2, np.float32), BoundingBox(1, 2, 3, 4)])
    assert isinstance(document, list)
    assert document[0] == {
        "id": "ada",
        "display_name": "Ada",
        "labels": {"team": "a"},
        "face_count": 2,
        "create_time": None,
        "update_time": None,
        "etag": "e1",
        "revision": 3,
    }
    assert document[1:4] == ["MATCH", "0f", [1.0, 1.0]]
    with pytest.raises(TypeError, match="object has no JSON form"):
        jsonable(object())


def test_a_table_in_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no terminal is, rows are one line each whatever their length, without colours or boxes."""
    Output(is_json=False).table(["File", ("N", "right")], [("x" * 500, 1), ("[bold]\x1b[31m", 22)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "x" * 500 in lines[1]
    assert "[bold]" in lines[2]
    assert "\x1b" not in lines[2]


def test_the_client_alone_needs_neither_rich_nor_pillow() -> None:
    """Importing the package works where the extra is missing, and the command says what to install."""
    program = (
        "import sys\n"
        "sys.modules['rich'] = sys.modules['PIL'] = None\n"
        "import mien_client\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('rich', 'PIL') else find(name, *a)\n"
        "from mien_client.cli.main import main\n"
        "sys.exit(main(['info']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == exits.USAGE
    assert "pip install 'mien[cli]'" in done.stderr


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends with 130 and no traceback."""

    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mien_client.client.Client.list_galleries", interrupted)
    assert main(["gallery", "list"]) == exits.INTERRUPTED
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("nobody")
def test_a_file_of_objects_is_no_embedding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pickled array is refused, never loaded."""
    np.save(tmp_path / "evil.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert main(["search", "--embedding", str(tmp_path / "evil.npy"), "--gallery", "g"]) == exits.USAGE
    assert "no .npy file of numbers" in capsys.readouterr().err
