"""`mien-index migrate`: bring a store of an older format up to this release's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mien_index_tools.cli import exits
from mien_index_tools.cli.output import Output, counted
from mien_index_tools.cli.paths import store_folder
from mien_server.storage.layout import FORMAT_VERSION
from mien_server.storage.migration import migrate

__all__ = ["add_migrate"]


def add_migrate(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "migrate",
        help="bring a store of an older format up to this release's",
        description="Write the records of a store anew in the format of this release, check them, and only then let "
        "them take the place of the old ones. The old store stays as a backup. Cut off, it is simply run again.",
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="the store's folder")
    parser.add_argument(
        "--backup",
        type=Path,
        metavar="DIR",
        help="where the old store is kept (default: beside it, as STORE.format-1); it holds everybody's faces, so "
        "remove it when it is not needed any more",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, output: Output) -> int:
    with output.progress("Migrating") as progress:
        done = migrate(store_folder(arguments.store), arguments.backup, progress)
    output.document(
        {
            "from_version": done.from_version,
            "format_version": FORMAT_VERSION,
            "backup": done.backup,
            "records": done.records,
            "restorable_from_revision": done.revision,
        }
    )
    if done.from_version == FORMAT_VERSION:
        output.say(f"The store has format {FORMAT_VERSION} already; there is nothing to do.")
        return exits.DONE
    output.say(
        f"The store has format {FORMAT_VERSION} now: {counted(done.records, 'record')} written anew and checked."
    )
    kept = done.backup or "the place that the run which was cut off was given"
    output.say(f"The old one is in {kept}; remove it when it is not needed any more.")
    output.say(
        "Checksums hold from here on: damage from before could not be told. The journal begins anew, so that the "
        f"store can be restored to revision {done.revision} and later ones."
    )
    return exits.DONE
