"""Where and of what a run was made."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import psutil

__all__ = ["REPOSITORY", "commit", "core_count", "machine", "shared_data_folder"]

REPOSITORY = Path(__file__).resolve().parent.parent
LIBRARIES = ("faiss-cpu", "grpcio", "protobuf", "lmdb", "numpy", "onnxruntime", "dlib-bin", "pillow")


def core_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def commit() -> str:
    """The commit, marked when the tree differs from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    head = git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "none"
    return f"{head}, changed" if git("status", "--porcelain") else head


def machine() -> dict[str, object]:
    """Cores, memory, processor, operating system and library versions."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    return {
        "cores": core_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "cpu": _cpu_model(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average_at_start": os.getloadavg()[0],
        "libraries": versions,
    }


def shared_data_folder() -> Path:
    """The folder of photographs beside the checkout, or MIEN_SHARED_DATA; it may not exist."""
    named = os.environ.get("MIEN_SHARED_DATA")
    return Path(named) if named else REPOSITORY.parent / "shared" / "data"


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    facts = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        key, _, value = line.partition(":")
        facts[key.strip()] = value.strip()
    name, family, model = (facts.get(key, "?") for key in ("model name", "cpu family", "model"))
    return f"{name} (family {family}, model {model})"
