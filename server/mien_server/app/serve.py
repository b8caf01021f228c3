"""A server process from its first line to its exit code."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import structlog

from mien_server.app.banner import ready_line, show_banner
from mien_server.app.logs import configure_logs
from mien_server.app.options import engine_options, server_options
from mien_server.app.signals import EndSignals
from mien_server.config.settings import Settings
from mien_server.engine import Engine
from mien_server.errors import MienError
from mien_server.rpc.server import RpcServer

__all__ = ["EXIT_FAILED", "EXIT_OK", "serve"]

EXIT_OK = 0
EXIT_FAILED = 1
DRAIN_SLICE_S = 0.1
"""How often a drain looks for a second signal."""
SWITCH_INTERVAL_S = 0.0005
"""After which a thread that computes lets another have Python's lock. One thread takes in all calls and needs the lock
several times for each: at Python's own five milliseconds a single long answer would leave it some fifty calls a second.
"""

_log = structlog.stdlib.get_logger(__name__)


def serve(settings: Settings, data: Path) -> int:
    """Open the store in `data`, serve it until SIGTERM or SIGINT, end well; answers the exit code.

    A start that fails says why in one line on standard error.
    """
    configure_logs(settings.log)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _allow_open_files()
    with EndSignals() as signals:
        try:
            server = RpcServer(server_options(settings))
            server.start()
        except MienError as error:
            return _failed(error.message)
        except OSError as error:
            return _failed(f"cannot listen: {error}; see [server] and [tls] in the settings")
        try:
            return _serve_store(settings, data, server, signals)
        except MienError as error:
            return _failed(error.message)
        except OSError as error:
            return _failed(f"{error.filename or data}: {error.strerror or error}; check the path and its permissions")
        finally:
            server.stop()


def _allow_open_files() -> None:
    """Raise the soft limit of open files to the hard one: each gallery read holds a file, each caller a socket."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        _log.warning("the limit of open files stays as it is", reason=str(error))


def _failed(message: str) -> int:
    sys.stderr.write(f"mien-server: {message}\n")
    return EXIT_FAILED


def _serve_store(settings: Settings, data: Path, server: RpcServer, signals: EndSignals) -> int:
    engine = Engine.open(data, engine_options(settings))
    try:
        server.open(engine)
        info = engine.server_info()
        show_banner(settings, server.addresses, data, info)
        for reason in engine.degraded_reasons():
            _log.warning("serving, but not at its best", reason=reason)
        sys.stdout.write(ready_line(server.addresses, data, len(info.galleries)) + "\n")
        sys.stdout.flush()
        signals.wait()
        _drain(server, signals, settings.server.drain_s)
        server.stop()
    finally:
        engine.close()
    _log.info("ended well", revision=engine.revision)
    return EXIT_OK


def _drain(server: RpcServer, signals: EndSignals, drain_s: float) -> None:
    """Refuse new calls and let the running ones finish, until the time is up or a second signal comes."""
    _log.info("ending: running calls may finish, new ones are refused", seconds=drain_s)
    server.begin_drain()
    until_s = time.monotonic() + drain_s
    running_count = server.wait_until_idle(0.0)
    while running_count and (left_s := until_s - time.monotonic()) > 0:
        if signals.wait(0.0):
            _log.warning("second signal: running calls are cancelled", running_count=running_count)
            return
        running_count = server.wait_until_idle(min(left_s, DRAIN_SLICE_S))
    if running_count:
        _log.warning("time is up: running calls are cancelled", running_count=running_count)
