"""`mien-index restore SNAPSHOT STORE`: a store out of a snapshot, verified before it takes another's place."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mien_index_tools.cli import exits
from mien_index_tools.cli.commands.snapshot import place_and_name
from mien_index_tools.cli.output import Output, counted
from mien_server.storage.backup import RestoreRequest, restore

__all__ = ["add_restore"]

_EXAMPLES = """\
examples:
  mien-index restore /backups/20261125T161500000000Z-r1200-0123abcd people
  mien-index restore s3://backups/mien/20261125T161500000000Z-r1200-0123abcd people
  mien-index restore SNAPSHOT people --to-revision 1234     replays the journal of the store in `people`
  mien-index restore SNAPSHOT people --to-revision 1234 --journal LATER_SNAPSHOT
"""


def add_restore(commands: argparse._SubParsersAction[Any]) -> None:
    """The arguments."""
    parser = commands.add_parser(
        "restore",
        help="make a store out of a snapshot",
        description="Copies and verifies the snapshot beside STORE, checks the store made of it, and puts it in place. "
        "A store that is there is kept under another name.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("snapshot", metavar="SNAPSHOT", help="DESTINATION/NAME")
    parser.add_argument("store", type=Path, metavar="STORE", help="the store's folder")
    parser.add_argument(
        "--to-revision", type=int, metavar="R", help="go on from the snapshot to this revision by replaying the journal"
    )
    parser.add_argument(
        "--journal",
        default="",
        metavar="STORE_OR_SNAPSHOT",
        help="where the journal and the newer vectors are read; default: the store in STORE",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.journal and arguments.to_revision is None:
        raise exits.UsageFailure("--journal goes with --to-revision R")
    place, name = place_and_name(arguments.snapshot)
    request = RestoreRequest(place, name, arguments.store, arguments.to_revision, arguments.journal)
    with output.progress("Restoring") as watch:
        restored = restore(request, watch)
    document = {
        "store": restored.target,
        "revision": restored.revision,
        "snapshot_revision": restored.manifest.revision,
        "replayed_revisions": restored.replayed_count,
        "kept": restored.kept,
        "duration_s": restored.duration_s,
    }
    output.document(document)
    replayed = f", {counted(restored.replayed_count, 'revision')} of it replayed" if restored.replayed_count else ""
    output.say(
        f"{restored.target} is at revision {restored.revision}{replayed}; verified and checked in "
        f"{restored.duration_s:.1f} s."
    )
    if restored.kept is not None:
        output.say(f"The store that was there is now {restored.kept}; remove it when you need it no more.")
    return exits.DONE
