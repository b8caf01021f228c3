"""The program of a worker process: batches in, answers out, until the other end is gone.

Run by `worker_process` as `python -m mien_server.embedding.worker FD`, never imported by the process that serves.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from mien_server.embedding.analysis import Analyser
from mien_server.embedding.loading import load_analyser
from mien_server.embedding.messages import READY, TAKEN, encode_analyses, encode_error
from mien_server.embedding.options import Detector, EmbeddingOptions
from mien_server.embedding.recipes import FACENET_RECIPE
from mien_server.embedding.work import Batch
from mien_server.errors import InternalError, MienError, Unavailable

__all__ = ["main"]

LOGGER: Final = logging.getLogger(__name__)

OUT_OF_MEMORY_SCORE: Final = "500"


class Worker:
    """Loads each recipe when it is first needed and keeps it."""

    def __init__(self, options: EmbeddingOptions) -> None:
        self._options = options
        self._analysers: dict[str, tuple[Analyser, str]] = {}

    def preload(self) -> None:
        """Load what the options name; what cannot be loaded is reported when it is asked for."""
        for recipe in self._options.preloaded_recipes:
            try:
                self._analyser(recipe)
            except MienError as error:
                LOGGER.warning("recipe %s: %s", recipe, error.message)

    def answer(self, batch: Batch) -> bytes:
        """The encoded answer to a batch."""
        try:
            analyser, fingerprint = self._analyser(batch.kind.recipe)
            if fingerprint != batch.kind.fingerprint:
                raise Unavailable(
                    f"the recipe {batch.kind.recipe} changed from {batch.kind.fingerprint} to {fingerprint} while the "
                    "server runs; start it again",
                    reason="RECIPE_CHANGED",
                )
            return encode_analyses(analyser.analyse(batch.contents, batch.kind))
        except MienError as error:
            return encode_error(error)
        except Exception as error:
            LOGGER.exception("a batch of %d photographs failed", len(batch.contents))
            return encode_error(InternalError(f"a worker failed: {type(error).__name__}: {error}"))

    def _analyser(self, recipe: str) -> tuple[Analyser, str]:
        if recipe not in self._analysers:
            if recipe == FACENET_RECIPE or self._options.detector is Detector.MTCNN:
                _use_one_torch_thread()
            self._analysers[recipe] = load_analyser(recipe, self._options)
        return self._analysers[recipe]


def _use_one_torch_thread() -> None:
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


def _be_the_first_to_go() -> None:
    """When memory runs out, let the system end a worker and not the server (Linux; elsewhere nothing happens)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE, encoding="ascii")


def _end_with_parent() -> None:
    """Leave as soon as standard input ends: only the parent holds its other end, and never writes."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(0)


def main() -> None:
    """Serve batches from the connection whose descriptor is the first argument."""
    faulthandler.enable()
    _be_the_first_to_go()
    # Terminal and service managers signal every process of the group; the parent decides when a worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    logging.basicConfig(level=logging.WARNING, format="mien embedding worker %(process)d: %(levelname)s: %(message)s")
    connection: Connection[object, object] = Connection(int(sys.argv[1]))
    try:
        options = connection.recv()
        assert isinstance(options, EmbeddingOptions)
        worker = Worker(options)
        worker.preload()
        connection.send_bytes(READY)
        while True:
            batch = connection.recv()
            assert isinstance(batch, Batch)
            connection.send_bytes(TAKEN)
            connection.send_bytes(worker.answer(batch))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


if __name__ == "__main__":
    main()
