"""A small store, closed, to be damaged; and what must be found in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mien_server.errors import CorruptStore
from mien_server.records.store_pb2 import VECTOR_TYPE_FLOAT16, VECTOR_TYPE_FLOAT32, OperationRecord
from mien_server.storage import (
    DeleteFaces,
    IdentitySeed,
    PutOperation,
    RequestKey,
    Store,
    StoreOptions,
    Subject,
)
from tests.storage_support import create, enroll, open_store, rows

FACE_COUNT, PERSON_COUNT = 400, 90
NAMES = ("people", "visitors")
DAMAGED_OPTIONS = StoreOptions(map_size_bytes=1 << 30, serve_damaged=True)


def make_store(path: Path) -> Path:
    """Two galleries with labels and deleted faces, a request id, an operation."""
    with open_store(path) as store:
        for name, kind in zip(NAMES, (VECTOR_TYPE_FLOAT32, VECTOR_TYPE_FLOAT16), strict=True):
            gallery = create(store, name, kind)
            faces = [(f"person-{row % PERSON_COUNT:03d}", f"{name}-face-{row:04d}", row) for row in range(FACE_COUNT)]
            labels = {row: {"camera": f"c{row % 5}"} for row in range(FACE_COUNT)}
            seeds = {f"person-{n:03d}": IdentitySeed(f"Name {n}", {"team": f"t{n % 4}"}) for n in range(PERSON_COUNT)}
            request = RequestKey(f"{name}-request", b"fingerprint", lambda _: b"outcome")
            enroll(store, rows(gallery, faces, seeds=seeds, labels=labels, request=request))
            store.write(DeleteFaces(name, [f"{name}-face-{row:04d}" for row in range(0, 40, 4)]))
        store.write(PutOperation(OperationRecord(name="operations/1", stage="done")))
    return path


def contents(store: Store) -> dict[str, Any]:
    """Everything that can be read, as plain values; what is damaged raises CorruptStore."""
    found: dict[str, Any] = {}
    with store.view() as view:
        for gallery in view.galleries():
            ordinals = gallery.live_ordinals(-1, 10**6).tolist()
            heads = gallery.heads(ordinals)
            ids = gallery.identity_ids(heads.identity_numbers)
            found[gallery.name] = {
                "people": {one: record.SerializeToString(deterministic=True) for one, record in gallery.identities()},
                "faces": [
                    (face.face_id, face.record.SerializeToString(deterministic=True))
                    for face in gallery.faces(ordinals)
                ],
                "owners": dict(zip(heads.face_ids, ids, strict=True)),
                "vectors": gallery.vectors(ordinals).tobytes(),
            }
        found["request"] = [str(view.request(f"{name}-request")) for name in NAMES]
        found["operations"] = [str(record) for record in view.operations()]
    return found


def derived(store: Store) -> dict[str, Any]:
    """What the databases say that have no checksums, for they follow from the others."""
    found: dict[str, Any] = {}
    with store.view() as view:
        for gallery in view.galleries():
            postings = gallery.postings
            found[gallery.name] = {
                "ordinals": gallery.face_ordinals([f"{gallery.name}-face-{row:04d}" for row in range(FACE_COUNT)]),
                "faces": [gallery.faces_of(number).tolist() for number in range(1, PERSON_COUNT + 2)],
                "labels": {
                    (kind, key, value): [block.tolist() for block in postings.labelled(kind, key, value)]
                    for kind, key, values in (
                        (Subject.FACE, "camera", [f"c{n}" for n in range(5)]),
                        (Subject.IDENTITY, "team", [f"t{n}" for n in range(4)]),
                    )
                    for value in values
                },
            }
    return found


def damage_of(path: Path, options: StoreOptions) -> CorruptStore | None:
    """What opening it, or else reading everything, is refused with."""
    try:
        with open_store(path, options) as store:
            contents(store)
    except CorruptStore as error:
        return error
    return None
