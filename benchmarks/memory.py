"""Memory of a server beyond the page cache, for each row it serves.

RssAnon of a server that has searched the loaded store with single probes, less that of a server that has done so on a
store of a few thousand rows: what is left is the rows' own. What batches of probes need on top does not grow with the
rows and is said beside it.
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
SINGLE_SEARCHES = 100
BATCH_SEARCHES = 5
STORE = "store-small"


def run(bench: Workbench) -> list[Figure]:
    """Bytes a row."""
    probes = bench.mated_probes(PROBES).vectors
    with bench.server() as server, server.client() as client:
        _search_singly(client, probes)
        full = memory_bytes(server.pid)
        for _ in range(BATCH_SEARCHES):
            client.search_faces(GALLERY, embeddings=probes, columnar=True)
        after_batches = memory_bytes(server.pid)
    small = _small_store(bench, probes)
    per_row = (full["RssAnon"] - small["RssAnon"]) / (bench.rows - SMALL_ROWS)
    return [
        Figure(
            name=f"memory.{bench.size}.bytes_per_row",
            value=per_row,
            unit="B",
            baseline=BYTES_PER_ROW_MAX,
            detail=(
                f"RssAnon after {SINGLE_SEARCHES} searches at {bench.rows} rows ({_mib(full['RssAnon'])}) less that "
                f"at {SMALL_ROWS} rows ({_mib(small['RssAnon'])}); beside the design's {BYTES_PER_ROW_MAX:g} B; after "
                f"batches of {PROBES} probes {_mib(after_batches['RssAnon'])}; of the mapped files "
                f"{_mib(after_batches['RssFile'])} were resident"
            ),
            target=Target.at_most(per_row, BYTES_PER_ROW_MAX, "B"),
        )
    ]


def _small_store(bench: Workbench, probes: Float32Array) -> dict[str, int]:
    """The memory of a server with hardly any rows."""
    bench.forget(STORE)
    faces = bench.population.gallery(SMALL_ROWS // FACES_PER_IDENTITY, FACES_PER_IDENTITY)
    with ServerProcess(bench.folder / STORE) as server, server.client() as client:
        create_gallery(client, GALLERY)
        for ack in client.stream_enroll(GALLERY, row_batches(faces.vectors, identity_ids(faces.identity_numbers))):
            if ack.error is not None:
                raise ack.error
    with ServerProcess(bench.folder / STORE) as server, server.client() as client:
        _search_singly(client, probes)
        memory = memory_bytes(server.pid)
    bench.forget(STORE)
    return memory


def _search_singly(client: Client, probes: Float32Array) -> None:
    for probe in probes[:SINGLE_SEARCHES]:
        client.search_faces(GALLERY, embeddings=probe)


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"
