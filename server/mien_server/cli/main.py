"""`mien-server`: serve one store over gRPC."""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mien_server import __version__
from mien_server.config.settings_file import load_settings, settings_text
from mien_server.errors import InvalidArgument

__all__ = ["main"]

EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; answers the exit code: 0 ended well, 1 could not start or failed, 2 wrong settings."""
    chosen = _parser().parse_args(arguments)
    try:
        settings = load_settings(chosen.config, _flags(chosen))
    except InvalidArgument as error:
        return _usage_error(error.message)
    if chosen.print_config:
        sys.stdout.write(settings_text(settings))
        return 0
    if settings.data_directory is None:
        return _usage_error("no store is named; give --data DIR (it is made when it is not there)")
    # The server starts no children by fork; without this gRPC would stop every thread around each of the
    # embedding workers' starts.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    from mien_server.app.serve import serve

    return serve(settings, settings.data_directory.expanduser().resolve())


def _usage_error(message: str) -> int:
    sys.stderr.write(f"mien-server: {message}\n")
    return EXIT_USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mien-server",
        description="Serve one store of faces over gRPC.",
        epilog="Every setting can also come from the file or from MIEN_SECTION__KEY in the environment; "
        "a flag wins over the environment, the environment over the file. "
        "--print-config shows all of them, explained.",
    )
    parser.add_argument("--data", metavar="DIR", help="the store's directory, made when it is not there")
    parser.add_argument("--config", metavar="FILE", type=Path, help="settings as TOML")
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        action="append",
        help="an address to listen on; may be repeated; port 0 takes a free one (default: 127.0.0.1:7311)",
    )
    parser.add_argument("--unix", metavar="PATH", help="a Unix socket to listen on as well")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--log-format", choices=["text", "json"])
    parser.add_argument(
        "--serve-damaged",
        action="store_true",
        default=None,
        help="open a damaged store without the faces and identities that are damaged, and list them",
    )
    parser.add_argument("--drain-seconds", metavar="S", type=float, help="time for running calls after SIGTERM")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="any other setting, such as index.build_thread_count=1; may be repeated",
    )
    parser.add_argument("--print-config", action="store_true", help="print the settings in force as TOML, and end")
    parser.add_argument("--version", action="version", version=f"mien-server {__version__}")
    return parser


def _flags(chosen: argparse.Namespace) -> dict[str, Any]:
    """Flags that were given, as settings; a flag of its own wins over --set."""
    given = {
        "data_directory": chosen.data,
        "server.listen": chosen.listen,
        "server.unix_socket_path": chosen.unix,
        "server.drain_s": chosen.drain_seconds,
        "storage.serve_damaged": chosen.serve_damaged,
        "log.level": chosen.log_level,
        "log.format": chosen.log_format,
    }
    flags: dict[str, Any] = {}
    for assignment in chosen.set:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InvalidArgument(f"--set {assignment}: write KEY=VALUE", reason="SETTINGS_INVALID")
        _put(flags, key.strip(), _value(text.strip()))
    for key, value in given.items():
        if value is not None:
            _put(flags, key, value)
    return flags


def _put(flags: dict[str, Any], key: str, value: object) -> None:
    *sections, name = key.split(".")
    for section in sections:
        inner = flags.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InvalidArgument(f"--set {key}: {section} is no section", reason="SETTINGS_INVALID")
        flags = inner
    flags[name] = value


def _value(text: str) -> object:
    """TOML where it reads as such (numbers, lists, quoted text), the text itself otherwise."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


if __name__ == "__main__":
    sys.exit(main())
