"""Signals end a server whichever thread the system hands them to."""

from __future__ import annotations

import subprocess
import sys

WAIT_TIME_MAX_S = 30.0
SCRIPT = """
import signal, threading, time
from mien_server.app.signals import EndSignals

def tell_this_thread():
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

with EndSignals() as signals:
    threading.Thread(target=tell_this_thread, daemon=True).start()
    assert signals.wait(20.0)
    assert signals.count == 1
"""


def test_a_signal_that_another_thread_gets_is_seen() -> None:
    """A server that waits for its end sees a SIGTERM that was delivered to one of its other threads."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=WAIT_TIME_MAX_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
