"""The `mien` command where no server is needed: usage, exit codes, output for machines."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

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
from mien_client.cli.commands.enroll import _stopped
from mien_client.cli.enrolling import EnrolmentReport
from mien_client.cli.jsonable import jsonable
from mien_client.cli.main import main
from mien_client.cli.output import Output, counted
from mien_client.cli.path_cells import shortened


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
        ["gallery", "create", "x", "--precomputed", "m", "--dimension", "0"],
        ["gallery", "create", "x", "--precomputed", "m", "--dimension", "-1"],
        ["search", "a.jpg", "--gallery", "g", "-k", "-1"],
        ["search", "a.jpg", "--gallery", "g", "-k", "5000000000"],
        ["identify", "a.jpg", "--gallery", "g", "--candidates", "-1"],
        ["enroll", "people", "--gallery", "g", "--jobs", "0"],
        ["list", "--gallery", "g", "--limit", "-1"],
        ["list", "--gallery", "g", "--limit", "many"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str]) -> None:
    """argparse's own refusals have the documented code."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == exits.USAGE


def test_a_number_out_of_range_is_named_with_its_range(capsys: pytest.CaptureFixture[str]) -> None:
    """Zero where one is the least is refused as the number that it is."""
    with pytest.raises(SystemExit):
        main(["gallery", "create", "x", "--precomputed", "m", "--dimension", "0"])
    assert "argument --dimension: 0 is no whole number from 1 to" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """--version needs no server and no command."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == exits.DONE
    assert capsys.readouterr().out.startswith("mien ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--server", "http://x", "info"], "HOST:PORT"),
        (["gallery", "create", "x", "--dimension", "4"], "go together"),
        (["search", "--gallery", "g"], "photograph or --embedding"),
        (["search", "--embedding", "absent.npy", "--gallery", "g"], "absent.npy cannot be read: no such file"),
        (["list", "identities", "--gallery", "g", "--identity", "x"], "mien list faces"),
        (["enroll", "absent", "--gallery", "g"], "is no folder"),
        (["identify", "a.jpg", "b.jpg", "--gallery", "g", "--annotate", __file__], "need a folder"),
        (["identify", "a.jpg", "--gallery", "g", "--annotate", "absent/x.png"], "there is no folder absent"),
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
        "expire_time": None,
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


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_breaks_no_path_and_no_number(width: int) -> None:
    """A long path loses its middle, numbers and whole columns stay in one line, and sentences wrap between words."""
    output = Output(is_json=False)
    written = io.StringIO()
    output._out = Console(file=written, width=width, force_terminal=True, color_system=None)
    path = "album/of/many/photographs/2024/summer/a-rather-long-folder/IMG_20240801_1234.jpg"
    why = "because it is so and not otherwise"
    columns = [("File", "path"), ("Similarity", "right"), ("Who", "whole"), "Why"]
    output.table(columns, [(path, 0.123456, "Ada Lovelace", why)])
    told = written.getvalue()
    assert max(len(line) for line in told.splitlines()) <= width
    assert "34.jpg" in told
    assert "..." in told
    assert "0.123  Ada Lovelace" in told
    assert set(why.split()) <= set(told.split())


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
def test_a_photograph_is_no_embedding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A JPEG in place of an array is refused without advice to load pickles."""
    (tmp_path / "face.jpg").write_bytes(b"\xff\xd8\xff\xe0 and so on")
    assert main(["search", "--embedding", str(tmp_path / "face.jpg"), "--gallery", "g"]) == exits.USAGE
    told = capsys.readouterr().err
    assert "no .npy file of numbers" in told
    assert "pickle" not in told


@pytest.mark.usefixtures("nobody")
def test_an_empty_array_is_no_embedding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows without components are refused in a sentence."""
    np.save(tmp_path / "empty.npy", np.ones((3, 0)))
    assert main(["search", "--embedding", str(tmp_path / "empty.npy"), "--gallery", "g"]) == exits.USAGE
    assert "holds no array" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "is_advised"),
    [(KeyboardInterrupt(), True), (Unavailable("x"), True), (InvalidArgument("x"), False), (ServerFailure("x"), False)],
)
def test_only_what_passes_is_tried_again(error: BaseException, is_advised: bool) -> None:
    """Running `mien enroll` again is advised after an interruption, and not where it would be refused again."""
    assert ("Run the same command again" in _stopped(EnrolmentReport("g"), error)) is is_advised


def test_one_is_no_plural() -> None:
    """A single thing is counted in the singular."""
    assert [counted(number, "face") for number in (0, 1, 2)] == ["0 faces", "1 face", "2 faces"]
    assert [counted(number, "identity", "identities") for number in (1, 2)] == ["1 identity", "2 identities"]


@pytest.mark.parametrize("width", [0, 1, 3, 10, 19, 20, 21, 30, 80])
def test_a_path_loses_its_middle(width: int) -> None:
    """What is too wide fits afterwards; the file's name is whole where there is room for it."""
    path = "/a/long/folder/and/another/photograph-1.jpg"
    short = shortened(path, width)
    assert len(short) == min(width, len(path))
    assert width < 21 or short.endswith("/photograph-1.jpg")


def test_wide_letters_count_as_two_columns() -> None:
    """A terminal draws some letters twice as wide, and the path still fits."""
    assert cell_len(shortened("/照片/夏天/" * 10, 21)) <= 21


@pytest.mark.usefixtures("nobody")
def test_a_file_of_objects_is_no_embedding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pickled array is refused, never loaded."""
    np.save(tmp_path / "evil.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert main(["search", "--embedding", str(tmp_path / "evil.npy"), "--gallery", "g"]) == exits.USAGE
    assert "no .npy file of numbers" in capsys.readouterr().err
