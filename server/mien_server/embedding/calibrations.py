"""What cosine similarities of a recipe were measured to mean, by fingerprint.

The figures lie in `calibrations.json`, written by `benchmarks/calibrate_recipe.py`. A recipe whose fingerprint is not
there has no calibration: a changed detector or network never inherits the thresholds of the old one.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Final

from mien_server.embedding.recipes import Calibration, CalibrationPoint

__all__ = ["CALIBRATIONS_FILE", "calibration_of"]

CALIBRATIONS_FILE: Final = "calibrations.json"


def calibration_of(fingerprint: str) -> Calibration | None:
    """The calibration measured for exactly this recipe, or None."""
    return _calibrations().get(fingerprint)


@cache
def _calibrations() -> dict[str, Calibration]:
    text = resources.files(__package__).joinpath(CALIBRATIONS_FILE).read_text(encoding="utf-8")
    return {
        fingerprint: Calibration(
            points=tuple(CalibrationPoint(rate, similarity) for rate, similarity in fields["points"]),
            verification_threshold=fields["verification_threshold"],
            impostor_pair_count=fields["impostor_pair_count"],
            genuine_pair_count=fields["genuine_pair_count"],
            detail=fields["detail"],
        )
        for fingerprint, fields in json.loads(text).items()
    }
