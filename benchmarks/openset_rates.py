"""Error rates of open-set identification (ISO/IEC 19795) from the best candidate of each probe. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Outcomes", "Rates", "rates_at", "sweep_thresholds", "threshold_for_fpir"]

SWEEP_STEP = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """The best candidate of n probes.

    Attributes:
        similarities: float32 [n], -inf where no face was found.
        is_right: bool [n]: the candidate is the person shown.
        is_mated: bool [n]: the person is meant to be in the gallery.
        is_matched: bool [n]: the server's decision was MATCH.
        face_counts: int [n], faces found.
    """

    similarities: npt.NDArray[np.float32]
    is_right: npt.NDArray[np.bool_]
    is_mated: npt.NDArray[np.bool_]
    is_matched: npt.NDArray[np.bool_]
    face_counts: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates at one threshold.

    Attributes:
        fnir: share of mated probes not matched with the right person.
        fpir: share of impostor probes matched with anybody.
        misidentification_rate: share of mated probes matched with a wrong person; part of fnir.
        mated_unknown_share: share of mated probes not matched; the rest of fnir.
        unknown_share: share of all probes not matched.
    """

    threshold: float
    fnir: float
    fpir: float
    misidentification_rate: float
    mated_unknown_share: float
    unknown_share: float

    def to_json(self) -> dict[str, float]:
        """As plain numbers."""
        return asdict(self)


def rates_at(outcomes: Outcomes, threshold: float) -> Rates:
    """The rates when a best candidate at or above the threshold is a match."""
    is_match = outcomes.similarities >= np.float32(threshold)
    mated = outcomes.is_mated
    return Rates(
        threshold=float(threshold),
        fnir=1.0 - float((is_match & outcomes.is_right)[mated].mean()),
        fpir=float(is_match[~mated].mean()),
        misidentification_rate=float((is_match & ~outcomes.is_right)[mated].mean()),
        mated_unknown_share=float((~is_match)[mated].mean()),
        unknown_share=float((~is_match).mean()),
    )


def threshold_for_fpir(outcomes: Outcomes, fpir: float) -> float:
    """The lowest threshold at which at most that share of the impostor probes is matched."""
    impostors = np.sort(outcomes.similarities[~outcomes.is_mated])[::-1]
    allowed = int(fpir * len(impostors))
    # Just above the first impostor that may not be matched.
    return float(np.nextafter(impostors[allowed], np.float32(2.0)))


def sweep_thresholds(outcomes: Outcomes) -> npt.NDArray[np.float64]:
    """Thresholds from below the lowest similarity to above the highest, evenly spaced."""
    known = outcomes.similarities[np.isfinite(outcomes.similarities)]
    first = np.floor(known.min() / SWEEP_STEP)
    last = np.ceil(known.max() / SWEEP_STEP)
    return np.arange(first, last + 1) * SWEEP_STEP
