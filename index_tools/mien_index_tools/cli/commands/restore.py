"""`mien-index restore SNAPSHOT STORE`: a store out of a snapshot, verified before it takes another's place."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mien_index_tools.cli import exits
from mien_index_tools.cli.output import Output, counted
from mien_index_tools.cli.paths import place_and_name
from mien_server.storage.backup import Restored, RestoreRequest, restore

__all__ = ["add_restore"]

_SHOWN_MAX = 20
_DESCRIPTION = """\
Copy and verify the snapshot beside STORE, check the store made of it, and put
it in place. A store that is there is kept under another name. Who was erased
since the snapshot is erased again, as far as the store that is there, the
journal, what --erasures names, or the newest snapshot beside tells of it.
"""
_EXAMPLES = """\
examples:
  mien-index restore /backups/20261125T161500000000Z-r1200-0123abcd people
  mien-index restore s3://backups/mien/20261125T161500000000Z-r1200-0123abcd people
  mien-index restore SNAPSHOT people --to-revision 1234     replays the journal of the store in `people`
  mien-index restore SNAPSHOT people --to-revision 1234 --journal LATER_SNAPSHOT
  mien-index restore SNAPSHOT copy --erasures people        without whoever was erased in `people` since
"""


def add_restore(commands: argparse._SubParsersAction[Any]) -> None:
    """The arguments."""
    parser = commands.add_parser(
        "restore",
        help="make a store out of a snapshot",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("snapshot", metavar="SNAPSHOT", help="DESTINATION/NAME")
    parser.add_argument("store", type=Path, metavar="STORE", help="the store's folder")
    parser.add_argument(
        "--to-revision",
        type=_revision,
        metavar="R",
        help="go on from the snapshot to this revision by replaying the journal",
    )
    parser.add_argument(
        "--journal",
        default="",
        metavar="STORE_OR_SNAPSHOT",
        help="where the journal and the newer vectors are read; default: the store in STORE",
    )
    parser.add_argument(
        "--erasures",
        action="append",
        default=[],
        metavar="STORE_OR_SNAPSHOT",
        help="a later state of the store that knows who was erased since; may be given again",
    )
    parser.set_defaults(run=_run)


def _revision(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no revision; give a whole number")
    return int(text)


def _run(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.journal and arguments.to_revision is None:
        raise exits.UsageFailure("--journal goes with --to-revision R")
    place, name = place_and_name(arguments.snapshot)
    request = RestoreRequest(
        place, name, arguments.store, arguments.to_revision, arguments.journal, erasures=tuple(arguments.erasures)
    )
    with output.progress("Restoring") as watch:
        restored = restore(request, watch)
    document = {
        "store": restored.target,
        "revision": restored.revision,
        "restored_revision": restored.restored_revision,
        "snapshot_revision": restored.manifest.revision,
        "replayed_revisions": restored.replayed_count,
        "erased_again": restored.erased_again,
        "erasures_known": [{"from": where, "to_revision": revision} for where, revision in restored.erasures_known],
        "erasures_unread": restored.erasures_unread,
        "kept": restored.kept,
        "duration_s": restored.duration_s,
    }
    output.document(document)
    replayed = f", {counted(restored.replayed_count, 'revision')} of it replayed" if restored.replayed_count else ""
    output.say(
        f"{restored.target} is at revision {restored.restored_revision}{replayed}; verified and checked in "
        f"{restored.duration_s:.1f} s."
    )
    _say_erasures(restored, output)
    if restored.kept is not None:
        output.say(f"The store that was there is now {restored.kept}; remove it when you need it no more.")
    return exits.DONE


def _say_erasures(restored: Restored, output: Output) -> None:
    snapshot_revision = restored.manifest.revision
    for where, revision in restored.erasures_known:
        output.say(f"Erasures are known up to revision {revision}, from {where}.")
    if restored.erased_again:
        erasures = counted(len(restored.erased_again), "erasure")
        faces = counted(sum(one.face_count for one in restored.erased_again), "face")
        output.say(
            f"{erasures} since revision {snapshot_revision} carried out again, {faces} deleted"
            f"{_at_revision(restored)}. A server that opens the store removes what files still hold and makes receipts."
        )
        for one in restored.erased_again[:_SHOWN_MAX]:
            output.say(f"  {one.erasure}, gallery {one.gallery}: {counted(one.face_count, 'face')}")
        if len(restored.erased_again) > _SHOWN_MAX:
            output.say(f"  ... and {len(restored.erased_again) - _SHOWN_MAX:,} more (--json lists them)")
    elif _is_told(restored):
        output.say(f"Nobody who was erased since revision {snapshot_revision} came back.")
    for why in restored.erasures_unread:
        output.note(f"Erasures may be missing: {why}", style="yellow")
    if not _is_told(restored):
        output.note(
            f"Who was erased after revision {snapshot_revision} is not known here, and may be in {restored.target} "
            "again. If anybody was, restore again with --erasures STORE_OR_SNAPSHOT, naming a later state of the "
            "store, or erase them again.",
            style="yellow",
        )


def _is_told(restored: Restored) -> bool:
    """Whether anybody knows what came after the snapshot, up to what was restored at least."""
    known_revision = max((revision for _, revision in restored.erasures_known), default=0)
    return known_revision > restored.manifest.revision and known_revision >= restored.restored_revision


def _at_revision(restored: Restored) -> str:
    count = restored.revision - restored.restored_revision
    return f", which makes it revision {restored.revision}" if count else ""
