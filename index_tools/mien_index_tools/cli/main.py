"""The `mien-index` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mien_server import __version__

__all__ = ["main"]


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="mien-index",
        description="Offline tools for a Mien store. This version has none yet: a running server builds its own "
        "indexes (`mien info` shows them), and import, export and snapshots come with later releases.",
    )
    parser.add_argument("--version", action="version", version=f"mien-index {__version__}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what follows the command's name; None takes the process's own.

    Returns:
        The exit code: 2, as there is nothing to run without a sub-command. `--help` and `--version` exit with 0.
    """
    parser = build_parser()
    parser.parse_args(arguments)
    parser.print_help(sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
