"""`kill -9` of a serving process: no answered write is lost, no unanswered one is half there."""

from __future__ import annotations

import io
import os
import random
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from mien_client import OperationState, row_batches
from tests.recovery.kill_rounds import SEED_VARIABLE, KillRounds, RoundKind
from tests.server_processes import ServerProcess
from tests.unit_rows import unit_rows

ROUND_COUNT = 20
KINDS = (RoundKind.BUILD, RoundKind.TIME, RoundKind.STEP, RoundKind.STEP, RoundKind.TIME, RoundKind.STEP)
TIME_MAX_S = 600
ORPHAN_TIME_MAX_S = 30.0


@pytest.mark.slow
@pytest.mark.timeout(TIME_MAX_S)
def test_a_killed_server_loses_no_answered_write(store_path: Path) -> None:
    """Over 20 kills at random points of concurrent writes and index builds, every acknowledged write is there, every
    other one is wholly there or wholly absent, counts are exact, and each search answers with the right person.
    """
    seed = int(os.environ.get(SEED_VARIABLE, random.randrange(2**32)))
    print(f"again with {SEED_VARIABLE}={seed}")
    rounds = KillRounds(store_path, seed)
    for number in range(1, ROUND_COUNT + 1):
        rounds.run_round(KINDS[number % len(KINDS)])
    rounds.finish()
    print(rounds.report(), dict(rounds.steps_reached), dict(rounds.steps_missed))
    assert rounds.pending_count
    assert rounds.builds_killed
    assert rounds.steps_reached


def grey_picture() -> bytes:
    """A photograph of nobody."""
    file = io.BytesIO()
    Image.new("L", (64, 64), 128).save(file, "PNG")
    return file.getvalue()


def test_a_killed_server_leaves_no_process_behind(store_path: Path) -> None:
    """The embedding workers and the index builder of a server that was killed end by themselves."""
    rows = unit_rows(5000, 64)
    with ServerProcess(store_path, "index.flat_rows_min=1000", "index.flat_bytes_max=1") as server:
        with server.client() as client:
            client.detect_faces([grey_picture()])
            client.create_gallery("people", precomputed="made-1", dimension=64)
            for ack in client.stream_enroll("people", row_batches(rows, [f"person-{row}" for row in range(len(rows))])):
                assert ack.error is None
            operation = client.rebuild_index("people")
            while client.get_operation(operation.name).state is OperationState.PENDING:
                time.sleep(0.005)
        children = psutil.Process(server.pid).children(recursive=True)
        commands = " ".join(argument for child in children for argument in child.cmdline())
        assert "embedding.worker" in commands
        assert "index.builder" in commands
        server.kill()
    _, alive = psutil.wait_procs(children, timeout=ORPHAN_TIME_MAX_S)
    assert alive == []
