"""Checksums: damage to a record or a row is found, wherever it is, and named."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien_server.errors import CorruptStore
from mien_server.storage.checksums import is_record_whole, record_with_checksum, row_checksums
from mien_server.storage.vector_file import VECTORS_OFFSET
from tests.storage_support import DIMENSION, create, enroll, open_store, rows


@given(st.binary(max_size=40), st.binary(max_size=60), st.data())
def test_a_changed_byte_of_a_record_is_found(key: bytes, value: bytes, data: st.DataObject) -> None:
    """A value with its checksum is whole under its own key and database only, and with none of its bytes changed."""
    raw = record_with_checksum(7, key, value)
    assert is_record_whole(7, key, raw)
    assert not is_record_whole(8, key, raw)
    assert not is_record_whole(7, key + b"x", raw)
    place = data.draw(st.integers(0, len(raw) - 1))
    changed = bytearray(raw)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert not is_record_whole(7, key, bytes(changed))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("dimension", [1, 2, 3, 7, 128, 511, 512])
def test_a_changed_bit_of_a_row_is_found(dtype: type[np.floating], dimension: int) -> None:
    """Every row has a checksum of its own, and another when any one of its bits is another."""
    generator = np.random.default_rng(dimension)
    stored = generator.standard_normal((5, dimension)).astype(dtype)
    sums = row_checksums(stored)
    assert len(set(sums.tolist())) == 5
    assert row_checksums(stored[3:4]).tolist() == sums[3:4].tolist()
    raw = stored.view(np.uint8).reshape(5, -1)
    for byte in range(raw.shape[1]):
        for bit in range(8):
            raw[2, byte] ^= 1 << bit
            assert row_checksums(stored)[2] != sums[2]
            raw[2, byte] ^= 1 << bit
    assert row_checksums(stored).tolist() == sums.tolist()


def test_row_checksums_stay_what_they_are() -> None:
    """They lie on disk: a release that computes others cannot read what an earlier one wrote."""
    stored = (np.arange(24, dtype=np.float32) / 8).reshape(2, 12)
    assert row_checksums(stored).tolist() == [17235474470578159616, 7492080540613345280]
    assert row_checksums(stored.astype(np.float16)[:, :3]).tolist() == [15338453911254073344, 5110111717989310976]


def test_a_damaged_vector_is_never_answered(store_path: Path) -> None:
    """Reading a face whose vector was changed on disk names file and place; the others are read as before."""
    with open_store(store_path) as store:
        gallery = create(store)
        enroll(store, rows(gallery, [("ann", "a", 1), ("bob", "b", 2), ("cem", "c", 3)]))
    file = next(store_path.glob("vectors/*/rows.vec"))
    offset = VECTORS_OFFSET + DIMENSION * 4
    with file.open("r+b") as opened:
        opened.seek(offset + 5)
        opened.write(b"\x99")
    with open_store(store_path) as store, store.view() as view:
        people = view.gallery("people")
        assert people.heads([0, 2]).face_ids == ["a", "c"]
        for read in (people.heads, people.vectors):
            with pytest.raises(CorruptStore) as caught:
                read([0, 1])
            assert caught.value.reason == "VECTOR_DAMAGED"
            assert caught.value.metadata == {"file": str(file), "offset": str(offset), "ordinal": "1"}
        [doubt] = view.check()
        assert f"row 1, bytes {offset} to {offset + 32}, is not what was enrolled" in doubt


def test_a_damaged_record_is_never_answered(store_path: Path) -> None:
    """A record changed behind LMDB's back is refused by its checksum, with its database and key."""
    with open_store(store_path) as store:
        gallery = create(store)
        enroll(store, rows(gallery, [("ann", "a", 1), ("bob", "b", 2)]))
    environment = lmdb.open(str(store_path / "meta"), max_dbs=64)
    with environment.begin(write=True) as transaction:
        database = environment.open_db(b"identity_ids", transaction)
        cursor = transaction.cursor(database)
        assert cursor.first()
        key, raw = cursor.item()
        transaction.put(key, raw.replace(b"ann", b"bob"), db=database)
    environment.close()
    with open_store(store_path) as store, store.view() as view:
        with pytest.raises(CorruptStore) as caught:
            view.gallery("people").identity_ids([1])
        assert caught.value.reason == "RECORD_DAMAGED"
        assert caught.value.metadata == {"database": "identity_ids", "key": key.hex()}
        assert view.gallery("people").identity_ids([2]) == ["bob"]
