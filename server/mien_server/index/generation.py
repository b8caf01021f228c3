"""A generation as it is served: its manifest, its index in memory, and the checks before either is trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mien_server.errors import InternalError
from mien_server.index.bitmaps import set_count
from mien_server.index.faiss_adapter import ListWriter, Quantizer
from mien_server.index.faiss_library import FAISS_VERSION
from mien_server.index.manifest import (
    MANIFEST_FILE_NAME,
    MANIFEST_VERSION,
    QUANTIZER_FILE_NAME,
    FileDigest,
    GenerationRefused,
    LadderStep,
    Manifest,
    Segment,
    Staging,
    digest_of,
    older_manifest,
    read_manifest,
)
from mien_server.index.plan import choose_staging, choose_step
from mien_server.index.request import EffortChoice
from mien_server.index.segments import SegmentedIndex
from mien_server.records.rows import GalleryRows

__all__ = ["ExpectedGeneration", "Generation", "checked_lists", "checked_manifest", "load_generation", "outdated_by"]

EFFORTS_REMEMBERED_MAX = 256

Chosen = tuple[LadderStep | str, Staging | None]


@dataclass(frozen=True, slots=True)
class ExpectedGeneration:
    """What the store knows of the gallery now; a generation that contradicts it is refused.

    Attributes:
        row_count: rows committed now, deleted ones included.
        revision: the published revision.
    """

    store_id: str
    gallery_number: int
    model_fingerprint: str
    dimension: int
    row_count: int
    revision: int


class Generation:
    """An immutable generation in memory. Safe to search from many threads at once."""

    def __init__(self, manifest: Manifest, index: SegmentedIndex) -> None:
        self.manifest = manifest
        self.index = index
        # Counting takes long enough to keep the last answer; one assignment, so that no lock is needed.
        self._live_rows_of: tuple[tuple[int, int], int] | None = None
        # Likewise what efforts come to, beside the manifest that says so.
        self._chosen: tuple[Manifest, dict[EffortChoice, Chosen]] = (manifest, {})

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.manifest.name

    def live_rows(self, rows: GalleryRows) -> int:
        """How many of the rows in its lists are live in this view."""
        view = (rows.revision, rows.live_count)
        known = self._live_rows_of
        if known is not None and known[0] == view:
            return known[1]
        live = set_count(rows.live, 0, self.manifest.rows)
        self._live_rows_of = (view, live)
        return live

    def chosen(self, effort: EffortChoice) -> Chosen:
        """The ladder's step for this effort, or the name of the exact plan; and the stages of a decision, if any.

        Raises:
            InvalidArgument: as `choose_step`.
        """
        manifest, known = self._chosen
        if manifest is not self.manifest or len(known) > EFFORTS_REMEMBERED_MAX:
            manifest, known = self._chosen = (self.manifest, {})
        chosen = known.get(effort)
        if chosen is None:
            step = choose_step(manifest, effort)
            chosen = known[effort] = (step, choose_staging(manifest, effort, step))
        return chosen

    def tombstones(self, rows: GalleryRows) -> int:
        """How many of the rows in its lists are deleted in this view."""
        return self.manifest.live_rows - self.live_rows(rows)


def load_generation(directory: Path, expected: ExpectedGeneration) -> Generation:
    """Read the generation in `directory`, after everything it claims was checked.

    Checksums are verified before FAISS sees a byte, for FAISS does not defend itself against damaged files.

    Raises:
        GenerationRefused: it is not the gallery's, not of this FAISS, damaged, or newer than the store.
    """
    manifest = checked_manifest(directory, expected)
    try:
        quantizer = Quantizer.read(directory / QUANTIZER_FILE_NAME)
        lists = [_read_lists(directory, quantizer, segment).finish() for segment in manifest.segments]
    except InternalError as error:
        raise GenerationRefused(
            f"FAISS cannot read {directory}: {error.message}; the generation is built anew"
        ) from error
    found = (quantizer.dimension, quantizer.lists)
    if found != (manifest.dimension, manifest.lists):
        raise GenerationRefused(
            f"{directory / QUANTIZER_FILE_NAME} has dimension and lists {found}, its manifest says "
            f"{(manifest.dimension, manifest.lists)}; the generation is built anew"
        )
    return Generation(manifest, SegmentedIndex(quantizer, lists))


def checked_manifest(directory: Path, expected: ExpectedGeneration, *, reads_files: bool = True) -> Manifest:
    """The manifest of the generation in `directory`, which is the gallery's and whose files are what it says.

    Args:
        reads_files: False compares the files' sizes alone.

    Raises:
        GenerationRefused: it is not the gallery's, not of this FAISS, damaged, or newer than the store.
    """
    manifest = read_manifest(directory)
    _check_facts(directory, manifest, expected)
    _check_files(directory, manifest.files, reads_files=reads_files)
    return manifest


def outdated_by(directory: Path, expected: ExpectedGeneration, *, reads_files: bool = True) -> str:
    """What of Mien or FAISS is older in the generation in `directory` than here, where that is all that is against it;
    empty when nothing is.

    Raises:
        GenerationRefused: it is not the gallery's, or contradicts what its manifest says.
    """
    older = older_manifest(directory)
    if older is None:
        manifest = read_manifest(directory)
        if manifest.faiss_version == FAISS_VERSION:
            return ""
        same = replace(manifest, faiss_version=FAISS_VERSION)
        _check_facts(directory, same, expected)
        _check_files(directory, same.files, reads_files=reads_files)
        return f"FAISS {manifest.faiss_version}, and this is {FAISS_VERSION}"
    if (older.store_id, older.gallery_number) != (expected.store_id, expected.gallery_number):
        raise GenerationRefused(
            f"{directory} is of store {older.store_id}, gallery {older.gallery_number}; the generation is built anew"
        )
    _check_files(directory, older.files, reads_files=reads_files)
    return f"a manifest of version {older.version}, and this is {MANIFEST_VERSION}"


def checked_lists(directory: Path, quantizer: Quantizer, manifest: Manifest, segment: Segment) -> ListWriter:
    """The lists of one segment of the generation in `directory`, read again, after their checksum held.

    Raises:
        GenerationRefused: the file is not what it was.
    """
    try:
        _check_file(directory / segment.file, manifest.digest(segment.file))
        return _read_lists(directory, quantizer, segment)
    except (OSError, InternalError) as error:
        raise GenerationRefused(f"{directory / segment.file} cannot be read: {error}; it is built anew") from error


def _read_lists(directory: Path, quantizer: Quantizer, segment: Segment) -> ListWriter:
    lists = quantizer.read_lists(directory / segment.file)
    if lists.size != segment.held:
        raise GenerationRefused(
            f"{directory / segment.file} holds {lists.size} rows, its manifest says {segment.held}; "
            "the generation is built anew"
        )
    return lists


def _check_facts(directory: Path, manifest: Manifest, expected: ExpectedGeneration) -> None:
    facts = {
        "name": (manifest.name, directory.name),
        "store id": (manifest.store_id, expected.store_id),
        "gallery number": (manifest.gallery_number, expected.gallery_number),
        "model fingerprint": (manifest.model_fingerprint, expected.model_fingerprint),
        "dimension": (manifest.dimension, expected.dimension),
        "FAISS version": (manifest.faiss_version, FAISS_VERSION),
    }
    for fact, (found, wanted) in facts.items():
        if found != wanted:
            raise GenerationRefused(f"{directory} is of {fact} {found!r}, not {wanted!r}; the generation is built anew")
    if manifest.rows > expected.row_count:
        raise GenerationRefused(
            f"{directory} covers {manifest.rows} rows but the gallery has {expected.row_count}; it is built anew"
        )
    if manifest.revision > expected.revision:
        raise GenerationRefused(
            f"{directory} is of revision {manifest.revision} but the store is at {expected.revision}; it is built anew"
        )


def _check_files(directory: Path, files: tuple[FileDigest, ...], *, reads_files: bool) -> None:
    """Every file is as long and hashes as the manifest says, and there is no other."""
    listed = {file.name for file in files}
    try:
        present = {path.name for path in directory.iterdir()} - {MANIFEST_FILE_NAME}
        if listed != present:
            raise GenerationRefused(
                f"{directory} holds {sorted(present)}, its manifest lists {sorted(listed)}; it is built anew"
            )
        for file in files:
            _check_file(directory / file.name, file, reads_file=reads_files)
    except OSError as error:
        raise GenerationRefused(f"{directory} cannot be read: {error}; the generation is built anew") from error


def _check_file(path: Path, file: FileDigest, *, reads_file: bool = True) -> None:
    # The size is compared first: it is free, and most damage is truncation.
    size_bytes = path.stat().st_size
    if size_bytes != file.size_bytes:
        raise GenerationRefused(f"{path} has {size_bytes} bytes, not {file.size_bytes}; the generation is built anew")
    if reads_file and digest_of(path) != file:
        raise GenerationRefused(f"{path} does not have its manifest's SHA-256; the generation is built anew")
