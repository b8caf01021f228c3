"""Keys: what is encoded is decoded again, and the order of bytes is the order of what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien_server.errors import InvalidArgument, LimitExceeded
from mien_server.storage import keys
from mien_server.storage.values import FaceValue, decode_face, decode_face_headers, decode_face_ids, encode_face

LMDB_KEY_BYTES_MAX = 511

galleries = st.integers(0, 2**32 - 1)
numbers = st.integers(0, 2**64 - 1)
texts = st.text(min_size=1, max_size=60)
label_keys = st.text("abcdefghijklmnopqrstuvwxyz0123456789_.-", min_size=1, max_size=63)
label_values = st.text(max_size=60)
digests = st.binary(min_size=16, max_size=16)


@given(galleries, numbers, numbers, texts, digests)
def test_every_key_is_decoded_to_what_was_encoded(
    gallery: int, first: int, second: int, text: str, digest: bytes
) -> None:
    """Each encoder has a decoder that gives back the same."""
    assert keys.decode_gallery(keys.encode_gallery(gallery)) == gallery
    assert keys.decode_number(keys.encode_number(first)) == first
    assert keys.decode_numbered(keys.encode_numbered(gallery, first)) == (gallery, first)
    assert keys.decode_pair(keys.encode_pair(gallery, first, second)) == (gallery, first, second)
    assert keys.decode_digest_key(keys.encode_digest_key(gallery, first, digest)) == (gallery, first, digest)
    assert keys.decode_text(keys.encode_text(gallery, text)) == (gallery, text)
    assert keys.decode_name(keys.encode_name(text, "name", 256)) == text
    assert keys.decode_request_time(keys.encode_request_time(first, text)) == (first, text)
    assert keys.decode_purge(keys.encode_purge(gallery)) == gallery
    expiry = keys.encode_expiry(gallery, first, keys.EXPIRY_IDENTITY, second)
    assert keys.decode_expiries([expiry]).tolist() == [(gallery, first, keys.EXPIRY_IDENTITY, second)]
    assert keys.decode_expiry_time(expiry) == first
    assert keys.encode_expiry_time(gallery, first) <= expiry


@given(galleries, st.lists(st.tuples(numbers, numbers), max_size=20))
def test_many_keys_are_the_single_ones(gallery: int, pairs: list[tuple[int, int]]) -> None:
    """Encoding many at once gives the keys of each, and the numbers at their ends come back."""
    firsts, seconds = [first for first, _ in pairs], [second for _, second in pairs]
    many = keys.encode_pair_many(gallery, firsts, seconds)
    assert many == [keys.encode_pair(gallery, first, second) for first, second in pairs]
    assert keys.encode_numbered_many(gallery, firsts) == [keys.encode_numbered(gallery, first) for first in firsts]
    assert keys.decode_trailing_numbers(many).tolist() == seconds
    expiries = keys.encode_expiry_many(gallery, firsts, keys.EXPIRY_FACE, seconds)
    assert keys.decode_expiries(expiries)["time_us"].tolist() == firsts
    assert sorted(expiries) == keys.encode_expiry_many(gallery, *_columns(sorted(pairs)))


def _columns(pairs: list[tuple[int, int]]) -> tuple[list[int], int, list[int]]:
    return [time_us for time_us, _ in pairs], keys.EXPIRY_FACE, [number for _, number in pairs]


@given(galleries, label_keys, label_values, numbers)
def test_labels_are_decoded_to_what_was_encoded(gallery: int, key: str, value: str, number: int) -> None:
    """A label's key gives back gallery, label and number."""
    encoded = keys.encode_labelled(gallery, key, value, number)
    assert keys.decode_label(encoded[: -keys.NUMBER_BYTES]) == (gallery, key, value)
    assert encoded.startswith(keys.encode_label_key(gallery, key))
    assert keys.decode_trailing_numbers([encoded]).tolist() == [number]


@given(galleries, st.tuples(label_keys, label_values), st.tuples(label_keys, label_values), numbers)
def test_one_label_is_never_the_beginning_of_another(
    gallery: int, one: tuple[str, str], other: tuple[str, str], number: int
) -> None:
    """What stands under one label is not found under another, whatever bytes their values have."""
    if one != other:
        assert not keys.encode_labelled(gallery, *other, number).startswith(keys.encode_label(gallery, *one))


@given(st.tuples(galleries, numbers, numbers), st.tuples(galleries, numbers, numbers))
def test_keys_stand_in_the_order_of_their_numbers(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    """LMDB's order of bytes is the order of gallery, identity and ordinal."""
    assert (keys.encode_pair(*one) < keys.encode_pair(*other)) == (one < other)


def test_the_longest_keys_fit_into_lmdb() -> None:
    """No key within the limits is longer than LMDB takes."""
    longest = [
        keys.encode_labelled(1, "k" * 63, "v" * 256, 1),
        keys.encode_text(1, "i" * keys.IDENTITY_ID_BYTES_MAX),
        keys.encode_request_time(1, "r" * keys.REQUEST_ID_BYTES_MAX),
    ]
    assert max(map(len, longest)) <= LMDB_KEY_BYTES_MAX


def test_what_is_too_long_is_refused() -> None:
    """A label or a name beyond its limit is an error of the caller, not of LMDB."""
    with pytest.raises(LimitExceeded):
        keys.encode_label(1, "k" * 64, "v")
    with pytest.raises(LimitExceeded):
        keys.encode_label(1, "k", "é" * 129)
    with pytest.raises(LimitExceeded):
        keys.encode_name("n" * 129, "name")
    with pytest.raises(InvalidArgument):
        keys.encode_name("", "name")


@given(
    st.lists(
        st.builds(
            FaceValue,
            st.integers(0, 2**32 - 1),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(0, 2**63 - 1),
            st.integers(0, 2**64 - 1),
            digests,
            texts,
            st.binary(max_size=20),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_faces_are_decoded_to_what_was_encoded(faces: list[FaceValue]) -> None:
    """The value of a face comes back whole, one at a time and as columns."""
    values = [encode_face(face) for face in faces]
    names = [keys.encode_number(row) for row in range(len(faces))]
    assert [decode_face(name, value) for name, value in zip(names, values, strict=True)] == faces
    headers = decode_face_headers(values, names)
    assert headers["identity_number"].tolist() == [face.identity_number for face in faces]
    assert headers["create_time_us"].tolist() == [face.create_time_us for face in faces]
    assert headers["expire_time_us"].tolist() == [face.expire_time_us for face in faces]
    assert headers["vector_checksum"].tolist() == [face.vector_checksum for face in faces]
    assert [bytes(digest) for digest in headers["digest"]] == [face.digest for face in faces]
    lengths = headers["face_id_length"].tolist()
    assert decode_face_ids(values, lengths, names) == [face.face_id for face in faces]
    assert headers["identity_number"].dtype == np.dtype("<u8")
