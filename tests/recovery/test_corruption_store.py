"""Each kind of damage to a store's files: where it is found, what the message names, and that it is never served."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mien_index_tools.cli.main import main
from mien_server.errors import CorruptStore, MienError, PreconditionFailed, Unavailable
from mien_server.storage.page_file import PageFile
from mien_server.storage.vector_file import VECTORS_OFFSET
from tests.recovery.corruption_support import DAMAGED_OPTIONS, FACE_COUNT, NAMES, contents, damage_of, make_store
from tests.storage_support import DIMENSION, OPTIONS, enroll, open_store, rows

ROW_BYTES = DIMENSION * 4
VECTOR_FILE = Path("vectors/00000001/rows.vec")
OTHER_VECTOR_FILE = Path("vectors/00000002/rows.vec")
DATA = Path("meta/data.mdb")


@pytest.fixture(scope="module")
def whole_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was ended well; to be copied."""
    return make_store(tmp_path_factory.mktemp("whole") / "store")


@pytest.fixture
def store(whole_store: Path, store_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(whole_store, store_path)


def flip(path: Path, offset: int, mask: int = 0x40) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= mask
    path.write_bytes(content)


def page_of(store: Path, database: str, *, level: str) -> int:
    """Offset of a page of a database: its root, or the leaf that is leftmost."""
    file = PageFile(store / DATA)
    tree = file.databases(file.metas[0])[database]
    page, depth = tree.root, tree.depth
    assert depth > 1, "the store is too small for this test"
    if level == "leaf":
        for _ in range(depth - 1):
            page = file.children(page)[0]
    return page * file.page_bytes


def live_bytes(store: Path, database: str, wanted: bytes, *, in_key: bool = False) -> int:
    """Where some bytes lie in a record of a database that is live."""
    file = PageFile(store / DATA)
    tree = file.databases(file.metas[0])[database]
    for leaf in file.leaves(file.metas[0], tree):
        if wanted in (leaf.key if in_key else leaf.value):
            whole = leaf.key + leaf.value
            content = (store / DATA).read_bytes()
            start = -1
            while (start := content.find(whole, start + 1)) >= 0:
                if file.reached[start // file.page_bytes]:
                    return start + whole.index(wanted, 0 if in_key else len(leaf.key))
    raise AssertionError(f"{database} has no record with {wanted!r}")


@dataclass(frozen=True)
class Damage:
    """A way to damage a store.

    Attributes:
        do: does it, and answers with what the message must name.
        reason: of the error at open or at the first read.
        is_served_without: whether `serve_damaged` serves the rest.
        is_doubted: whether `verify` calls it a doubt; otherwise it refuses the store as the server does.
    """

    name: str
    do: Callable[[Path], str]
    reason: str
    is_served_without: bool = False
    is_doubted: bool = True


def format_flipped(store: Path) -> str:
    flip(store / "FORMAT", 3)
    return "FORMAT"


def format_truncated(store: Path) -> str:
    (store / "FORMAT").write_bytes(b"")
    return "FORMAT"


def format_of_another_store(store: Path) -> str:
    text = (store / "FORMAT").read_text()
    old = text.split('"store_id": "')[1][:32]
    (store / "FORMAT").write_text(text.replace(old, "0" * 32))
    return "0" * 32


def record_flipped(database: str, wanted: bytes, *, in_key: bool = False) -> Callable[[Path], str]:
    def do(store: Path) -> str:
        flip(store / DATA, live_bytes(store, database, wanted, in_key=in_key), 1)
        return f"database {database}, key "

    return do


def key_flipped(store: Path) -> str:
    """The key then comes before the one that stood before it: a lookup of either could miss."""
    flip(store / DATA, live_bytes(store, "faces", b"\0\0\0M", in_key=True), 1)
    return "its keys do not ascend"


def key_doubled(store: Path) -> str:
    """The key of person 30 becomes that of person 31, who has one already."""
    flip(store / DATA, live_bytes(store, "identities", b"person-030", in_key=True) + len("person-030") - 1, 1)
    return "its keys do not ascend"


def page_flipped(database: str, level: str, place: int, mask: int) -> Callable[[Path], str]:
    def do(store: Path) -> str:
        offset = page_of(store, database, level=level)
        flip(store / DATA, offset + place, mask)
        return f"at offset {offset}"

    return do


def meta_page_flipped(place: int) -> Callable[[Path], str]:
    def do(store: Path) -> str:
        newest = PageFile(store / DATA).metas[0].page
        flip(store / DATA, newest * 4096 + place)
        return str(store / DATA)

    return do


def child_number_flipped(store: Path, database: str = "faces") -> str:
    """A number of a page below the root, changed so that it leads far beyond the file: LMDB would die of it."""
    offset = page_of(store, database, level="root")
    content = bytearray((store / DATA).read_bytes())
    first_node = offset + int.from_bytes(content[offset + 16 : offset + 18], "little")
    content[first_node + 2] ^= 0x7F
    (store / DATA).write_bytes(content)
    return "beyond the last page"


def records_truncated(store: Path) -> str:
    content = (store / DATA).read_bytes()
    (store / DATA).write_bytes(content[: len(content) // 2])
    return str(store / DATA)


def records_missing(store: Path) -> str:
    (store / DATA).unlink()
    return str(store / "meta")


def records_of_another_store(store: Path) -> str:
    other = make_store(store.with_name("other"))
    shutil.copy(other / DATA, store / DATA)
    return "belongs to store"


def vector_header_flipped(store: Path) -> str:
    flip(store / VECTOR_FILE, 13)
    return str(store / VECTOR_FILE)


def vector_flipped(store: Path) -> str:
    offset = VECTORS_OFFSET + 7 * ROW_BYTES
    flip(store / VECTOR_FILE, offset + 2, 1)
    return f"{store / VECTOR_FILE}: row 7, bytes {offset} to {offset + ROW_BYTES}"


def vectors_swapped(store: Path) -> str:
    content = bytearray((store / VECTOR_FILE).read_bytes())
    first, second = (slice(VECTORS_OFFSET + row * ROW_BYTES, VECTORS_OFFSET + (row + 1) * ROW_BYTES) for row in (5, 6))
    content[first], content[second] = content[second], content[first]
    (store / VECTOR_FILE).write_bytes(content)
    return f"{store / VECTOR_FILE}: row 5"


def vectors_truncated(store: Path) -> str:
    content = (store / VECTOR_FILE).read_bytes()
    (store / VECTOR_FILE).write_bytes(content[:-1])
    return f"{store / VECTOR_FILE}: has {len(content) - 1} bytes"


def vectors_missing(store: Path) -> str:
    (store / VECTOR_FILE).unlink()
    return f"{store / VECTOR_FILE}: missing"


def vectors_of_another_gallery(store: Path) -> str:
    shutil.copy(store / OTHER_VECTOR_FILE, store / VECTOR_FILE)
    return "gallery number is 2 and should be 1"


def vectors_of_another_store(store: Path) -> str:
    other = make_store(store.with_name("other"))
    shutil.copy(other / VECTOR_FILE, store / VECTOR_FILE)
    return "store id is"


DAMAGES = [
    Damage("FORMAT: a byte", format_flipped, "FORMAT_DAMAGED"),
    Damage("FORMAT: empty", format_truncated, "FORMAT_DAMAGED"),
    Damage("FORMAT: of another store", format_of_another_store, "STORE_MIXED"),
    Damage("a face's record", record_flipped("faces", b"picture 77"), "RECORD_DAMAGED", is_served_without=True),
    Damage("a face's key", key_flipped, "RECORDS_DAMAGED"),
    Damage("an identity's key", key_doubled, "RECORDS_DAMAGED"),
    Damage("an identity's record", record_flipped("identities", b"Name 31"), "RECORD_DAMAGED", is_served_without=True),
    Damage("an identity's id", record_flipped("identity_ids", b"person-031"), "RECORD_DAMAGED", is_served_without=True),
    Damage("a gallery's record", record_flipped("galleries", b"people"), "RECORD_DAMAGED"),
    Damage("an operation", record_flipped("operations", b"done"), "RECORD_DAMAGED", is_served_without=True),
    Damage("a request id", record_flipped("requests", b"fingerprint"), "RECORD_DAMAGED", is_served_without=True),
    Damage("a leaf page's number", page_flipped("faces", "leaf", 0, 1), "RECORDS_DAMAGED"),
    Damage("a leaf page's bounds", page_flipped("faces", "leaf", 13, 0x40), "RECORDS_DAMAGED"),
    Damage("a branch page's kind", page_flipped("faces", "root", 10, 3), "RECORDS_DAMAGED"),
    Damage("a number that leads beyond the file", child_number_flipped, "RECORDS_DAMAGED"),
    Damage("a meta page: magic", meta_page_flipped(16), "RECORDS_DAMAGED"),
    Damage("a meta page: root", meta_page_flipped(16 + 24 + 48 + 46), "RECORDS_DAMAGED"),
    Damage("records cut off", records_truncated, "RECORDS_DAMAGED"),
    Damage("records missing", records_missing, "RECORDS_DAMAGED"),
    Damage("records of another store", records_of_another_store, "STORE_MIXED"),
    Damage("a vector file's header", vector_header_flipped, "VECTORS_DAMAGED"),
    Damage("a vector", vector_flipped, "VECTOR_DAMAGED", is_served_without=True),
    Damage("two vectors swapped", vectors_swapped, "VECTOR_DAMAGED", is_served_without=True),
    Damage("vectors cut off", vectors_truncated, "VECTORS_DAMAGED"),
    Damage("vectors missing", vectors_missing, "VECTORS_DAMAGED"),
    Damage("vectors of another gallery", vectors_of_another_gallery, "VECTORS_DAMAGED"),
    Damage("vectors of another store", vectors_of_another_store, "VECTORS_DAMAGED"),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damage_is_found_and_named(store: Path, damage: Damage, capsys: pytest.CaptureFixture[str]) -> None:
    """Opening the store or reading it is refused with the place; `verify` names it too and ends with 1."""
    named = damage.do(store)
    error = damage_of(store, OPTIONS)
    assert error is not None, "damage was served"
    assert error.reason == damage.reason
    assert named in error.message
    capsys.readouterr()
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file() and path.name != "LOCK"}
    assert main(["verify", str(store), "--deep"]) == 1
    shown = capsys.readouterr()
    assert named.split(" and should")[0] in shown.out + shown.err
    assert {path: path.read_bytes() for path in before} == before, "verify wrote into the store"


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_the_rest_is_served_where_the_operator_says_so(store: Path, whole_store: Path, damage: Damage) -> None:
    """Faces and identities that are damaged are left out and listed; everything else reads as it was. Damage to what a
    gallery rests on is refused all the same.
    """
    named = damage.do(store)
    with open_store(whole_store) as opened:
        whole = contents(opened)
    if not damage.is_served_without:
        with pytest.raises(CorruptStore):
            open_store(store, DAMAGED_OPTIONS)
        return
    with open_store(store, DAMAGED_OPTIONS) as opened:
        assert opened.damage.count
        assert any(named in doubt.message for doubt in opened.damage.listed)
        with opened.view() as view:
            for name in NAMES:
                gallery = view.gallery(name)
                ordinals = gallery.live_ordinals(-1, FACE_COUNT).tolist()
                assert gallery.rows.live_count == len(ordinals)
                heads = gallery.heads(ordinals)
                people = gallery.people(sorted(set(heads.identity_numbers.tolist())))
                assert len(people.records) <= 90
                owners = dict(zip(heads.face_ids, gallery.identity_ids(heads.identity_numbers), strict=True))
                assert owners.items() <= whole[name]["owners"].items()
                assert len(owners) >= len(whole[name]["owners"]) - 10
                gallery.vectors(ordinals)


def test_a_store_served_without_its_damage_takes_writes(store: Path) -> None:
    """Writes that touch nothing damaged are kept; those that do are refused alone, and the quarantine stays."""
    record_flipped("identities", b"Name 31")(store)
    with open_store(store, DAMAGED_OPTIONS) as opened, opened.view() as view:
        gallery = view.gallery("people").record
        before = view.gallery("people").rows.live_count
    with open_store(store, DAMAGED_OPTIONS) as opened:
        enroll(opened, rows(gallery, [("someone new", "new-face", 9001)]))
        result = enroll(opened, rows(gallery, [("person-031", "another", 9002)]))
        assert result.errors[0].reason == "RECORD_DAMAGED"
        with opened.view() as view:
            assert view.gallery("people").rows.live_count == before + 1


def test_a_whole_store_is_the_same_when_damage_may_be_served(store: Path) -> None:
    """The setting changes nothing where nothing is damaged."""
    with open_store(store) as opened:
        expected = contents(opened)
    with open_store(store, DAMAGED_OPTIONS) as opened:
        assert opened.damage.count == 0
        assert contents(opened) == expected


@pytest.mark.parametrize(
    ("version", "reason", "words"),
    [(1, "STORE_FORMAT_OLD", "mien-index migrate"), (99, "STORE_FORMAT_TOO_NEW", "reads format 99")],
)
def test_another_format_is_refused_with_what_it_needs(store: Path, version: int, reason: str, words: str) -> None:
    """An older format names the command, a newer one the format that a release must read."""
    path = store / "FORMAT"
    path.write_text(path.read_text().replace('"version": 2', f'"version": {version}'))
    for attempt in (open_store, lambda path: open_store(path, DAMAGED_OPTIONS)):
        with pytest.raises(PreconditionFailed) as refused:
            attempt(store)
        assert refused.value.reason == reason
        assert words in refused.value.message
    assert main(["verify", str(store)]) == 4


def test_a_folder_without_format_is_no_store(store: Path) -> None:
    """Records and vectors without FORMAT are not taken for an empty store."""
    (store / "FORMAT").unlink()
    with pytest.raises(MienError) as refused:
        open_store(store)
    assert refused.value.reason == "NOT_A_STORE"
    assert main(["verify", str(store)]) == 4


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 64, b"99999999\n", None], ids=["empty", "garbage", "pid", "missing"]
)
def test_what_is_in_the_lock_does_not_matter(store: Path, content: bytes | None) -> None:
    """The lock is the system's, not the file's content: a store opens whatever is in it."""
    (store / "LOCK").unlink()
    if content is not None:
        (store / "LOCK").write_bytes(content)
    assert main(["verify", str(store)]) == 0
    with open_store(store) as opened:
        contents(opened)


def test_a_lock_that_is_removed_under_a_server_keeps_others_out(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a second server nor `verify` takes the missing file for a store that nobody has open."""
    with open_store(store):
        (store / "LOCK").unlink()
        with pytest.raises(Unavailable, match="its LOCK was removed"):
            open_store(store)
        (store / "LOCK").unlink()
        assert main(["verify", str(store)]) == 5
        assert "its LOCK was removed" in capsys.readouterr().err
    with open_store(store) as opened:
        contents(opened)


def test_verify_says_of_a_missing_vector_file_that_it_is_missing(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing of records that are whole."""
    vectors_missing(store)
    assert main(["verify", str(store), "--deep"]) == 1
    assert "1 doubt in" in capsys.readouterr().out


def test_records_that_only_help_to_find_others_are_checked(store: Path) -> None:
    """A label index that names another row than the labels do is found by `verify`, which names the database."""
    import lmdb

    environment = lmdb.open(str(store / "meta"), max_dbs=64)
    with environment.begin(write=True) as transaction:
        database = environment.open_db(b"face_label_index", transaction)
        cursor = transaction.cursor(database)
        assert cursor.first()
        key = cursor.key()
        cursor.delete()
        transaction.put(key[:-8] + (399).to_bytes(8, "big"), b"", db=database)
    environment.close()
    with open_store(store) as opened, opened.view() as view:
        doubts = view.check()
    assert any("face_label_index lacks" in doubt and key.hex() in doubt for doubt in doubts)
    assert any("face_label_index should not have" in doubt for doubt in doubts)


def test_a_store_that_a_server_has_open_is_not_verified(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lock keeps `verify` away, with the process that has it."""
    with open_store(store):
        assert main(["verify", str(store)]) == 5
    assert "has the store open" in capsys.readouterr().err


def test_verify_tells_what_it_checked(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole store has no doubt, and what was counted is what is there."""
    import json

    assert main(["--json", "verify", str(store), "--deep"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    counted = {one["what"]: one["count"] for one in document["checks"]}
    assert document["doubts"] == 0
    assert counted["gallery 'people': faces"] == FACE_COUNT - 10
    assert counted["gallery 'people': vectors"] == FACE_COUNT - 10
    assert counted["gallery 'visitors': identities"] == 90
    assert counted["requests"] == 2
