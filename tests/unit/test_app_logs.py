"""The log says what happened and never what or whom it happened to."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from mien_server.app.logs import configure_logs
from mien_server.config.settings import LogSettings

SECRET = "face-of-somebody"


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    """Give the root logger back what the test takes from it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def fail(photograph: str) -> None:
    """Raise with a secret among the local variables."""
    if photograph:
        raise IndexError("out of bounds")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_tracebacks_hold_no_values(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unexpected error is logged with its lines of code, without the values they worked on."""
    configure_logs(LogSettings.model_validate({"format": log_format}))
    try:
        fail(SECRET)
    except IndexError:
        logging.getLogger("mien").exception("a call broke")
    written = capsys.readouterr().err
    assert "a call broke" in written
    assert "out of bounds" in written
    assert "test_app_logs.py" in written
    assert SECRET not in written
