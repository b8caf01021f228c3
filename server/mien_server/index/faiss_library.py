"""The one module that imports faiss, and the one place where its exceptions become ours.

OpenMP keeps the number of threads for each calling thread, so each call sets it anew for its own thread and disturbs no
other. FAISS releases the GIL while it computes, and its BLAS follows the same setting.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mien_server.errors import InternalError, Unavailable

__all__ = ["BLAS_WORK_MIN", "FAISS_VERSION", "faiss", "translated", "write_file"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

WAIT_POLICY_VARIABLE = "OMP_WAIT_POLICY"


def _load_faiss() -> Any:
    """The library, untyped, for SWIG gives it no useful types.

    Its OpenMP threads sleep while they wait: by default they spin, and take the cores that other calls, the writer
    and a builder need. OpenMP reads the variable while it is loaded, and nobody else needs to see it.
    """
    is_unset = WAIT_POLICY_VARIABLE not in os.environ
    os.environ.setdefault(WAIT_POLICY_VARIABLE, "PASSIVE")
    try:
        import faiss as library
    finally:
        if is_unset:
            del os.environ[WAIT_POLICY_VARIABLE]
    return library


faiss = _load_faiss()
FAISS_VERSION: str = faiss.__version__

BLAS_WORK_MIN = 2048
"""Probes times dimension from which exact search multiplies matrices: FAISS's own 128,000 is 7 times too high."""

faiss.cvar.distance_compute_blas_threshold = BLAS_WORK_MIN


def translated(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let the library's exceptions leave as InternalError, and Unavailable where memory is short."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except MemoryError as error:
            raise Unavailable(
                f"FAISS got no memory for {function.__name__}; try again later, or give the process more",
                reason="OUT_OF_MEMORY",
            ) from error
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            raise InternalError(
                f"FAISS refused {function.__name__}: {error}; this is a defect, please report it",
                reason="INDEX_LIBRARY_FAILED",
            ) from error

    return call


def write_file(path: Path, write: Callable[[Any], None]) -> None:
    """Have the library write a file through Python's: its own says nothing when the last bytes find no room.

    Raises:
        OSError: the disk refuses.
    """
    with path.open("wb") as file:
        write(faiss.PyCallbackIOWriter(file.write))
