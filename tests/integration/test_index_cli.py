"""The `mien-index` command as somebody reads it who does not know it: what is wrong, where, and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mien_index_tools.cli import exits
from mien_index_tools.cli.main import main
from mien_server.engine import Engine
from mien_server.storage import Store
from tests.erasure_support import OPTIONS, create, enroll, erase, identity_id
from tests.snapshot_support import take
from tests.storage_support import open_store

PERSON = 3
RESTORING_S = 60


class Told(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


Run = Callable[..., Told]


@pytest.fixture
def mien_index(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; nothing may be raised but what argparse ends with."""

    def run(*arguments: object) -> Told:
        try:
            code = main([str(one) for one in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return Told(code, told.out, told.err)

    return run


class Filled(NamedTuple):
    """A store of which somebody was erased after the snapshot `before`."""

    store: Path
    place: Path
    before: Path
    after: Path
    erasure: str


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    store, place = tmp_path / "store", tmp_path / "snapshots"
    with Engine.open(store, OPTIONS) as engine:
        create(engine)
        enroll(engine, range(8))
    with Store.open(store, OPTIONS.store) as opened:
        before = place / take(opened, place).manifest.name
    with Engine.open(store, OPTIONS) as engine:
        erasure = erase(engine, PERSON).name
    with Store.open(store, OPTIONS.store) as opened:
        after = place / take(opened, place).manifest.name
    return Filled(store, place, before, after, erasure)


def test_json_may_stand_before_the_command_or_after_it(mien_index: Run, filled: Filled) -> None:
    """Both print one document, of results and of failures, and nothing else on standard output."""
    for arguments in (("--json", "snapshots", filled.place), ("snapshots", filled.place, "--json")):
        told = mien_index(*arguments)
        assert told.code == exits.DONE
        assert [one["name"] for one in json.loads(told.out)["snapshots"]] == [filled.before.name, filled.after.name]
    for arguments in (("--json", "verify", filled.before), ("verify", filled.before, "--json")):
        told = mien_index(*arguments)
        assert (told.code, json.loads(told.out)["error"]["reason"]) == (exits.USAGE, "USAGE")


@pytest.mark.parametrize("command", ["verify", "migrate", "snapshot"])
def test_what_is_no_store_is_named(command: str, mien_index: Run, filled: Filled, tmp_path: Path) -> None:
    """A folder that is absent, a file, other things, a snapshot: each is called that, and nothing is written to it."""
    (tmp_path / "letter").write_text("dear")
    (tmp_path / "photographs").mkdir()
    more = (tmp_path / "destination",) if command == "snapshot" else ()
    for path, words in (
        (tmp_path / "absent", "no such folder"),
        (tmp_path / "letter", "is a file"),
        (tmp_path / "photographs", "is no store"),
        (filled.before, "is a snapshot"),
    ):
        before = sorted(filled.before.rglob("*"))
        told = mien_index(command, path, *more)
        assert told.code == exits.USAGE, path
        assert f"{path}: " in told.err
        assert words in told.err
        assert sorted(filled.before.rglob("*")) == before
    assert not (tmp_path / "destination").exists()


@pytest.mark.parametrize("command", [["verify-snapshot"], ["delete-snapshot"], ["restore"]])
def test_what_is_no_snapshot_is_named(command: list[str], mien_index: Run, filled: Filled, tmp_path: Path) -> None:
    """A name that is none is a wrong command line, with how to find names; one that is not there is refused."""
    more = [tmp_path / "target"] if command == ["restore"] else []
    for wrong in (filled.place, filled.place / "newest", Path("newest")):
        told = mien_index(*command, wrong, *more)
        assert told.code == exits.USAGE
        assert "mien-index snapshots" in told.err
    told = mien_index(*command, filled.place / "20200101T000000000000Z-r1-00000000", *more)
    assert told.code == exits.REFUSED
    assert f"{filled.place} has no snapshot" in told.err
    assert "mien-index snapshots DESTINATION" in told.err
    assert not (tmp_path / "target").exists()


def test_files_where_folders_belong_are_named(mien_index: Run, filled: Filled, tmp_path: Path) -> None:
    """No traceback: a destination, a new store or a target that is a file is said to be one."""
    file = tmp_path / "letter"
    file.write_text("dear")
    for code, arguments in (
        (exits.USAGE, ("snapshot", filled.store, file)),
        (exits.USAGE, ("snapshots", file)),
        (exits.USAGE, ("verify", filled.store, "--repair", file)),
        (exits.USAGE, ("verify", filled.store, "--repair", file, "--yes")),
        (exits.REFUSED, ("restore", filled.before, file)),
        (exits.REFUSED, ("restore", filled.before, file / "below")),
    ):
        told = mien_index(*arguments)
        assert told.code == code, arguments
        assert str(file) in told.err
        assert "Errno" not in told.err
    assert file.read_text() == "dear"


def test_options_that_do_not_go_together_are_refused(mien_index: Run, filled: Filled, tmp_path: Path) -> None:
    """Each names the option, and none is ignored."""
    for arguments, option in (
        (("restore", filled.before, tmp_path / "x", "--journal", filled.store), "--to-revision"),
        (("restore", filled.before, tmp_path / "x", "--to-revision", "-1"), "-1"),
        (("restore", filled.before, tmp_path / "x", "--to-revision", "soon"), "soon"),
        (("restore", filled.before, tmp_path / "x", "--to", "3"), "--to"),
        (("verify", filled.store, "--yes"), "--repair"),
        (("verify", filled.store, "--deep", "--repair", tmp_path / "x"), "--deep"),
    ):
        told = mien_index(*arguments)
        assert told.code == exits.USAGE, arguments
        assert option in told.err
    assert not (tmp_path / "x").exists()


def test_a_revision_in_a_new_place_needs_a_journal(mien_index: Run, filled: Filled, tmp_path: Path) -> None:
    """Where no store is in place the message asks for --journal; with one the revision is made."""
    told = mien_index("restore", filled.before, tmp_path / "new", "--to-revision", "10")
    assert told.code == exits.REFUSED
    assert "--journal STORE_OR_SNAPSHOT" in told.err
    assert not (tmp_path / "new").exists()
    told = mien_index("restore", filled.before, tmp_path / "new", "--to-revision", "10", "--journal", filled.store)
    assert (told.code, told.err) == (exits.DONE, "")
    assert "is at revision 10, 1 revision of it replayed" in told.out
    told = mien_index("restore", filled.before, tmp_path / "newer", "--to-revision", "99", "--journal", filled.after)
    assert told.code == exits.REFUSED
    assert "reachable are 9 to 10" in told.err


def test_a_store_in_use_is_left_alone(mien_index: Run, filled: Filled, tmp_path: Path) -> None:
    """Every command that needs the store says who has it, and what goes beside a server."""
    with open_store(filled.store):
        for arguments in (
            ("verify", filled.store),
            ("migrate", filled.store),
            ("snapshot", filled.store, filled.place),
            ("restore", filled.before, filled.store),
            ("restore", filled.before, tmp_path / "new", "--erasures", filled.store),
        ):
            told = mien_index(*arguments)
            assert told.code == exits.FAILED, arguments
            assert f"process {os.getpid()} has the store open" in told.err
            assert "mien snapshot create" in told.err
    assert not (tmp_path / "new").exists()


def test_a_receipt_names_snapshots_that_were_taken_offline(mien_index: Run, filled: Filled) -> None:
    """Whoever is erased after `mien-index snapshot` may be in it, as in one that a server took."""
    told = mien_index("snapshot", filled.store, filled.place, "--json")
    name = json.loads(told.out)["name"]
    with Engine.open(filled.store, OPTIONS) as engine:
        receipt = erase(engine, PERSON + 1).receipt
    assert receipt is not None
    assert [one.name for one in receipt.snapshots] == [name]


def test_a_restore_tells_what_became_of_erasures(mien_index: Run, filled: Filled, tmp_path: Path) -> None:
    """By the erasure's name, never the person's; and where nobody knows, so that it is plain what may be back."""
    told = mien_index("restore", filled.before, filled.store)
    assert told.code == exits.DONE
    assert "1 erasure since revision 9 carried out again, 3 faces deleted, which makes it revision 10." in told.out
    assert f"{filled.erasure}, gallery people: 3 faces" in told.out
    assert identity_id(PERSON) not in told.out + told.err
    told = mien_index("restore", filled.before, tmp_path / "copy", "--json")
    document: dict[str, Any] = json.loads(told.out)
    assert [one["erasure"] for one in document["erased_again"]] == [filled.erasure]
    assert document["erasures_known"] == [{"from": str(filled.after), "to_revision": 10}]
    alone = tmp_path / "alone" / filled.before.name
    alone.parent.mkdir()
    filled.before.rename(alone)
    told = mien_index("restore", alone, tmp_path / "blind")
    assert told.code == exits.DONE
    assert "Who was erased after revision 9 is not known here" in told.err
    assert "--erasures STORE_OR_SNAPSHOT" in told.err
    told = mien_index("restore", alone, tmp_path / "seeing", "--erasures", filled.after)
    assert filled.erasure in told.out
    told = mien_index("restore", filled.after, tmp_path / "older", "--erasures", alone)
    assert "came back" not in told.out
    assert "Who was erased after revision 10 is not known here" in told.err


INTERRUPTED = """
import os, signal, sys
from mien_index_tools import verifying
from mien_index_tools.cli.main import main
from mien_server.storage.backup import restoring, taking

# Where the tests run in a shell's background it is ignored, and so it would be here.
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupt(step):
    if step in {"restore.copied", "snapshot.records_copied"}:
        os.kill(os.getpid(), signal.SIGINT)

def interrupt_at_the_end(target, arguments, progress, take):
    assert not in_a_process(target, arguments, progress, take)
    os.kill(os.getpid(), signal.SIGINT)

restoring.reached = taking.reached = interrupt
in_a_process, verifying.in_a_process = verifying.in_a_process, interrupt_at_the_end
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["restore", "snapshot", "repair"])
def test_an_interruption_leaves_everything_as_it_was(command: str, filled: Filled, tmp_path: Path) -> None:
    """Ctrl-C in the middle: one sentence, 130, and nothing half made."""
    arguments = {
        "restore": ["restore", filled.before, tmp_path / "new"],
        "snapshot": ["snapshot", filled.store, filled.place],
        "repair": ["verify", filled.store, "--repair", tmp_path / "new", "--yes"],
    }[command]
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=RESTORING_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (exits.INTERRUPTED, "")
    assert ended.stderr.startswith("mien-index: interrupted")
    assert ended.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["snapshots", "store"]
    assert sorted(filled.place.iterdir()) == [filled.before, filled.after]
