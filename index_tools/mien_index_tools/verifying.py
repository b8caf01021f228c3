"""Everything that a store promises about itself, looked at from outside, in a process of its own.

What was changed on disk can end the process that reads it (a file cut off under a mapping, a page that leads LMDB
astray): then that is what was found, and the one who asked lives on.
"""

from __future__ import annotations

import errno
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from mien_server.errors import CorruptStore, InternalError, MienError, Unavailable
from mien_server.index import BuildJob, ExpectedGeneration, GenerationInspection, inspect_agreement, inspect_generation
from mien_server.records.policies import IndexCode
from mien_server.records.rows import GalleryRows
from mien_server.records.store_pb2 import GalleryRecord
from mien_server.storage.check import CheckOptions, FacesFound, StoreCheck
from mien_server.storage.doubts import Checked, Progress
from mien_server.storage.layout import Layout, read_format, require_format
from mien_server.storage.offline import OfflineStore, held, open_read_only
from mien_server.storage.page_file import PageFault, PageFile
from mien_server.storage.salvage import Salvaged, salvage
from mien_server.storage.structure import check_structure, require_readable
from mien_server.storage.vector_file import VectorMapping

__all__ = ["Verification", "in_a_process", "repair", "verify"]

SAMPLED_ROWS = 4096
"""Vectors of each gallery whose checksums a check that is not deep computes."""
AGREEMENT_ROWS_MIN = 100
_REPORT_INTERVAL_S = 0.2
_STOP_WAIT_S = 5.0
_NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(slots=True)
class Verification:
    """What was looked at, in order."""

    checks: list[Checked] = field(default_factory=list)

    @property
    def doubt_count(self) -> int:
        """How many things are not as they should be."""
        return sum(checked.doubts.count for checked in self.checks)


def verify(path: Path, *, is_deep: bool, progress: Progress, on_checked: Callable[[Checked], None]) -> Verification:
    """Check the store in `path`, which no server has open; nothing of it is written.

    Args:
        is_deep: all vectors and all files of the indexes; otherwise a sample, and sizes.
        progress: told how far it is.
        on_checked: told each thing as it has been checked.

    Raises:
        Unavailable: STORE_LOCKED.
        PreconditionFailed: NOT_A_STORE, STORE_FORMAT_OLD, STORE_FORMAT_TOO_NEW.
    """
    verification = Verification()

    def take(checked: Checked) -> None:
        verification.checks.append(checked)
        on_checked(checked)

    ended_by = in_a_process(_check_store, (path, is_deep), progress, take)
    if ended_by:
        last = verification.checks[-1].what if verification.checks else "the start"
        broken = Checked(f"what follows {last}")
        broken.doubts.add(
            f"reading it ended the process by {ended_by}: the file behind it is damaged, or was cut off meanwhile",
            reason="READING_CRASHED",
            signal=ended_by,
        )
        take(broken)
    return verification


def in_a_process(
    target: Callable[..., None], arguments: tuple[Any, ...], progress: Progress, take: Callable[[Any], None]
) -> str:
    """Run `target(connection, *arguments)` in a process of its own and hand over what it sends.

    Returns:
        The signal that ended the process; empty when it ended by itself.

    Raises:
        MienError: which the target raised.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, target, arguments), daemon=True)
    process.start()
    theirs.close()
    error: MienError | None = None
    try:
        while True:
            try:
                kind, content = ours.recv()
            except EOFError:
                break
            match kind:
                case "progress":
                    progress(*content)
                case "error":
                    error = content
                case _:
                    take(content)
    finally:
        if error is not None:
            process.join(_STOP_WAIT_S)
        if process.is_alive() and not ours.closed:
            process.join(_STOP_WAIT_S)
        if process.is_alive():
            process.kill()
        process.join()
        ours.close()
    if error is not None:
        raise error
    code = process.exitcode or 0
    if code < 0:
        return signal.Signals(-code).name
    if code:
        raise InternalError(f"the process that read the store ended with code {code}; please report what it said")
    return ""


class _Sender:
    """The child's end: progress, a few times a second, and results."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last_s = 0.0

    def progress(self, share: float, what: str) -> None:
        """Tell how far it is."""
        now_s = time.monotonic()
        if now_s - self._last_s >= _REPORT_INTERVAL_S:
            self._last_s = now_s
            self._connection.send(("progress", (min(share, 1.0), what)))

    def result(self, value: object) -> None:
        """Hand something over."""
        self._connection.send(("result", value))


def _child(connection: Connection, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        target(_Sender(connection), *arguments)
    except MienError as error:
        connection.send(("error", _sendable(error)))
    except OSError as error:
        connection.send(("error", CorruptStore(f"{error.filename or 'a file'}: cannot be read: {error}")))
    connection.close()


def _sendable(error: MienError) -> MienError:
    """Without a cause, which may not be able to travel."""
    error.__cause__ = None
    error.__traceback__ = None
    return error


def repair(path: Path, target: Path | None, progress: Progress) -> Salvaged:
    """Save what is whole of the store in `path` into a new one; None finds out what would be saved.

    Raises:
        Unavailable: STORE_LOCKED.
        PreconditionFailed: TARGET_NOT_EMPTY, STORE_FORMAT_OLD.
        CorruptStore: NOTHING_TO_SAVE; READING_CRASHED.
        Unavailable: STORAGE_WRITE_FAILED, what there is of the new store is of no use.
    """
    found: list[Salvaged] = []
    ended_by = in_a_process(_salvage, (path, target), progress, found.append)
    if ended_by or not found:
        raise CorruptStore(
            f"{path}: reading it ended the process by {ended_by}; copy what the disk still reads, and repair the copy",
            reason="READING_CRASHED",
        )
    return found[0]


# --- what the child does ---------------------------------------------------------------------------------------------


def _check_store(sender: _Sender, path: Path, is_deep: bool) -> None:
    layout = Layout(path.absolute())
    with held(layout):
        checked = Checked("FORMAT", 1)
        with checked.doubts.noted():
            require_format(layout, read_format(layout))
        sender.result(checked)
        structure = _structure(layout)
        sender.result(structure)
    if checked.doubts.count or structure.doubts.count:
        return
    with open_read_only(path) as store:
        sender.result(_store_id(store))
        options = CheckOptions(None if is_deep else SAMPLED_ROWS, sender.progress)
        check = StoreCheck(store.records, store.file_of, options)
        for one in check.run():
            sender.result(one)
        for record in store.records.galleries():
            for one in _index(store, record, check.found.get(record.number), sender, is_deep=is_deep):
                sender.result(one)


def _salvage(sender: _Sender, path: Path, target: Path | None) -> None:
    with held(Layout(path.absolute())):
        try:
            sender.result(salvage(path, target, sender.progress))
        except OSError as error:
            if error.errno not in _NOT_WRITTEN:
                raise
            raise Unavailable(f"{target}: cannot be written: {error}", reason="STORAGE_WRITE_FAILED") from error


def _structure(layout: Layout) -> Checked:
    checked = Checked("pages of meta/data.mdb")
    start_s = time.perf_counter()
    path = layout.records_file
    faults: list[PageFault] = []
    try:
        with checked.doubts.noted():
            require_readable(path)
            file = PageFile(path)
            report = check_structure(file, file.metas[0])
            checked.count = report.pages
            faults = [*file.faults, *report.faults]
    except PageFault as fault:
        faults = [fault]
    for one in faults:
        checked.doubts.add(f"{path}: {one}", reason="RECORDS_DAMAGED", file=str(path), offset=str(one.offset))
    checked.seconds = time.perf_counter() - start_s
    return checked


def _store_id(store: OfflineStore) -> Checked:
    checked = Checked("store id", 1)
    with checked.doubts.noted():
        found = store.records.store_id()
        if found is None and any(store.layout.vectors.glob("*")):
            checked.doubts.add(f"{store.layout.meta}: has no records, but there are vectors beside it")
        elif found is not None and found != store.store_format.store_id:
            checked.doubts.add(
                f"{store.layout.meta}: belongs to store {found}, and FORMAT names store {store.store_format.store_id}"
            )
    return checked


def _index(
    store: OfflineStore, record: GalleryRecord, found: FacesFound | None, sender: _Sender, *, is_deep: bool
) -> Iterator[Checked]:
    directory = store.layout.index_folder(record.number)
    prefix = f"gallery {record.name!r}: "
    checked = Checked(prefix + "index files" + (" and their rows" if is_deep else ""))
    start_s = time.perf_counter()
    rows = None
    with checked.doubts.noted():
        rows = _rows(store, record, found)
    if rows is None:
        return
    expected = ExpectedGeneration(
        store.store_format.store_id,
        record.number,
        record.model_fingerprint,
        record.dimension,
        rows.row_count,
        rows.revision,
    )
    inspection = inspect_generation(directory, expected, rows, is_deep=is_deep)
    _note(checked, inspection, directory)
    if inspection.outdated:
        checked.what += f", made with {inspection.outdated}: the server makes it anew"
    checked.count = inspection.rows if is_deep else inspection.files
    checked.seconds = time.perf_counter() - start_s
    yield checked
    if (
        not is_deep
        or not inspection.name
        or inspection.problems
        or inspection.outdated
        or rows.live_count < AGREEMENT_ROWS_MIN
    ):
        return
    measured = Checked(prefix + "searches by the index against exact ones")
    start_s = time.perf_counter()
    job = BuildJob(
        store_id=store.store_format.store_id,
        gallery_number=record.number,
        model_fingerprint=record.model_fingerprint,
        location=rows.location,
        row_count=rows.row_count,
        revision=rows.revision,
        live=rows.live,
        identity_numbers=rows.identity_numbers,
        code=IndexCode(record.index_policy.code),
        measured=inspection.name,
    )
    agreement = inspect_agreement(job, directory, lambda share: sender.progress(share, f"searches in {record.name}"))
    _note(measured, agreement, directory)
    if agreement.agreements:
        shown = ", ".join(f"{there:.4f} (promised {promised:.4f})" for promised, there in agreement.agreements)
        measured.what += f", agreement by effort: {shown}"
    if agreement.advice:
        measured.what += f"; {agreement.advice}"
    measured.count = len(agreement.agreements)
    measured.seconds = time.perf_counter() - start_s
    yield measured


def _note(checked: Checked, inspection: GenerationInspection, directory: Path) -> None:
    for problem in inspection.problems:
        checked.doubts.add(problem, reason="GENERATION_REFUSED", file=str(directory / inspection.name))


def _rows(store: OfflineStore, record: GalleryRecord, found: FacesFound | None) -> GalleryRows | None:
    counts = store.records.counts(record.number)
    if found is None or found.is_live.shape[0] != counts.row_count:
        return None
    file = store.file_of(record)
    if not file.path.is_file() or file.path.stat().st_size < file.file_bytes(counts.row_count):
        # A doubt already.
        return None
    return GalleryRows(
        revision=store.records.revision(),
        vectors=VectorMapping(file, counts.row_count).rows(counts.row_count),
        live=np.packbits(found.is_live, bitorder="little"),
        identity_numbers=found.owners,
        live_count=int(found.is_live.sum()),
        location=file.location,
    )
