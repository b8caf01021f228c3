"""Whatever bytes a store's files hold, reading them ends in a value or in an error of ours, and takes little memory:
arbitrary bytes, and changed ones of what was written.
"""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien_server.config.settings_file import load_settings
from mien_server.errors import CorruptStore, InvalidArgument, MienError, PreconditionFailed
from mien_server.index.manifest import MANIFEST_FILE_NAME, GenerationRefused, read_manifest, sealed_text
from mien_server.index.publish import current_generation
from mien_server.records.policies import VectorType
from mien_server.records.store_pb2 import (
    FaceRecord,
    GalleryCounts,
    GalleryRecord,
    IdentityRecord,
    JournalEntry,
    OperationRecord,
    RequestRecord,
)
from mien_server.storage import keys
from mien_server.storage.databases import Database, checked_databases, stored_value
from mien_server.storage.layout import Layout, read_format
from mien_server.storage.page_file import PageFault, PageFile
from mien_server.storage.structure import check_structure
from mien_server.storage.values import (
    FaceValue,
    decode_face,
    decode_face_headers,
    decode_face_ids,
    decode_message,
    encode_face,
)
from mien_server.storage.vector_file import VECTORS_OFFSET, VectorFile, inspect_vector_file
from tests.recovery.corruption_support import make_store
from tests.unit.test_index_manifest import MANIFEST

MEMORY_BYTES_MAX = 64 << 20
FACE = encode_face(FaceValue(7, 1, 0, 2**63, b"d" * 16, "face-1", FaceRecord(source="x").SerializeToString()))
MESSAGES = (GalleryRecord, GalleryCounts, IdentityRecord, FaceRecord, JournalEntry, OperationRecord, RequestRecord)
anything = st.binary(max_size=600)
quietly = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def changed(draw: st.DrawFn, original: bytes) -> bytes:
    """The bytes with some changed, cut out, doubled or cut off."""
    content = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(("set", "cut", "insert", "end"))):
            case "set" if content:
                content[place] = draw(st.integers(0, 255))
            case "cut":
                del content[place : place + draw(st.integers(1, 40))]
            case "insert":
                content[place:place] = draw(st.binary(min_size=1, max_size=40))
            case _:
                del content[place:]
    return bytes(content)


def ends_well(read: Callable[[], object], *errors: type[Exception]) -> None:
    """It gives a value or raises one of these, and takes little memory."""
    tracemalloc.start()
    try:
        read()
    except errors:
        pass
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < MEMORY_BYTES_MAX


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


FORMAT = json.dumps({"format": "mien-store", "version": 2, "store_id": "0" * 32}).encode()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@quietly
@given(anything | changed(FORMAT))
def test_format(tmp_path: Path, content: bytes) -> None:
    """FORMAT."""
    written(tmp_path / "FORMAT", content)
    ends_well(lambda: read_format(Layout(tmp_path)), CorruptStore, PreconditionFailed)


@quietly
@given(st.dictionaries(st.sampled_from(("format", "version", "store_id", "migrating")), json_values, max_size=4))
def test_format_of_any_json(tmp_path: Path, fields: dict[str, Any]) -> None:
    """FORMAT as JSON with other values than those that were written."""
    content = json.dumps({"format": "mien-store", "version": 2, "store_id": "0" * 32, **fields}).encode()
    written(tmp_path / "FORMAT", content)
    ends_well(lambda: read_format(Layout(tmp_path)), CorruptStore, PreconditionFailed)


def test_json_that_is_nested_without_end(tmp_path: Path) -> None:
    """Brackets that would exhaust the stack are refused."""
    written(tmp_path / "FORMAT", b"[" * 4096)
    with pytest.raises(CorruptStore):
        read_format(Layout(tmp_path))
    written(tmp_path / MANIFEST_FILE_NAME, b"[" * 500_000)
    with pytest.raises(GenerationRefused):
        read_manifest(tmp_path)


@quietly
@given(anything | changed(MANIFEST.to_json().encode()))
def test_manifest(tmp_path: Path, content: bytes) -> None:
    """manifest.json: its checksum refuses what was changed."""
    written(tmp_path / MANIFEST_FILE_NAME, content)
    ends_well(lambda: read_manifest(tmp_path), GenerationRefused)


MANIFEST_FIELDS = {name: value for name, value in json.loads(MANIFEST.to_json()).items() if name != "checksum"}


@quietly
@given(st.dictionaries(st.sampled_from(sorted(MANIFEST_FIELDS)), json_values, min_size=1, max_size=3))
def test_manifest_of_any_json(tmp_path: Path, fields: dict[str, Any]) -> None:
    """manifest.json with a right checksum and other values: refused, or its numbers do not contradict each other."""
    try:
        text = sealed_text({**MANIFEST_FIELDS, **fields})
    except TypeError:
        return
    written(tmp_path / MANIFEST_FILE_NAME, text.encode("utf-8", "surrogatepass"))
    ends_well(lambda: read_manifest(tmp_path), GenerationRefused)


@quietly
@given(anything | changed(b"000000000009-aabbccdd\n"))
def test_current(tmp_path: Path, content: bytes) -> None:
    """CURRENT: a name that is a file's name and nothing else."""
    written(tmp_path / "CURRENT", content)

    def read() -> None:
        name = current_generation(tmp_path)
        assert name is not None
        assert "/" not in name
        assert not name.startswith(".")

    ends_well(read, GenerationRefused)


@quietly
@given(st.data(), st.integers(0, 2**64 - 1))
def test_vector_file(tmp_path: Path, data: st.DataObject, row_count: int) -> None:
    """The header of a vector file, and any count of rows that the database may say."""
    file = VectorFile(tmp_path / "rows.vec", "0" * 32, 1, 8, VectorType.FLOAT32)
    whole = file.header() + b"\1" * 64
    written(file.path, data.draw(anything | changed(whole[:80]).map(lambda head: head + whole[80:]) | changed(whole)))
    ends_well(lambda: inspect_vector_file(file, row_count), CorruptStore)
    if file.path.read_bytes()[:VECTORS_OFFSET] != file.header() or row_count > 2:
        with pytest.raises(CorruptStore):
            inspect_vector_file(file, row_count)


@given(st.sampled_from(checked_databases()), anything, anything)
def test_stored_values(database: Database, key: bytes, raw: bytes) -> None:
    """A value of LMDB with its checksum."""
    ends_well(lambda: stored_value(database, key, raw), CorruptStore)


@given(st.lists(anything | changed(FACE), min_size=1, max_size=4))
def test_faces(values: Sequence[bytes]) -> None:
    """Values of `faces`, one by one and as columns."""

    def read_all() -> None:
        headers = decode_face_headers(values, [b"k"] * len(values))
        decode_face_ids(values, headers["face_id_length"].tolist(), [b"k"] * len(values))

    for value in values:
        ends_well(lambda value=value: decode_face(b"key", value).message(b"key"), CorruptStore)  # type: ignore[misc]
    ends_well(read_all, CorruptStore)


@given(st.sampled_from(MESSAGES), anything)
def test_messages(message_type: type[Any], raw: bytes) -> None:
    """Galleries, counts, identities, journal, requests, operations."""
    ends_well(lambda: decode_message(message_type, raw, Database.META, b"key"), CorruptStore)


@given(anything)
def test_keys(key: bytes) -> None:
    """Keys: decoded, or refused as bytes that are none."""
    for decode in (
        keys.decode_gallery,
        keys.decode_number,
        keys.decode_numbered,
        keys.decode_pair,
        keys.decode_digest_key,
        keys.decode_text,
        keys.decode_name,
        keys.decode_label,
        keys.decode_request_time,
        keys.decode_purge,
    ):
        ends_well(lambda decode=decode: decode(key), struct.error, ValueError, IndexError)  # type: ignore[misc]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole file of records."""
    return (make_store(tmp_path_factory.mktemp("whole") / "store") / "meta" / "data.mdb").read_bytes()


def read_pages(path: Path) -> None:
    file = PageFile(path)
    for meta in file.metas:
        check_structure(file, meta)
        for tree in (meta.free, *file.databases(meta).values()):
            for leaf in file.leaves(meta, tree):
                assert len(leaf.value) <= file.file_bytes
    for page in range(2, file.page_count, 7):
        file.loose_nodes(page, file.page_count - 1)


@settings(quietly, max_examples=40)
@given(st.data())
def test_pages(tmp_path: Path, pages: bytes, data: st.DataObject) -> None:
    """LMDB's pages, changed where their headers, offsets and numbers are: nothing is read that is not there."""
    content = np.frombuffer(pages, np.uint8).copy()
    for _ in range(data.draw(st.integers(1, 6))):
        page = data.draw(st.integers(0, len(pages) // 4096 - 1))
        place = data.draw(st.integers(0, 160) | st.integers(0, 4095))
        content[page * 4096 + place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(pages)))
    path = written(tmp_path / "data.mdb", content.tobytes()[:cut])
    with suppress(PageFault):
        read_pages(path)


@settings(quietly, max_examples=40)
@given(anything)
def test_no_pages_at_all(tmp_path: Path, content: bytes) -> None:
    """Bytes that were never a database."""
    path = written(tmp_path / "data.mdb", content * 20)
    ends_well(lambda: read_pages(path), PageFault)


SETTINGS = b'data_directory = "x"\n[server]\nthread_count = 20\n[log]\nlevel = "error"\n[limits]\nk_max = 10\n'


@quietly
@given(anything | changed(SETTINGS))
def test_settings_file(tmp_path: Path, content: bytes) -> None:
    """The settings file."""
    path = written(tmp_path / "settings.toml", content)
    ends_well(lambda: load_settings(path, {}), InvalidArgument)


def test_every_error_of_these_is_ours() -> None:
    """What the tests above accept are errors of ours, but for keys and pages, whose callers translate them."""
    assert all(issubclass(error, MienError) for error in (CorruptStore, GenerationRefused, InvalidArgument))
