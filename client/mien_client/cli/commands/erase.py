"""`mien erase`, `mien erasures` and `mien verify-receipt`: remove a person for good, and prove it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from mien.v1 import operations_service_pb2 as operations_v1
from mien_client import Erasure, ErasureCheck, ErasureReceipt, ErasureVerification, OperationState
from mien_client._wire import decode_erasures
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
            ("damaged records removed", receipt.damaged_record_count),
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
    for one in found:
        if one.trouble:
            session.output.say(f"{one.name}: {one.trouble}")
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
    document = _document(arguments.file)
    try:
        token = bytes.fromhex(document["token"])
        sealed = jsonable(decode_erasures.receipt(operations_v1.ErasureReceipt.FromString(token)))
    except (KeyError, TypeError, ValueError, DecodeError) as error:
        raise exits.UsageFailure(
            f"{arguments.file} holds no receipt as `mien erase --receipt` writes it; give such a file"
        ) from error
    assert isinstance(sealed, dict)
    checked = session.client.verify_erasure(token, identity_id=arguments.id)
    # Only the token is sealed: what stands beside it, for people, must say the same.
    wrong = sorted(name for name in document if document[name] != sealed.get(name))
    said = "; ".join(f"{name}: the file says {document.get(name)!r}, sealed is {sealed.get(name)!r}" for name in wrong)
    checks = (ErasureCheck("file", not wrong, said or "it says what is sealed"), *checked.checks)
    verification = ErasureVerification(checked.is_valid and not wrong, checks)
    session.output.document(verification)
    session.output.table(
        ("check", "", "detail"), [(one.name, "holds" if one.passed else "FAILS", one.detail) for one in checks]
    )
    session.output.say("The receipt holds." if verification.is_valid else "The receipt does not hold.")
    return exits.DONE if verification.is_valid else exits.NOT_ALL


def _document(path: Path) -> dict[str, Any]:
    """The receipt in a file of one, or of an erasure with one; empty when it holds neither."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise exits.UsageFailure(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        return {}
    if isinstance(document, dict) and isinstance(document.get("receipt"), dict):
        document = document["receipt"]
    return document if isinstance(document, dict) else {}
