"""What a command is given besides its arguments: the client and where to print."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from mien_client import Client
from mien_client.cli.output import Output

__all__ = ["Arguments", "Command", "Session", "add_gallery"]

Arguments = argparse.Namespace


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the command."""

    client: Client
    output: Output


# Runs a command and answers its exit code.
Command = Callable[[Arguments, Session], int]


def add_gallery(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """The option that most commands share."""
    parser.add_argument("-g", "--gallery", required=required, default="", metavar="NAME", help="the gallery's name")
