"""What a recipe says about itself, and what its similarities have been measured to mean."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DLIB_RECIPE", "FACENET_RECIPE", "Calibration", "CalibrationPoint", "RecipeDescription"]

DLIB_RECIPE = "dlib"
FACENET_RECIPE = "facenet"


@dataclass(frozen=True, slots=True)
class CalibrationPoint:
    """The cosine similarity at or above which two different people's faces were found at this rate."""

    false_match_rate: float
    similarity: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What cosine similarities of a recipe were measured to mean.

    Attributes:
        points: descending false match rates, ascending similarities; every point has at least 30 impostor pairs
            beyond it, so the last one is where the data ends.
        verification_threshold: cosine with the best balanced accuracy on pairs, half of them genuine. Right for
            1:1 verification; far too low to search a gallery for strangers.
        impostor_pair_count: pairs of different people the points were measured on.
        genuine_pair_count: pairs of the same person.
        detail: data and protocol, for a person.
    """

    points: tuple[CalibrationPoint, ...]
    verification_threshold: float
    impostor_pair_count: int
    genuine_pair_count: int
    detail: str


@dataclass(frozen=True, slots=True)
class RecipeDescription:
    """A detector, an alignment and an embedder under one name.

    Attributes:
        fingerprint: hash of weights, detector, alignment and preprocessing; embeddings with different fingerprints
            are never compared. Empty while the recipe is unavailable and its weights are unknown.
        dimension: components of an embedding.
        detector: name of the detector, for a person.
        embedder: name of the network, for a person.
        available: photographs can be embedded with it now.
        unavailable_reason: why not and what to do; empty when available.
        notices: restrictions of use that a part carries.
        minimum_quality: quality score, [0, 1], below which a face should not be enrolled.
        calibration: None when none was measured: the caller must then give thresholds.
    """

    name: str
    fingerprint: str
    dimension: int
    detector: str
    embedder: str
    available: bool
    unavailable_reason: str
    notices: tuple[str, ...]
    minimum_quality: float
    calibration: Calibration | None
