"""What any release wrote, the newest one reads: every store kept here, compared with what was found in it then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mien_client import Effort
from mien_index_tools.cli.main import main
from mien_server.errors import PreconditionFailed
from mien_server.storage import Store
from mien_server.storage.layout import FORMAT_VERSION, Layout, read_format
from mien_server.storage.migration import MIGRATION_STEPS
from tests.compat.make_store import DIMENSION, contents, rows
from tests.server_processes import ServerProcess

STORES = sorted((Path(__file__).parent / "stores").glob("*.tar.xz"))
OLD_STORES = [path for path in STORES if path.name.startswith("format-1-")]
SETTINGS = ("index.flat_rows_min=1000", "index.flat_bytes_max=1")


def unpacked(archive: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of the store, and what must be found in it."""
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / "store", json.loads((folder / "expected.json").read_text(encoding="utf-8"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {"LOCK", "lock.mdb"}
    }


def found_in(store: Path) -> dict[str, Any]:
    with ServerProcess(store, *SETTINGS) as server, server.client() as client:
        found = contents(client)
        [answer] = client.search_faces(
            "members", embeddings=rows(1200, 2)[7], k=1, effort=Effort(exact=True)
        ).embeddings
        assert answer.neighbors[0].face_id == "m0007"
        assert answer.neighbors[0].similarity == pytest.approx(1.0, abs=1e-5)
    return found


def test_every_format_has_a_store_here() -> None:
    """No format that was ever written is missing."""
    formats = {int(path.name.split("-")[1]) for path in STORES}
    assert formats == set(range(1, FORMAT_VERSION + 1))


@pytest.mark.parametrize("archive", STORES, ids=lambda path: path.name)
def test_a_store_of_an_earlier_release_holds_what_it_held(archive: Path, tmp_path: Path) -> None:
    """After migration, where one is needed, a client reads what one of that release read, and no check doubts it."""
    store, expected = unpacked(archive, tmp_path)
    assert main(["migrate", str(store)]) == 0
    assert found_in(store) == expected
    with Store.open(store) as opened, opened.view() as view:
        assert view.check() == []
        assert opened.store_id == expected["store_id"]


@pytest.mark.parametrize("archive", OLD_STORES, ids=lambda path: path.name)
def test_an_old_store_is_refused_until_it_is_migrated(archive: Path, tmp_path: Path) -> None:
    """Opening it names the command and changes nothing but the lock's file."""
    store, _ = unpacked(archive, tmp_path)
    before = files_of(store)
    with pytest.raises(PreconditionFailed) as refused:
        Store.open(store)
    assert refused.value.reason == "STORE_FORMAT_OLD"
    assert f"mien-index migrate {store}" in refused.value.message
    assert files_of(store) == before


@pytest.mark.parametrize("archive", OLD_STORES, ids=lambda path: path.name)
def test_a_migration_leaves_the_old_store_behind(archive: Path, tmp_path: Path) -> None:
    """The backup is the old store, byte for byte; migrating again does nothing."""
    store, _ = unpacked(archive, tmp_path)
    before = files_of(store)
    backup = tmp_path / "kept" / "old"
    assert main(["migrate", str(store), "--backup", str(backup)]) == 0
    assert files_of(backup) == before
    after = files_of(store)
    assert main(["migrate", str(store), "--backup", str(backup)]) == 0
    assert files_of(store) == after
    assert sorted(path.name for path in store.iterdir()) == ["FORMAT", "LOCK", "index", "meta", "vectors"]


@pytest.mark.parametrize("step", MIGRATION_STEPS)
def test_a_migration_that_is_killed_is_run_again(step: str, tmp_path: Path) -> None:
    """Killed at any step, the store is old or refused, never half migrated; a further run ends it."""
    store, expected = unpacked(OLD_STORES[0], tmp_path)
    before = files_of(store)
    command = [sys.executable, "-m", "mien_index_tools.cli.main", "migrate", str(store)]
    killed = subprocess.run(command, env={**os.environ, "MIEN_CRASH_AT": step}, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    if step != "migrate.done":
        with pytest.raises(PreconditionFailed) as refused:
            Store.open(store)
        assert refused.value.reason == "STORE_FORMAT_OLD"
    assert main(["migrate", str(store)]) == 0
    with Store.open(store) as opened, opened.view() as view:
        assert view.check() == []
        assert view.revision == expected["revision"]
        for gallery in view.galleries():
            assert gallery.counts.face_count == expected["galleries"][gallery.name]["face_count"]
            assert gallery.record.dimension == DIMENSION
    assert files_of(store.with_name("store.format-1")) == before


def test_a_migration_refuses_what_contradicts_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A vector file that is too short stops it; the old store stays as it was, and the message names the file."""
    store, _ = unpacked(OLD_STORES[0], tmp_path)
    [*_, file] = sorted(store.glob("vectors/*/rows.vec"))
    file.write_bytes(file.read_bytes()[:-8])
    before = files_of(store)
    assert main(["migrate", str(store)]) == 1
    assert str(file) in capsys.readouterr().err
    assert {name: content for name, content in files_of(store).items() if not name.startswith("meta.new")} == before
    assert read_format(Layout(store)).version == 1


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def grown(path: Path) -> None:
    """As after further writes."""
    with path.open("ab") as file:
        file.write(bytes(4096))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda backup: (backup / "meta/data.mdb").unlink(), "has no meta/data.mdb"),
        (lambda backup: changed(backup / "vectors/00000002/rows.vec"), "its vectors/00000002/rows.vec is another"),
        (lambda backup: changed(backup / "meta/data.mdb"), "its meta/data.mdb is another"),
        (lambda backup: grown(backup.with_name("store") / "meta/data.mdb"), "its meta/data.mdb is another"),
        (lambda backup: next(backup.glob("index/*/*/quantizer.faiss")).unlink(), "quantizer.faiss"),
        (lambda backup: changed(backup / "FORMAT"), "FORMAT"),
    ],
    ids=["records gone", "vectors changed", "records changed", "store written to since", "index gone", "FORMAT"],
)
def test_a_stale_backup_is_not_taken_for_one(
    spoil: Callable[[Path], None], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an earlier run left counts only as long as it is the store as it is now, byte for byte; otherwise it is
    refused with what differs and what to do, and the store stays as it was. Put aside, the migration goes on.
    """
    store, _ = unpacked(OLD_STORES[0], tmp_path)
    command = [sys.executable, "-m", "mien_index_tools.cli.main", "migrate", str(store)]
    environment = {**os.environ, "MIEN_CRASH_AT": "migrate.backed_up"}
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == -signal.SIGKILL
    backup = store.with_name("store.format-1")
    spoil(backup)
    before = files_of(store)
    assert main(["migrate", str(store)]) == 4
    refused = capsys.readouterr().err
    assert words in refused
    assert "move it away, or name another place with --backup" in refused
    assert files_of(store) == before
    backup.rename(tmp_path / "aside")
    assert main(["migrate", str(store)]) == 0
    assert files_of(backup) == before


def test_a_backup_never_goes_over_other_things(tmp_path: Path) -> None:
    """A place that holds something else is refused, and the store stays as it was."""
    store, _ = unpacked(OLD_STORES[0], tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "FORMAT").write_bytes((store / "FORMAT").read_bytes().replace(b'"version": 1', b'"version": 2'))
    before = files_of(store)
    assert main(["migrate", str(store), "--backup", str(other)]) == 4
    assert files_of(store) == before


@pytest.mark.parametrize("archive", OLD_STORES, ids=lambda path: path.name)
def test_a_migrated_store_is_not_doubted(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An index of an older version is no doubt but a note: the server makes it anew. One that contradicts its own
    manifest is doubted all the same.
    """
    store, _ = unpacked(archive, tmp_path)
    assert main(["migrate", str(store)]) == 0
    for flags in ([], ["--deep"]):
        capsys.readouterr()
        assert main(["verify", str(store), *flags]) == 0
        assert "made with a manifest of version 3" in capsys.readouterr().out
    [lists] = store.glob("index/*/*/lists-*.faiss")
    content = bytearray(lists.read_bytes())
    content[-1] ^= 1
    lists.write_bytes(content)
    assert main(["verify", str(store), "--deep"]) == 1
    assert str(lists) in capsys.readouterr().out


@pytest.mark.parametrize("archive", STORES, ids=lambda path: path.name)
def test_no_store_of_an_earlier_release_is_doubted(archive: Path, tmp_path: Path) -> None:
    """Before a server has opened it, and whether this release reads its index or makes it anew."""
    store, _ = unpacked(archive, tmp_path)
    assert main(["migrate", str(store)]) == 0
    assert main(["verify", str(store), "--deep"]) == 0
