"""Registering commands: every one takes the global options too, before or after its name."""

from __future__ import annotations

import argparse
from pathlib import Path

from mien_client.cli.session import Command

__all__ = ["Subcommands", "add_global_options", "positive_int", "zero_or_more"]

# What a whole number of the contract holds.
_NUMBER_MAX = (1 << 32) - 1


def add_global_options(parser: argparse.ArgumentParser, *, is_root: bool) -> None:
    """Where the server is and how to answer; only the root parser has defaults, or it would lose what it was given."""
    defaults: dict[str, object] = {"server": None, "timeout": 60.0, "json": False, "tls": False}
    defaults |= dict.fromkeys(("tls_ca", "tls_certificate", "tls_key"))
    if not is_root:
        defaults = dict.fromkeys(defaults, argparse.SUPPRESS)
    group = parser.add_argument_group("options of every command")
    group.add_argument(
        "--server",
        default=defaults["server"],
        metavar="ADDRESS",
        help="HOST:PORT or unix:/PATH; default: MIEN_SERVER, or 127.0.0.1:7311",
    )
    group.add_argument(
        "--timeout",
        type=_seconds,
        default=defaults["timeout"],
        metavar="SECONDS",
        help="give a call up after this long; default: 60",
    )
    group.add_argument("--tls", action="store_true", default=defaults["tls"], help="encrypt the connection")
    for name, what in (
        ("ca", "PEM file of the authority of the server's certificate"),
        ("certificate", "PEM file of this client's certificate, where the server asks for one"),
        ("key", "PEM file of its key"),
    ):
        group.add_argument(
            f"--tls-{name}", type=Path, default=defaults[f"tls_{name}"], metavar="FILE", help=f"{what}; implies --tls"
        )
    group.add_argument("--json", action="store_true", default=defaults["json"], help="one JSON document for machines")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above zero")
    return value


def positive_int(text: str) -> int:
    """An argument that counts something there is at least one of."""
    return _whole_number(text, 1)


def zero_or_more(text: str) -> int:
    """An argument that counts, and may be zero."""
    return _whole_number(text, 0)


def _whole_number(text: str, minimum: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = minimum - 1
    if not minimum <= value <= _NUMBER_MAX:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from {minimum} to {_NUMBER_MAX}")
    return value


class Subcommands:
    """Where commands register."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(self, name: str, run: Command, summary: str, *, epilog: str = "") -> argparse.ArgumentParser:
        """A command; its arguments are added to what is answered."""
        parser = self._parser(name, summary, epilog)
        add_global_options(parser, is_root=False)
        parser.set_defaults(run=run)
        return parser

    def add_group(self, name: str, summary: str) -> Subcommands:
        """A command that only holds others."""
        return Subcommands(self._parser(name, summary, ""))

    def _parser(self, name: str, summary: str, epilog: str) -> argparse.ArgumentParser:
        return self._subparsers.add_parser(
            name,
            help=summary,
            description=summary[:1].upper() + summary[1:] + ".",
            epilog=epilog or None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
