"""One short name for everything that decides what an embedding means."""

from __future__ import annotations

import hashlib
import json
from typing import Final

__all__ = ["NORMALISATION_IDENTITY", "fingerprint"]

NORMALISATION_IDENTITY: Final = "l2-float32 1"
DIGEST_CHARACTERS: Final = 16


def fingerprint(
    recipe: str, *, weights_sha256: str, detector: str, orientation: str, alignment: str, preprocessing: str
) -> str:
    """`<recipe>-<16 hex digits>`: equal exactly when embeddings may be compared."""
    parts = {
        "weights": weights_sha256,
        "detector": detector,
        "orientation": orientation,
        "alignment": alignment,
        "preprocessing": preprocessing,
        "normalisation": NORMALISATION_IDENTITY,
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8")).hexdigest()
    return f"{recipe}-{digest[:DIGEST_CHARACTERS]}"
