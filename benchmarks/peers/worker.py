"""`python -m benchmarks.peers.worker build|search PEER TASK FOLDER`: one peer, one process, one core; prints JSON.

Building and searching are two processes, so that the memory of the second is what serving needs. The environment that
`run` gives it sets every library's threads to one; the process is pinned to one core besides.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.catalogue import PEERS, peer_class
from benchmarks.peers.measure import identification, neighbors
from benchmarks.peers.peer import Peer
from benchmarks.peers.task import Task
from benchmarks.server_process import memory_bytes

__all__ = ["main"]


def main() -> int:
    """One phase of one peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phase", choices=["build", "search"])
    parser.add_argument("peer", choices=list(PEERS))
    parser.add_argument("task", type=Path)
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    # The first core to build, the last to search: who does both at a time measures searching less disturbed.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0 if chosen.phase == "build" else -1]})
    task = Task.read(chosen.task)
    peer = peer_class(chosen.peer)(task, chosen.folder)
    print(json.dumps(_build(peer) if chosen.phase == "build" else _search(peer, task)))
    # Some libraries' threads do not end when the interpreter does.
    sys.stdout.flush()
    os._exit(0)


def _build(peer: Peer) -> dict[str, Any]:
    shutil.rmtree(peer.folder, ignore_errors=True)
    peer.folder.mkdir(parents=True)
    load_s, load_cpu_s = _timed(peer.load)
    index_s, index_cpu_s = _timed(peer.index)
    return {
        "load_s": load_s,
        "load_cpu_s": load_cpu_s,
        "index_s": index_s,
        "index_cpu_s": index_cpu_s,
        "disk_bytes": sum(file.stat().st_blocks * 512 for file in peer.folder.rglob("*") if file.is_file()),
    }


def _timed(call: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the wall clock, and of processor time with that of child processes."""
    started_s, processor_s = time.perf_counter(), _processor_s()
    call()
    return time.perf_counter() - started_s, _processor_s() - processor_s


def _processor_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _search(peer: Peer, task: Task) -> dict[str, Any]:
    before = memory_bytes(os.getpid())["RssAnon"]
    started_s = time.perf_counter()
    peer.open()
    open_s = time.perf_counter() - started_s
    peer.identify(peer.prepare(task.mated[:1]), peer.efforts()[0], task.threshold)
    identified = []
    for effort in peer.efforts():
        identified.append(identification(peer, task, effort))
        print(json.dumps(identified[-1]), file=sys.stderr)
    memory = memory_bytes(os.getpid())
    found = [neighbors(peer, task, effort) for effort in peer.search_efforts()]
    peer.close()
    return {
        "title": peer.title,
        "version": _version(peer.distribution),
        "how": peer.how,
        "open_s": open_s,
        "anonymous_bytes": memory["RssAnon"] - before,
        "file_bytes": memory["RssFile"],
        "identification": identified,
        "neighbors": found,
    }


def _version(distribution: str) -> str:
    return importlib.metadata.version(distribution)


if __name__ == "__main__":
    sys.exit(main())
