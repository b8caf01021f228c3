"""`mien erase`, `mien erasures` and `mien verify-receipt`: remove a person for good, and prove it."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from mien.v1 import operations_service_pb2 as operations_v1
from mien_client import (
    Erasure,
    ErasureCheck,
    ErasureReceipt,
    ErasureVerification,
    MienClientError,
    OperationState,
)
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
    erase.add_argument("id", metavar="ID", help="the identity's id")
    add_gallery(erase)
    erase.add_argument("--yes", action="store_true", help="do not ask; needed where no terminal can be asked")
    erase.add_argument("--receipt", type=Path, metavar="FILE", help="write the receipt to this new file, as JSON")
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
    client, output = session.client, session.output
    if arguments.receipt is not None:
        _require_writable(arguments.receipt)
    if not arguments.yes and not _is_agreed(arguments, session):
        output.document({"erased": False})
        output.say("Nothing was erased.")
        return exits.NOT_ALL
    started = client.erase_identity(arguments.gallery, arguments.id)
    output.note(f"Nobody finds {arguments.id} any more; removing what files still hold ...")
    try:
        with output.fraction("Erasing") as show:
            operation = client.wait_operation(started.operation, on_progress=lambda now: show(now.progress, now.stage))
    except (KeyboardInterrupt, MienClientError):
        output.note("The server goes on erasing; `mien erasures` shows when it is done, with --json the receipt too.")
        raise
    erasure = operation.erase_identity
    output.document(erasure if erasure is not None else operation)
    if operation.state is not OperationState.SUCCEEDED or erasure is None or erasure.receipt is None:
        output.say(
            f"{operation.name} ended {operation.state}: {operation.error}; `mien erasures --pending` shows whether it "
            "goes on"
        )
        return exits.SERVER_FAILED
    _tell(output, erasure.receipt)
    return exits.DONE if arguments.receipt is None else _write(arguments.receipt, erasure.receipt, output)


def _is_agreed(arguments: Arguments, session: Session) -> bool:
    if not session.output.can_ask:
        raise exits.UsageFailure("erasing cannot be undone, and nobody can be asked here; add --yes if it is meant")
    # With name and faces, so that a wrong id is not agreed to.
    try:
        found = session.client.get_identity(arguments.gallery, arguments.id)
    except MienClientError as error:
        # Whoever has expired, or is damaged, is not shown and can be erased.
        if error.reason not in ("IDENTITY_NOT_FOUND", "RECORD_DAMAGED"):
            raise
        return session.output.is_agreed(
            f"{arguments.gallery} shows nobody called {arguments.id!r}. Erase whoever has expired or is damaged under "
            "this id, for good?"
        )
    named = f" ({found.display_name})" if found.display_name else ""
    faces = counted(found.face_count, "face")
    return session.output.is_agreed(f"Erase {found.id}{named} with {faces} from {arguments.gallery}, for good?")


def _require_writable(path: Path) -> None:
    """Refuse a file that could not be written after the erasure, and one that is there: it may be another receipt."""
    if path.exists():
        raise exits.UsageFailure(f"{path} is there already; name a new file for the receipt. Nothing was erased")
    if not path.absolute().parent.is_dir():
        raise exits.UsageFailure(f"{path.absolute().parent} is no folder; make it first. Nothing was erased")


def _write(path: Path, receipt: ErasureReceipt, output: Output) -> int:
    try:
        path.write_text(json.dumps(jsonable(receipt), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        output.note(
            f"mien: {path} cannot be written: {error.strerror}; the erasure is done, and `mien erasures --json` has "
            f"the receipt of {receipt.erasure}",
            style="red",
        )
        return exits.NOT_ALL
    output.say(f"The receipt is in {path}; `mien verify-receipt {path}` checks it.")
    return exits.DONE


def _tell(output: Output, receipt: ErasureReceipt) -> None:
    scan = receipt.scan
    taken_s = 0.0
    if receipt.request_time is not None and receipt.complete_time is not None:
        taken_s = (receipt.complete_time - receipt.request_time).total_seconds()
    output.say(f"Erased at revision {receipt.revision}, in {taken_s:.1f} s: {receipt.erasure}.")
    output.table(
        ("", ""),
        [
            ("faces deleted", receipt.face_count),
            ("vectors overwritten", receipt.row_count),
            ("journal entries cleaned", receipt.journal_entry_count),
            ("kept answers forgotten", receipt.request_count),
            ("index", "made again without them" if receipt.index_rewritten else "held none of them"),
            ("freed pages overwritten", receipt.free_page_count),
            ("files searched", f"{counted(scan.file_count, 'file')}, {scan.byte_count:,} bytes"),
            ("searched for", f"{counted(scan.pattern_count, 'pattern')}: {scan.found_count} found"),
            ("others have too", counted(scan.shared_count, "pattern")),
            ("damaged records removed", receipt.damaged_record_count),
            ("too short to be told apart", counted(scan.short_count, "pattern")),
        ],
    )
    if receipt.snapshots:
        held = "this snapshot" if len(receipt.snapshots) == 1 else "these snapshots"
        output.say(f"May still be in {held}, taken before; delete with:")
    for one in receipt.snapshots:
        output.say(f"  mien snapshot delete {one.name}")


def _list(arguments: Arguments, session: Session) -> int:
    found = list(session.client.list_erasures(gallery=arguments.gallery, pending_only=arguments.pending))
    session.output.document({"erasures": found})
    if not found:
        of = f" of {arguments.gallery}" if arguments.gallery else ""
        session.output.say(f"No erasures{of} are pending." if arguments.pending else f"No erasures{of}.")
        return exits.DONE
    columns = ("Erasure", "Gallery", "State", ("Faces", "right"), "Asked for (UTC)", "Done (UTC)")
    session.output.table(columns, [_row(one) for one in found])
    for one in found:
        if one.trouble:
            session.output.say(f"{one.name}: {one.trouble}")
    return exits.DONE


def _row(one: Erasure) -> tuple[str, str, str, str, str, str]:
    receipt = one.receipt
    state = f"{one.state} (overdue)" if one.is_overdue else str(one.state)
    asked = _moment(one.create_time)
    if receipt is None:
        return one.name, one.gallery, state, "", asked, ""
    return one.name, one.gallery, state, str(receipt.face_count), asked, _moment(receipt.complete_time)


def _moment(time: datetime.datetime | None) -> str:
    return "" if time is None else f"{time.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}"


def _verify(arguments: Arguments, session: Session) -> int:
    document = _document(arguments.file)
    try:
        token = bytes.fromhex(document["token"])
        sealed = jsonable(decode_erasures.receipt(operations_v1.ErasureReceipt.FromString(token)))
    except (KeyError, TypeError, ValueError, DecodeError) as error:
        raise exits.UsageFailure(
            f"{arguments.file} holds no receipt; give a file that `mien erase --receipt` wrote, or one erasure of what "
            "`mien erasures --json` prints"
        ) from error
    assert isinstance(sealed, dict)
    checked = session.client.verify_erasure(token, identity_id=arguments.id)
    # Only the token is sealed: what stands beside it, for people, must say the same.
    wrong = sorted(name for name in document if document[name] != sealed.get(name))
    said = "; ".join(f"{name}: the file says {document.get(name)!r}, sealed is {sealed.get(name)!r}" for name in wrong)
    checks = (ErasureCheck("file", not wrong, said or "says the same as what is sealed"), *checked.checks)
    verification = ErasureVerification(checked.is_valid and not wrong, checks)
    session.output.document(verification)
    session.output.table(
        ("Check", "Result", "What was found"),
        [(one.name, "holds" if one.passed else "FAILS", one.detail) for one in checks],
    )
    session.output.say(_verdict(sealed, verification, arguments.id))
    return exits.DONE if verification.is_valid else exits.NOT_ALL


def _verdict(sealed: dict[str, Any], verification: ErasureVerification, identity_id: str) -> str:
    if not verification.is_valid:
        return "The receipt does not hold."
    what = f"{sealed['erasure']} of gallery {sealed['gallery']}, done {sealed['complete_time']}"
    if identity_id:
        return f"The receipt holds: {what}, erased {identity_id}."
    return f"The receipt holds: {what}. Whom it is about it does not say; --id ID checks that."


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
