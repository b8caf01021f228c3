"""From one generation to the next without training: the tail sealed, segments merged, the dead dropped, measured anew.

Each gives a new generation in a folder of its own, which the caller publishes. Nothing that is served is changed:
segments that stay are shared in memory and linked on disk.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mien_server.errors import InternalError
from mien_server.index.bitmaps import set_ordinals
from mien_server.index.faiss_adapter import ListWriter
from mien_server.index.generation import Generation, checked_lists
from mien_server.index.manifest import QUANTIZER_FILE_NAME, Manifest, Segment
from mien_server.index.measurement import Measurement
from mien_server.index.request import Int64Array
from mien_server.index.rescore import StoredVectors, float32_rows
from mien_server.index.segments import SegmentedIndex, first_to_merge
from mien_server.index.writing import GenerationFolder, generation_name, work_folder
from mien_server.records.rows import GalleryRows

__all__ = ["add_rows", "lists_file_name", "measured_again", "seal"]

ADDED_COMPONENTS_MAX = 16 * 1024 * 1024
"""Components encoded at once: 64 MiB."""


def lists_file_name(first: int, last: int, revision: int) -> str:
    """Name of the file with the lists of the rows [first, last) as they were at that revision."""
    return f"lists-{first:012d}-{last:012d}-{revision:012d}.faiss"


def add_rows(lists: ListWriter, vectors: StoredVectors, ordinals: Int64Array, threads: int) -> None:
    """Encode these rows, ascending, a block at a time."""
    block_rows = max(1, ADDED_COMPONENTS_MAX // vectors.shape[1])
    for start in range(0, ordinals.size, block_rows):
        block = ordinals[start : start + block_rows]
        low, high = int(block[0]), int(block[-1]) + 1
        # Without a gap the mapped rows themselves are encoded.
        chosen = slice(low, high) if high - low == block.size else block
        lists.add(float32_rows(vectors, chosen, threads), block, threads)


def seal(
    index_directory: Path, generation: Generation, rows: GalleryRows, threads: int, *, merge_all: bool = False
) -> Generation:
    """A generation that covers all rows of the view: the tail becomes a segment, merged with those that are not larger.

    Rows of merged segments that are dead in the view are dropped. No reader waits, and nothing is published.

    Args:
        rows: the gallery, at a revision that is not older than the generation; it has a live row.
        merge_all: make one segment of everything.

    Raises:
        GenerationRefused: a file of the generation is damaged.
        InternalError: FAISS failed.
        OSError: the disk refuses.
    """
    manifest = generation.manifest
    tail = set_ordinals(rows.live, manifest.rows, rows.row_count)
    held = [segment.held for segment in manifest.segments]
    first = 0 if merge_all else first_to_merge(held, tail.size)
    kept, merged = manifest.segments[:first], manifest.segments[first:]
    directory = index_directory / manifest.name
    with work_folder(index_directory) as work:
        folder = GenerationFolder(work)
        folder.link(directory, manifest.digest(QUANTIZER_FILE_NAME))
        for segment in kept:
            folder.link(directory, manifest.digest(segment.file))
        # The largest first: what is merged into it is copied, it is not.
        parts = (checked_lists(directory, generation.index.quantizer, manifest, segment) for segment in merged)
        lists = next(parts, None) or generation.index.quantizer.writer()
        for part in parts:
            lists.merge(part)
        if merged:
            lists.keep(rows.live)
        add_rows(lists, rows.vectors, tail, threads)
        segments, indexes = list(kept), list(generation.index.segments[:first])
        if lists.size:
            row = merged[0].first if merged else manifest.rows
            segment = Segment(lists_file_name(row, rows.row_count, rows.revision), row, rows.row_count, lists.size)
            folder.write(segment.file, lists.write)
            segments.append(segment)
            indexes.append(lists.finish())
        if not segments:
            raise InternalError(f"gallery {manifest.gallery_number} has no live row to seal")
        segments[-1] = replace(segments[-1], last=rows.row_count)
        return _finished(folder, manifest, rows, segments, SegmentedIndex(generation.index.quantizer, indexes))


def _finished(
    folder: GenerationFolder, manifest: Manifest, rows: GalleryRows, segments: list[Segment], index: SegmentedIndex
) -> Generation:
    written = folder.finish(
        replace(
            manifest,
            name=generation_name(rows.revision),
            rows=rows.row_count,
            live_rows=sum(segment.held for segment in segments),
            revision=rows.revision,
            list_imbalance=index.list_imbalance,
            segments=tuple(segments),
        )
    )
    return Generation(written, index)


def measured_again(index_directory: Path, generation: Generation, measurement: Measurement) -> Generation:
    """The same segments with a newer ladder, and by how much the older one missed what it promised.

    Raises:
        OSError: the disk refuses.
    """
    manifest = generation.manifest
    with work_folder(index_directory) as work:
        folder = GenerationFolder(work)
        for file in manifest.files:
            folder.link(index_directory / manifest.name, file)
        written = folder.finish(
            replace(
                manifest,
                name=generation_name(manifest.revision),
                default_recall_target=measurement.recall_target,
                ladder=measurement.ladder,
                staging=measurement.staging,
                relaxed_stagings=measurement.relaxed_stagings,
                probe_count=measurement.probe_count,
                measured_rows=measurement.rows,
                measure_time_us=measurement.time_us,
                drift=measurement.drift,
            )
        )
    return Generation(written, generation.index)
