"""`mien-index verify`: prove what a store promises about itself, and save what is whole into a new one."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mien_index_tools.cli import exits
from mien_index_tools.cli.output import Output, counted
from mien_index_tools.cli.paths import store_folder
from mien_index_tools.verifying import Verification, repair, verify
from mien_server.errors import PreconditionFailed, Unavailable
from mien_server.storage.doubts import Checked
from mien_server.storage.salvage import report_path

__all__ = ["add_verify"]

_SHOWN_MAX = 20


def add_verify(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="prove that records, vectors, counts and indexes of a store agree",
        description="Compare everything in a store with everything else: pages, records, vectors, counts, labels, "
        "expiry, journal, request ids, operations, generations. Nothing of the store is written, and no server may "
        "have it open.",
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="the store's folder")
    parser.add_argument(
        "--deep",
        action="store_true",
        help="compute the checksum of every vector and of every index file, compare the rows in the lists, and measure "
        "what searches find",
    )
    parser.add_argument(
        "--repair",
        type=Path,
        metavar="NEW_STORE",
        help="say what can be saved of the store into a new one; with --yes do it; the old one is kept as it is",
    )
    parser.add_argument("--yes", action="store_true", help="with --repair: write the new store")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.yes and arguments.repair is None:
        raise exits.UsageFailure("--yes goes with --repair NEW_STORE")
    if arguments.deep and arguments.repair is not None:
        raise exits.UsageFailure("--deep goes without --repair; a new store is always verified deeply")
    store_folder(arguments.store)
    if arguments.repair is not None:
        return _repair(arguments.store, arguments.repair, output, is_wanted=arguments.yes)
    verification = _verified(arguments.store, output, is_deep=arguments.deep)
    output.document(_document(arguments.store, verification))
    return exits.DOUBT if verification.doubt_count else exits.DONE


def _verified(store: Path, output: Output, *, is_deep: bool) -> Verification:
    with output.progress("Verifying") as progress:
        verification = verify(store, is_deep=is_deep, progress=progress, on_checked=lambda _: None)
    output.table(
        ("Checked", "Count", "Seconds", "Doubts"),
        [(one.what, one.count, one.seconds, one.doubts.count) for one in verification.checks],
    )
    for one in verification.checks:
        _say_doubts(one, output)
    checks = counted(len(verification.checks), "check")
    if verification.doubt_count:
        output.say(f"\n{store}: {counted(verification.doubt_count, 'doubt')} in {checks}.")
    else:
        output.say(f"\n{store}: {checks}, no doubt.")
    return verification


def _say_doubts(checked: Checked, output: Output) -> None:
    sentences = checked.sentences()
    for sentence in sentences[:_SHOWN_MAX]:
        output.say(f"  {sentence}")
    if checked.doubts.count > _SHOWN_MAX:
        output.say(f"  ... and {checked.doubts.count - _SHOWN_MAX} more like these (--json lists up to a thousand)")


def _repair(store: Path, target: Path, output: Output, *, is_wanted: bool) -> int:
    if target.exists() and not target.is_dir():
        raise exits.UsageFailure(f"{target}: is a file; give a folder that is not there yet")
    if target.exists() and any(target.iterdir()):
        raise PreconditionFailed(
            f"{target}: holds something; a repair goes into a new place", reason="TARGET_NOT_EMPTY"
        )
    with _removed_unless_whole(target, is_wanted=is_wanted), output.progress("Looking for what is whole") as progress:
        saved = repair(store, target if is_wanted else None, progress)
    output.table(("Kept", "Count"), sorted(saved.kept.items()))
    if saved.lost:
        output.table(("Lost", "Count"), sorted(saved.lost.items()))
    else:
        output.say("Nothing is lost.")
    for note in saved.notes:
        output.say(f"  {note}")
    output.say(
        "\nThe journal and the generations are left behind; indexes are built anew when the new store is served."
    )
    verification = None
    if is_wanted:
        output.say(f"{target}: written at revision {saved.revision}; each loss is named in {saved.report}.")
        output.say(f"{store}: kept as it is.\n")
        verification = _verified(target, output, is_deep=True)
    else:
        output.say(f"Nothing was written. Add --yes to write this into {target}; {store} is kept as it is.")
    output.document(
        {
            "store": store,
            "new_store": target if is_wanted else None,
            "kept": saved.kept,
            "lost": saved.lost,
            "notes": saved.notes,
            "report": saved.report,
            "revision": saved.revision,
            "verification": None if verification is None else _document(target, verification),
        }
    )
    is_doubtful = verification is not None and verification.doubt_count
    return exits.DOUBT if is_doubtful or (saved.lost and not is_wanted) else exits.DONE


@contextmanager
def _removed_unless_whole(target: Path, *, is_wanted: bool) -> Iterator[None]:
    """What a repair that does not end has written is of no use, and would be in the way of the next."""
    report = report_path(target.absolute())
    is_first = not report.exists()
    try:
        yield
    except BaseException as error:
        if is_wanted:
            shutil.rmtree(target, ignore_errors=True)
            if is_first:
                report.unlink(missing_ok=True)
        if isinstance(error, Unavailable) and error.reason == "STORAGE_WRITE_FAILED":
            message = f"{error.message}; nothing was left there, repair again where there is room"
            raise Unavailable(message, reason=error.reason) from error
        raise


def _document(store: Path, verification: Verification) -> dict[str, object]:
    return {
        "store": store,
        "doubts": verification.doubt_count,
        "checks": [
            {
                "what": one.what,
                "count": one.count,
                "seconds": round(one.seconds, 3),
                "doubts": one.doubts.count,
                "listed": [
                    {"reason": doubt.reason, "message": doubt.message, "place": dict(doubt.place)}
                    for doubt in one.doubts.listed
                ],
            }
            for one in verification.checks
        ],
    }
