"""Open-set identification on the LFW developer set, through a real server and the Python client.

    python -m benchmarks.lfw_openset [--output FOLDER]

Protocol. By `openset_dev.tsv`: one photograph of each gallery identity is enrolled over gRPC; then every other
photograph of those people (mated probes) and photographs of people who are in no gallery (impostor probes) are
identified at the gallery's default decision policy. Where a photograph has several faces the largest one counts, in
enrolment and in probing. A gallery photograph in which no face is found leaves its identity out of the gallery: all
mated probes of it count as misses. A mated probe without a face is a miss too. An impostor probe without a face is
no false positive and stays in the denominator. Rates are ISO/IEC 19795's: FNIR is the share of mated probes not
answered MATCH with the right person, FPIR the share of impostor probes answered MATCH.

The developer set is for thresholds and debugging; the recipe's calibration was measured on the same photographs, so
that these figures say how the parts fit together and are not evidence for unseen people.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.machine import REPOSITORY, commit, machine, shared_data_folder
from benchmarks.openset_rates import Outcomes, Rates, rates_at, sweep_thresholds, threshold_for_fpir
from benchmarks.server_process import ServerProcess
from mien_client import Client, Decision, EnrollItem, EnrollmentPolicy, IdentifyAnswer, Image, MultipleFaces

__all__ = ["main"]

RECIPE = "dlib"
GALLERY = "lfw"
IMAGES_AT_ONCE = 64
FPIR_POINTS = (0.01, 0.1)


@dataclass(frozen=True, slots=True)
class _Protocol:
    """Photographs with the person each shows."""

    folder: Path
    gallery: list[tuple[str, str]]
    mated: list[tuple[str, str]]
    impostors: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Threshold:
    similarity: float
    origin: str
    detail: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write `lfw_openset.json` and `lfw_openset.md`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lfw_openset", description=__doc__)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build" / "bench", help="folder for the results")
    chosen = parser.parse_args(arguments)
    folder = shared_data_folder() / "lfw"
    if not (folder / "openset_dev.tsv").is_file():
        sys.stderr.write(f"no LFW developer set at {folder}; set MIEN_SHARED_DATA to a folder that holds lfw\n")
        return 1
    chosen.output.mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    protocol = _read_protocol(folder)
    with (
        tempfile.TemporaryDirectory(prefix="lfw-", dir=chosen.output) as work,
        ServerProcess(Path(work) / "store") as server,
        server.client() as client,
    ):
        refused = _enroll(client, protocol)
        outcomes, threshold = _identify_all(client, protocol)
    found = _results(protocol, refused, outcomes, threshold)
    found["seconds"] = round(time.monotonic() - started_s)
    (chosen.output / "lfw_openset.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    text = _markdown(found, rates_at(outcomes, threshold.similarity))
    (chosen.output / "lfw_openset.md").write_text(text, encoding="utf-8")
    print(text)
    print(f"written to {chosen.output}/lfw_openset.json and .md")
    return 0


def _read_protocol(folder: Path) -> _Protocol:
    by_role: dict[str, list[tuple[str, str]]] = {"gallery": [], "probe": [], "impostor": []}
    with (folder / "openset_dev.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            by_role[row["role"]].append((row["image"], row["identity"]))
    return _Protocol(folder / "images", by_role["gallery"], by_role["probe"], by_role["impostor"])


def _enroll(client: Client, protocol: _Protocol) -> list[str]:
    """Enrol the gallery; answers the people whose photograph was refused."""
    client.create_gallery(
        GALLERY, recipe=RECIPE, enrollment_policy=EnrollmentPolicy(multiple_faces=MultipleFaces.LARGEST)
    )
    refused = []
    for part in _parts(protocol.gallery):
        items = [EnrollItem(person, image=protocol.folder / name) for name, person in part]
        outcomes = client.enroll_faces(GALLERY, items).outcomes
        for (name, person), outcome in zip(part, outcomes, strict=True):
            if outcome.error is not None:
                print(f"not enrolled: {name}: {outcome.error}")
                refused.append(person)
    return refused


def _identify_all(client: Client, protocol: _Protocol) -> tuple[Outcomes, _Threshold]:
    """Identify every probe, the mated ones first."""
    probes = [*protocol.mated, *protocol.impostors]
    similarities, right, matched, faces = [], [], [], []
    answer: IdentifyAnswer | None = None
    for part in _parts(probes):
        images = [Image.from_file(protocol.folder / name) for name, _ in part]
        answer = client.identify(GALLERY, images=images, candidate_count=1)
        for (_, person), found in zip(part, answer.images, strict=True):
            # Faces come largest first.
            largest = found.faces[0] if found.faces else None
            best = largest.candidates[0] if largest is not None and largest.candidates else None
            similarities.append(-np.inf if best is None else best.similarity)
            right.append(best is not None and best.identity_id == person)
            matched.append(largest is not None and largest.decision is Decision.MATCH)
            faces.append(len(found.faces))
    if answer is None:
        raise RuntimeError("the protocol names no probes")
    outcomes = Outcomes(
        similarities=np.array(similarities, np.float32),
        is_right=np.array(right),
        is_mated=np.arange(len(probes)) < len(protocol.mated),
        is_matched=np.array(matched),
        face_counts=np.array(faces),
    )
    threshold = answer.threshold
    return outcomes, _Threshold(threshold.similarity, threshold.origin.name, threshold.detail)


def _parts(photographs: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    for first in range(0, len(photographs), IMAGES_AT_ONCE):
        yield photographs[first : first + IMAGES_AT_ONCE]


def _results(protocol: _Protocol, refused: list[str], outcomes: Outcomes, threshold: _Threshold) -> dict[str, object]:
    mated, default = outcomes.is_mated, rates_at(outcomes, threshold.similarity)
    if not np.array_equal(outcomes.is_matched, outcomes.similarities >= np.float32(threshold.similarity)):
        raise RuntimeError("the server's decisions are not those of the threshold that it states")
    without_face: npt.NDArray[np.bool_] = outcomes.face_counts == 0
    return {
        "commit": commit(),
        "machine": machine(),
        "protocol": __doc__,
        "recipe": RECIPE,
        "counts": {
            "gallery_photographs": len(protocol.gallery),
            "gallery_photographs_refused": len(refused),
            "mated_probes": int(mated.sum()),
            "mated_probes_without_face": int((without_face & mated).sum()),
            "mated_probes_of_people_not_enrolled": sum(person in set(refused) for _, person in protocol.mated),
            "impostor_probes": int((~mated).sum()),
            "impostor_people": len({person for _, person in protocol.impostors}),
            "impostor_probes_without_face": int((without_face & ~mated).sum()),
            "probes_with_several_faces": int((outcomes.face_counts > 1).sum()),
        },
        "rank1_identification_rate": float(outcomes.is_right[mated].mean()),
        "default_threshold": {
            "similarity": threshold.similarity,
            "origin": threshold.origin,
            "detail": threshold.detail,
            **default.to_json(),
        },
        "at_fpir": {str(point): _at_fpir(outcomes, point).to_json() for point in FPIR_POINTS},
        "sweep": [rates_at(outcomes, similarity).to_json() for similarity in sweep_thresholds(outcomes)],
    }


def _at_fpir(outcomes: Outcomes, point: float) -> Rates:
    return rates_at(outcomes, threshold_for_fpir(outcomes, point))


def _markdown(found: dict[str, object], default: Rates) -> str:
    """A small table for docs."""
    counts = found["counts"]
    points = found["at_fpir"]
    rank1 = found["rank1_identification_rate"]
    policy = found["default_threshold"]
    assert isinstance(policy, dict)
    detail = f"{policy['origin']}, {policy['detail']}".rstrip(".")
    assert isinstance(counts, dict)
    assert isinstance(points, dict)
    what = (
        f"Gallery {counts['gallery_photographs']} people, one photograph each "
        f"({counts['gallery_photographs_refused']} not enrolled); {counts['mated_probes']} mated probes "
        f"({counts['mated_probes_without_face']} without a face, {counts['mated_probes_of_people_not_enrolled']} of "
        f"people not enrolled); {counts['impostor_probes']} impostor probes of {counts['impostor_people']} people "
        f"({counts['impostor_probes_without_face']} without a face); {counts['probes_with_several_faces']} probes with "
        "several faces."
    )
    lines = [
        what,
        "",
        "| threshold (cosine) | FNIR | FPIR | misidentified | mated answered UNKNOWN | all probes UNKNOWN |",
        "| --- | --- | --- | --- | --- | --- |",
        _row(f"default {default.threshold:.4f}", default.to_json()),
        *(_row(f"{rates['threshold']:.4f} (FPIR {float(point):.0%})", rates) for point, rates in points.items()),
        "",
        f"Rank-1 identification rate, whatever the threshold: {rank1:.4f}. The default threshold: {detail}.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, rates: dict[str, float]) -> str:
    keys = ("fnir", "fpir", "misidentification_rate", "mated_unknown_share", "unknown_share")
    return f"| {name} | " + " | ".join(f"{rates[key]:.4f}" for key in keys) + " |"


if __name__ == "__main__":
    sys.exit(main())
