"""Write a small store with the code of one release, for newer ones to open: `python -m tests.compat.make_store OUT`.

Run it in a checkout of the release, with its packages on the path; README.md beside this file says how. It uses nothing
but the client and a server, whose contract stays.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mien_client import Client, EnrollItem, OperationState, VectorType
from tests.server_processes import ServerProcess

DIMENSION = 8
INDEXED_COUNT = 1200
SETTINGS = ("index.flat_rows_min=1000", "index.flat_bytes_max=1", "index.rebuilds_automatically=false")


def rows(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    values = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def fill_small(client: Client) -> None:
    """Float16, with everything that a face and an identity can carry, and with changes after the fact."""
    client.create_gallery(
        "visitors",
        precomputed="made-1",
        dimension=DIMENSION,
        vector_type=VectorType.FLOAT16,
        display_name="Visitors of 2026",
        labels={"site": "north"},
    )
    embeddings = rows(60, 1)
    for start in range(0, 60, 20):
        items = [
            EnrollItem(
                identity_id=f"person-{number % 25}",
                face_id=f"visit-{number:03d}",
                embedding=embeddings[number],
                face_labels={"camera": f"c{number % 3}", "year": str(2000 + number % 7)},
                source=f"picture {number}",
            )
            for number in range(start, start + 20)
        ]
        client.enroll_faces("visitors", items, request_id=f"visit-{start}")
    for number in range(0, 25, 2):
        client.update_identity(
            "visitors", f"person-{number}", display_name=f"Name {number} Ä", labels={"team": f"t{number % 4}"}
        )
    client.update_identity("visitors", "nobody yet", display_name="No Face", allow_missing=True)
    client.move_faces("visitors", ["visit-001", "visit-026"], "person-1-moved")
    client.delete_faces("visitors", ["visit-003", "visit-010"])
    client.delete_identity("visitors", "person-24")


def fill_indexed(client: Client) -> None:
    """Float32, with a generation, and rows that came and went after it."""
    client.create_gallery("members", precomputed="made-1", dimension=DIMENSION)
    embeddings = rows(INDEXED_COUNT, 2)
    for start in range(0, INDEXED_COUNT, 400):
        items = [
            EnrollItem(identity_id=f"member-{number // 2}", face_id=f"m{number:04d}", embedding=embeddings[number])
            for number in range(start, start + 400)
        ]
        client.enroll_faces("members", items)
    operation = client.wait_operation(client.rebuild_index("members").name, timeout_s=120.0)
    assert operation.state is OperationState.SUCCEEDED, operation.error
    late = rows(10, 3)
    items = [EnrollItem(identity_id="late", face_id=f"late-{number}", embedding=late[number]) for number in range(10)]
    client.enroll_faces("members", items)
    client.delete_faces("members", [f"m{number:04d}" for number in range(0, 100, 10)])


def contents(client: Client) -> dict[str, Any]:
    """What a client can read of the whole store."""
    galleries: dict[str, Any] = {}
    for gallery in client.list_galleries():
        galleries[gallery.name] = {
            "display_name": gallery.display_name,
            "labels": dict(gallery.labels),
            "vector_type": gallery.vector_type.value,
            "identity_count": gallery.identity_count,
            "face_count": gallery.face_count,
            "identities": {
                one.id: [one.display_name, dict(sorted(one.labels.items())), one.face_count, str(one.create_time)]
                for one in client.list_identities(gallery.name)
            },
            "faces": {
                one.id: [
                    one.identity_id,
                    dict(sorted(one.labels.items())),
                    one.source,
                    str(one.create_time),
                    _hash(one),
                ]
                for one in client.list_faces(gallery.name, include_embedding=True)
            },
        }
    info = client.get_server_info()
    return {"store_id": info.store_id, "revision": info.revision, "galleries": galleries}


def _hash(face: Any) -> str:
    return hashlib.sha256(face.embedding.tobytes()).hexdigest()[:16]


def main() -> None:
    """Write OUT, a tar.xz of the store and of what must be found in it."""
    out = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        with ServerProcess(store, *SETTINGS) as server, server.client() as client:
            client.create_gallery("short-lived", precomputed="made-1", dimension=DIMENSION)
            fill_small(client)
            client.delete_gallery("short-lived", force=True)
            fill_indexed(client)
            expected = contents(client)
        text = json.dumps(expected, ensure_ascii=False, indent=1, sort_keys=True)
        (Path(folder) / "expected.json").write_text(text, encoding="utf-8")
        (store / "meta" / "lock.mdb").unlink(missing_ok=True)
        with tarfile.open(out, "w:xz", preset=9) as archive:
            for name in ("store", "expected.json"):
                archive.add(Path(folder) / name, name)
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
