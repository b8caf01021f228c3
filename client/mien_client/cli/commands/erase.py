"""`mien erase`, `mien erasures` and `mien verify-receipt`: remove a person for good, and prove it."""

from __future__ import annotations

import json
from pathlib import Path

from mien_client import Erasure, ErasureReceipt, OperationState
from mien_client.cli import exits
from mien_client.cli.jsonable import jsonable
from mien_client.cli.output import Output, counted
from mien_client.cli.session import Arguments, Session, add_gallery
from mien_client.cli.subcommands import Subcommands

__all__ = ["add"]


def add(commands: Subcommands) -> None:
    """The arguments."""
    erase = commands.add(
        "erase", _erase, "delete a person and remove whatever the store's files hold of them, with a receipt"
    )
    erase.add_argument("id", metavar="ID")
    add_gallery(erase)
    erase.add_argument("--receipt", type=Path, metavar="FILE", help="write the receipt there, as JSON")
    listed = commands.add("erasures", _list, "list erasures, the newest first")
    add_gallery(listed, required=False)
    listed.add_argument("--pending", action="store_true", help="only those that are not done")
    verify = commands.add("verify-receipt", _verify, "check that a receipt is the store's own and still holds")
    verify.add_argument(
        "file", type=Path, metavar="FILE", help="what `erase --receipt` wrote, or `erase --json` printed"
    )
    verify.add_argument(
        "--id", default="", metavar="ID", help="whom it is about: checked, and searched for in all files"
    )


def _erase(arguments: Arguments, session: Session) -> int:
    started = session.client.erase_identity(arguments.gallery, arguments.id)
    session.output.note(f"Nobody finds {arguments.id} any more; removing what files still hold ...")
    with session.output.fraction("Erasing") as show:
        operation = session.client.wait_operation(
            started.operation, on_progress=lambda now: show(now.progress, now.stage)
        )
    erasure = operation.erase_identity
    session.output.document(erasure if erasure is not None else operation)
    if operation.state is not OperationState.SUCCEEDED or erasure is None or erasure.receipt is None:
        session.output.say(f"{operation.name} ended {operation.state}: {operation.error}")
        return exits.SERVER_FAILED
    if arguments.receipt is not None:
        _write(arguments.receipt, erasure.receipt)
    _tell(session.output, erasure.receipt)
    return exits.DONE


def _write(path: Path, receipt: ErasureReceipt) -> None:
    try:
        path.write_text(json.dumps(jsonable(receipt), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise exits.UsageFailure(
            f"{path} cannot be written: {error.strerror}; the erasure is done, and {receipt.erasure} keeps the receipt"
        ) from error


def _tell(output: Output, receipt: ErasureReceipt) -> None:
    scan = receipt.scan
    taken_s = 0.0
    if receipt.request_time is not None and receipt.complete_time is not None:
        taken_s = (receipt.complete_time - receipt.request_time).total_seconds()
    output.say(f"Erased at revision {receipt.revision}, in {taken_s:.1f} s: {receipt.erasure}.")
    output.table(
        ("", ""),
        [
            ("faces", receipt.face_count),
            ("vectors overwritten", receipt.row_count),
            ("journal entries", receipt.journal_entry_count),
            ("answers kept", receipt.request_count),
            ("index", "made again without them" if receipt.index_rewritten else "held none of them"),
            ("freed pages overwritten", receipt.free_page_count),
            ("searched", f"{counted(scan.file_count, 'file')}, {scan.byte_count:,} bytes"),
            ("searched for", f"{counted(scan.pattern_count, 'pattern')}: {scan.found_count} found"),
            ("also of others", scan.shared_count),
            ("too short to search", scan.short_count),
        ],
    )
    for one in receipt.snapshots:
        output.say(f"Snapshot {one.name} of revision {one.revision} still holds them; delete it too.")


def _list(arguments: Arguments, session: Session) -> int:
    found = list(session.client.list_erasures(gallery=arguments.gallery, pending_only=arguments.pending))
    session.output.document({"erasures": found})
    columns = ("erasure", "gallery", "state", ("faces", "right"), "asked for", "done")
    session.output.table(columns, [_row(one) for one in found])
    return exits.DONE


def _row(one: Erasure) -> tuple[str, str, str, str, str, str]:
    receipt = one.receipt
    state = f"{one.state} (overdue)" if one.is_overdue else str(one.state)
    asked = "" if one.create_time is None else one.create_time.isoformat(sep=" ", timespec="seconds")
    if receipt is None or receipt.complete_time is None:
        return one.name, one.gallery, state, "", asked, ""
    done = receipt.complete_time.isoformat(sep=" ", timespec="seconds")
    return one.name, one.gallery, state, str(receipt.face_count), asked, done


def _verify(arguments: Arguments, session: Session) -> int:
    try:
        checked = session.client.verify_erasure(_token(arguments.file), identity_id=arguments.id)
    except ValueError as error:
        raise exits.UsageFailure(f"{arguments.file} holds no receipt: {error}") from error
    session.output.document(checked)
    session.output.table(
        ("check", "", "detail"), [(one.name, "holds" if one.passed else "FAILS", one.detail) for one in checked.checks]
    )
    session.output.say("The receipt holds." if checked.is_valid else "The receipt does not hold.")
    return exits.DONE if checked.is_valid else exits.NOT_ALL


def _token(path: Path) -> bytes:
    """The token in a file of a receipt, or of an erasure with one. Raises ValueError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise exits.UsageFailure(f"{path} cannot be read: {error.strerror}") from error
    if isinstance(document, dict) and isinstance(document.get("receipt"), dict):
        document = document["receipt"]
    token = document.get("token") if isinstance(document, dict) else None
    return bytes.fromhex(token if isinstance(token, str) else "no token")
