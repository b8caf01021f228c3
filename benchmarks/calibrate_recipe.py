"""Measures what the similarities of the `dlib` recipe mean, on the LFW developer set, and stores it with the recipe.

    python -m benchmarks.calibrate_recipe --lfw ../shared/data/lfw [--detector mtcnn] [--cache FILE] [--write]

Protocol. Every photograph is embedded through the embedding service; its face is the one nearest the picture's
centre, where LFW puts the person named. Impostor pairs are all pairs of photographs of different people, genuine
pairs all pairs of the same person; photographs without a face take part in none. The similarity of a false match rate
r is the smallest at or above which at most a share r of the impostor pairs lies; the table ends where 30 pairs are
left. The verification threshold has the best balanced accuracy on LFW's pairsDevTest. Pairs of one photograph are not
independent: the tail rests on fewer people than pairs. LFW's known label errors are kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien_server.embedding import DLIB_RECIPE, Detector, EmbeddingOptions, EmbeddingService, calibrations
from mien_server.records.faces import FaceAnalysis, ImageAnalysis

REQUEST_IMAGES: Final = 64
PAIRS_BEYOND_MIN: Final = 30
RATE_STEPS: Final = (5.0, 2.0, 1.0)
RATE_FIRST: Final = 1e-1
DIGITS: Final = 5

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embedded:
    """Photographs with a face: names "Person/Person_0001.jpg", people, unit embeddings [n, d]; how many had none."""

    names: list[str]
    people: npt.NDArray[np.str_]
    vectors: Float32Array
    faceless_count: int


def central_face(image: ImageAnalysis) -> FaceAnalysis | None:
    def distance(face: FaceAnalysis) -> float:
        x = face.box.left + face.box.width / 2 - image.width / 2
        y = face.box.top + face.box.height / 2 - image.height / 2
        return x * x + y * y

    return min(image.faces, key=distance, default=None)


def embed_all(folder: Path, service: EmbeddingService) -> Embedded:
    paths = sorted((folder / "images").glob("*/*.jpg"))
    names, vectors = [], []
    for start in range(0, len(paths), REQUEST_IMAGES):
        chosen = paths[start : start + REQUEST_IMAGES]
        for path, image in zip(
            chosen, service.analyse([path.read_bytes() for path in chosen], DLIB_RECIPE, embed=True), strict=True
        ):
            face = central_face(image)
            if face is not None and face.embedding is not None:
                names.append(f"{path.parent.name}/{path.name}")
                vectors.append(face.embedding)
        print(f"\r{min(start + REQUEST_IMAGES, len(paths))} of {len(paths)} photographs", end="", flush=True)
    print()
    return _embedded(names, np.stack(vectors), len(paths) - len(names))


def _embedded(names: list[str], vectors: Float32Array, faceless_count: int) -> Embedded:
    return Embedded(names, np.array([name.split("/")[0] for name in names]), vectors, faceless_count)


def cached(file: Path | None, folder: Path, service: EmbeddingService) -> Embedded:
    if file is not None and file.exists():
        with np.load(file) as stored:
            return _embedded([str(name) for name in stored["names"]], stored["vectors"], int(stored["faceless"]))
    embedded = embed_all(folder, service)
    if file is not None:
        np.savez(file, names=np.array(embedded.names), vectors=embedded.vectors, faceless=embedded.faceless_count)
    return embedded


def all_pairs(embedded: Embedded) -> tuple[Float32Array, Float32Array]:
    """Similarities of the impostor and of the genuine pairs."""
    upper = np.triu_indices(len(embedded.names), k=1)
    similarities = (embedded.vectors @ embedded.vectors.T)[upper]
    is_genuine = (embedded.people[:, np.newaxis] == embedded.people[np.newaxis, :])[upper]
    return similarities[~is_genuine], similarities[is_genuine]


def rates(pair_count: int) -> Iterator[float]:
    """1e-1, 5e-2, 2e-2, 1e-2, ... and at last the rate at which 30 pairs are left."""
    yield RATE_FIRST
    decade = RATE_FIRST / 10
    while True:
        for step in RATE_STEPS:
            if step * decade * pair_count < PAIRS_BEYOND_MIN:
                yield PAIRS_BEYOND_MIN / pair_count
                return
            yield step * decade
        decade /= 10


def rate_table(impostors: Float32Array) -> list[tuple[float, float]]:
    descending = np.sort(impostors)[::-1]
    table = []
    for rate in rates(descending.size):
        beyond = int(rate * descending.size + 1e-9)
        table.append((float(f"{rate:.6g}"), round(float(descending[beyond - 1]), DIGITS)))
    return table


def verification_pairs(file: Path) -> Iterator[tuple[str, str, bool]]:
    for line in file.read_text(encoding="utf-8").splitlines()[1:]:
        match line.split("\t"):
            case [name, first, second]:
                yield photograph(name, first), photograph(name, second), True
            case [name, first, other, second]:
                yield photograph(name, first), photograph(other, second), False


def photograph(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"


@dataclass(frozen=True)
class Verification:
    """The best threshold on pairs of found faces, its balanced accuracy, and the accuracy with misses as errors."""

    threshold: float
    balanced_accuracy: float
    accuracy_with_misses: float
    pair_count: int
    missed_count: int


def verify(embedded: Embedded, file: Path) -> Verification:
    rows = {name: row for row, name in enumerate(embedded.names)}
    pairs = list(verification_pairs(file))
    present = [(rows[left], rows[right], same) for left, right, same in pairs if left in rows and right in rows]
    left, right, same = (np.array(column) for column in zip(*present, strict=True))
    similarities = np.einsum("ij,ij->i", embedded.vectors[left], embedded.vectors[right])
    ordered = np.unique(similarities)
    candidates = (ordered[1:] + ordered[:-1]) / 2
    true_rate = (similarities[same][:, np.newaxis] >= candidates).mean(axis=0)
    false_rate = (similarities[~same][:, np.newaxis] >= candidates).mean(axis=0)
    balanced = (true_rate + 1 - false_rate) / 2
    best = np.flatnonzero(balanced == balanced.max())
    threshold = float(candidates[best[len(best) // 2]])
    correct = int(((similarities >= threshold) == same).sum())
    return Verification(
        round(threshold, DIGITS), float(balanced.max()), correct / len(pairs), len(pairs), len(pairs) - len(present)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lfw", type=Path, required=True, help="folder of the LFW developer set")
    parser.add_argument("--detector", choices=[detector.value for detector in Detector], default=Detector.HOG.value)
    parser.add_argument("--cache", type=Path, help="file that keeps the embeddings between runs (.npz)")
    parser.add_argument("--write", action="store_true", help="store the calibration beside the recipe")
    arguments = parser.parse_args()
    with EmbeddingService(EmbeddingOptions(detector=Detector(arguments.detector))) as service:
        recipe = service.recipe(DLIB_RECIPE)
        embedded = cached(arguments.cache, arguments.lfw, service)
    impostors, genuine = all_pairs(embedded)
    table = rate_table(impostors)
    verification = verify(embedded, arguments.lfw / "pairsDevTest.txt")
    people = len(set(embedded.people.tolist()))
    print(f"{recipe.fingerprint}: {len(embedded.names)} photographs of {people} people with a face,", end=" ")
    print(f"{embedded.faceless_count} without")
    print(f"impostor cosine {impostors.mean():.4f} +- {impostors.std():.4f} ({impostors.size:,} pairs)")
    print(f"genuine cosine {genuine.mean():.4f} +- {genuine.std():.4f} ({genuine.size:,} pairs)")
    print("\nFMR        cosine    FNMR")
    for rate, similarity in table:
        print(f"{rate:<9.3g}  {similarity:.5f}   {(genuine < similarity).mean():.4f}")
    print(f"\npairsDevTest: {verification}")
    if arguments.write:
        write(recipe.fingerprint, entry(embedded, impostors, genuine, table, verification, arguments.detector))


def entry(
    embedded: Embedded,
    impostors: Float32Array,
    genuine: Float32Array,
    table: list[tuple[float, float]],
    verification: Verification,
    detector: str,
) -> dict[str, object]:
    people = len(set(embedded.people.tolist()))
    detail = (
        f"LFW developer set (deep-funneled): {len(embedded.names):,} photographs of {people:,} people, detector "
        f"{detector}, central face, {embedded.faceless_count} photographs without a face left out; false match rates "
        f"over all {impostors.size:,} pairs of different people, down to {PAIRS_BEYOND_MIN} pairs; verification "
        f"threshold by balanced accuracy ({verification.balanced_accuracy:.4f}) on pairsDevTest"
    )
    return {
        "detail": detail,
        "impostor_pair_count": int(impostors.size),
        "genuine_pair_count": int(genuine.size),
        "verification_threshold": verification.threshold,
        "points": table,
    }


def write(fingerprint: str, fields: dict[str, object]) -> None:
    file = Path(calibrations.__file__).with_name(calibrations.CALIBRATIONS_FILE)
    stored = json.loads(file.read_text(encoding="utf-8"))
    stored[fingerprint] = fields
    file.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"stored in {file.name}")


if __name__ == "__main__":
    main()
