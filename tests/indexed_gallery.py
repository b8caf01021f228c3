"""A gallery that is large enough for an index, and what must hold of it whatever its index is doing.

Searches are compared with numpy. Galleries are small: the settings below give any of more than 1,000 faces an index.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mien_client import Client, Effort, Gallery, IndexPolicy, IndexStateName, Operation, OperationState, row_batches
from tests.unit_rows import Rows, nearest, unit_rows

__all__ = [
    "BY_HAND",
    "DIMENSION",
    "FOUND_SHARE_MIN",
    "GALLERY",
    "PERSON_COUNT",
    "ROWS",
    "ROW_COUNT",
    "SMALL_FLAT",
    "WAIT_TIME_MAX_S",
    "check_default",
    "check_exact",
    "check_hits",
    "enroll",
    "face_id",
    "fill",
    "gallery_folder",
    "is_ready",
    "only_one_generation",
    "rebuild",
    "wait_until",
]

GALLERY = "people"
DIMENSION, ROW_COUNT, PERSON_COUNT = 48, 3000, 700
ROWS = unit_rows(ROW_COUNT, DIMENSION, 11)
SMALL_FLAT = ("index.flat_rows_min=1000", "index.flat_bytes_max=1", "index.tail_rows_max=100")
BY_HAND = (*SMALL_FLAT, "index.rebuilds_automatically=false")
SIMILARITY_TOLERANCE = 1e-5
FOUND_SHARE_MIN = 0.98
WAIT_TIME_MAX_S = 120.0


def face_id(number: int) -> str:
    return f"face-{number}"


def identity_id(number: int) -> str:
    return f"person-{number % PERSON_COUNT}"


def number_of(face: str) -> int:
    return int(face.removeprefix("face-"))


def enroll(client: Client, first: int, last: int) -> None:
    """Enrol the rows [first, last) of ROWS."""
    numbers = range(first, last)
    batches = row_batches(
        ROWS[first:last], [identity_id(one) for one in numbers], face_ids=[face_id(one) for one in numbers]
    )
    for ack in client.stream_enroll(GALLERY, batches):
        assert ack.error is None
        assert not ack.row_errors


def fill(client: Client, row_count: int = ROW_COUNT, policy: IndexPolicy | None = None) -> None:
    """Make the gallery of the first rows of ROWS."""
    client.create_gallery(GALLERY, precomputed="made-1", dimension=DIMENSION, index_policy=policy)
    enroll(client, 0, row_count)


def rebuild(client: Client) -> Operation:
    """Build a generation and wait for it."""
    operation = client.wait_operation(client.rebuild_index(GALLERY).name, timeout_s=WAIT_TIME_MAX_S)
    assert operation.state is OperationState.SUCCEEDED, operation.error
    return operation


def wait_until(client: Client, holds: Callable[[Gallery], bool]) -> Gallery:
    """The gallery once something holds of it."""
    end_s = time.monotonic() + WAIT_TIME_MAX_S
    while True:
        gallery = client.get_gallery(GALLERY)
        if holds(gallery):
            return gallery
        assert time.monotonic() < end_s, gallery.index_state
        time.sleep(0.02)


def is_ready(gallery: Gallery) -> bool:
    return gallery.index_state.state is IndexStateName.READY


def check_hits(client: Client, probe: Rows, k: int = 5, *, gone: frozenset[int] = frozenset()) -> bool:
    """Look up one probe with the default effort: every hit is live, its own person and its true cosine.

    Answers whether the first hit is the nearest row of all.
    """
    [found] = client.search_faces(GALLERY, embeddings=probe, k=k).embeddings
    assert len(found.neighbors) == k
    assert len({one.face_id for one in found.neighbors}) == k
    for one in found.neighbors:
        number = number_of(one.face_id)
        assert number not in gone
        assert one.identity_id == identity_id(number)
        assert abs(one.similarity - float(ROWS[number] @ probe)) <= SIMILARITY_TOLERANCE
    similarities = ROWS @ probe
    similarities[sorted(gone)] = -1
    return number_of(found.neighbors[0].face_id) == int(similarities.argmax())


def check_exact(client: Client, row_count: int = ROW_COUNT, *, gone: frozenset[int] = frozenset()) -> None:
    """Exact search answers as numpy does over the rows that are there."""
    live = np.array([number for number in range(row_count) if number not in gone])
    probes = np.concatenate([ROWS[:row_count:101], unit_rows(10, DIMENSION, 5)])
    numbers, similarities = nearest(ROWS[live], probes, 10)
    answer = client.search_faces(GALLERY, embeddings=probes, k=10, effort=Effort(exact=True))
    for wanted, wanted_similarities, found in zip(live[numbers], similarities, answer.embeddings, strict=True):
        assert [one.face_id for one in found.neighbors] == [face_id(int(number)) for number in wanted]
        assert [one.identity_id for one in found.neighbors] == [identity_id(int(number)) for number in wanted]
        assert np.allclose([one.similarity for one in found.neighbors], wanted_similarities, atol=SIMILARITY_TOLERANCE)


def check_default(client: Client) -> None:
    """Searches with the default effort agree with numpy but for a few."""
    found = [check_hits(client, ROWS[number]) for number in range(0, ROW_COUNT, 71)]
    assert sum(found) >= FOUND_SHARE_MIN * len(found)


def gallery_folder(store: Path) -> Path:
    """Where the one gallery's generations are."""
    [folder] = (store / "index").iterdir()
    return folder


def only_one_generation(store: Path) -> bool:
    """Whether there is the current generation and nothing else, no rest of a build either."""
    folder = gallery_folder(store)
    current = (folder / "CURRENT").read_text(encoding="utf-8").strip()
    return {path.name for path in folder.iterdir()} == {"CURRENT", current}
