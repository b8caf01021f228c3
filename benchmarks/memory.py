"""Memory of a server beyond the page cache, for each row it serves.

RssAnon of a server that has searched the loaded store, less that of a server that has searched a store of a few
thousand rows: what is left is the rows' own.
"""

from __future__ import annotations

from benchmarks.figures import Figure, Target
from benchmarks.raw_faiss import Float32Array
from benchmarks.server_process import ServerProcess, memory_bytes
from benchmarks.workbench import FACES_PER_IDENTITY, GALLERY, Workbench, create_gallery, identity_ids
from mien_client import Client, row_batches

__all__ = ["run"]

BYTES_PER_ROW_MAX = 120.0
SMALL_ROWS = 2000
PROBES = 1000
SEARCHES = 5
STORE = "store-small"


def run(bench: Workbench) -> list[Figure]:
    """Bytes a row."""
    probes = bench.mated_probes(PROBES).vectors
    with bench.server() as server, server.client() as client:
        full = _settled(server, client, probes)
    bench.forget(STORE)
    faces = bench.population.gallery(SMALL_ROWS // FACES_PER_IDENTITY, FACES_PER_IDENTITY)
    with ServerProcess(bench.folder / STORE) as server, server.client() as client:
        create_gallery(client, GALLERY)
        for ack in client.stream_enroll(GALLERY, row_batches(faces.vectors, identity_ids(faces.identity_numbers))):
            if ack.error is not None:
                raise ack.error
    with ServerProcess(bench.folder / STORE) as server, server.client() as client:
        small = _settled(server, client, probes)
    bench.forget(STORE)
    per_row = (full["RssAnon"] - small["RssAnon"]) / (bench.rows - SMALL_ROWS)
    return [
        Figure(
            name=f"memory.{bench.size}.bytes_per_row",
            value=per_row,
            unit="B",
            baseline=BYTES_PER_ROW_MAX,
            detail=(
                f"RssAnon after {SEARCHES} searches of {PROBES} probes at {bench.rows} rows ({_mib(full['RssAnon'])}) "
                f"less the same at {SMALL_ROWS} rows ({_mib(small['RssAnon'])}); beside the design's "
                f"{BYTES_PER_ROW_MAX:g} B; mapped files resident as well: {_mib(full['RssFile'])}"
            ),
            target=Target.at_most(per_row, BYTES_PER_ROW_MAX, "B"),
        )
    ]


def _settled(server: ServerProcess, client: Client, probes: Float32Array) -> dict[str, int]:
    """Memory of a server that has worked."""
    for _ in range(SEARCHES):
        client.search_faces(GALLERY, embeddings=probes, columnar=True)
    return memory_bytes(server.pid)


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"
