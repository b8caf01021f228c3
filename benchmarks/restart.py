"""From starting a server process to its first answer, beside reading the bare files it needs.

The bare process imports the same foreign libraries, reads the index with FAISS, walks every face and identity in LMDB
and maps the vectors. Page cache warm for both, as after a restart of the process alone.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, Target
from benchmarks.raw_faiss import store_files
from benchmarks.timing import seconds_of
from benchmarks.workbench import GALLERY, Workbench

__all__ = ["run"]

ROUNDS = 3
RESTART_S_MAX = 3.0
READ_FILES = """
import sys
from pathlib import Path
import faiss, grpc, lmdb, numpy
vectors, generation, meta = sys.argv[1:]
for lists in Path(generation).glob("lists-*"):
    faiss.read_InvertedLists(faiss.FileIOReader(str(lists)))
numpy.memmap(vectors, "u1", "r")[0]
environment = lmdb.open(meta, subdir=False, readonly=True, lock=False, max_dbs=32, map_size=1 << 40)
with environment.begin() as transaction:
    for name in (b"faces", b"identities"):
        count = sum(1 for _ in transaction.cursor(environment.open_db(name, transaction)))
"""


def run(bench: Workbench) -> list[Figure]:
    """One figure; a server's end is not part of it, so the rounds are taken here."""
    store = bench.store()
    probe = bench.mated_probes(1).vectors
    ours, bare = [], []
    _read_files(store)
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        with bench.server() as server, server.client() as client:
            client.search_faces(GALLERY, embeddings=probe)
            ours.append(time.perf_counter() - started_s)
        bare.append(seconds_of(lambda: _read_files(store)))
    value, baseline = float(np.median(ours)), float(np.median(bare))
    return [
        Figure(
            name=f"restart.{bench.size}.ratio_to_files",
            value=value,
            unit="s",
            baseline=baseline,
            detail=(
                f"from exec to the first answer over gRPC at {bench.rows} rows; bare: python with the same libraries, "
                f"FAISS reads the index, a walk over LMDB's faces and identities; page cache warm; medians of {ROUNDS}"
            ),
            target=Target.at_most(value, RESTART_S_MAX, "s"),
        )
    ]


def _read_files(store: Path) -> None:
    subprocess.run([sys.executable, "-c", READ_FILES, *map(str, store_files(store))], check=True)
