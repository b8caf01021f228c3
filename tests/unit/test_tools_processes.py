"""A process that reads a store for another: what it sends arrives, and what ends it is told."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from mien_index_tools.verifying import in_a_process, verify
from mien_server.errors import PreconditionFailed
from tests.recovery.corruption_support import end_by


def nobody(*_: object) -> None:
    """Takes whatever comes."""


@pytest.mark.parametrize("number", [signal.SIGBUS, signal.SIGSEGV, signal.SIGKILL])
def test_a_signal_that_ends_the_reading_is_told(number: signal.Signals) -> None:
    """The one who asked lives on and learns the signal's name."""
    assert in_a_process(end_by, (int(number),), nobody, nobody) == number.name


def test_errors_of_the_reading_process_arrive(tmp_path: Path) -> None:
    """What it raises is raised here, with its reason."""
    with pytest.raises(PreconditionFailed) as refused:
        verify(tmp_path, is_deep=False, progress=nobody, on_checked=nobody)
    assert refused.value.reason == "NOT_A_STORE"
