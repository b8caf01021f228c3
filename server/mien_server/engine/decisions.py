"""From a policy, a calibration and a gallery's size to the threshold of a decision. Pure.

A threshold is a cosine similarity. It is given as such, or as a wanted rate of false positives: of one comparison
(FMR), or of one identification among N comparisons, FPIR = 1 - (1 - FMR)^N (ISO/IEC 19795-1). A calibration is a
measured table of FMR and similarity; between its points log10(FMR) is interpolated, beyond its last point the last
slope is continued and the threshold says so.
"""

from __future__ import annotations

import math

import numpy as np

from mien_server.embedding import Calibration
from mien_server.engine.types import Threshold, ThresholdOrigin
from mien_server.errors import PreconditionFailed
from mien_server.records.faces import Float32Array
from mien_server.records.policies import DecisionPolicy, DistanceMetric

__all__ = ["FPIR_DEFAULT", "distances", "identification_threshold", "verification_threshold"]

FPIR_DEFAULT = 0.01
"""Share of strangers that may be given a name where nobody says otherwise."""
SIMILARITY_MAX = 0.9999
"""No threshold is set beyond this: the same photograph must always match itself."""
FALSE_MATCH_RATE_MIN = 1e-300
"""A smaller rate is read as this one: far beyond any measurement, and its logarithm is still a number."""


def _similarity_at(calibration: Calibration, false_match_rate: float) -> tuple[float, bool]:
    """The similarity whose false match rate is the one given, and whether it lies beyond the data."""
    rates = np.array([point.false_match_rate for point in calibration.points])
    similarities = np.array([point.similarity for point in calibration.points])
    order = np.argsort(-rates)
    logs, similarities = np.log10(rates[order]), similarities[order]
    wanted = math.log10(max(false_match_rate, FALSE_MATCH_RATE_MIN))
    if wanted >= logs[0]:
        return float(similarities[0]), wanted > logs[0]
    if wanted >= logs[-1]:
        return float(np.interp(-wanted, -logs, similarities)), False
    slope = (similarities[-1] - similarities[-2]) / (logs[-1] - logs[-2])
    return min(SIMILARITY_MAX, float(similarities[-1] + slope * (wanted - logs[-1]))), True


def _fmr_for(target_fpir: float, comparison_count: int) -> float:
    """False match rate of one comparison at which N of them reach the false positive rate."""
    return -math.expm1(math.log1p(-target_fpir) / max(1, comparison_count))


def _no_calibration(what: str) -> PreconditionFailed:
    return PreconditionFailed(
        f"{what}, and nothing was measured for this gallery's embedding model; "
        "give the gallery's decision policy, or the request, a similarity",
        reason="NO_THRESHOLD",
    )


def _translated(
    calibration: Calibration, rate: float, origin: ThresholdOrigin, wanted: str, floor: float = -1.0
) -> Threshold:
    similarity, extrapolated = _similarity_at(calibration, rate)
    detail = f"{wanted}; {calibration.detail}"
    if similarity < floor:
        similarity, extrapolated = floor, False
        detail = f"{wanted} would allow less than the threshold of one comparison, which holds; {calibration.detail}"
    return Threshold(similarity, origin, detail, extrapolated)


def identification_threshold(
    requested: DecisionPolicy | None,
    gallery: DecisionPolicy,
    calibration: Calibration | None,
    comparison_count: int,
    counted: str = "faces",
) -> Threshold:
    """The threshold of an identification among `comparison_count` comparisons.

    Args:
        counted: what a probe is compared with, in the plural, for the threshold's detail.

    Raises:
        PreconditionFailed: NO_THRESHOLD, when a rate is wanted (or nothing is said) and nothing was measured.
    """
    policy, origin = _chosen(requested, gallery)
    if policy is None:
        if calibration is None:
            raise _no_calibration("no threshold was given")
        rate = _fmr_for(FPIR_DEFAULT, comparison_count)
        wanted = f"default: a stranger gets a name in {FPIR_DEFAULT:.0%} (FPIR) among {comparison_count} {counted}"
        floor = calibration.verification_threshold
        return _translated(calibration, rate, ThresholdOrigin.RECIPE_DEFAULT, wanted, floor)
    if policy.similarity is not None:
        return Threshold(policy.similarity, origin, "a similarity was given")
    if policy.target_fpir is not None:
        if calibration is None:
            raise _no_calibration("a target FPIR was given")
        wanted = f"FPIR {policy.target_fpir:g} among {comparison_count} {counted}"
        return _translated(calibration, _fmr_for(policy.target_fpir, comparison_count), origin, wanted)
    return _fmr_threshold(policy, origin, calibration)


def verification_threshold(
    requested: DecisionPolicy | None, gallery: DecisionPolicy, calibration: Calibration | None
) -> Threshold:
    """The threshold of one comparison. A target FPIR is read as a target FMR.

    Raises:
        PreconditionFailed: NO_THRESHOLD, when a rate is wanted (or nothing is said) and nothing was measured.
    """
    policy, origin = _chosen(requested, gallery)
    if policy is None:
        if calibration is None:
            raise _no_calibration("no threshold was given")
        detail = f"default for one comparison; {calibration.detail}"
        return Threshold(calibration.verification_threshold, ThresholdOrigin.RECIPE_DEFAULT, detail)
    if policy.similarity is not None:
        return Threshold(policy.similarity, origin, "a similarity was given")
    return _fmr_threshold(policy, origin, calibration)


def _fmr_threshold(policy: DecisionPolicy, origin: ThresholdOrigin, calibration: Calibration | None) -> Threshold:
    rate = policy.target_fmr if policy.target_fmr is not None else policy.target_fpir
    if rate is None or calibration is None:
        raise _no_calibration("a target rate was given")
    return _translated(calibration, rate, origin, f"FMR {rate:g}")


def _chosen(requested: DecisionPolicy | None, gallery: DecisionPolicy) -> tuple[DecisionPolicy | None, ThresholdOrigin]:
    """The policy that names a threshold, the request's before the gallery's, or None."""
    if requested is not None and _names_threshold(requested):
        return requested, ThresholdOrigin.REQUEST
    if _names_threshold(gallery):
        return gallery, ThresholdOrigin.GALLERY_POLICY
    return None, ThresholdOrigin.RECIPE_DEFAULT


def _names_threshold(policy: DecisionPolicy) -> bool:
    return policy.similarity is not None or policy.target_fpir is not None or policy.target_fmr is not None


def distances(similarities: Float32Array, metric: DistanceMetric) -> Float32Array | None:
    """Cosine similarities of unit vectors as distances: 1 - s, 2 - 2s or its root; None for UNSPECIFIED.

    Vectors stored in float16 are units only nearly; a similarity beyond [-1, 1] counts as that end of the range.
    """
    if metric is DistanceMetric.UNSPECIFIED:
        return None
    similarities = np.clip(similarities, np.float32(-1.0), np.float32(1.0))
    match metric:
        case DistanceMetric.COSINE:
            return np.float32(1.0) - similarities
        case DistanceMetric.SQUARED_L2:
            return np.float32(2.0) - np.float32(2.0) * similarities
        case DistanceMetric.EUCLIDEAN:
            euclidean: Float32Array = np.sqrt(np.float32(2.0) - np.float32(2.0) * similarities)
            return euclidean
