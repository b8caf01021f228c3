"""The `mien` command."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mien_client import Client, ClientOptions, MienClientError, TlsOptions

__all__ = ["main"]

_SIGPIPE_EXIT = 141
_SERVER_VARIABLE = "MIEN_SERVER"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and answers its exit code; see `mien --help` for the codes."""
    missing = [name for name, module in (("rich", "rich"), ("Pillow", "PIL")) if not importlib.util.find_spec(module)]
    if missing:
        sys.stderr.write(f"mien: {' and '.join(missing)} not installed; run: pip install 'mien[cli]'\n")
        return 2
    try:
        return _main(argv)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough (`mien list | head`). Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGPIPE_EXIT


def _main(argv: Sequence[str] | None) -> int:
    # After the check above: these need rich and Pillow.
    from mien_client.cli import exits
    from mien_client.cli.output import Output
    from mien_client.cli.session import Session

    arguments = _parser().parse_args(argv)
    output = Output(is_json=arguments.json)
    try:
        with _connect(arguments) as client:
            code: int = arguments.run(arguments, Session(client, output))
    except MienClientError as error:
        output.document({"error": error})
        output.note(f"mien: {error}", style="red")
        if exits.hint(error):
            output.note(exits.hint(error))
        return exits.exit_code(error)
    except exits.UsageFailure as error:
        output.document({"error": {"code": "USAGE", "reason": "", "message": str(error)}})
        output.note(f"mien: {error}", style="red")
        return exits.USAGE
    sys.stdout.flush()
    return code


def _connect(arguments: argparse.Namespace) -> Client:
    from mien_client.cli.exits import UsageFailure

    server = arguments.server or os.environ.get(_SERVER_VARIABLE) or "127.0.0.1:7311"
    try:
        return Client(server, ClientOptions(timeout_s=arguments.timeout, tls=_tls(arguments)))
    except ValueError as error:
        raise UsageFailure(str(error)) from error


def _tls(arguments: argparse.Namespace) -> TlsOptions | None:
    from mien_client.cli.exits import UsageFailure

    paths: list[Path | None] = [arguments.tls_ca, arguments.tls_certificate, arguments.tls_key]
    if not arguments.tls and not any(paths):
        return None
    try:
        authority, certificate, key = (None if path is None else path.read_bytes() for path in paths)
    except OSError as error:
        raise UsageFailure(f"{error.filename} cannot be read: {error.strerror}") from error
    return TlsOptions(authority, certificate, key)


def _parser() -> argparse.ArgumentParser:
    from mien_client.cli import exits
    from mien_client.cli.commands import (
        delete,
        detect,
        enroll,
        erase,
        gallery,
        identify,
        info,
        listing,
        rebuild,
        search,
        snapshot,
        verify,
    )
    from mien_client.cli.subcommands import Subcommands, add_global_options

    parser = argparse.ArgumentParser(
        prog="mien",
        description="Talk to a Mien server: enrol people's photographs, and ask who is in others.",
        epilog=exits.EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mien {_version()}")
    add_global_options(parser, is_root=True)
    commands = Subcommands(parser)
    for command in (
        gallery,
        enroll,
        identify,
        verify,
        search,
        listing,
        delete,
        erase,
        detect,
        info,
        rebuild,
        snapshot,
    ):
        command.add(commands)
    return parser


def _version() -> str:
    try:
        return importlib.metadata.version("mien")
    except importlib.metadata.PackageNotFoundError:
        return "of a source tree that is not installed"


if __name__ == "__main__":
    sys.exit(main())
