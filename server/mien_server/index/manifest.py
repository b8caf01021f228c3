"""What a generation says about itself: manifest.json, written last and read first."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from mien_server.errors import PreconditionFailed
from mien_server.records.policies import IndexCode

__all__ = [
    "MANIFEST_FILE_NAME",
    "MANIFEST_VERSION",
    "QUANTIZER_FILE_NAME",
    "FileDigest",
    "GenerationRefused",
    "LadderStep",
    "Manifest",
    "OlderManifest",
    "Segment",
    "Stage",
    "Staging",
    "digest_of",
    "generation_files",
    "ladder_of_fields",
    "older_manifest",
    "read_manifest",
    "sealed_text",
    "staging_of_fields",
    "stagings_of_fields",
]

MANIFEST_FILE_NAME = "manifest.json"
QUANTIZER_FILE_NAME = "quantizer.faiss"
MANIFEST_VERSION = 5
MANIFEST_VERSIONS_READ = (4, MANIFEST_VERSION)
"""Versions 1 and 2 had all rows in one file, packed, version 3 had no checksum; what they describe is built anew."""

MANIFEST_BYTES_MAX = 1 << 20
HASH_BLOCK_BYTES = 1 << 20


class GenerationRefused(PreconditionFailed):
    """A generation on disk that must not be served; the message says which file or fact is wrong."""

    default_reason = "GENERATION_REFUSED"


@dataclass(frozen=True, slots=True)
class OlderManifest:
    """What a manifest of an older version says that can be held against the store and the folder."""

    version: int
    store_id: str
    gallery_number: int
    files: tuple[FileDigest, ...]


@dataclass(frozen=True, slots=True)
class LadderStep:
    """One effort as measured when the generation was built.

    Attributes:
        step: its number, 1 is the cheapest.
        lists: inverted lists scanned for each probe.
        rescored: candidates compared again exactly for each probe.
        rank1_agreement: share of the probes whose best row was as similar as exact search's, [0, 1].
        recall_at_10: mean share of exact search's ten best that were found, [0, 1].
        milliseconds: processor time of one probe, rescoring included, on the machine that built it.
        standard_error: of `rank1_agreement`; None in generations that did not keep it.
    """

    step: int
    lists: int
    rescored: int
    rank1_agreement: float
    recall_at_10: float
    milliseconds: float
    standard_error: float | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """How much one stage looks at: lists scanned and candidates compared again exactly, for each probe."""

    lists: int
    rescored: int


@dataclass(frozen=True, slots=True)
class Staging:
    """Identification in two stages, as measured when the generation was built.

    Attributes:
        first: what every probe gets.
        full: what a probe gets besides, whose best similarity after the first stage is below `stop_similarity`.
        stop_similarity: cosine that the gallery's strangers hardly ever reach.
        rank1_agreement: share of mated probes that were given the person of exact search's best row, [0, 1].
        mated_decisions: least share of mated probes decided as exact search does, over thresholds around the stop
            value, [0, 1].
        stranger_decisions: likewise of people who are not in the gallery.
        undecided: share of mated probes that needed the full stage, [0, 1].
        milliseconds: processor time expected of a probe, one in four being of a stranger.
        standard_error: of `rank1_agreement`; None in generations that did not keep it.
    """

    first: Stage
    full: Stage
    stop_similarity: float
    rank1_agreement: float
    mated_decisions: float
    stranger_decisions: float
    undecided: float
    milliseconds: float
    standard_error: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """The rows [first, last) with lists of their own.

    Attributes:
        file: name of the file that holds the lists.
        held: rows in the lists: those of the range that were live when they were written.
    """

    file: str
    first: int
    last: int
    held: int


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size and SHA-256 (hex) of one file of the generation's folder."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where a generation comes from, what it holds and how well it answers.

    Attributes:
        rows: it covers the ordinals [0, rows).
        live_rows: those of them that its lists hold: what was live when each segment was written.
        revision: the newest revision that a segment was written at.
        code_name: the code as FAISS names it, such as "IVF64,PQ64x4fs", with " residual" where it encodes residuals.
        list_imbalance: 1 when all lists are equally long; the expected cost grows with it.
        default_recall_target: target of a search that names no effort.
        segments: one after the other, from row 0 to `rows`, the oldest first.
        trained_rows: live rows when its lists and codes were trained.
        trained_imbalance: `list_imbalance` then.
        measured_rows: rows that its lists held when the ladder was measured.
        measure_time_us: when that was, microseconds since 1970.
        drift: by how much the rank-1 agreement that the ladder before promised was missed when this one was measured,
            at worst; negative where all was better. None as long as nothing was measured again.
        probe_count: stored faces by which the ladder was measured.
        staging: for the default target; None where one stage is cheaper, or stages would change decisions, or an older
            version built it.
        relaxed_stagings: cheaper ones that meet lower targets, cheapest first.
        build_time_us: when the build ended, microseconds since 1970; segments may be newer.
    """

    name: str
    store_id: str
    gallery_number: int
    model_fingerprint: str
    dimension: int
    rows: int
    live_rows: int
    revision: int
    code: IndexCode
    code_name: str
    residual: bool
    lists: int
    list_imbalance: float
    default_recall_target: float
    ladder: tuple[LadderStep, ...]
    probe_count: int
    faiss_version: str
    build_time_us: int
    build_seconds: float
    files: tuple[FileDigest, ...]
    segments: tuple[Segment, ...]
    trained_rows: int
    trained_imbalance: float
    measured_rows: int
    measure_time_us: int
    drift: float | None = None
    staging: Staging | None = None
    relaxed_stagings: tuple[Staging, ...] = ()

    def digest(self, name: str) -> FileDigest:
        """What the file of that name should be. Raises KeyError."""
        return next(file for file in self.files if file.name == name)

    @property
    def stagings(self) -> tuple[Staging, ...]:
        """All there are, the relaxed ones first."""
        return self.relaxed_stagings if self.staging is None else (*self.relaxed_stagings, self.staging)

    def grown(self, rescored: int) -> int:
        """As many candidates as do among the rows there are now what `rescored` did when the ladder was measured.

        How many rows' codes come before the right one grows with the rows.
        """
        return max(rescored, -(-rescored * self.live_rows // max(self.measured_rows, 1)))

    def to_json(self) -> str:
        """The text of manifest.json."""
        return sealed_text({"manifest_version": MANIFEST_VERSION, **asdict(self)})


def sealed_text(fields: Mapping[str, Any]) -> str:
    """The JSON of these fields and of their checksum: SHA-256 of the JSON without it."""
    return _text({**fields, "checksum": hashlib.sha256(_text(fields).encode()).hexdigest()})


def _text(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, indent=1, sort_keys=True)


def generation_files(folder: Path) -> tuple[str, ...]:
    """Names of the files that make up the generation in `folder`, its manifest the last.

    Raises:
        GenerationRefused: its manifest cannot be read.
    """
    return (*(file.name for file in read_manifest(folder).files), MANIFEST_FILE_NAME)


def digest_of(path: Path) -> FileDigest:
    """Size and SHA-256 of the file, read in blocks. Raises OSError."""
    sha256 = hashlib.sha256()
    size_bytes = 0
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            sha256.update(block)
            size_bytes += len(block)
    return FileDigest(path.name, size_bytes, sha256.hexdigest())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the generation in `folder`.

    Raises:
        GenerationRefused: it is missing, is no manifest of this version, or contradicts itself.
    """
    path = folder / MANIFEST_FILE_NAME
    try:
        with path.open("rb") as file:
            text = file.read(MANIFEST_BYTES_MAX + 1)
    except OSError as error:
        raise GenerationRefused(f"{path} cannot be read: {error}; the generation is built anew") from error
    if len(text) > MANIFEST_BYTES_MAX:
        raise GenerationRefused(f"{path} is longer than {MANIFEST_BYTES_MAX} bytes; the generation is built anew")
    try:
        return _manifest_of(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise GenerationRefused(
            f"{path} is no manifest that this version reads ({error!r}); the generation is built anew"
        ) from error


def older_manifest(folder: Path) -> OlderManifest | None:
    """What the manifest in `folder` says where it is of a version older than those that are read; None otherwise.

    Raises:
        GenerationRefused: an older manifest that does not say what each has to.
    """
    path = folder / MANIFEST_FILE_NAME
    try:
        with path.open("rb") as file:
            fields = json.loads(file.read(MANIFEST_BYTES_MAX))
        version = fields["manifest_version"]
        if type(version) is not int or not 0 < version < min(MANIFEST_VERSIONS_READ):
            return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    try:
        if "checksum" in fields:
            raise ValueError("manifests of that version had no checksum")
        files = tuple(
            FileDigest(str(one["name"]), int(one["size_bytes"]), str(one["sha256"])) for one in fields["files"]
        )
        return OlderManifest(version, str(fields["store_id"]), int(fields["gallery_number"]), files)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise GenerationRefused(
            f"{path} is no manifest of version {version} ({error!r}); the generation is built anew"
        ) from error


def _manifest_of(fields: object) -> Manifest:
    """The manifest of parsed JSON; raises ValueError, TypeError or KeyError when it is none."""
    if not isinstance(fields, dict):
        raise TypeError("not a JSON object")
    values = cast("dict[str, Any]", dict(fields))
    version = values.pop("manifest_version")
    if version not in MANIFEST_VERSIONS_READ:
        raise ValueError(f"manifest version {version!r}, wanted one of {MANIFEST_VERSIONS_READ}")
    checksum = values.pop("checksum")
    if checksum != hashlib.sha256(_text({"manifest_version": version, **values}).encode()).hexdigest():
        raise ValueError("its checksum is wrong")
    values["code"] = IndexCode(values["code"])
    values["ladder"] = ladder_of_fields(values["ladder"])
    values["files"] = tuple(FileDigest(**file) for file in values["files"])
    values["segments"] = tuple(Segment(**segment) for segment in values["segments"])
    values["staging"] = staging_of_fields(values["staging"])
    values["relaxed_stagings"] = stagings_of_fields(values.get("relaxed_stagings", []))
    manifest = Manifest(**values)
    _check(manifest)
    return manifest


def ladder_of_fields(fields: list[dict[str, Any]]) -> tuple[LadderStep, ...]:
    """A ladder of parsed JSON; raises TypeError when it is none."""
    return tuple(LadderStep(**step) for step in fields)


def staging_of_fields(fields: dict[str, Any] | None) -> Staging | None:
    """Stages of parsed JSON; raises TypeError or KeyError when they are none."""
    if fields is None:
        return None
    return Staging(**(fields | {name: Stage(**fields[name]) for name in ("first", "full")}))


def stagings_of_fields(fields: list[dict[str, Any]]) -> tuple[Staging, ...]:
    """Several of them; raises TypeError or KeyError when one is none."""
    stagings = [staging_of_fields(one) for one in fields]
    return tuple(staging for staging in stagings if staging is not None)


def _check(manifest: Manifest) -> None:
    """Raise ValueError when the manifest's numbers contradict each other."""
    if not 0 < manifest.live_rows <= manifest.rows:
        raise ValueError(f"{manifest.live_rows} live rows of {manifest.rows}")
    if manifest.lists < 1 or manifest.dimension < 1:
        raise ValueError(f"{manifest.lists} lists of dimension {manifest.dimension}")
    for number, step in enumerate(manifest.ladder, start=1):
        measures_are_shares = 0 <= step.rank1_agreement <= 1 and 0 <= step.recall_at_10 <= 1
        if step.step != number or not 1 <= step.lists <= manifest.lists or step.rescored < 1:
            raise ValueError(f"ladder step {step}")
        if not measures_are_shares or not math.isfinite(step.milliseconds):
            raise ValueError(f"ladder step {step}")
    _check_segments(manifest)
    for staging in manifest.stagings:
        _check_staging(staging, manifest.lists)


def _check_segments(manifest: Manifest) -> None:
    """Raise ValueError when a row would be in no segment or in two, or when the counts do not add up."""
    segments = manifest.segments
    firsts = [0, *(segment.last for segment in segments[:-1])]
    is_complete = bool(segments) and segments[-1].last == manifest.rows
    if not is_complete or [segment.first for segment in segments] != firsts:
        raise ValueError(f"segments {segments} of {manifest.rows} rows")
    if any(not 0 < segment.held <= segment.last - segment.first for segment in segments):
        raise ValueError(f"segments {segments}")
    if sum(segment.held for segment in segments) != manifest.live_rows:
        raise ValueError(f"segments {segments} of {manifest.live_rows} live rows")
    if {file.name for file in manifest.files} != {QUANTIZER_FILE_NAME, *(segment.file for segment in segments)}:
        raise ValueError(f"files {manifest.files} of segments {segments}")
    if min(manifest.trained_rows, manifest.measured_rows) < 1:
        raise ValueError(f"trained on {manifest.trained_rows} rows, measured with {manifest.measured_rows}")


def _check_staging(staging: Staging, lists: int) -> None:
    """Raise ValueError when a search by these stages could go wrong."""
    shares = (staging.rank1_agreement, staging.mated_decisions, staging.stranger_decisions, staging.undecided)
    is_measured = all(0 <= share <= 1 for share in shares) and math.isfinite(staging.milliseconds)
    is_measured &= staging.standard_error is None or 0 <= staging.standard_error <= 1
    # A NaN would let every first stage stop, or none: it fails the comparison.
    if not is_measured or not -1 <= staging.stop_similarity <= 1:
        raise ValueError(f"stages {staging}")
    if not 1 <= staging.first.lists <= staging.full.lists <= lists:
        raise ValueError(f"stages {staging} of {lists} lists")
    if min(staging.first.rescored, staging.full.rescored) < 1:
        raise ValueError(f"stages {staging}")
